"""Operations on upstreams, for administrators; each change is an event."""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import orjson
from django.conf import settings
from django.db import IntegrityError

from audit_app.base import encryption, ssrf
from audit_app.base.actors import Actor, may_administer
from audit_app.base.errors import Forbidden, Invalid
from audit_app.base.events import EventType
from audit_app.trail.operation import operation, violated_constraint
from audit_app.trail.recording import create, perform
from orchestrator.gateway.errors import UpstreamAdministratorsOnly, UpstreamNameTaken
from orchestrator.gateway.models import NAME_LENGTH, Upstream

CHANGE_UPSTREAMS = "gateway.change_upstream"
PURPOSE = "gateway upstream"
NAME = re.compile(rf"[a-z0-9][a-z0-9-]{{0,{NAME_LENGTH - 1}}}")
HEADER_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")
HEADER_VALUE = re.compile(r"[!-~]([ -~]*[!-~])?")
VARIABLE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}")
OUR_HEADERS = ("accept", "connection", "content-", "host", "mcp-", "te", "transfer-encoding")
"""What headers that the client of the gateway sets itself begin with."""


@operation("upstream.create")
def create_upstream(
    name: str,
    *,
    by: Actor,
    role: str,
    agent_roles: list[str],
    url: str = "",
    command: list[str] | None = None,
    secrets: Mapping[str, str] | None = None,
) -> Upstream:
    """Create an upstream at ``url``, or one that ``command`` starts as a child process.

    ``secrets`` are HTTP headers, or environment variables of the command. Only the system (an
    operator's command) may name a program. Raises UpstreamAdministratorsOnly, Invalid,
    UpstreamNameTaken.
    """
    require_administrator(by)
    if not NAME.fullmatch(name):
        raise Invalid(
            field="name", reason=f"use at most {NAME_LENGTH} of a to z, 0 to 9 and hyphens."
        )
    kind = Upstream.Kind.STDIO if command else Upstream.Kind.HTTP
    if command:
        _operators_only(by)
    else:
        require_url(url)
    secrets = check_secrets(kind, secrets or {})
    upstream = Upstream(
        name=name,
        kind=kind,
        url=url,
        command=command or [],
        role=role,
        agent_roles=agent_roles,
        **_encrypt(secrets),
    )
    try:
        return create(upstream, EventType.UPSTREAM_CREATED, by=by)
    except IntegrityError as error:
        if violated_constraint(error) == "gateway_upstreams_name_key":
            raise UpstreamNameTaken(name=name) from error
        raise


@operation("upstream.change")
def change_upstream(
    upstream_id: UUID, *, by: Actor, role: str, agent_roles: list[str], url: str = ""
) -> Upstream:
    """Change who may use it and who is asked, and its URL if it has one.

    Its headers are removed with the move to another host: they are not for that one, and whoever
    may change the URL may not read them by it. Raises UpstreamAdministratorsOnly, NotFound,
    Invalid.
    """
    require_administrator(by)
    upstream = Upstream.objects.lock(upstream_id)
    if upstream.kind == Upstream.Kind.HTTP:
        require_url(url)
    else:
        url = ""
    changes: dict[str, Any] = {"url": url, "role": role, "agent_roles": agent_roles}
    if _origin(url) != _origin(upstream.url):
        perform(upstream.move, by=by, details=changes, **changes)
    elif changes != {name: getattr(upstream, name) for name in changes}:
        perform(upstream.change, by=by, details=changes, **changes)
    return upstream


@operation("upstream.replace_secrets")
def replace_secrets(upstream_id: UUID, *, by: Actor, secrets: Mapping[str, str]) -> Upstream:
    """Replace all its headers, or its program's environment variables, by ``secrets``.

    A variable can make a program run another one (``LD_PRELOAD``), so only the system may set
    those. Raises UpstreamAdministratorsOnly, NotFound, Invalid.
    """
    require_administrator(by)
    upstream = Upstream.objects.lock(upstream_id)
    if upstream.kind == Upstream.Kind.STDIO:
        _operators_only(by)
    secrets = check_secrets(upstream.kind, secrets)
    perform(upstream.replace_secrets, by=by, **_encrypt(secrets))
    return upstream


@operation("upstream.enable")
def enable(upstream_id: UUID, *, by: Actor) -> Upstream:
    """Pass calls again. Raises UpstreamAdministratorsOnly, NotFound, InvalidTransition."""
    require_administrator(by)
    upstream = Upstream.objects.lock(upstream_id)
    perform(upstream.enable, by=by)
    return upstream


@operation("upstream.disable")
def disable(upstream_id: UUID, *, by: Actor, why: str = "") -> Upstream:
    """Pass nothing on to it any more. Raises UpstreamAdministratorsOnly, NotFound,
    InvalidTransition."""
    require_administrator(by)
    upstream = Upstream.objects.lock(upstream_id)
    perform(upstream.disable, by=by, details={"reason": why})
    return upstream


@operation("upstream.reencrypt")
def reencrypt_upstream(upstream_id: UUID, *, by: Actor) -> bool:
    """Encrypt the secrets under the current key; False if they are already.

    Raises NotFound, DecryptionFailed.
    """
    upstream = Upstream.objects.lock(upstream_id)
    secrets = encryption.reencrypt(upstream.secrets, purpose=PURPOSE)
    if secrets == upstream.secrets:
        return False
    perform(upstream.reencrypt, by=by, details={"reencrypted": True}, secrets=secrets)
    return True


def read_secrets(upstream: Upstream) -> dict[str, str]:
    """Its headers or environment variables. Raises DecryptionFailed."""
    if not upstream.secrets:
        return {}
    found: dict[str, str] = orjson.loads(encryption.decrypt(upstream.secrets, purpose=PURPOSE))
    return found


def require_url(url: str) -> None:
    """Raise Invalid unless ``url`` may be an upstream's: https, or http where
    GATEWAY_ALLOWED_NETWORKS names networks, to which such requests are restricted (pool.py)."""
    plain = settings.TRIAL or bool(settings.GATEWAY_ALLOWED_NETWORKS)
    ssrf.require_webhook_url(url, plain=plain)


def check_secrets(kind: str, secrets: Mapping[str, str]) -> dict[str, str]:
    """``secrets`` as they are stored. Raises Invalid."""
    for name, value in secrets.items():
        if kind == Upstream.Kind.STDIO:
            good = bool(VARIABLE_NAME.fullmatch(name)) and "\0" not in value
        else:
            is_ours = name.lower().startswith(OUR_HEADERS)
            is_header = HEADER_NAME.fullmatch(name) and HEADER_VALUE.fullmatch(value)
            good = bool(is_header) and not is_ours
        if not good:
            raise Invalid(field="secrets", reason=f"{name[:100]!r} can't be set to that.")
    return dict(secrets)


def require_administrator(by: Actor) -> None:
    """Raise UpstreamAdministratorsOnly unless ``by`` may change upstreams."""
    if not may_administer(by, CHANGE_UPSTREAMS):
        raise UpstreamAdministratorsOnly


def _operators_only(by: Actor) -> None:
    # A web form must not run programs.
    if by.is_human:
        raise Forbidden


def _encrypt(secrets: Mapping[str, str]) -> dict[str, Any]:
    text = orjson.dumps(dict(secrets)).decode()
    encrypted = encryption.encrypt(text, purpose=PURPOSE) if secrets else ""
    return {"secrets": encrypted, "secret_names": sorted(secrets)}


def _origin(url: str) -> tuple[str, str]:
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.lower()
