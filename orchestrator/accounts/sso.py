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

from audit_app.base.actors import CLOCK_SKEW_SECONDS, Assurance
from orchestrator.accounts import login
from orchestrator.accounts.destinations import get_destination, url_with_next
from orchestrator.accounts.issuer import exchange_code, fetch_userinfo, get_login_issuer
from orchestrator.accounts.sso_users import NotAdmitted, admit
from orchestrator.accounts.standing import StandingBackend
from sessions_app.auth.issuer import InvalidToken, IssuerUnavailable

log = structlog.get_logger("orchestrator.accounts")

BACKEND = "orchestrator.accounts.sso.SingleSignOnBackend"
STATES = "oidc_states"
"""Where a browser's session keeps what each of its tabs began."""

MAX_STATES = 50
ATTEMPT_SECONDS = 600
NOT_REACHABLE = "Single sign-on is unavailable. Your account is fine; try again later."
UNKNOWN_ATTEMPT = "This sign-in expired or was started in another browser. Please start again."
NOT_VERIFIED = "The answer of single sign-on could not be verified. Please try again."
DENIED = "Single sign-on denied access or was cancelled."
SOMEBODY_ELSE = "Somebody else signed in. Sign in as {name}, or log out here first."
NO_TIME = "Single sign-on did not say when you signed in, so it can't count as recent."


class SingleSignOnBackend(StandingBackend):
    """Whoever single sign-on let in. No form leads here, whatever is typed into it."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> None:  # type: ignore[override]  # takes none
        return None

    def get_user(self, user_id: int) -> User | None:
        """Sessions that single sign-on began end when it is switched off."""
        user: User | None = super().get_user(user_id)
        return user if settings.SINGLE_SIGN_ON else None


class Start(View):
    """Off to the issuer. ``?again=1``: to prove anew who they are, whoever the issuer knows."""

    http_method_names = ["get"]

    def get(self, request: HttpRequest) -> HttpResponse:
        _require_configured()
        try:
            endpoint = get_login_issuer().endpoint("authorization_endpoint")
        except IssuerUnavailable:
            return refuse(request, NOT_REACHABLE, get_destination(request))
        again = bool(request.GET.get("again")) and request.user.is_authenticated
        state, nonce, verifier = (get_random_string(length) for length in (32, 32, 64))
        begun = {
            "nonce": nonce,
            "code_verifier": verifier,
            "added_on": time.time(),
            "next": get_destination(request),
            "again": again,
        }
        others = list(request.session.get(STATES, {}).items())[1 - MAX_STATES :]
        request.session[STATES] = dict(others) | {state: begun}
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest())
        asked = {
            "response_type": "code",
            "client_id": settings.ADMIN_OIDC_CLIENT_ID,
            "redirect_uri": _callback(request),
            "scope": settings.ADMIN_OIDC_SCOPES,
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge.decode().rstrip("="),
            "code_challenge_method": "S256",
        }
        return redirect(_with_query(endpoint, asked | _freshness(again)))


class Callback(View):
    """Back from the issuer."""

    http_method_names = ["get"]

    def get(self, request: HttpRequest) -> HttpResponse:
        _require_configured()
        began = _pop_attempt(request)
        if began is None:
            return refuse(request, UNKNOWN_ATTEMPT)
        if "code" not in request.GET:
            log.warning("sign-in refused", reason=request.GET.get("error", "")[:100])
            return refuse(request, DENIED, began["next"])
        try:
            claims, access_token = exchange_code(
                request.GET["code"],
                verifier=began["code_verifier"],
                redirect_uri=_callback(request),
                nonce=began["nonce"],
            )
            user = admit(get_login_issuer().url, _add_userinfo(claims, access_token))
        except IssuerUnavailable:
            return refuse(request, NOT_REACHABLE, began["next"])
        except InvalidToken as error:
            log.warning("sign-in refused", reason=str(error))
            return refuse(request, NOT_VERIFIED, began["next"])
        except NotAdmitted as error:
            return refuse(request, str(error), began["next"])
        return self._enter(request, user, Assurance.from_claims(claims), began)

    def _enter(
        self, request: HttpRequest, user: User, assurance: Assurance, began: dict[str, Any]
    ) -> HttpResponse:
        if began["again"]:
            if request.user.pk != user.pk:
                sentence = SOMEBODY_ELSE.format(name=request.user.get_username() or "yourself")
                return refuse(request, sentence, began["next"])
            if not _authenticated_since(assurance, began["added_on"]):
                return refuse(request, NO_TIME, began["next"])
        return login.log_in(request, user, assurance, backend=BACKEND, destination=began["next"])


def refuse(request: HttpRequest, sentence: str, path: str | None = None) -> HttpResponse:
    """Back to the login page, which says ``sentence``; whoever is signed in stays so."""
    messages.error(request, sentence)
    if path is None:
        return redirect("admin:login")
    return redirect(url_with_next("admin:login", path))


def _pop_attempt(request: HttpRequest) -> dict[str, Any] | None:
    """What this browser began under the state that came back, once."""
    began: dict[str, Any] | None = request.session.get(STATES, {}).pop(
        request.GET.get("state", ""), None
    )
    if began is None:
        return None
    # Saved before the issuer is asked, so that a second tab's answer meanwhile is not undone.
    request.session.save()
    request.session = request.session.__class__(request.session.session_key)
    return began if time.time() - began["added_on"] < ATTEMPT_SECONDS else None


def _authenticated_since(assurance: Assurance, began: float) -> bool:
    at = assurance.authenticated_at
    return at is not None and at.timestamp() >= began - CLOCK_SKEW_SECONDS


def _add_userinfo(claims: dict[str, Any], access_token: str) -> dict[str, Any]:
    """``claims``, with those of the userinfo endpoint where they lack what we look for."""
    wanted = (settings.ADMIN_OIDC_USERNAME_CLAIM, settings.ADMIN_OIDC_GROUPS_CLAIM)
    if all(name in claims for name in wanted) or not access_token:
        return claims
    return {**fetch_userinfo(access_token, claims["sub"]), **claims}


def _require_configured() -> None:
    if not settings.SINGLE_SIGN_ON:
        raise Http404("Single sign-on is not configured.")


def _freshness(again: bool) -> dict[str, str]:
    """``max_age`` makes the issuer say when the person proved who they are (auth_time)."""
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
    """Where the session at the issuer is ended, too; empty where it has no such place."""
    try:
        endpoint = get_login_issuer().endpoint("end_session_endpoint")
    except IssuerUnavailable:
        return ""
    back = request.build_absolute_uri(reverse("admin:login"))
    asked = {"client_id": settings.ADMIN_OIDC_CLIENT_ID, "post_logout_redirect_uri": back}
    return _with_query(endpoint, asked)
