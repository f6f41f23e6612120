"""The one door (ASGI 3), through which everything comes.

What can be answered at once is Django's, in a thread (orchestrator/wsgi.py). What is held
(audit_app/live/long_poll.py) stays here, with neither a thread nor a connection to the database,
and is asked of Django again after each piece of news.
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

from audit_app.live.long_poll import DOOR, Held, Resumed
from audit_app.live.subscriptions import watch

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Django = Callable[[dict[str, Any], Any], Any]
Headers = list[tuple[bytes, bytes]]

THREADS = 12
"""Requests in Django's hands at a time, in one process."""

WOKEN_THREADS = 4
"""More of them, for those that waited: they don't queue behind whoever comes now."""

LOGIN_THREADS = 4
"""More of them, for people who log in: hashing a password and asking their issuer take long, and
anybody may have it done, so they queue behind each other and not in front of agents."""

LOGIN_PATHS = (
    "/admin/login/",
    "/admin/password_change/",
    "/admin/reauthenticate/",
    "/admin/single-sign-on/",
)

HEARTBEAT = 15.0
"""Seconds after which a stream says that it is still there."""

RETRY = b"retry: 1000\n\n"
SERVER = (b"server", b"orchestrator")
"""Instead of the banner of whatever serves this."""

OF_THE_BODY = {b"content-type", b"content-length", b"cache-control", b"x-accel-buffering"}
NAMES = {"CONTENT_LENGTH", "CONTENT_TYPE"}

threads = ThreadPoolExecutor(THREADS, thread_name_prefix="django")
login_threads = ThreadPoolExecutor(LOGIN_THREADS, thread_name_prefix="django-login")
woken_threads = ThreadPoolExecutor(WOKEN_THREADS, thread_name_prefix="django-woken")


class Over(Exception):
    """There is nothing more to say: whoever asked is gone, or was told by the way."""


@dataclass(slots=True)
class Answer:
    status: int = 500
    headers: Headers = field(default_factory=list)
    body: bytes = b""
    held: Held | None = None
    leave: Callable[[], None] | None = None
    """Gives back the place that was taken to be held."""

    handover: Callable[[Send], Awaitable[None]] | None = None
    """What answers instead."""


class Door:
    """``django`` is a WSGI application that answers with Django's responses."""

    def __init__(self, django: Django) -> None:
        self.django = django

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await _live(receive, send)
        elif scope["type"] == "http":
            with suppress(Over):
                await Request(self.django, scope, receive, send).answer()


async def _live(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "lifespan.startup.complete"})
    await receive()
    watch.close()
    await send({"type": "lifespan.shutdown.complete"})


class Request:
    """One request, until it is answered."""

    def __init__(
        self, django: Django, scope: MutableMapping[str, Any], receive: Receive, send: Send
    ) -> None:
        self.django = django
        self.scope = scope
        self.receive = receive
        self.send = send
        self.loop = asyncio.get_running_loop()

    async def answer(self) -> None:
        """Raises Over."""
        environ = _environ(self.scope, await self._body())
        # Before the look, so that nothing falls in between.
        mark = watch.mark() if _may_be_held(self.scope) else 0
        answer = await self._ask(environ)
        if answer.handover:
            await self._hand_over(answer)
        elif answer.held:
            await self._hold(answer, environ, mark)
        else:
            await self._say(answer)

    async def _hold(self, answer: Answer, environ: dict[str, Any], mark: int) -> None:
        assert answer.held
        try:
            if answer.held.seconds is None:
                await self._unless_gone(self._stream(answer, environ, mark))
            else:
                await self._unless_gone(self._wait(answer, environ, mark, answer.held.seconds))
        finally:
            if answer.leave:
                answer.leave()

    async def _hand_over(self, answer: Answer) -> None:
        """Let what Django handed over answer, under Django's headers."""
        assert answer.handover

        async def send(message: Message) -> None:
            if message["type"] == "http.response.start":
                theirs = [(n.lower(), value) for n, value in message["headers"]]
                ours = [h for h in answer.headers if h[0] not in OF_THE_BODY]
                theirs = [h for h in theirs if h[0] in OF_THE_BODY]
                message = {**message, "headers": [*theirs, *ours]}
            await self.send(message)

        await self._unless_gone(answer.handover(send))

    async def _wait(
        self, answer: Answer, environ: dict[str, Any], mark: int, seconds: float
    ) -> None:
        """Until there is something to say, or the time is over."""
        until = self.loop.time() + seconds
        first, counted = answer, [h for h in answer.headers if h[0].startswith(b"ratelimit")]
        environ["HTTP_X_TRACE_ID"] = _trace_of(answer)
        environ[DOOR] = Resumed()
        while answer.held and not watch.closing:
            left = until - self.loop.time()
            if left <= 0 or not await watch.news(answer.held.keys, since=mark, timeout=left):
                break  # nothing that concerns it was recorded: the first answer still holds
            mark = watch.mark()
            answer = await self._ask(environ)
        if answer is not first:
            answer.headers += counted  # what is asked again is not counted, and says nothing of it
        await self._say(answer)

    async def _stream(self, answer: Answer, environ: dict[str, Any], mark: int) -> None:
        """Until whoever asks goes, or may not ask any more, or the process ends."""
        environ["HTTP_X_TRACE_ID"] = _trace_of(answer)
        headers = [(name, value) for name, value in answer.headers if name != b"content-length"]
        await self._begin(answer.status, headers)
        await self._go_on(RETRY + answer.body)
        judged = self.loop.time()
        while answer.held and not watch.closing:
            held = answer.held
            pause = min(HEARTBEAT, held.judged_every or HEARTBEAT)
            if not held.more and not await watch.news(held.keys, since=mark, timeout=pause):
                now = self.loop.time()
                if held.judged_every is None or now - judged < held.judged_every:
                    await self._go_on(b":\n\n")
                    continue
            mark, judged = watch.mark(), self.loop.time()
            environ[DOOR] = Resumed(held.cursor)
            answer = await self._ask(environ)
            if answer.status == 200 and answer.body:
                await self._go_on(answer.body)
        await self._end()

    async def _ask(self, environ: dict[str, Any]) -> Answer:
        """What Django says. An answer that comes in pieces is passed on at once."""
        answer = await self.loop.run_in_executor(_lane(environ), self._asked, dict(environ))
        if isinstance(answer, Answer):
            return answer
        raise Over

    def _asked(self, environ: dict[str, Any]) -> Answer | None:
        """In a thread. None where the answer was passed on already."""
        environ["wsgi.input"] = BytesIO(environ["wsgi.input"])
        answer = Answer()

        def start(status: str, headers: list[tuple[str, str]], _: Any = None) -> Any:
            answer.status = int(status.split(" ", 1)[0])
            answer.headers = [
                (name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in headers
            ]
            answer.headers.append(SERVER)

        response = self.django(environ, start)
        try:
            if response.streaming and self.scope["method"] != "HEAD":
                self._pass_on(answer, response)
                return None
            answer.body = b"" if response.streaming else response.content
        finally:
            response.close()
        answer.held = getattr(response, "held", None)
        answer.leave = getattr(response, "leave", None)
        answer.handover = getattr(response, "handover", None)
        return answer

    def _pass_on(self, answer: Answer, pieces: Iterable[bytes]) -> None:
        def now(doing: Any) -> None:
            asyncio.run_coroutine_threadsafe(doing, self.loop).result()

        now(self._begin(answer.status, answer.headers))
        for piece in pieces:
            now(self._go_on(piece))
        now(self._end())

    async def _say(self, answer: Answer) -> None:
        await self._begin(answer.status, answer.headers)
        body = b"" if self.scope["method"] == "HEAD" else answer.body
        await self.send({"type": "http.response.body", "body": body})

    async def _begin(self, status: int, headers: Headers) -> None:
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def _go_on(self, body: bytes) -> None:
        await self.send({"type": "http.response.body", "body": body, "more_body": True})

    async def _end(self) -> None:
        await self.send({"type": "http.response.body", "body": b""})

    async def _body(self) -> bytes:
        """The request's, whole, before a thread is taken for it; nothing where it is too large."""
        if _announced(self.scope) > settings.MAX_BODY_BYTES:
            return b""
        pieces: list[bytes] = []
        size = 0
        while size <= settings.MAX_BODY_BYTES:
            message = await self.receive()
            if message["type"] == "http.disconnect":
                raise Over
            pieces.append(message.get("body", b""))
            size += len(pieces[-1])
            if not message.get("more_body"):
                break
        return b"".join(pieces)

    async def _unless_gone(self, work: Awaitable[None]) -> None:
        """Do ``work`` to its end, or until whoever asked is gone."""
        mine = asyncio.current_task()
        assert mine
        gone = asyncio.ensure_future(self._until_gone())

        def stop(_: object) -> None:
            if working and not gone.cancelled():
                mine.cancel()

        working = True
        gone.add_done_callback(stop)
        try:
            await work
        except asyncio.CancelledError:
            if not gone.done() or gone.cancelled():
                raise  # it is the server that ends this
            mine.uncancel()
            raise Over from None
        finally:
            working = False
            gone.cancel()

    async def _until_gone(self) -> None:
        while (await self.receive())["type"] != "http.disconnect":
            pass


def _announced(scope: MutableMapping[str, Any]) -> int:
    """The Content-Length, which the server has judged already."""
    given = (value for name, value in scope["headers"] if name == b"content-length")
    return int(next(given, b"0"))


def _lane(environ: dict[str, Any]) -> ThreadPoolExecutor:
    if environ[DOOR] is not None:
        return woken_threads
    return login_threads if environ["PATH_INFO"].startswith(LOGIN_PATHS) else threads


def _may_be_held(scope: MutableMapping[str, Any]) -> bool:
    if scope["method"] != "GET":
        return False
    return scope["path"] == "/events" or any(name == b"prefer" for name, _ in scope["headers"])


def _trace_of(answer: Answer) -> str:
    return next(value.decode() for name, value in answer.headers if name == b"x-trace-id")


def _environ(scope: MutableMapping[str, Any], body: bytes) -> dict[str, Any]:
    """What WSGI (PEP 3333) makes of a request; ``wsgi.input`` is bytes until it is asked."""
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
        DOOR: None,
    }
    for raw_name, raw_value in scope["headers"]:
        name = raw_name.decode("latin-1").upper()
        if "_" in name:
            continue  # it would pass for another one
        name, value = name.replace("-", "_"), raw_value.decode("latin-1")
        name = name if name in NAMES else f"HTTP_{name}"
        if name in environ:
            value = environ[name] + ("; " if name == "HTTP_COOKIE" else ",") + value
        environ[name] = value
    return environ
