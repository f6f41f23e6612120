"""What a session knows of how its person proved who they are.

A session is only ever a whole one: between the password and the code, or before a demanded second
factor is set up, the person is *set aside* in the browser's anonymous session, and nobody is signed
in.
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

from audit_app.base.actors import Assurance

PROOF = "signin_proof"
PENDING = "signin_aside"
ISSUER = "issuer"
"""In the place of a device's id: the issuer asked for the second factor."""

PENDING_AGE = timedelta(minutes=10)
"""How long a person may look for their telephone."""


@dataclass(frozen=True, slots=True)
class PendingLogin:
    """Who gave a right password, or came from the issuer, and has a second factor left to give."""

    user: User
    assurance: Assurance
    backend: str
    destination: str


def start(
    request: HttpRequest, user: User, assurance: Assurance, *, backend: str, device: str = ""
) -> None:
    """Sign ``user`` in, or once more: the session's key changes, its age begins anew.

    A second factor that this session was given before still counts for the same person.
    """
    before = _proof(request.session) if request.user.pk == user.pk else {}
    if assurance.second_factor and not device:
        device = ISSUER
    request.session.pop(PENDING, None)
    if auth.SESSION_KEY in request.session:
        request.session.cycle_key()  # for the same person, Django's login would keep it
    auth.login(request, user, backend=backend)
    _write(request.session, assurance, device or before.get("device", ""))


def add_second_factor(request: HttpRequest, device: str) -> None:
    """The signed-in person has given a code of ``device``."""
    request.session.cycle_key()
    request.session[PROOF] = {**_proof(request.session), "device": device}


def drop_second_factor(request: HttpRequest) -> None:
    request.session[PROOF] = {**_proof(request.session), "device": ""}


def set_pending(request: HttpRequest, waiting: PendingLogin) -> None:
    """Remember ``waiting`` until they have given the second factor, and sign nobody in."""
    at = waiting.assurance.authenticated_at
    request.session[PENDING] = {
        "user": waiting.user.pk,
        "hash": waiting.user.get_session_auth_hash(),
        "by": waiting.assurance.authenticated_by,
        "at": at.isoformat() if at else None,
        "backend": waiting.backend,
        "destination": waiting.destination,
        "since": timezone.now().isoformat(),
    }


def get_pending(request: HttpRequest) -> PendingLogin | None:
    """None when that is too long ago, or their password changed or their account ended since."""
    kept = request.session.get(PENDING)
    if kept is None or _is_older(_parse(kept["since"]), PENDING_AGE):
        return None
    user: User | None = auth.load_backend(kept["backend"]).get_user(kept["user"])
    if user is None or not constant_time_compare(kept["hash"], user.get_session_auth_hash()):
        return None
    assurance = Assurance(kept["by"], _parse(kept["at"]))
    return PendingLogin(user, assurance, kept["backend"], kept["destination"])


def authenticate_session(request: HttpRequest, user: User | AnonymousUser) -> User | AnonymousUser:
    """``user`` with the Assurance of this session, or nobody.

    A session ends when it is SESSION_AGE old, however busy it was, and counts for nothing without
    a second factor where one is always demanded.
    """
    if not user.is_authenticated:
        return user
    proof = _proof(request.session)
    if _is_older(_parse(proof.get("began")), settings.SESSION_AGE):
        return AnonymousUser()
    second = _is_second_factor_valid(user, proof.get("device", ""))
    if settings.REQUIRE_SECOND_FACTOR == "always" and not second:
        return AnonymousUser()
    assurance = Assurance(proof["by"], _parse(proof["at"]))
    user.assurance = replace(assurance, second_factor=second)  # type: ignore[attr-defined]
    return user


def connect() -> None:
    user_logged_in.connect(_record_login, dispatch_uid="orchestrator.accounts.sessions")


def _record_login(sender: Any, request: HttpRequest, user: User, **kwargs: Any) -> None:
    """Whoever is signed in by Django's own means proved themselves just now; ``begin`` knows
    better and says so afterwards."""
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
    """A device that was removed since, by its owner or by an administrator, proves nothing."""
    if device == ISSUER:
        return True
    found = Device.from_persistent_id(device) if device else None
    return found is not None and found.user_id == user.pk and found.confirmed


def _parse(moment: str | None) -> datetime | None:
    return datetime.fromisoformat(moment) if moment else None


def _is_older(moment: datetime | None, age: timedelta) -> bool:
    return moment is None or timezone.now() - moment > age
