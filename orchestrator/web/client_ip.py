"""Where a request comes from."""

import ipaddress

from django.conf import settings
from django.http import HttpRequest

IPV6_PREFIX = 64


def client_address(request: HttpRequest) -> str | None:
    """The caller's IP address; None where the server listens on a Unix socket and nobody says.

    It is the peer's address unless TRUSTED_PROXIES counts the proxies in front of this server: each
    of those appends the address that it was called from to X-Forwarded-For, so the caller's is that
    many places from the right. Everything to its left is what the caller made up. A header that is
    shorter or no address there was not written by these proxies, and the peer's address is taken.
    """
    proxies = settings.TRUSTED_PROXIES
    if proxies:
        hops = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",")
        if len(hops) >= proxies and (forwarded := _address(hops[-proxies])):
            return forwarded
    return _address(request.META.get("REMOTE_ADDR") or "")


def counted_address(request: HttpRequest) -> str | None:
    """What is limited and locked out as one: an address of IPv4, or the network of an IPv6 address,
    since one subscriber has at least this whole network and would never run out of addresses."""
    address = client_address(request)
    if address is None or ":" not in address:
        return address
    network = ipaddress.IPv6Network((address, IPV6_PREFIX), strict=False)
    return str(network.network_address)


def _address(text: str) -> str | None:
    """``192.0.2.1``, ``192.0.2.1:80``, ``2001:db8::1`` or ``[2001:db8::1]:80``, less the port."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)
