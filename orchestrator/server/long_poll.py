"""The ASGI application (ASGI 3) that every request comes through.

Django answers in a thread what can be answered at once (orchestrator/wsgi.py). Long polls
(audit_app/live/long_poll.py) stay in the event loop, with neither a thread nor a database
connection, and Django is asked again after each event.
"""

import asyncio
import sys
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

from django.conf import settings

from audit_app.live.long_poll import ENVIRON_KEY, LongPoll, Resumption
from audit_app.live.subscriptions import subscriptions
from orchestrator.web.middleware import BODY_TIMEOUT_KEY
from orchestrator.web.throttling import LOGIN_PATHS

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
WSGIApplication = Callable[[dict[str, Any], Any], Any]
Headers = list[tuple[bytes, bytes]]

THREADS = 12
"""Requests that Django answers at a time in one process."""

WOKEN_THREADS = 4
"""As many more for long polls that were woken, so that they do not queue behind new requests."""

LOGIN_THREADS = 4
"""As many more for people who log in. Hashing a password and asking the issuer are slow, and anyone
may cause them, so logins queue behind each other and not in front of agents."""

HEARTBEAT = 15.0
"""Seconds without an event after which a stream sends a comment."""

BODY_PAUSE_SECONDS = 30.0
"""Seconds that the next piece of a body may take."""

DRAIN_SECONDS = 30.0
DRAIN_PAUSE_SECONDS = 2.0
MAX_DRAINED_BYTES = 100 * 1024 * 1024
"""How long, and how much, of a body that is too large is read after the refusal was sent."""

SSE_RETRY = b"retry: 1000\n\n"
SERVER = (b"server", b"orchestrator")
"""Sent instead of the server's own banner."""

BODY_HEADERS = {b"content-type", b"content-length", b"cache-control", b"x-accel-buffering"}
UNPREFIXED = {"CONTENT_LENGTH", "CONTENT_TYPE"}

threads = ThreadPoolExecutor(THREADS, thread_name_prefix="django")
login_threads = ThreadPoolExecutor(LOGIN_THREADS, thread_name_prefix="django-login")
woken_threads = ThreadPoolExecutor(WOKEN_THREADS, thread_name_prefix="django-woken")


class ClientGone(Exception):
    """Nothing is left to send: the client disconnected, or has its whole answer already."""


@dataclass(slots=True)
class Answer:
    status: int = 500
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    long_poll: LongPoll | None = None
    release: Callable[[], None] | None = None
    """Ends the long poll's share of WaiterLimits."""

    asgi_response: Callable[[Send], Awaitable[None]] | None = None
    """Sends the body instead of Django."""


class LongPollHandler:
    """The ASGI application. ``wsgi_application`` must return WSGIApplication's responses."""

    def __init__(self, wsgi_application: WSGIApplication) -> None:
        self.wsgi_application = wsgi_application

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _serve_lifespan(receive, send)
        elif scope["type"] == "http":
            with suppress(ClientGone):
                await Request(self.wsgi_application, scope, receive, send).answer()


async def _serve_lifespan(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    subscriptions.close()
    await send({"type": "lifespan.shutdown.complete"})


class Request:
    """One request until it is answered."""

    def __init__(
        self,
        wsgi_application: WSGIApplication,
        scope: MutableMapping[str, Any],
        receive: Receive,
        send: Send,
    ) -> None:
        self.wsgi_application = wsgi_application
        self.scope = scope
        self.receive = receive
        self.send = send
        self.loop = asyncio.get_running_loop()
        self.is_body_left = False

    async def answer(self) -> None:
        """Answer it. Raises ClientGone."""
        body = await self._read_body()
        environ = _build_environ(self.scope, body or b"")
        if body is None:
            environ[BODY_TIMEOUT_KEY] = True
        # Taken before Django reads the rows, so that no event in between is missed.
        position = subscriptions.position() if _may_long_poll(self.scope) else 0
        answer = await self._ask_django(environ)
        if answer.asgi_response:
            await self._run_asgi_response(answer)
        elif answer.long_poll:
            await self._hold(answer, environ, position)
        else:
            await self._send_answer(answer)
        if self.is_body_left:
            await self._drain_body()

    async def _hold(self, answer: Answer, environ: dict[str, Any], position: int) -> None:
        assert answer.long_poll
        try:
            if answer.long_poll.seconds is None:
                await self._run_until_gone(self._stream(answer, environ, position))
            else:
                await self._run_until_gone(
                    self._wait(answer, environ, position, answer.long_poll.seconds)
                )
        finally:
            if answer.release:
                answer.release()

    async def _run_asgi_response(self, answer: Answer) -> None:
        """Let the response that Django named send the body, under Django's headers."""
        assert answer.asgi_response

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                theirs = [(n.lower(), value) for n, value in message["headers"]]
                ours = [h for h in answer.headers if h[0] not in BODY_HEADERS]
                theirs = [h for h in theirs if h[0] in BODY_HEADERS]
                message = {**message, "headers": [*theirs, *ours]}
            await self.send(message)

        await self._run_until_gone(answer.asgi_response(send))

    async def _wait(
        self, answer: Answer, environ: dict[str, Any], position: int, seconds: float
    ) -> None:
        """Send the last answer once it is no long poll any more or ``seconds`` have passed."""
        until = self.loop.time() + seconds
        first, rate_limits = answer, [h for h in answer.headers if h[0].startswith(b"ratelimit")]
        # Every run of this request is one piece of work, so it keeps the first run's trace.
        environ["HTTP_X_TRACE_ID"] = _trace_of(answer)
        environ[ENVIRON_KEY] = Resumption()
        while answer.long_poll and not subscriptions.closing:
            remaining = until - self.loop.time()
            if remaining <= 0 or not await subscriptions.wait_for(
                answer.long_poll.keys, since=position, timeout=remaining
            ):
                break  # nothing about it was recorded: the first answer still holds
            position = subscriptions.position()
            answer = await self._ask_django(environ)
        if answer is not first:
            answer.headers += rate_limits  # a resumed request is not counted and has none
        await self._send_answer(answer)

    async def _stream(self, answer: Answer, environ: dict[str, Any], position: int) -> None:
        """Send events until the client goes, loses the right to ask, or the process ends."""
        environ["HTTP_X_TRACE_ID"] = _trace_of(answer)
        headers = [(name, value) for name, value in answer.headers if name != b"content-length"]
        await self._send_start(answer.status, headers)
        await self._send_chunk(SSE_RETRY + answer.body)
        checked_at = self.loop.time()
        while answer.long_poll and not subscriptions.closing:
            long_poll = answer.long_poll
            # Proxies close connections that stay silent, hence the heartbeat.
            pause = min(HEARTBEAT, long_poll.recheck_every or HEARTBEAT)
            if not long_poll.more and not await subscriptions.wait_for(
                long_poll.keys, since=position, timeout=pause
            ):
                now = self.loop.time()
                if long_poll.recheck_every is None or now - checked_at < long_poll.recheck_every:
                    await self._send_chunk(b":\n\n")
                    continue
            position, checked_at = subscriptions.position(), self.loop.time()
            environ[ENVIRON_KEY] = Resumption(long_poll.cursor)
            answer = await self._ask_django(environ)
            if answer.status == 200 and answer.body:
                await self._send_chunk(answer.body)
        await self._send_end()

    async def _ask_django(self, environ: dict[str, Any]) -> Answer:
        """Have Django answer. Raises ClientGone if it already streamed the answer to the client."""
        answer = await self.loop.run_in_executor(
            _choose_executor(environ), self._call_django, dict(environ)
        )
        if isinstance(answer, Answer):
            return answer
        raise ClientGone

    def _call_django(self, environ: dict[str, Any]) -> Answer | None:
        """Runs in a thread. Returns None where the answer was sent already."""
        # A new stream per run: Django consumes it, and a long poll is run again.
        environ["wsgi.input"] = BytesIO(environ["wsgi.input"])
        answer = Answer()

        def start(status: str, headers: list[tuple[str, str]], _: Any = None) -> Any:
            answer.status = int(status.split(" ", 1)[0])
            answer.headers = [
                (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
            ]
            answer.headers.append(SERVER)

        response = self.wsgi_application(environ, start)
        try:
            if response.streaming and self.scope["method"] != "HEAD":
                self._send_streaming(answer, response)
                return None
            answer.body = b"" if response.streaming else response.content
        finally:
            response.close()
        answer.long_poll = getattr(response, "long_poll", None)
        answer.release = getattr(response, "release", None)
        answer.asgi_response = getattr(response, "asgi_response", None)
        return answer

    def _send_streaming(self, answer: Answer, pieces: Iterable[bytes]) -> None:
        def run(sending: Any) -> None:
            # Waits for the client to take each piece, so that a slow one never fills the memory.
            asyncio.run_coroutine_threadsafe(sending, self.loop).result()

        run(self._send_start(answer.status, answer.headers))
        for piece in pieces:
            run(self._send_chunk(piece))
        run(self._send_end())

    async def _send_answer(self, answer: Answer) -> None:
        # Django's middleware sets it, unless another one answered before.
        has_length = any(name == b"content-length" for name, _ in answer.headers)
        if not has_length and answer.status not in (204, 304):
            answer.headers.append((b"content-length", str(len(answer.body)).encode()))
        await self._send_start(answer.status, answer.headers)
        body = b"" if self.scope["method"] == "HEAD" else answer.body
        await self.send({"type": "http.response.body", "body": body})

    async def _send_start(self, status: int, headers: Headers) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def _send_chunk(self, body: bytes) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": True})

    async def _send_end(self) -> None:
        await self.send({"type": "http.response.body", "body": b""})

    async def _read_body(self) -> bytes | None:
        """The whole body, or as much as shows that it is too large; None where it stopped arriving.
        Raises ClientGone."""
        if _content_length(self.scope) > settings.MAX_BODY_BYTES:
            self.is_body_left = True
            return b""
        pieces: list[bytes] = []
        size = 0
        # Stops at the first chunk beyond the limit; the request is then refused as too large.
        while size <= settings.MAX_BODY_BYTES:
            try:
                message = await asyncio.wait_for(self.receive(), BODY_PAUSE_SECONDS)
            except TimeoutError:
                return None
            if message["type"] == "http.disconnect":
                raise ClientGone
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if not message.get("more_body"):
                return b"".join(pieces)
        self.is_body_left = True
        return b"".join(pieces)

    async def _drain_body(self) -> None:
        """Read and drop what is left of a body that is too large, after its refusal was sent."""
        # Many clients read no answer before they have sent all, and take a connection that closes
        # meanwhile for an error. Whoever asked first (Expect: 100-continue) sends nothing.
        if any(name == b"expect" for name, _ in self.scope["headers"]):
            return
        size, until = 0, self.loop.time() + DRAIN_SECONDS
        with suppress(TimeoutError):
            while size < MAX_DRAINED_BYTES and self.loop.time() < until:
                message = await asyncio.wait_for(self.receive(), DRAIN_PAUSE_SECONDS)
                if message["type"] == "http.disconnect" or not message.get("more_body"):
                    return
                size += len(message.get("body", b""))

    async def _run_until_gone(self, work: Awaitable[None]) -> None:
        """Await ``work``, or raise ClientGone as soon as the client disconnects."""
        mine = asyncio.current_task()
        assert mine
        gone = asyncio.ensure_future(self._wait_for_disconnect())

        def stop(_: object) -> None:
            # Not after the work is done: it would cancel whatever this task does next.
            if working and not gone.cancelled():
                mine.cancel()

        working = True
        gone.add_done_callback(stop)
        try:
            await work
        except asyncio.CancelledError:
            if not gone.done() or gone.cancelled():
                raise  # cancelled by the server
            mine.uncancel()
            raise ClientGone from None
        finally:
            working = False
            gone.cancel()

    async def _wait_for_disconnect(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass


def _content_length(scope: MutableMapping[str, Any]) -> int:
    """The Content-Length, which the server has validated already."""
    given = (value for name, value in scope["headers"] if name == b"content-length")
    return int(next(given, b"0"))


def _choose_executor(environ: dict[str, Any]) -> ThreadPoolExecutor:
    # A resumed request has a Resumption here.
    if environ[ENVIRON_KEY] is not None:
        return woken_threads
    return login_threads if environ["PATH_INFO"].startswith(LOGIN_PATHS) else threads


def _may_long_poll(scope: MutableMapping[str, Any]) -> bool:
    if scope["path"].startswith("/hooks/"):
        return True
    if scope["method"] != "GET":
        return False
    return scope["path"] == "/events" or any(name == b"prefer" for name, _ in scope["headers"])


def _trace_of(answer: Answer) -> str:
    return next(value.decode() for name, value in answer.headers if name == b"x-trace-id")


def _build_environ(scope: MutableMapping[str, Any], body: bytes) -> dict[str, Any]:
    """The request as WSGI (PEP 3333) describes it, but with bytes as ``wsgi.input``."""
    server, client = scope.get("server") or ("localhost", None), scope.get("client")
    raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
    environ: dict[str, Any] = {
        "REQUEST_METHOD": scope["method"],
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(raw_path.partition(b"?")[0]).decode("latin-1"),
        "QUERY_STRING": scope["query_string"].decode("latin-1"),
        "SERVER_PROTOCOL": f"HTTP/{scope['http_version']}",
        "SERVER_NAME": server[0],
        "SERVER_PORT": str(server[1] or 80),
        "REMOTE_ADDR": client[0] if client else "",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": scope.get("scheme", "http"),
        "wsgi.input": body,
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        ENVIRON_KEY: None,
    }
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1").upper()
        if "_" in name:
            continue  # WSGI could not tell it from a name with a hyphen
        name, value = name.replace("-", "_"), raw_value.decode("latin-1")
        name = name if name in UNPREFIXED else f"HTTP_{name}"
        if name in environ:
            value = environ[name] + ("; " if name == "HTTP_COOKIE" else ",") + value
        environ[name] = value
    return environ
