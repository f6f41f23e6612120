"""Runs the SDK's servers, one per event loop and version of an upstream."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, MutableMapping
from datetime import timedelta
from typing import Any
from uuid import UUID
from weakref import WeakKeyDictionary

import mcp_types as types
import orjson
import structlog
from django.conf import settings
from django.db import DatabaseError
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from orchestrator.gateway import calls, direct, front
from orchestrator.gateway.front import Visit
from orchestrator.gateway.pool import UpstreamAway

logging.getLogger("mcp").setLevel(logging.ERROR)  # it logs each request, which we do already
log = structlog.get_logger("orchestrator.gateway")

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]

SETTLE_SECONDS = 60.0
KEPT_FOR = timedelta(days=90)
"""How long an outcome is kept for the repetition of a call."""


class Servers:
    """The servers of one event loop."""

    def __init__(self) -> None:
        self._managers: dict[tuple[UUID, int], asyncio.Future[StreamableHTTPSessionManager]] = {}
        self._tasks: set[asyncio.Task[Any]] = set()
        self._spawn(_settle())

    async def get(self, visit: Visit) -> StreamableHTTPSessionManager:
        """The manager that serves the upstream of ``visit``. Raises UpstreamAway."""
        key = visit.upstream.pk, visit.upstream.version
        if key not in self._managers:
            future = self._managers[key] = asyncio.get_running_loop().create_future()
            self._spawn(self._keep(visit, future))
        try:
            return await asyncio.shield(self._managers[key])
        except UpstreamAway:
            self._managers.pop(key, None)  # the next request tries again
            raise

    async def _keep(
        self, visit: Visit, started: "asyncio.Future[StreamableHTTPSessionManager]"
    ) -> None:
        try:
            server = await front.build_server(visit, front.find_http_visit)
        except Exception as error:
            away = error if isinstance(error, UpstreamAway) else UpstreamAway(str(error))
            started.set_exception(away)
            started.exception()  # nobody may be waiting any more
            return
        limit = settings.MAX_BODY_BYTES
        manager = StreamableHTTPSessionManager(server, stateless=True, max_request_body_size=limit)
        async with manager.run():
            started.set_result(manager)
            await asyncio.Event().wait()

    def _spawn(self, work: Any) -> None:
        task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


_servers: "WeakKeyDictionary[asyncio.AbstractEventLoop, Servers]" = WeakKeyDictionary()


async def answer(scope: MutableMapping[str, Any], body: bytes, send: Send) -> None:
    """Answer one message as an ASGI response. Cancellation ends the wait, not a call that runs."""
    loop = asyncio.get_running_loop()
    if loop not in _servers:
        _servers[loop] = Servers()
    if (message := direct.find_call(scope, body)) is not None:
        await direct.answer_call(scope, message, front.CALLS, send)
        return
    try:
        manager = await _servers[loop].get(scope["visit"])
    except UpstreamAway as away:
        await _send_away(f"{scope['visit'].upstream.name} can't be reached: {away}", body, send)
        return
    unread = [body]

    async def receive() -> Message:
        if not unread:
            await asyncio.Event().wait()  # a disconnected client cancels this task instead
        return {"type": "http.request", "body": unread.pop(), "more_body": False}

    await manager.handle_request(scope, receive, send)


async def _send_away(sentence: str, body: bytes, send: Send) -> None:
    message = orjson.loads(body)
    error = {"code": types.INTERNAL_ERROR, "message": sentence}
    id = message.get("id") if isinstance(message, dict) else None
    text = orjson.dumps({"jsonrpc": "2.0", "id": id, "error": error})
    headers = [(b"content-type", b"application/json"), (b"retry-after", b"5")]
    await send({"type": "http.response.start", "status": 502, "headers": headers})
    await send({"type": "http.response.body", "body": text})


async def _settle() -> None:
    """Say of calls whose process ended that nobody knows their outcome, once a minute."""
    while True:
        try:
            await front.in_thread(calls.settle_lost_calls)
            await front.in_thread(calls.purge_calls, KEPT_FOR)
        except DatabaseError as error:
            log.warning("gateway", failure=str(error))
        await asyncio.sleep(SETTLE_SECONDS)
