"""The HTTP client of the application. Only apprise brings its own."""

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
    """A response; ``body`` holds its first bytes, as far as they were read and arrived in time."""

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
    """Send one request and read up to ``at_most`` bytes of the answer's body.

    ``seconds`` limits the whole exchange. Redirects are not followed. Pass ``guard`` for a URL that
    somebody else chose: only public addresses and the networks listed in ``guard`` are connected
    to, and no proxy is used. ``content`` is passed to httpx2.

    Raises NoAnswer and, with ``guard``, DestinationRefused.
    """
    transport = None if guard is None else GuardedTransport(guard, _trust())
    request = {"headers": {"Accept-Encoding": "identity", **(headers or {})}, **content}
    try:
        return asyncio.run(_send(method, url, seconds, at_most, transport, request))
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
    request: dict[str, Any],
) -> Answer:
    until = asyncio.get_running_loop().time() + seconds
    async with AsyncExitStack() as stack:
        client = httpx2.AsyncClient(transport=transport, verify=_trust(), timeout=None)
        await stack.enter_async_context(client)
        # Timeouts of httpx2 start again with each byte, so a server could drip for ever.
        async with asyncio.timeout_at(until):
            answer = await stack.enter_async_context(client.stream(method, url, **request))
        body = bytearray()
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                async for piece in answer.aiter_raw():
                    body += piece
                    if len(body) >= at_most:
                        break
    return Answer(answer.status_code, answer.headers, bytes(body[:at_most]))


def _reason(error: Exception) -> str:
    """The system's own error, where httpx2 only says that it could not connect."""
    below: Any = error
    while below is not None:
        if isinstance(below, ConnectionError) and below.errno:
            return f"{type(error).__name__}: {os.strerror(below.errno)}"
        if isinstance(below, BaseExceptionGroup):
            below = below.exceptions[0]  # one per address that was tried
        else:
            below = below.__cause__ or below.__context__
    return f"{type(error).__name__}: {error}"


@cache
def _trust() -> SSLContext:
    # Loading the certificates takes longer than most requests.
    return httpx2.create_ssl_context()
