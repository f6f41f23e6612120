"""Where people are told beside e-mail: apprise URLs, which are secrets, and requests of ours.

A person's own URL makes the server send something to where that person says. So only schemes that
the operator allows, nothing in it that reads a file or changes how the request is made, and, at
the moment of connecting, no address but public ones: looked at then, since a name may lead
elsewhere a moment later, and a redirect anywhere.
"""

from typing import Any
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from audit_app.base import encryption
from audit_app.base.ssrf import only_public_addresses

LONGEST = 2_000
TELLING = 16
"""Of an address at least so long, its last four characters give nothing away."""
HARMLESS = frozenset(
    # Where within a service, and the signatures of the services' own addresses.
    ("to", "topic", "thread", "channel", "key", "token", "sig", "sp", "sv", "api-version", "ver")
)
NOT_KNOWN = "Address not recognised. Copy it again from the service."
NEVER = frozenset(("dbus", "exec", "file", "syslog", "windows", "macosx", "gnome", "glib", "qt"))


class ChannelRefused(Exception):
    """The address can't be used; the message is for the person who gave it."""


def allowed() -> list[str]:
    """The schemes that people's own addresses may have."""
    return sorted({scheme.lower() for scheme in settings.NOTICE_SCHEMES} - NEVER)


def understood(url: str) -> Any:
    """The apprise plugin of a person's ``url``. Raises ChannelRefused."""
    url = url.strip()
    if not url or len(url) > LONGEST or not url.isprintable() or " " in url:
        raise ChannelRefused(NOT_KNOWN)
    try:
        parts = urlsplit(url)
        named = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        raise ChannelRefused(NOT_KNOWN) from None
    scheme, known = parts.scheme.lower(), allowed()
    if scheme not in {"https", *known}:
        raise ChannelRefused(f"Supported: {', '.join(known)}.")
    for name, _ in named:
        if name.lower() not in HARMLESS:
            raise ChannelRefused("Remove everything after the question mark.")
    plugin = _plugin(url)
    if plugin is None:
        raise ChannelRefused(NOT_KNOWN)
    if scheme == "https" and _names(plugin.secure_protocol).isdisjoint(known):
        raise ChannelRefused(f"Supported: {', '.join(known)}.")
    return plugin


def masked(url: str) -> str:
    """What may be shown of an address: by its end, people tell theirs apart. The host of some is
    a secret already, and what apprise itself masks leaves others whole."""
    scheme, _, rest = url.strip().partition("://")
    end = rest.partition("?")[0].rstrip("/")
    return f"{scheme}://…{end[-4:] if len(end) >= TELLING else ''}"


def must_be_known(channels: dict[str, list[str]]) -> None:
    """Whether apprise knows all the addresses that roles share. Raises ImproperlyConfigured."""
    for role, urls in channels.items():
        for number, url in enumerate(urls, 1):
            if _plugin(url) is None:
                said = f"NOTICE_CHANNELS: number {number} of {role} is no apprise URL."
                raise ImproperlyConfigured(said)


def sealed(url: str) -> str:
    """``url`` as it may be kept."""
    return encryption.encrypt(url.strip(), purpose="notices")


def opened(text: str) -> str:
    """Raises vault.Unreadable."""
    return encryption.decrypt(text, purpose="notices")


def send(url: str, *, title: str, body: str, own: bool) -> bool:
    """Send plain text to ``url``; whether the service took it. ``own``: it is a person's, whom we
    trust less than the operator. Raises ChannelRefused where it is not allowed any more."""
    plugin = understood(url) if own else _plugin(url)
    if plugin is None:
        return False
    with only_public_addresses(own and not settings.NOTICE_PRIVATE_NETWORKS):
        taken: bool = plugin.notify(body=body, title=title, body_format="text")
    return taken


def _names(attribute: Any) -> set[str]:
    return {attribute} if isinstance(attribute, str) else set(attribute or ())


def _plugin(url: str) -> Any:
    # Here, since it takes a third of a second that few processes need.
    from apprise import Apprise, AppriseAsset

    asset = AppriseAsset(app_id="Orchestrator", app_desc="Orchestrator", async_mode=False)
    return Apprise.instantiate(url, asset=asset)
