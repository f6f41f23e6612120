"""Protection against server-side request forgery: others must not make us call our own network.

An address is checked after its name was resolved, and that very address is connected to. A name
that resolves to something else a moment later (DNS rebinding) changes nothing.
"""

import asyncio
import socket
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import partial
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from ssl import SSLContext
from typing import Any
from urllib.parse import urlsplit

import httpx2
import urllib3.util.connection

from audit_app.base.errors import Invalid

Address = IPv4Address | IPv6Address

NOT_PUBLIC = (
    IPv4Network("192.88.99.0/24"),  # 6to4 relays, deprecated (RFC 7526)
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
)
"""What IANA's registries call not globally reachable, and not every Python does."""

TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""NAT64 (RFC 6052, RFC 8215): IPv6 addresses that stand for IPv4 ones."""


class DestinationRefused(Exception):
    """Requests may not go to this address; the message says why."""


# Not the loop's own, which waits for its threads when it is closed.
_resolvers = ThreadPoolExecutor(16, "resolver")


class GuardedTransport(httpx2.AsyncHTTPTransport):
    """Connects only to public addresses and to those in the ``allowed`` networks.

    Requests raise what ``resolve_allowed`` raises.
    """

    def __init__(self, allowed: Sequence[str], trust: SSLContext) -> None:
        super().__init__(verify=trust, trust_env=False)
        self._allowed = allowed

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        host = request.url.host
        port = request.url.port or (443 if request.url.scheme == "https" else 80)
        # Resolved once, here: the connection below goes to this very address. In a thread, since a
        # resolver may take longer than the request has.
        resolve = partial(resolve_allowed, host, port, allowed=self._allowed)
        address = (await asyncio.get_running_loop().run_in_executor(_resolvers, resolve))[0]
        # The Host header is set already; the certificate is checked against the name as well.
        request.url = request.url.copy_with(host=str(address))
        request.extensions = {**request.extensions, "sni_hostname": host}
        return await super().handle_async_request(request)


def require_webhook_url(url: str, *, plain: bool) -> None:
    """Raise Invalid unless ``url`` is https (or http, if ``plain``) with a host, and without
    credentials or fragment."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise Invalid(field="url", reason="it is not a URL.") from None
    schemes = ("https", "http") if plain else ("https",)
    if parts.scheme not in schemes or not parts.hostname or port == 0:
        begins = " or ".join(f"{scheme}://" for scheme in schemes)
        raise Invalid(field="url", reason=f"it must begin with {begins} and name a host.")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise Invalid(field="url", reason="it must hold no credentials and no fragment.")
    # Other parsers read blanks, backslashes and foreign letters differently from urlsplit.
    if not url.isascii() or any(character <= " " for character in url) or "\\" in url:
        raise Invalid(field="url", reason="it must be plain ASCII without blanks.")


def check_destination(url: str, *, allowed: Sequence[str]) -> None:
    """Raise DestinationRefused if a delivery to ``url`` would be refused now.

    A name that can't be resolved passes: it may be set up later, and every delivery checks again.
    """
    parts = urlsplit(url)
    with suppress(OSError):
        resolve_allowed(str(parts.hostname), parts.port or 443, allowed=allowed)


def resolve_allowed(host: str, port: int, *, allowed: Sequence[str] = ()) -> list[Address]:
    """Resolve ``host`` to public addresses, or to addresses in the ``allowed`` networks.

    Raises DestinationRefused if any of its addresses is neither, and OSError if the name can't be
    resolved.
    """
    networks = [ip_network(network) for network in allowed]
    entries = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ip_address(str(entry[4][0]).partition("%")[0]) for entry in entries]
    for address in addresses:
        if not (is_public(address) or any(address in network for network in networks)):
            raise DestinationRefused(f"{host} leads to {address}, which is not a public address.")
    return list(dict.fromkeys(addresses))


def is_public(address: Address) -> bool:
    """Whether this address belongs to the internet and not to a local network."""
    if isinstance(address, IPv6Address):
        inner = _embedded_ipv4(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    if any(address in network for network in NOT_PUBLIC):
        return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


def _embedded_ipv4(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for (mapped, 6to4, Teredo, NAT64), if any."""
    if any(address in network for network in TRANSLATED):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour


_guarded: ContextVar[bool] = ContextVar("only public addresses", default=False)


@contextmanager
def only_public_addresses(wanted: bool = True) -> Iterator[None]:
    """Within this context, urllib3 connects to public addresses only."""
    before = _guarded.set(wanted)
    try:
        yield
    finally:
        _guarded.reset(before)


_connect = urllib3.util.connection.create_connection


def _guarded_connect(address: tuple[str, int], *args: Any, **kwargs: Any) -> Any:
    """urllib3's ``create_connection``, which connects to the address that was checked."""
    if not _guarded.get():
        return _connect(address, *args, **kwargs)
    host, port = address
    try:
        addresses = resolve_allowed(host.strip("[]"), port)
    except DestinationRefused:
        raise OSError("This address is not public.") from None
    error: OSError | None = None
    for each in addresses:
        try:
            return _connect((str(each), port), *args, **kwargs)
        except OSError as failed:
            error = failed
    assert error is not None
    raise error


# apprise uses requests, which uses urllib3; neither lets a caller check the address once it is
# known.
urllib3.util.connection.create_connection = _guarded_connect
