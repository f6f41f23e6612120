"""/mcp: the streamable HTTP transport, behind the same door as everything else.

The SDK is asynchronous and the server is not: each process runs one event loop in a thread of its
own, started by the first call. A call holds a thread of the server as long as it lasts, as any
request does, and no connection to the database; docs/decisions/0018-mcp.md says why.
"""

import asyncio
import logging
import threading
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from django.http import HttpResponse, StreamingHttpResponse
from drf_spectacular.utils import extend_schema
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from rest_framework.exceptions import PermissionDenied, UnsupportedMediaType
from rest_framework.request import Request
from rest_framework.views import APIView

from audit_app.actors import Actor
from orchestrator.mcp.messages import read
from orchestrator.mcp.rest import Rest
from orchestrator.mcp.tools import server
from sessions_app.authentication import BearerAuthentication

logger = logging.getLogger(__name__)

Message = dict[str, Any]
KEPT_BACK = {"authorization", "cookie", "content-length"}
SPOKEN = {"content-type", "cache-control", "x-accel-buffering"}


@extend_schema(exclude=True)
class Mcp(APIView):
    """One message of JSON-RPC and its answer. No session is kept, so any process can answer.

    A tool call counts against the caller's limit by the requests that it makes.
    """

    authentication_classes = (BearerAuthentication,)
    throttle_classes = ()

    def post(self, request: Request) -> Any:
        _refuse_other_origins(request)
        if request.content_type.partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMediaType(request.content_type)
        body = read(request._request.body)
        user = request.user
        caller = user if isinstance(user, Actor) else Actor.human(user)
        rest = Rest.of(request._request, str(caller))
        connection.close()  # nothing is asked on this one while the call lasts
        return _answered(Exchange(_scope(request, rest), body))


def _refuse_other_origins(request: Request) -> None:
    """A page elsewhere must not make a browser call (the transport's specification, DNS
    rebinding)."""
    origin = request.headers.get("Origin")
    if origin is None or origin in settings.CSRF_TRUSTED_ORIGINS:
        return
    if urlsplit(origin).netloc != request.get_host():
        raise PermissionDenied("A page of another origin may not call this.")


def _scope(request: Request, rest: Rest) -> dict[str, Any]:
    headers = ((name.lower(), value) for name, value in request.headers.items())
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in headers
            if name not in KEPT_BACK
        ],
        "client": None,
        "server": None,
        "rest": rest,
    }


class Exchange:
    """One request and its answer, from the server's thread to the loop and back."""

    def __init__(self, scope: dict[str, Any], body: bytes) -> None:
        self._scope = scope
        self._body: bytes | None = body
        self._said: SimpleQueue[Message | None] = SimpleQueue()
        self._running = asyncio.run_coroutine_threadsafe(self._run(), loop.running())

    def start(self) -> tuple[int, dict[str, str]]:
        """The status and headers of the answer, once it begins."""
        first = self._said.get()
        if first is None:
            return 500, {}
        headers = {name.decode().lower(): value.decode() for name, value in first["headers"]}
        return first["status"], {name: headers[name] for name in SPOKEN & headers.keys()}

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        message = self._said.get()
        if message is None:
            raise StopIteration
        body: bytes = message.get("body", b"")
        return body

    def close(self) -> None:
        """Nobody reads any more: whatever still runs is cancelled."""
        self._running.cancel()

    async def _run(self) -> None:
        try:
            await loop.manager.handle_request(self._scope, self._receive, self._send)
        except Exception:
            logger.exception("a call over MCP failed")
        finally:
            self._said.put(None)

    async def _receive(self) -> Message:
        if self._body is None:
            await asyncio.Event().wait()  # that nobody reads is told by close()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body, "more_body": False}

    async def _send(self, message: Message) -> None:
        self._said.put(message)


def _answered(exchange: Exchange) -> HttpResponse | StreamingHttpResponse:
    status, headers = exchange.start()
    if headers.get("content-type", "").startswith("text/event-stream"):
        return StreamingHttpResponse(exchange, status=status, headers=headers)
    return HttpResponse(b"".join(exchange), status=status, headers=headers)


class Loop:
    """The event loop of this process, in which the SDK lives."""

    manager: StreamableHTTPSessionManager

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None

    def running(self) -> asyncio.AbstractEventLoop:
        """The loop; started by whoever asks first, since it would not survive a fork."""
        with self._starting:
            if self._loop is None:
                ready = threading.Event()
                threading.Thread(target=self._keep, args=(ready,), name="mcp", daemon=True).start()
                ready.wait()
        assert self._loop is not None
        return self._loop

    def _keep(self, ready: threading.Event) -> None:
        asyncio.run(self._serve(ready))

    async def _serve(self, ready: threading.Event) -> None:
        limit = settings.MAX_BODY_BYTES
        self.manager = StreamableHTTPSessionManager(
            server(), stateless=True, max_request_body_size=limit
        )
        async with self.manager.run():
            self._loop = asyncio.get_running_loop()
            ready.set()
            await asyncio.Event().wait()


loop = Loop()
