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
from django.contrib.sessions.models import Session
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.crypto import get_random_string
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.csrf import csrf_exempt

from audit_app.base.actors import Assurance
from orchestrator.accounts import login
from orchestrator.accounts.destinations import get_destination, url_with_next
from orchestrator.accounts.issuer import (
    ClientRefused,
    LogoutToken,
    describe_outage,
    exchange_code,
    fetch_userinfo,
    get_login_issuer,
    verify_logout_token,
)
from orchestrator.accounts.models import IssuerSession
from orchestrator.accounts.sso_users import SignInRefused, admit
from orchestrator.accounts.standing import StandingBackend
from sessions_app.auth.issuer import InvalidToken, IssuerUnavailable
from sessions_app.auth.tokens import get_claim

log = structlog.get_logger("orchestrator.accounts")

BACKEND = "orchestrator.accounts.sso.SingleSignOnBackend"
STATES = "oidc_states"
"""The session's entry for login attempts, one per tab, by their state parameter."""

MAX_STATES = 50
ATTEMPT_SECONDS = 600
UNKNOWN_ATTEMPT = "This sign-in expired or was started in another browser. Please start again."
NOT_VERIFIED = "The answer of single sign-on could not be verified. Please try again."
CLIENT_REFUSED = (
    "Single sign-on does not accept this site. Your account is fine; tell the site's operator."
)
WEAK = "Single sign-on did not authenticate you in the way that this site requires."
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
        except IssuerUnavailable as error:
            return refuse(request, _explain_outage(error), get_destination(request))
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
        if settings.ADMIN_OIDC_ACR_VALUES:
            query["acr_values"] = " ".join(settings.ADMIN_OIDC_ACR_VALUES)
        return redirect(_with_query(endpoint, query | _freshness(again)))


class Callback(View):
    """The redirect back from the issuer."""

    http_method_names = ["get"]

    def get(self, request: HttpRequest) -> HttpResponse:
        _require_configured()
        attempt = _pop_attempt(request)
        if attempt is None:
            return refuse(request, SignInRefused(UNKNOWN_ATTEMPT, "The state is unknown or old."))
        try:
            user, claims = self._authenticate(request, attempt)
            assurance = Assurance.from_claims(claims)
            self._require_same_person(request, user, assurance, attempt)
        except SignInRefused as error:
            return refuse(request, error, attempt["next"])
        sid = claims.get("sid")
        return login.log_in(
            request,
            user,
            assurance,
            backend=BACKEND,
            destination=attempt["next"],
            issuer_login={
                "issuer": claims["iss"],
                "subject": claims["sub"],
                "sid": sid if isinstance(sid, str) else "",
            },
        )

    def _authenticate(
        self, request: HttpRequest, attempt: dict[str, Any]
    ) -> tuple[User, dict[str, Any]]:
        """The person who comes back, and the claims of their ID token. Raises SignInRefused."""
        try:
            _check_response_issuer(request)
            if "code" not in request.GET:
                raise SignInRefused(
                    DENIED, f"The issuer says {request.GET.get('error', '')[:100]}."
                )
            claims, access_token = exchange_code(
                request.GET["code"],
                verifier=attempt["code_verifier"],
                redirect_uri=_callback(request),
                nonce=attempt["nonce"],
            )
            _check_acr(claims)
            return admit(get_login_issuer().url, _add_userinfo(claims, access_token)), claims
        except IssuerUnavailable as error:
            raise _explain_outage(error) from error
        except ClientRefused as error:
            raise SignInRefused(CLIENT_REFUSED, str(error)) from error
        except InvalidToken as error:
            raise SignInRefused(NOT_VERIFIED, str(error)) from error

    def _require_same_person(
        self, request: HttpRequest, user: User, assurance: Assurance, attempt: dict[str, Any]
    ) -> None:
        """Refuse to reauthenticate as somebody else or without a time. Raises SignInRefused."""
        if not attempt["again"]:
            return
        name = user.get_username()
        if request.user.pk != user.pk:
            sentence = SOMEBODY_ELSE.format(name=request.user.get_username() or "yourself")
            raise SignInRefused(sentence, "Somebody else reauthenticated.", username=name)
        if not _authenticated_since(assurance, attempt["added_on"]):
            raise SignInRefused(NO_TIME, "auth_time is missing or too old.", username=name)


@method_decorator(csrf_exempt, name="dispatch")
class BackChannelLogout(View):
    """The issuer says that somebody logged out there (OpenID Connect Back-Channel Logout 1.0)."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        _require_configured()
        status, answer, headers = 200, {}, {"Cache-Control": "no-store"}
        try:
            logout = verify_logout_token(request.POST.get("logout_token", ""))
            ended = end_sessions(get_login_issuer().url, logout)
            log.info("logged out at the issuer", sessions=ended, subject=logout.subject)
        except InvalidToken as error:
            log.warning("logout refused", reason=str(error))
            status, answer = 400, {"error": "invalid_request", "error_description": str(error)}
        except IssuerUnavailable as error:
            log.warning("logout refused", reason=f"The issuer is unavailable: {error}"[:300])
            status, answer = 503, {"error": "temporarily_unavailable"}
            headers["Retry-After"] = str(error.retry_after)
        return JsonResponse(answer, status=status, headers=headers)


def end_sessions(issuer: str, logout: LogoutToken) -> int:
    """End the sessions here that the logout at ``issuer`` is about; return how many there were."""
    logins = IssuerSession.objects.filter(issuer=issuer)
    if logout.sid:
        # A login whose ID token had no sid can only be found by its person.
        unnamed = Q(sid="", subject=logout.subject) if logout.subject else Q(pk__in=[])
        logins = logins.filter(Q(sid=logout.sid) | unnamed)
    if logout.subject:
        logins = logins.filter(subject=logout.subject)
    _, deleted = Session.objects.filter(pk__in=list(logins.values_list("pk", flat=True))).delete()
    return deleted.get(Session._meta.label, 0)


def refuse(request: HttpRequest, refusal: SignInRefused, path: str | None = None) -> HttpResponse:
    """Log ``refusal`` and redirect to the login page, which shows it; nobody is signed out."""
    log.warning("sign-in refused", reason=refusal.reason, **refusal.details)
    messages.error(request, str(refusal))
    if path is None:
        return redirect("admin:login")
    return redirect(url_with_next("admin:login", path))


def _explain_outage(error: IssuerUnavailable) -> SignInRefused:
    return SignInRefused(describe_outage(error), f"The issuer is unavailable: {error}"[:300])


def _check_response_issuer(request: HttpRequest) -> None:
    """Refuse a redirect of another issuer (RFC 9207). Raises InvalidToken, IssuerUnavailable."""
    issuer = get_login_issuer()
    named = request.GET.get("iss")
    if named is None:
        if issuer.metadata().get("authorization_response_iss_parameter_supported") is True:
            raise InvalidToken("The redirect lacks the issuer (iss).")
    elif named != issuer.url:
        raise InvalidToken("The redirect is of another issuer (iss).")


def _check_acr(claims: dict[str, Any]) -> None:
    """Require one of ADMIN_OIDC_ACR_VALUES. Raises SignInRefused."""
    # An issuer may ignore acr_values (OpenID Connect Core 1.0, section 3.1.2.1).
    level = claims.get("acr")
    if settings.ADMIN_OIDC_ACR_VALUES and level not in settings.ADMIN_OIDC_ACR_VALUES:
        raise SignInRefused(WEAK, f"acr is {str(level)[:100]}, none of ADMIN_OIDC_ACR_VALUES.")


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
    """``claims``, completed from the userinfo endpoint if they lack what is read from them."""
    needed = (settings.ADMIN_OIDC_USERNAME_CLAIM, settings.ADMIN_OIDC_GROUPS_CLAIM)
    suffices = all(get_claim(claims, name) is not None for name in needed)
    has_address = "email" in claims or "email" not in settings.ADMIN_OIDC_SCOPES.split()
    if not access_token or (suffices and has_address):
        return claims
    try:
        return {**fetch_userinfo(access_token, claims["sub"]), **claims}
    except IssuerUnavailable:
        # An address is worth no failed sign-in.
        if suffices:
            return claims
        raise


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
