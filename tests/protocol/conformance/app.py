"""Our ASGI application with the runner's tools, and with a key: the runner cannot send one."""

import os
from typing import Any

from orchestrator.asgi import application as ours
from orchestrator.mcp import serving
from tests.protocol.conformance.server import build_server

serving.build_server = build_server  # type: ignore[assignment]
KEY = (b"authorization", b"Bearer " + os.environ["ORCHESTRATOR_KEY"].encode())


async def application(scope: Any, receive: Any, send: Any) -> None:
    """Answer as ours does, to the caller with the key."""
    if scope["type"] == "http":
        scope = {**scope, "headers": [*scope["headers"], KEY]}
    await ours(scope, receive, send)
