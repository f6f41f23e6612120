"""How a session's person was authenticated.

Nobody is ever half signed in. Between the password and the code, or before a required second factor
is set up, the login is *pending* in the browser's anonymous session.
"""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib import auth
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.auth.signals import user_logged_in
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest
from django.utils import timezone
from django.utils.crypto import constant_time_compare
from django_otp.models import Device

from approvals_app.models import Passkey
from audit_app.base.actors import Assurance
from orchestrator.accounts.store import ISSUER_LOGIN

PROOF = "signin_proof"
PENDING = "signin_aside"
ISSUER = "issuer"
"""Stands for a device's id where the issuer asked for the second factor."""

PASSKEY = "passkey/"
"""Begins the device's id where it is a passkey, whose id follows."""

PENDING_AGE = timedelta(minutes=10)
"""How long a person has to give the second factor."""


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """A person who gave a right password, or came from the issuer, and owes a second factor."""

    user: User
    assurance: Assurance
    backend: str
    destination: str
    issuer_login: dict[str, str] | None = None


def start(
    request: HttpRequest,
    user: User,
    assurance: Assurance,
    *,
    backend: str,
    device: str = "",
    issuer_login: dict[str, str] | None = None,
) -> None:
    """Sign ``user`` in, possibly again, with a new session key and a new age.

    ``issuer_login`` are the columns of an IssuerSession where single sign-on signed them in. A
    second factor given earlier in this session still counts for the same person.
    """
    before = _proof(request.session) if request.user.pk == user.pk else {}
    if assurance.second_factor and not device:
        device = ISSUER
    request.session.pop(PENDING, None)
    if auth.SESSION_KEY in request.session:
        request.session.cycle_key()  # Django's login keeps the key for the same person
    auth.login(request, user, backend=backend)
    request.session.pop(ISSUER_LOGIN, None)
    if issuer_login:
        request.session[ISSUER_LOGIN] = issuer_login
    _write(request.session, assurance, device or before.get("device", ""))


def add_second_factor(request: HttpRequest, device: str) -> None:
    """Record that the signed-in person gave a code of ``device``."""
    request.session.cycle_key()
    request.session[PROOF] = {**_proof(request.session), "device": device}


def drop_second_factor(request: HttpRequest) -> None:
    """Record that the session has no second factor any more."""
    request.session[PROOF] = {**_proof(request.session), "device": ""}


def set_pending(request: HttpRequest, pending: PendingLogin) -> None:
    """Keep ``pending`` in the anonymous session until the second factor is given."""
    at = pending.assurance.authenticated_at
    request.session[PENDING] = {
        "user": pending.user.pk,
        "hash": pending.user.get_session_auth_hash(),
        "by": pending.assurance.authenticated_by,
        "at": at.isoformat() if at else None,
        "backend": pending.backend,
        "destination": pending.destination,
        "since": timezone.now().isoformat(),
    }
    # Here already, so that a logout at the issuer ends this, too.
    request.session.pop(ISSUER_LOGIN, None)
    if pending.issuer_login:
        request.session[ISSUER_LOGIN] = pending.issuer_login


def get_pending(request: HttpRequest) -> PendingLogin | None:
    """The pending login; None if there is none, if it is too old, or if the person's password or
    account changed since."""
    entry = request.session.get(PENDING)
    if entry is None or _is_older(_parse(entry["since"]), PENDING_AGE):
        return None
    user: User | None = auth.load_backend(entry["backend"]).get_user(entry["user"])
    # The hash changes with the password, so a changed password ends the pending login.
    if user is None or not constant_time_compare(entry["hash"], user.get_session_auth_hash()):
        return None
    assurance = Assurance(entry["by"], _parse(entry["at"]))
    login = request.session.get(ISSUER_LOGIN)
    return PendingLogin(user, assurance, entry["backend"], entry["destination"], login)


def authenticate_session(request: HttpRequest, user: User | AnonymousUser) -> User | AnonymousUser:
    """Return ``user`` with the Assurance of this session, or AnonymousUser.

    A session ends at SESSION_AGE even while in use, and does not count without a second factor
    where one is always required.
    """
    if not user.is_authenticated:
        return user
    proof = _proof(request.session)
    if _is_older(_parse(proof.get("began")), settings.SESSION_AGE):
        return AnonymousUser()
    has_second_factor = _is_second_factor_valid(user, proof.get("device", ""))
    if settings.REQUIRE_SECOND_FACTOR == "always" and not has_second_factor:
        return AnonymousUser()
    # Whoever found a device must not stay signed in once its passkey is removed.
    if proof["by"] == "passkey" and not has_second_factor:
        return AnonymousUser()
    assurance = Assurance(proof["by"], _parse(proof["at"]))
    user.assurance = replace(assurance, second_factor=has_second_factor)  # type: ignore[attr-defined]
    return user


def connect() -> None:
    """Record how people are authenticated who log in by Django's own means."""
    user_logged_in.connect(_record_login, dispatch_uid="orchestrator.accounts.sessions")


def _record_login(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    # Also runs for logins by Django's own means, which use a password; ``start`` overwrites this.
    _write(request.session, Assurance("password", timezone.now()), "")


def _write(session: SessionBase, assurance: Assurance, device: str) -> None:
    at = assurance.authenticated_at
    session[PROOF] = {
        "began": timezone.now().isoformat(),
        "by": assurance.authenticated_by,
        "at": at.isoformat() if at else None,
        "device": device,
    }


def _proof(session: SessionBase) -> dict[str, Any]:
    proof: dict[str, Any] = session.get(PROOF, {})
    return proof


def _is_second_factor_valid(user: Any, device: str) -> bool:
    """Whether the second factor of this session still counts."""
    if device == ISSUER:
        return True
    if device.startswith(PASSKEY):
        own = Passkey.objects.active().filter(user_id=user.pk)
        return own.filter(pk=device.removeprefix(PASSKEY)).exists()
    # A device may have been removed since, by its owner or by an administrator.
    stored = Device.from_persistent_id(device) if device else None
    return stored is not None and stored.user_id == user.pk and stored.confirmed


def _parse(moment: str | None) -> datetime | None:
    return datetime.fromisoformat(moment) if moment else None


def _is_older(moment: datetime | None, age: timedelta) -> bool:
    return moment is None or timezone.now() - moment > age
