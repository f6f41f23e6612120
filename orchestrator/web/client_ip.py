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
    hops = request.META.get("HTTP_X_FORWARDED_FOR", "").split(",") if proxies else ()
    forwarded = [hops[-proxies]] if len(hops) >= proxies > 0 else []
    for text in (*forwarded, request.META.get("REMOTE_ADDR") or ""):
        host = text.strip()
        # 192.0.2.1, 192.0.2.1:80, 2001:db8::1 and [2001:db8::1]:80: less the port.
        if host.startswith("["):
            host = host[1:].partition("]")[0]
        elif host.count(":") == 1:
            host = host.partition(":")[0]
        try:
            address = ipaddress.ip_address(host.partition("%")[0])
        except ValueError:
            continue
        return str(getattr(address, "ipv4_mapped", None) or address)
    return None


def counted_address(request: HttpRequest) -> str | None:
    """What is limited and locked out as one: an address of IPv4, or the network of an IPv6 address,
    since one subscriber has at least this whole network and would never run out of addresses."""
    address = client_address(request)
    if address is None or ":" not in address:
        return address
    network = ipaddress.IPv6Network((address, IPV6_PREFIX), strict=False)
    return str(network.network_address)
