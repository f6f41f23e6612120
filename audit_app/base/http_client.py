"""Every HTTP request that the application sends; apprise alone brings a client of its own along."""

import asyncio
import os
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from functools import cache
from ssl import SSLContext
from typing import Any

import httpx2

from audit_app.base.ssrf import GuardedTransport


class NoAnswer(Exception):
    """Nothing answered in time; the message says why."""


@dataclass(frozen=True, slots=True)
class Answer:
    """``body`` is its beginning: what was read and what came in time."""

    status: int
    headers: httpx2.Headers
    body: bytes


def send(
    method: str,
    url: str,
    *,
    seconds: float,
    at_most: int,
    guard: Sequence[str] | None = None,
    headers: Mapping[str, str] | None = None,
    **content: Any,
) -> Answer:
    """Send one request, and read ``at_most`` bytes of its answer's body.

    ``seconds`` are for everything together, however slowly the bytes come. No redirect is followed.
    With ``guard``, the networks that are allowed beside the internet, the address is somebody
    else's wish: it is judged, and no proxy is used. ``content`` is what httpx2 takes.

    Raises NoAnswer, and DestinationRefused with ``guard``.
    """
    transport = None if guard is None else GuardedTransport(guard, _trust())
    sent = {"headers": {"Accept-Encoding": "identity", **(headers or {})}, **content}
    try:
        return asyncio.run(_send(method, url, seconds, at_most, transport, sent))
    except TimeoutError:
        raise NoAnswer(f"No answer within {seconds:g} seconds.") from None
    except (httpx2.HTTPError, httpx2.InvalidURL, OSError, UnicodeError) as error:
        raise NoAnswer(_reason(error)) from error


async def _send(
    method: str,
    url: str,
    seconds: float,
    at_most: int,
    transport: GuardedTransport | None,
    sent: dict[str, Any],
) -> Answer:
    until = asyncio.get_running_loop().time() + seconds
    async with AsyncExitStack() as stack:
        client = httpx2.AsyncClient(transport=transport, verify=_trust(), timeout=None)
        await stack.enter_async_context(client)
        # Timeouts of httpx2 begin anew with each byte, and bytes can drip.
        async with asyncio.timeout_at(until):
            answer = await stack.enter_async_context(client.stream(method, url, **sent))
        body = bytearray()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                async for piece in answer.aiter_raw():
                    body += piece
                    if len(body) >= at_most:
                        break
    return Answer(answer.status_code, answer.headers, bytes(body[:at_most]))


def _reason(error: Exception) -> str:
    """What the system says, where httpx2 only says that it could not connect."""
    below: Any = error
    while below is not None:
        if isinstance(below, ConnectionError) and below.errno:
            return f"{type(error).__name__}: {os.strerror(below.errno)}"
        if isinstance(below, BaseExceptionGroup):
            below = below.exceptions[0]  # one for each address that was tried
        else:
            below = below.__cause__ or below.__context__
    return f"{type(error).__name__}: {error}"


@cache
def _trust() -> SSLContext:
    """Read once: it takes longer than most requests."""
    return httpx2.create_ssl_context()
