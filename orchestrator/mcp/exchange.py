"""Where the SDK lives: it is asynchronous, and the server is not.

Each process runs one event loop in a thread of its own, started by the first call. A call holds a
thread of the server as long as it lasts, as any request does, and no connection to the database;
docs/decisions/0018-mcp.md says why.
"""

import asyncio
import logging
import threading
from collections.abc import Iterator, MutableMapping
from queue import SimpleQueue
from typing import Any

from django.conf import settings
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from orchestrator.mcp.tools import server

logger = logging.getLogger(__name__)
logging.getLogger("mcp").setLevel(logging.WARNING)  # it tells of each request, as we do

Message = MutableMapping[str, Any]
SPOKEN = {"content-type", "cache-control", "x-accel-buffering"}


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
