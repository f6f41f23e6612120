"""The gateway over standard input and output, for agents that start it as their own process."""

from typing import Any, cast

from mcp.server.stdio import stdio_server

from orchestrator.gateway import front
from orchestrator.gateway.front import Visit
from orchestrator.gateway.pool import get_pool
from orchestrator.mcp.stdio import StrictLines


async def serve(visit: Visit) -> None:
    """Answer messages until the input ends. Raises UpstreamAway."""
    app = await front.build_server(visit, lambda ctx: visit)
    lines = cast("Any", StrictLines())
    try:
        async with stdio_server(stdin=lines) as (incoming, outgoing):
            await app.run(incoming, outgoing, app.create_initialization_options())
        await front.wait_for_running()
    finally:
        await get_pool().close()
