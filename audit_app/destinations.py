"""Where a request of ours may go: never into our own network by somebody else's wish.

An address is judged after its name was resolved, and it is that very address which is connected to,
so that a name that resolves to something else a moment later (DNS rebinding) changes nothing.
"""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from urllib.parse import urlsplit

from audit_app.errors import Invalid

Address = IPv4Address | IPv6Address

TRANSLATED = (IPv6Network("64:ff9b::/96"), IPv6Network("64:ff9b:1::/48"))
"""NAT64 (RFC 6052, RFC 8215): an IPv4 address in other clothes."""


class DestinationRefused(Exception):
    """The address is not one that requests may go to; the message says why."""


@dataclass(frozen=True, slots=True)
class Destination:
    """Where to connect, and as whom to speak."""

    address: str
    port: int
    host: str


def must_be_fit(url: str, *, plain: bool) -> None:
    """Raises Invalid for what is no address of a webhook: https (http where ``plain``), a host, no
    credentials, no fragment."""
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
    if not url.isascii() or any(character <= " " for character in url) or "\\" in url:
        raise Invalid(field="url", reason="it must be plain ASCII without blanks.")


def resolve(url: str, *, allowed: Sequence[str]) -> Destination:
    """The address that ``url`` leads to, judged. Raises what ``addresses_of`` raises."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    port = parts.port or (443 if parts.scheme == "https" else 80)
    return Destination(str(addresses_of(host, port, allowed=allowed)[0]), port, host)


def addresses_of(host: str, port: int, *, allowed: Sequence[str] = ()) -> list[Address]:
    """The addresses that ``host`` has, judged. ``allowed`` are networks that are let through.

    Every one of them must be fit, or none is given. Raises DestinationRefused, and OSError where
    the name can't be resolved.
    """
    networks = [ip_network(network) for network in allowed]
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = [ip_address(str(place[4][0]).partition("%")[0]) for place in found]
    for address in addresses:
        if not (is_public(address) or any(address in network for network in networks)):
            raise DestinationRefused(f"{host} leads to {address}, which is not a public address.")
    return list(dict.fromkeys(addresses))


def is_public(address: Address) -> bool:
    """Whether anybody on the internet has this address, and nobody here does."""
    if isinstance(address, IPv6Address):
        inner = _within(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local:
            return False
    return address.is_global and not (
        address.is_multicast or address.is_reserved or address.is_unspecified
    )


def _within(address: IPv6Address) -> IPv4Address | None:
    """The IPv4 address that an IPv6 address stands for (mapped, 6to4, Teredo, NAT64)."""
    if any(address in network for network in TRANSLATED):
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address.teredo:
        return address.teredo[1]
    return address.ipv4_mapped or address.sixtofour
