"""An MCP server of the tests' own, as a program: over HTTP on the port that is given, else over
stdio. It keeps what it did in a file, one JSON text a line."""

import json
import os
import sys
import time

from mcp.server.mcpserver import Context, MCPServer

server = MCPServer("notebook", instructions="Write notes.")
DONE = os.environ["DONE"]


@server.tool()
def write(text: str, page: int = 1) -> str:
    """Write a note."""
    _note({"write": text, "page": page})
    return f"wrote {text}"


@server.tool()
def add(first: int, second: int) -> int:
    """Add two numbers."""
    return first + second


@server.tool()
def delete_note(name: str) -> str:
    """Delete a note."""
    _note({"delete": name})
    return f"deleted {name}"


@server.tool()
def crash() -> str:
    """End the server in the middle of a call."""
    _note({"crash": True})
    os._exit(1)


@server.tool()
def refuse() -> str:
    """Always fail."""
    raise ValueError("no ink")


@server.tool()
def sleep(until: str) -> str:
    """Return once the file ``until`` exists."""
    _note({"sleep": until})
    while not os.path.exists(until):
        time.sleep(0.02)
    return "woke"


@server.tool()
async def count(to: int, ctx: Context) -> str:
    """Count, and report progress."""
    for number in range(to):
        await ctx.report_progress(number + 1, to, f"{number + 1} of {to}")
    return "counted"


@server.tool()
def show_credentials() -> str:
    """What the environment has as SECRET."""
    return os.environ.get("SECRET", "nothing")


@server.resource("note://first")
def first() -> str:
    """The first note."""
    return "in the beginning"


@server.prompt()
def summarize(topic: str) -> str:
    """Ask for a summary."""
    return f"Summarize {topic}."


def _note(what: dict[str, object]) -> None:
    with open(DONE, "a") as done:
        done.write(json.dumps(what) + "\n")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        server.run("streamable-http", host="127.0.0.1", port=int(sys.argv[1]))
    else:
        server.run("stdio")
