"""Runs the SDK's server, one per event loop."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any
from weakref import WeakKeyDictionary

from django.conf import settings
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

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

    await (await _manager()).handle_request(scope, receive, send)


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
