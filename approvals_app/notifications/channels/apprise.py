"""Chats and other services by apprise: a person's own URLs, and those that a role shares.

The URLs are secrets. A person's own URL makes the server send a request to where that person says.
So only schemes that the operator allows are accepted, no parameters that read a file or change the
request, and, at the moment of connecting, only public addresses.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import structlog
from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured

from approvals_app.notifications.channels.base import Channel, NotSent
from approvals_app.notifications.messages import Digest
from approvals_app.notifications.models import NoticeChannel, NoticeSettings
from audit_app.base import encryption
from audit_app.base.ssrf import only_public_addresses

log = structlog.get_logger("orchestrator.notices")

PURPOSE = "notices"
"""What the encryption of addresses is for."""

LONGEST = 2_000
UNREVEALING = 16
"""Of a URL of at least so many characters, the last four may be shown."""
HARMLESS = frozenset(
    # Where within a service, and the signatures in the services' own URLs.
    ("to", "topic", "thread", "channel", "key", "token", "sig", "sp", "sv", "api-version", "ver")
)
NOT_KNOWN = "Address not recognised. Copy it again from the service."
MARKUP = 0.2
"""The share of a message that escapes may add in the services' own markup."""
TITLE_MARKUP = 20
SERVICES = {
    "discord": "Discord",
    "gchat": "Google Chat",
    "mmosts": "Mattermost",
    "ntfys": "ntfy",
    "pover": "Pushover",
    "rockets": "Rocket.Chat",
    "slack": "Slack",
    "tgram": "Telegram",
    "workflows": "Microsoft Teams",
    "wxteams": "Webex",
    "zulip": "Zulip",
}
"""What people call the services of the default NOTICE_SCHEMES."""
RETIRED = frozenset(("msteams",))
"""Schemes of services that are gone: ``workflows`` replaces the connectors of Microsoft Teams."""
NEVER = frozenset(("dbus", "exec", "file", "syslog", "windows", "macosx", "gnome", "glib", "qt"))


class ChannelRefused(Exception):
    """The URL can't be used; the message is for the person who gave it."""


class PersonalApprise(Channel):
    """The URLs that people added on their own page (NoticeChannel)."""

    prefix = "channel"

    def personal_destinations(
        self, people: Mapping[User, NoticeSettings]
    ) -> Mapping[int, list[str]]:
        destinations = defaultdict(list)
        rows = NoticeChannel.objects.filter(person__in=people).values_list("pk", "person")
        for pk, person in rows:
            destinations[person].append(f"{self.prefix}:{pk}")
        return destinations

    def labels(self, person: User) -> Mapping[str, str]:
        rows = NoticeChannel.objects.filter(person=person)
        return {
            f"{self.prefix}:{pk}": f"{service} {masked}"
            for pk, service, masked in rows.values_list("pk", "service", "masked")
        }

    def send(self, destination: str, person: User | None, digest: Digest) -> bool:
        pk = destination.partition(":")[2]
        channel = NoticeChannel.objects.filter(pk=pk, person=person).first()
        if channel is None:
            return False
        try:
            url = decrypt_url(channel.sealed)
        except encryption.DecryptionFailed:
            raise NotSent(
                "SECRET_KEY changed, so the address can't be read. Add it again."
            ) from None
        _notify(destination, url, digest, own=True)
        return True


class SharedApprise(Channel):
    """The URLs that roles share, from NOTICE_CHANNELS."""

    prefix = "shared"

    def role_destinations(self, role: str) -> Iterable[str]:
        urls = [url for url in settings.NOTICE_CHANNELS.get(role, ()) if not _is_retired(url)]
        return [shared_destination(role, url) for url in urls]

    def send(self, destination: str, person: User | None, digest: Digest) -> bool:
        role = destination.partition(":")[2].partition(":")[2]
        for url in settings.NOTICE_CHANNELS.get(role, ()):
            if shared_destination(role, url) == destination:
                _notify(destination, url, digest, own=False)
                return True
        return False


CHANNELS = (PersonalApprise(), SharedApprise())


def shared_destination(role: str, url: str) -> str:
    """The destination of a URL that a role shares; does not reveal the URL."""
    return f"shared:{sha256(url.encode()).hexdigest()[:16]}:{role}"


def list_schemes() -> list[str]:
    """The URL schemes that people's own channels may have."""
    return sorted({scheme.lower() for scheme in settings.NOTICE_SCHEMES} - NEVER - RETIRED)


def list_services() -> list[str]:
    """The services that people's own channels may lead to; the scheme of one without a name."""
    return sorted((SERVICES.get(scheme, scheme) for scheme in list_schemes()), key=str.lower)


def parse_url(url: str) -> Any:
    """The apprise plugin for a person's ``url``. Raises ChannelRefused."""
    url = url.strip()
    if not url or len(url) > LONGEST or not url.isprintable() or " " in url:
        raise ChannelRefused(NOT_KNOWN)
    try:
        parts = urlsplit(url)
        parameters = parse_qsl(parts.query, keep_blank_values=True)
    except ValueError:
        raise ChannelRefused(NOT_KNOWN) from None
    scheme, schemes = parts.scheme.lower(), list_schemes()
    if scheme not in {"https", *schemes}:
        raise ChannelRefused(f"Supported: {', '.join(list_services())}.")
    # apprise's parameters attach files, add headers, skip TLS verification, …
    for name, _ in parameters:
        if name.lower() not in HARMLESS:
            raise ChannelRefused("Remove everything after the question mark.")
    plugin = _instantiate(url)
    if plugin is None:
        raise ChannelRefused(NOT_KNOWN)
    # apprise also takes the services' own https URLs: the service must be an allowed one.
    if scheme == "https" and _as_set(plugin.secure_protocol).isdisjoint(schemes):
        raise ChannelRefused(f"Supported: {', '.join(list_services())}.")
    return plugin


def mask_url(url: str) -> str:
    """What may be shown of a URL: its scheme and the end by which people recognise it."""
    # Not apprise's own masking, which shows the hosts and tokens of some services.
    scheme, _, remaining = url.strip().partition("://")
    end = remaining.partition("?")[0].rstrip("/")
    return f"{scheme}://…{end[-4:] if len(end) >= UNREVEALING else ''}"


def check_shared_urls(channels: dict[str, list[str]]) -> None:
    """Check that apprise accepts the URLs that roles share. Raises ImproperlyConfigured.

    A URL of a service that is gone is logged and left out: an upgrade must not stop the start.
    """
    for role, urls in channels.items():
        for number, url in enumerate(urls, 1):
            if _is_retired(url):
                scheme = url.strip().partition("://")[0]
                where = {"setting": "NOTICE_CHANNELS", "role": role, "number": number}
                log.warning("this service is gone; replace the address", scheme=scheme, **where)
            elif _instantiate(url) is None:
                message = f"NOTICE_CHANNELS: number {number} of {role} is no apprise URL."
                raise ImproperlyConfigured(message)


def encrypt_url(url: str) -> str:
    """``url`` as the table keeps it."""
    return encryption.encrypt(url.strip(), purpose=PURPOSE)


def decrypt_url(text: str) -> str:
    """The URL in ``text``. Raises encryption.Unreadable."""
    return encryption.decrypt(text, purpose=PURPOSE)


def send(url: str, digest: Digest, *, own: bool) -> bool:
    """Send ``digest`` to ``url``, shortened to what the service takes; return whether it took it.

    ``own``: the URL is a person's, who is trusted less than the operator. Raises ChannelRefused if
    the operator no longer allows it, and whatever apprise's plugins raise.
    """
    plugin = parse_url(url) if own else _instantiate(url)
    if plugin is None:
        return False
    # Checked when connecting: a name may resolve elsewhere by then, and a redirect lead anywhere.
    with only_public_addresses(own and not settings.NOTICE_PRIVATE_NETWORKS):
        taken: bool = plugin.notify(
            title=digest.subject,
            body=digest.render(_find_max_bytes(plugin, digest.subject)),
            body_format="text",
            # Should the service's markup make it too long after all, it goes in two messages.
            overflow="split",
        )
    return taken


def _find_max_bytes(plugin: Any, subject: str) -> int:
    """How long a body may be; where the service has no titles, apprise puts them into the body."""
    in_body = plugin.title_maxlen <= 0 or plugin.overflow_amalgamate_title
    room = plugin.body_maxlen - (len(subject.encode()) + TITLE_MARKUP if in_body else 0)
    return int(room * (1 - MARKUP))


def _notify(destination: str, url: str, digest: Digest, *, own: bool) -> None:
    """Send, and raise NotSent for every failure, whatever the service's plugin raises."""
    try:
        taken = send(url, digest, own=own)
    except ChannelRefused:
        raise NotSent("The operator no longer allows this address.") from None
    except Exception as error:
        # Only the type is logged: the message may quote the URL.
        log.warning("notice", place=destination, failure=type(error).__name__)
        raise NotSent("The service could not be reached.") from None
    if not taken:
        log.warning("notice", place=destination, failure="refused")
        raise NotSent("The service could not be reached or did not accept it.")


def _is_retired(url: str) -> bool:
    return url.strip().partition("://")[0].lower() in RETIRED


def _as_set(attribute: Any) -> set[str]:
    return {attribute} if isinstance(attribute, str) else set(attribute or ())


def _instantiate(url: str) -> Any:
    # Imported here: it takes a third of a second, and few processes need it.
    from apprise import Apprise, AppriseAsset

    asset = AppriseAsset(app_id="Orchestrator", app_desc="Orchestrator", async_mode=False)
    return Apprise.instantiate(url, asset=asset)


# At import, so that a wrong URL stops the start and not a delivery.
check_shared_urls(settings.NOTICE_CHANNELS)
