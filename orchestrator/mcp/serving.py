"""Runs the SDK's server, one per event loop."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from weakref import WeakKeyDictionary

import orjson
from django.conf import settings
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp.shared.inbound import (
    MCP_PROTOCOL_VERSION_HEADER,
    unsupported_protocol_version_rejection,
)
from mcp_types.version import (
    HANDSHAKE_PROTOCOL_VERSIONS,
    KNOWN_PROTOCOL_VERSIONS,
    MODERN_PROTOCOL_VERSIONS,
)

from orchestrator.mcp.tools import build_server

logging.getLogger("mcp").setLevel(logging.WARNING)  # it logs each request, which we do already

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

_running: "WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Task[Any]]" = WeakKeyDictionary()
_managers: "WeakKeyDictionary[asyncio.AbstractEventLoop, Any]" = WeakKeyDictionary()


async def answer(scope: MutableMapping[str, Any], body: bytes, send: Send) -> None:
    """Answer one message as an ASGI response. Cancellation ends the tool call."""
    unread = [body]

    async def receive() -> Message:
        if not unread:
            await asyncio.Event().wait()  # a disconnected client cancels this task instead
        return {"type": "http.request", "body": unread.pop(), "more_body": False}

    if refusal := refuse_unknown_version(scope, body):
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 400, "headers": headers})
        await send({"type": "http.response.body", "body": refusal})
        return
    await (await _manager()).handle_request(scope, receive, send)


def refuse_unknown_version(scope: Message, body: bytes) -> bytes | None:
    """The answer to a version of the protocol that we do not speak: which ones we do."""
    header = MCP_PROTOCOL_VERSION_HEADER.encode()
    version = next((v.decode("latin-1") for name, v in scope["headers"] if name == header), None)
    if version is None or version in KNOWN_PROTOCOL_VERSIONS:
        return None
    # In data the protocol wants those that need no handshake.
    rejection = unsupported_protocol_version_rejection(version)
    assert rejection is not None
    earlier = ", ".join(HANDSHAKE_PROTOCOL_VERSIONS)
    text = f"This server speaks {', '.join(MODERN_PROTOCOL_VERSIONS)}, and {earlier}."
    error = {"code": rejection.code, "message": text, "data": rejection.data}
    message = orjson.loads(body)
    request_id = message.get("id") if isinstance(message, dict) else None
    return orjson.dumps({"jsonrpc": "2.0", "id": request_id, "error": error})


async def _manager() -> StreamableHTTPSessionManager:
    loop = asyncio.get_running_loop()
    if loop not in _managers:
        _managers[loop] = loop.create_future()
        _running[loop] = loop.create_task(_keep(_managers[loop]))
    manager: StreamableHTTPSessionManager = await asyncio.shield(_managers[loop])
    return manager


async def _keep(started: "asyncio.Future[StreamableHTTPSessionManager]") -> None:
    limit = settings.MAX_BODY_BYTES
    manager = StreamableHTTPSessionManager(
        build_server(), stateless=True, max_request_body_size=limit
    )
    async with manager.run():
        started.set_result(manager)
        await asyncio.Event().wait()
