"""MCP over standard input and output, for agents that start us as their own process."""

import sys
from collections.abc import AsyncIterator
from typing import Any, cast

import anyio
from mcp.server.stdio import stdio_server

from orchestrator.mcp.messages import check_message
from orchestrator.mcp.rest import Rest
from orchestrator.mcp.tools import build_server
from orchestrator.web.parsing import BadJSON


class StrictLines:
    """The lines of standard input, each checked before the SDK reads it."""

    async def __aiter__(self) -> AsyncIterator[str]:
        async for line in anyio.wrap_file(sys.stdin.buffer):
            yield _check_line(line).decode(errors="replace")


def _check_line(line: bytes) -> bytes:
    try:
        return check_message(line)
    except BadJSON:
        return b"null\n"  # which the SDK refuses as well


async def serve(rest: Rest) -> None:
    """Answer messages until the input ends."""
    app = build_server(default=rest)
    lines = cast("Any", StrictLines())
    async with stdio_server(stdin=lines) as (incoming, outgoing):
        await app.run(incoming, outgoing, app.create_initialization_options())
