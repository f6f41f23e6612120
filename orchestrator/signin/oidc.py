"""Single sign-on: the authorization code flow with PKCE, state and nonce.

mozilla-django-oidc walks the way there and back; what is ours is whom to believe (issuer.py), who
that is here (admission.py), one destination for each tab, and plain words when it fails.
"""

import time
from typing import Any

import requests
import structlog
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.models import User
from django.core.exceptions import ImproperlyConfigured
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.views import View
from mozilla_django_oidc.auth import OIDCAuthenticationBackend
from mozilla_django_oidc.views import OIDCAuthenticationRequestView

from audit_app.actors import CLOCK_SKEW_SECONDS, Assurance
from orchestrator.signin import entrance
from orchestrator.signin.admission import NotAdmitted, admit
from orchestrator.signin.destinations import destination, leading_to
from orchestrator.signin.issuer import IssuerUnavailable, NotVerified, issuer
from orchestrator.signin.standing import StandingBackend

log = structlog.get_logger("orchestrator.signin")

BACKEND = "orchestrator.signin.oidc.SingleSignOnBackend"
STATES = "oidc_states"
"""Where mozilla-django-oidc keeps what each tab began."""

STARTED_FOR_SECONDS = 600
NOT_REACHABLE = (
    "Single sign-on can't be reached at the moment. Nothing is wrong with your account; "
    "try again in a while."
)
NOT_BEGUN_HERE = (
    "This sign-in was not begun in this browser, or too long ago. Please begin it again."
)
NOT_BELIEVED = "Single sign-on answered something that can't be trusted. Please try again."
DENIED = "Single sign-on did not let you in, or you went back."
SOMEBODY_ELSE = "Somebody else signed in just now. Sign in as {name}, or log out here first."
NO_TIME = "Single sign-on does not say when you gave your proof, so it can't be taken as new."


class SingleSignOnBackend(StandingBackend, OIDCAuthenticationBackend):  # type: ignore[misc]  # untyped library
    """An ID token's person.

    Its ``authenticate`` takes other arguments than a username and a password, so a form never gets
    here.
    """

    def __init__(self) -> None:
        self.OIDC_RP_CLIENT_ID = settings.ADMIN_OIDC_CLIENT_ID
        self.OIDC_RP_CLIENT_SECRET = settings.ADMIN_OIDC_CLIENT_SECRET
        self.UserModel = User

    @staticmethod
    def get_settings(attr: str, *default: Any) -> Any:
        """The library's settings, told from ours and from what the issuer says of itself."""
        return _setting(attr, *default)

    @property
    def OIDC_OP_TOKEN_ENDPOINT(self) -> str:  # noqa: N802  # the library's name
        return issuer().configuration().token_endpoint

    def authenticate(  # type: ignore[override]  # as the library calls it
        self, request: HttpRequest, *, nonce: str, code_verifier: str
    ) -> User | None:
        """Raises IssuerUnavailable, NotVerified, NotAdmitted."""
        try:
            found: User | None = super().authenticate(
                request, nonce=nonce, code_verifier=code_verifier
            )
        except requests.HTTPError as error:
            status = error.response.status_code if error.response is not None else None
            log.warning("code refused", status=status)
            if status is None or status >= 500:
                raise IssuerUnavailable(f"HTTP {status}") from error
            raise NotVerified("The issuer does not take the code.") from error
        except (requests.RequestException, ValueError) as error:
            raise IssuerUnavailable(type(error).__name__) from error
        return found

    def verify_token(self, token: Any, **kwargs: Any) -> dict[str, Any]:
        if not isinstance(token, str):
            raise NotVerified("There is no ID token in the answer.")
        return issuer().verified(token, nonce=kwargs["nonce"])

    def get_or_create_user(self, access_token: str, id_token: str, payload: Any) -> User:
        user = admit(issuer().url, _complete(payload, access_token))
        user.assurance = Assurance.claimed(payload)  # type: ignore[attr-defined]
        return user

    def get_user(self, user_id: int) -> User | None:
        """Sessions that single sign-on began end when it is switched off."""
        user: User | None = super().get_user(user_id)
        return user if settings.SINGLE_SIGN_ON else None


class Start(OIDCAuthenticationRequestView):  # type: ignore[misc]  # untyped library
    """Off to the issuer. ``?again=1``: to prove anew who they are, whoever the issuer knows."""

    def __init__(self, **kwargs: Any) -> None:
        View.__init__(self, **kwargs)
        self.OIDC_RP_CLIENT_ID = settings.ADMIN_OIDC_CLIENT_ID

    @staticmethod
    def get_settings(attr: str, *default: Any) -> Any:
        return _setting(attr, *default)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not settings.SINGLE_SIGN_ON:
            raise Http404("Single sign-on is not configured.")
        answer: HttpResponseBase = super().dispatch(request, *args, **kwargs)
        return answer

    def get(self, request: HttpRequest) -> HttpResponse:
        try:
            self.OIDC_OP_AUTH_ENDPOINT = issuer().configuration().authorization_endpoint
        except IssuerUnavailable:
            return refused(request, NOT_REACHABLE, destination(request))
        before = set(request.session.get(STATES, ()))
        answer: HttpResponse = super().get(request)
        for state in set(request.session[STATES]) - before:
            # The library keeps one destination for all tabs.
            request.session[STATES][state]["next"] = destination(request)
            request.session[STATES][state]["again"] = self._again()
        request.session.modified = True
        return answer

    def get_extra_params(self, request: HttpRequest) -> dict[str, str]:
        """``max_age`` makes the issuer say when the person proved who they are (auth_time)."""
        if self._again():
            return {"prompt": "login", "max_age": "0"}
        if settings.REAUTHENTICATE_AFTER:
            return {"max_age": str(int(settings.REAUTHENTICATE_AFTER.total_seconds()))}
        return {}

    def _again(self) -> bool:
        return bool(self.request.GET.get("again")) and self.request.user.is_authenticated


class Callback(View):
    """Back from the issuer."""

    http_method_names = ["get"]

    def get(self, request: HttpRequest) -> HttpResponse:
        if not settings.SINGLE_SIGN_ON:
            raise Http404("Single sign-on is not configured.")
        began = _taken(request)
        if began is None:
            return refused(request, NOT_BEGUN_HERE)
        if "code" not in request.GET:
            log.warning("sign-in refused", reason=request.GET.get("error", "")[:100])
            return refused(request, DENIED, began["next"])
        try:
            user = SingleSignOnBackend().authenticate(
                request, nonce=began["nonce"], code_verifier=began["code_verifier"]
            )
        except IssuerUnavailable:
            return refused(request, NOT_REACHABLE, began["next"])
        except NotVerified as error:
            log.warning("sign-in refused", reason=str(error))
            return refused(request, NOT_BELIEVED, began["next"])
        except NotAdmitted as error:
            return refused(request, str(error), began["next"])
        assert user is not None  # one of the above is raised otherwise
        return self._enter(request, user, began)

    def _enter(self, request: HttpRequest, user: Any, began: dict[str, Any]) -> HttpResponse:
        assurance: Assurance = user.assurance
        if began["again"]:
            if request.user.pk != user.pk:
                sentence = SOMEBODY_ELSE.format(name=request.user.get_username() or "yourself")
                return refused(request, sentence, began["next"])
            if not _proved_since(assurance, began["added_on"]):
                return refused(request, NO_TIME, began["next"])
        return entrance.enter(request, user, assurance, backend=BACKEND, destination=began["next"])


def refused(request: HttpRequest, sentence: str, path: str | None = None) -> HttpResponse:
    """Back to the login page, which says ``sentence``; whoever is signed in stays so."""
    messages.error(request, sentence)
    if path is None:
        return redirect("admin:login")
    return redirect(leading_to("admin:login", path))


def _taken(request: HttpRequest) -> dict[str, Any] | None:
    """What this browser began under the state that came back, once."""
    began: dict[str, Any] | None = request.session.get(STATES, {}).pop(
        request.GET.get("state", ""), None
    )
    if began is None:
        return None
    # Saved before the issuer is asked, so that a second tab's answer meanwhile is not undone.
    request.session.save()
    request.session = request.session.__class__(request.session.session_key)
    return began if time.time() - began["added_on"] < STARTED_FOR_SECONDS else None


def _proved_since(assurance: Assurance, began: float) -> bool:
    at = assurance.authenticated_at
    return at is not None and at.timestamp() >= began - CLOCK_SKEW_SECONDS


def _complete(claims: dict[str, Any], access_token: str) -> dict[str, Any]:
    """``claims``, with those of the userinfo endpoint where they lack what we look for."""
    wanted = (settings.ADMIN_OIDC_USERNAME_CLAIM, settings.ADMIN_OIDC_GROUPS_CLAIM)
    if all(name in claims for name in wanted) or not access_token:
        return claims
    return {**issuer().userinfo(access_token, claims["sub"]), **claims}


def _setting(attr: str, *default: Any) -> Any:
    known = {
        "OIDC_USE_PKCE": True,
        "OIDC_PKCE_CODE_CHALLENGE_METHOD": "S256",
        "OIDC_USE_NONCE": True,
        "OIDC_RP_SCOPES": settings.ADMIN_OIDC_SCOPES,
        "OIDC_AUTHENTICATION_CALLBACK_URL": "signin:callback",
        "OIDC_VERIFY_SSL": True,
        "OIDC_TIMEOUT": 5,
    }
    if attr == "OIDC_TOKEN_USE_BASIC_AUTH":
        return not issuer().configuration().secret_in_body
    if attr in known:
        return known[attr]
    if default:
        return default[0]
    raise ImproperlyConfigured(attr)


def issuer_logout(request: HttpRequest) -> str:
    """Where the session at the issuer is ended, too; empty where it has no such place."""
    try:
        endpoint = issuer().configuration().end_session_endpoint
    except IssuerUnavailable:
        return ""
    back = request.build_absolute_uri(reverse("admin:login"))
    asked = {"client_id": settings.ADMIN_OIDC_CLIENT_ID, "post_logout_redirect_uri": back}
    return requests.Request("GET", endpoint, params=asked).prepare().url or "" if endpoint else ""
