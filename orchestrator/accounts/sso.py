"""Single sign-on: the authorization code flow with PKCE, state and nonce."""

import base64
import hashlib
import time
from typing import Any

import httpx2
import structlog
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.crypto import get_random_string
from django.views import View

from audit_app.base.actors import Assurance
from orchestrator.accounts import login
from orchestrator.accounts.destinations import get_destination, url_with_next
from orchestrator.accounts.issuer import exchange_code, fetch_userinfo, get_login_issuer
from orchestrator.accounts.sso_users import NotAdmitted, admit
from orchestrator.accounts.standing import StandingBackend
from sessions_app.auth.issuer import InvalidToken, IssuerUnavailable

log = structlog.get_logger("orchestrator.accounts")

BACKEND = "orchestrator.accounts.sso.SingleSignOnBackend"
STATES = "oidc_states"
"""The session's entry for login attempts, one per tab, by their state parameter."""

MAX_STATES = 50
ATTEMPT_SECONDS = 600
NOT_REACHABLE = "Single sign-on is unavailable. Your account is fine; try again later."
UNKNOWN_ATTEMPT = "This sign-in expired or was started in another browser. Please start again."
NOT_VERIFIED = "The answer of single sign-on could not be verified. Please try again."
DENIED = "Single sign-on denied access or was cancelled."
SOMEBODY_ELSE = "Somebody else signed in. Sign in as {name}, or log out here first."
NO_TIME = "Single sign-on did not say when you signed in, so it can't count as recent."


class SingleSignOnBackend(StandingBackend):
    """The backend of people who logged in at the issuer. It accepts no credentials."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:  # type: ignore[override]  # takes none
        return None

    def get_user(self, user_id: int) -> User | None:
        """The session's user; None once single sign-on is switched off."""
        user: User | None = super().get_user(user_id)
        return user if settings.SINGLE_SIGN_ON else None


class Start(View):
    """Redirect to the issuer; with ``?again=1``, to authenticate again even if it has a session."""

    http_method_names = ["get"]

    def get(self, request: HttpRequest) -> HttpResponse:
        _require_configured()
        try:
            endpoint = get_login_issuer().endpoint("authorization_endpoint")
        except IssuerUnavailable:
            return refuse(request, NOT_REACHABLE, get_destination(request))
        again = bool(request.GET.get("again")) and request.user.is_authenticated
        state, nonce, verifier = (get_random_string(length) for length in (32, 32, 64))
        attempt = {
            "nonce": nonce,
            "code_verifier": verifier,
            "added_on": time.time(),
            "next": get_destination(request),
            "again": again,
        }
        # Old attempts are dropped, so that a session can't grow without limit.
        others = list(request.session.get(STATES, {}).items())[1 - MAX_STATES :]
        request.session[STATES] = dict(others) | {state: attempt}
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        query = {
            "response_type": "code",
            "client_id": settings.ADMIN_OIDC_CLIENT_ID,
            "redirect_uri": _callback(request),
            "scope": settings.ADMIN_OIDC_SCOPES,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge.decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        return redirect(_with_query(endpoint, query | _freshness(again)))


class Callback(View):
    """The redirect back from the issuer."""

    http_method_names = ["get"]

    def get(self, request: HttpRequest) -> HttpResponse:
        _require_configured()
        attempt = _pop_attempt(request)
        if attempt is None:
            return refuse(request, UNKNOWN_ATTEMPT)
        if "code" not in request.GET:
            log.warning("sign-in refused", reason=request.GET.get("error", "")[:100])
            return refuse(request, DENIED, attempt["next"])
        try:
            claims, access_token = exchange_code(
                request.GET["code"],
                verifier=attempt["code_verifier"],
                redirect_uri=_callback(request),
                nonce=attempt["nonce"],
            )
            user = admit(get_login_issuer().url, _add_userinfo(claims, access_token))
        except IssuerUnavailable:
            return refuse(request, NOT_REACHABLE, attempt["next"])
        except InvalidToken as error:
            log.warning("sign-in refused", reason=str(error))
            return refuse(request, NOT_VERIFIED, attempt["next"])
        except NotAdmitted as error:
            return refuse(request, str(error), attempt["next"])
        return self._enter(request, user, Assurance.from_claims(claims), attempt)

    def _enter(
        self, request: HttpRequest, user: User, assurance: Assurance, attempt: dict[str, Any]
    ) -> HttpResponse:
        if attempt["again"]:
            if request.user.pk != user.pk:
                sentence = SOMEBODY_ELSE.format(name=request.user.get_username() or "yourself")
                return refuse(request, sentence, attempt["next"])
            if not _authenticated_since(assurance, attempt["added_on"]):
                return refuse(request, NO_TIME, attempt["next"])
        return login.log_in(request, user, assurance, backend=BACKEND, destination=attempt["next"])


def refuse(request: HttpRequest, sentence: str, path: str | None = None) -> HttpResponse:
    """Redirect to the login page with the message ``sentence``; nobody is signed out."""
    messages.error(request, sentence)
    if path is None:
        return redirect("admin:login")
    return redirect(url_with_next("admin:login", path))


def _pop_attempt(request: HttpRequest) -> dict[str, Any] | None:
    """Remove and return this browser's attempt with the state that came back; None if unknown."""
    attempt: dict[str, Any] | None = request.session.get(STATES, {}).pop(
        request.GET.get("state", ""), None
    )
    if attempt is None:
        return None
    # Saved before the issuer is asked: saving later would undo what another tab did meanwhile.
    request.session.save()
    request.session = request.session.__class__(request.session.session_key)
    return attempt if time.time() - attempt["added_on"] < ATTEMPT_SECONDS else None


def _authenticated_since(assurance: Assurance, started_at: float) -> bool:
    at, skew = assurance.authenticated_at, settings.OIDC_CLOCK_SKEW.total_seconds()
    return at is not None and at.timestamp() >= started_at - skew


def _add_userinfo(claims: dict[str, Any], access_token: str) -> dict[str, Any]:
    """``claims``, completed from the userinfo endpoint if they lack the username or the groups."""
    wanted = (settings.ADMIN_OIDC_USERNAME_CLAIM, settings.ADMIN_OIDC_GROUPS_CLAIM)
    if all(name in claims for name in wanted) or not access_token:
        return claims
    return {**fetch_userinfo(access_token, claims["sub"]), **claims}


def _require_configured() -> None:
    if not settings.SINGLE_SIGN_ON:
        raise Http404("Single sign-on is not configured.")


def _freshness(again: bool) -> dict[str, str]:
    """The parameters that make the issuer authenticate again, or tell when it last did."""
    # max_age makes it send auth_time.
    if again:
        return {"prompt": "login", "max_age": "0"}
    if settings.REAUTHENTICATE_AFTER:
        return {"max_age": str(int(settings.REAUTHENTICATE_AFTER.total_seconds()))}
    return {}


def _callback(request: HttpRequest) -> str:
    return request.build_absolute_uri(reverse("signin:callback"))


def _with_query(url: str, query: dict[str, str]) -> str:
    return str(httpx2.URL(url).copy_merge_params(query))


def issuer_logout(request: HttpRequest) -> str:
    """The URL that ends the issuer's session as well; empty if it has none."""
    try:
        endpoint = get_login_issuer().endpoint("end_session_endpoint")
    except IssuerUnavailable:
        return ""
    back = request.build_absolute_uri(reverse("admin:login"))
    query = {"client_id": settings.ADMIN_OIDC_CLIENT_ID, "post_logout_redirect_uri": back}
    return _with_query(endpoint, query)
