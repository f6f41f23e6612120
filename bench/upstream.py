"""An MCP server for bench/gateway.py: ``python -m bench.upstream PORT``."""

import asyncio
import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("bench")


@server.tool()
async def echo(text: str, milliseconds: float = 0) -> str:
    """Return ``text``, after so many milliseconds."""
    if milliseconds:
        await asyncio.sleep(milliseconds / 1000)
    return text


if __name__ == "__main__":
    server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
