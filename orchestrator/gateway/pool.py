"""Sessions with upstreams: one per agent and upstream in each process, kept while they are used.

Agents do not share a session, since an upstream may keep state in it. A session lives in a task of
its own, because the SDK's client must be entered and left in the same one.
"""

import asyncio
import functools
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network
from ssl import SSLContext
from typing import Any, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

import httpx2
import mcp_types as types
from django.conf import settings
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.dispatcher import ProgressFnT
from mcp.shared.exceptions import MCPError
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS

from audit_app.base.encryption import DecryptionFailed
from audit_app.base.ssrf import DestinationRefused, GuardedTransport, resolve_allowed
from orchestrator.gateway import operations
from orchestrator.gateway.models import Upstream

R = TypeVar("R")

CONNECT_SECONDS = 15.0
IDLE_SECONDS = 300.0
"""A session that was not used for so long is closed."""

FRESH_SECONDS = 5.0
"""A session that was used so lately is taken to be alive; of others that is asked first, since a
call that fails on a dead one would have an unknown outcome."""

MAX_SESSIONS = 200
"""Sessions of one process; beyond, the one that was used longest ago is closed."""

CLIENT = types.Implementation(name="orchestrator-gateway", version="1")


class UpstreamAway(Exception):
    """The upstream can't be reached; nothing was sent. The message says why."""


class OutcomeUnknown(Exception):
    """The call was sent and nothing came back. The message says why."""


class UpstreamTransport(GuardedTransport):
    """Plain HTTP goes only to the networks that the operator allowed, HTTPS to public addresses,
    too."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.url.scheme == "http" and not settings.TRIAL:
            await asyncio.to_thread(self._require_allowed, request.url.host, request.url.port or 80)
        return await super().handle_async_request(request)

    def _require_allowed(self, host: str, port: int) -> None:
        networks = [ip_network(each) for each in self._allowed]
        for address in resolve_allowed(host, port, allowed=self._allowed):
            if not any(address in network for network in networks):
                raise DestinationRefused(f"{host} is not in GATEWAY_ALLOWED_NETWORKS: use https.")


@dataclass(eq=False, slots=True)
class Session:
    """One open session with an upstream."""

    upstream: Upstream
    client: Client | None = None
    used_at: float = field(default_factory=time.monotonic)
    in_use: int = 0
    is_closed: bool = False
    keeper: "asyncio.Task[None] | None" = None
    _stop: asyncio.Event = field(default_factory=asyncio.Event)
    _opened: "asyncio.Future[None] | None" = None

    async def open(self) -> None:
        """Connect, or wait until it is connected. Raises UpstreamAway."""
        if self._opened is None:
            loop = asyncio.get_running_loop()
            self._opened = loop.create_future()
            self.keeper = loop.create_task(self._keep(self._opened))
        await asyncio.shield(self._opened)

    def close(self) -> None:
        """Close it once nobody uses it."""
        self.is_closed = True
        if not self.in_use:
            self._stop.set()

    def release(self) -> None:
        """One who used it does no longer."""
        self.in_use -= 1
        self.used_at = time.monotonic()
        if self.is_closed and not self.in_use:
            self._stop.set()

    async def is_alive(self) -> bool:
        """Whether the upstream still answers in this session."""
        assert self.client is not None
        if time.monotonic() - self.used_at < FRESH_SECONDS:
            return True
        if self.client.protocol_version not in HANDSHAKE_PROTOCOL_VERSIONS:
            return True  # there are no sessions that could have ended
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await self.client.session.send_ping()
        except (MCPError, TimeoutError, httpx2.HTTPError):
            return False
        return True

    async def _keep(self, opened: "asyncio.Future[None]") -> None:
        try:
            async with AsyncExitStack() as stack:
                async with asyncio.timeout(CONNECT_SECONDS):
                    transport = await _connect(self.upstream, stack)
                    client = Client(transport, client_info=CLIENT, cache=None)
                    self.client = await stack.enter_async_context(client)
                opened.set_result(None)
                await self._stop.wait()
        except asyncio.CancelledError:
            if not opened.done():
                opened.cancel()
            raise
        except BaseException as error:  # the SDK raises groups of whatever went wrong
            if not opened.done():
                opened.set_exception(UpstreamAway(_reason(error)))
                opened.exception()  # nobody may be waiting any more
        finally:
            self.is_closed = True


class Pool:
    """The sessions of one event loop."""

    def __init__(self) -> None:
        self._sessions: dict[tuple[UUID, int, str], Session] = {}
        self._reaper: asyncio.Task[None] | None = None

    async def acquire(self, upstream: Upstream, agent: str) -> Session:
        """A session of ``agent`` with ``upstream`` that is alive; ``release`` it. Raises
        UpstreamAway."""
        if self._reaper is None:
            self._reaper = asyncio.get_running_loop().create_task(self._reap())
        key = (upstream.pk, upstream.version, agent)
        for _ in range(2):
            session = self._sessions.get(key)
            if session is None or session.is_closed:
                session = self._sessions[key] = Session(upstream)
                self._make_room()
            session.in_use += 1
            try:
                await session.open()
                if await session.is_alive():
                    return session
            except BaseException:
                self._drop(key, session)
                session.release()
                raise
            self._drop(key, session)
            session.release()
        raise UpstreamAway("The session ends as soon as it begins.")

    def drop(self, session: Session) -> None:
        """Use ``session`` no more: something went wrong in it."""
        for key, each in list(self._sessions.items()):
            if each is session:
                self._drop(key, session)

    async def close(self) -> None:
        """Close all sessions, and return once they are closed."""
        if self._reaper is not None:
            self._reaper.cancel()
        sessions = list(self._sessions.values())
        for session in sessions:
            session.close()
        keepers = [each.keeper for each in sessions if each.keeper is not None]
        await asyncio.gather(*keepers, return_exceptions=True)

    def _drop(self, key: tuple[UUID, int, str], session: Session) -> None:
        if self._sessions.get(key) is session:
            del self._sessions[key]
        session.close()

    def _make_room(self) -> None:
        if len(self._sessions) <= MAX_SESSIONS:
            return
        idle = [each for each in self._sessions.items() if not each[1].in_use]
        for key, session in sorted(idle, key=lambda each: each[1].used_at)[:1]:
            self._drop(key, session)

    async def _reap(self) -> None:
        while True:
            await asyncio.sleep(IDLE_SECONDS / 10)
            now = time.monotonic()
            for key, session in list(self._sessions.items()):
                if not session.in_use and now - session.used_at > IDLE_SECONDS:
                    self._drop(key, session)


_pools: "WeakKeyDictionary[asyncio.AbstractEventLoop, Pool]" = WeakKeyDictionary()


def get_pool() -> Pool:
    """The pool of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _pools:
        _pools[loop] = Pool()
    return _pools[loop]


async def ask(upstream: Upstream, agent: str, answer: Callable[[Client], Awaitable[R]]) -> R:
    """What ``answer`` gets from the upstream: a read that may be repeated.

    Raises UpstreamAway, and MCPError where the upstream says no.
    """
    pool = get_pool()
    for is_last in (False, True):
        session = await pool.acquire(upstream, agent)
        assert session.client is not None
        try:
            async with asyncio.timeout(settings.GATEWAY_CALL_TIMEOUT.total_seconds()):
                return await answer(session.client)
        except MCPError as error:
            if not _is_connection_lost(error):
                raise
            pool.drop(session)
            if is_last:
                raise UpstreamAway(error.error.message) from error
        except (TimeoutError, httpx2.HTTPError) as error:
            pool.drop(session)
            if is_last or isinstance(error, TimeoutError):
                raise UpstreamAway(_reason(error)) from error
        finally:
            session.release()
    raise AssertionError


async def call_tool(
    session: Session, tool: str, arguments: dict[str, Any], report_progress: ProgressFnT | None
) -> dict[str, Any]:
    """Call ``tool`` once; return its result as JSON.

    Raises MCPError where the upstream refuses it, OutcomeUnknown where nothing came back.
    """
    assert session.client is not None
    request = types.CallToolRequest(
        params=types.CallToolRequestParams(name=tool, arguments=arguments)
    )
    try:
        async with asyncio.timeout(settings.GATEWAY_CALL_TIMEOUT.total_seconds()):
            try:
                result = await _send_call(session.client, request, report_progress)
            except MCPError as error:
                if error.code != types.HEADER_MISMATCH:
                    raise
                # Refused before it ran: the client has to know the tool's schema first.
                await session.client.list_tools()
                result = await _send_call(session.client, request, report_progress)
    except MCPError as error:
        if not _is_connection_lost(error):
            raise
        get_pool().drop(session)
        raise OutcomeUnknown(error.error.message) from error
    except TimeoutError as error:
        raise OutcomeUnknown("The upstream did not answer in time.") from error
    except (httpx2.HTTPError, ValueError, RuntimeError) as error:
        get_pool().drop(session)
        raise OutcomeUnknown(_reason(error)) from error
    return result.model_dump(by_alias=True, mode="json", exclude_none=True)


async def _send_call(
    client: Client, request: types.CallToolRequest, report_progress: ProgressFnT | None
) -> types.CallToolResult:
    # Not client.call_tool, which checks the result against the tool's schema: that is the agent's
    # business, and an error of ours would hide what the tool did.
    return await client.session.send_request(
        request, types.CallToolResult, progress_callback=report_progress
    )


async def _connect(upstream: Upstream, stack: AsyncExitStack) -> Any:
    """What the SDK's client connects to. Raises DecryptionFailed."""
    secrets = operations.read_secrets(upstream)
    if upstream.kind == Upstream.Kind.STDIO:
        program, *arguments = upstream.command
        return StdioServerParameters(command=program, args=arguments, env=secrets)
    transport = UpstreamTransport(settings.GATEWAY_ALLOWED_NETWORKS, _trust())
    seconds = settings.GATEWAY_CALL_TIMEOUT.total_seconds()
    http = httpx2.AsyncClient(
        headers=secrets, transport=transport, timeout=httpx2.Timeout(30, read=seconds)
    )
    await stack.enter_async_context(http)
    return streamable_http_client(upstream.url, http_client=http)


@functools.cache
def _trust() -> SSLContext:
    # Loading the certificates takes longer than most requests.
    return httpx2.create_ssl_context()


def _is_connection_lost(error: MCPError) -> bool:
    """Whether the SDK's client made this error itself, because no answer came."""
    no_answer = (types.INTERNAL_ERROR, "Server returned an error response")  # any status from 400
    return error.code in (types.CONNECTION_CLOSED, types.REQUEST_TIMEOUT) or no_answer == (
        error.code,
        error.message,
    )


def _reason(error: BaseException) -> str:
    """Why, in one line, without what a group of exceptions hides it behind."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if isinstance(error, DecryptionFailed):
        return "Its credentials were encrypted under a SECRET_KEY that is not configured any more."
    if isinstance(error, TimeoutError):
        return "It did not answer in time."
    if isinstance(error, DestinationRefused):
        return f"{error} GATEWAY_ALLOWED_NETWORKS can allow it."
    with suppress(Exception):
        return f"{type(error).__name__}: {error}"[:300]
    return type(error).__name__
