"""Tries an upstream: connects and lists its tools, for whoever sets it up."""

import asyncio
from dataclasses import dataclass
from uuid import uuid4

import mcp_types as types

from orchestrator.gateway.calls import ToolCall
from orchestrator.gateway.models import Upstream

MAX_PAGES = 20


@dataclass(frozen=True, slots=True)
class Probe:
    """What an upstream says of itself: who it is, and its tools with the types of their tasks."""

    server: str
    tools: tuple[tuple[types.Tool, str], ...]


def probe(upstream: Upstream) -> Probe:
    """Connect to ``upstream`` anew and list its tools. Raises UpstreamAway."""
    return asyncio.run(_probe(upstream))


async def _probe(upstream: Upstream) -> Probe:
    # Imported late: the SDK takes a second.
    from mcp import Client
    from mcp.shared.exceptions import MCPError

    from orchestrator.gateway import pool

    async def look(client: Client) -> Probe:
        info, tools, cursor = client.server_info, list[types.Tool](), None
        for _ in range(MAX_PAGES):
            if client.server_capabilities.tools is None:
                break
            params = types.PaginatedRequestParams(cursor=cursor)
            page = await client.session.list_tools(params=params)
            tools += page.tools
            if (cursor := page.next_cursor) is None:
                break
        named = [(tool, ToolCall(upstream, tool.name, {}, uuid4()).task_type) for tool in tools]
        return Probe(f"{info.name} {info.version}".strip() if info else "", tuple(named))

    try:
        return await pool.ask(upstream, "probe", look)
    except MCPError as error:
        raise pool.UpstreamAway(error.error.message) from error
    finally:
        await pool.get_pool().close()
