"""The pages for logging in, managing a second factor and authenticating again."""

from datetime import timedelta
from typing import Any

from django.conf import settings
from django.contrib import admin, auth, messages
from django.contrib.auth.forms import AuthenticationForm
from django.contrib.auth.models import User
from django.contrib.auth.views import LoginView, PasswordChangeView
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse, reverse_lazy
from django.utils import timezone
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from unfold.forms import AdminOwnPasswordChangeForm

from approvals_app.decisions import eligibility
from approvals_app.decisions.passkeys import has_active
from approvals_app.errors import ReauthenticationRequired, SecondFactorRequired
from audit_app.base.actors import Actor, Assurance
from orchestrator.accounts import login, passwords, sessions, sso, two_factor
from orchestrator.accounts.destinations import (
    find_local_page,
    get_destination,
    get_page_behind,
    url_with_next,
)
from orchestrator.accounts.forms import CodeForm, PasswordForm, SignInForm
from orchestrator.accounts.issuer import find_outage

NEW_SECRET = "signin_secret"  # noqa: S105  # the name of a session's entry
MAX_AGE_TO_ENROL = timedelta(minutes=15)
INSIDE = "admin/base_site.html"
OUTSIDE = "signin/outside.html"

WRONG_CODE = (
    "This code is wrong or already used. Wait for the next one and check the clock of your device."
)
WRONG_PASSWORD = "Wrong password."  # noqa: S105  # a sentence
ALREADY_SET_UP = "A second factor was set up already, perhaps in another tab."
REMOVED = "Second factor removed. You can set up another."


def account_links(request: HttpRequest) -> list[dict[str, Any]]:
    """The links of a person's account menu (UNFOLD["ACCOUNT"]["navigation"])."""
    links = [
        {"title": "Notifications", "link": reverse("pages:notifications")},
        {"title": "Passkeys", "link": reverse("signin:passkeys")},
        {"title": "Second factor", "link": reverse("signin:second_factor")},
    ]
    if request.user.is_authenticated and request.user.has_usable_password():
        links.append({"title": "Change password", "link": reverse("admin:password_change")})
    return links


class SignIn(LoginView):
    """The login page, with a password form, single sign-on or both."""

    template_name = "admin/login.html"
    authentication_form = SignInForm

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if url := find_local_page(request):
            return redirect(url)
        if request.user.is_authenticated and request.user.is_staff:
            return redirect(get_destination(request))
        return super().get(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        user: Any = form.get_user()
        return login.log_in(
            self.request,
            user,
            Assurance("password", timezone.now()),
            backend=user.backend,
            destination=get_destination(self.request),
        )

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        path = get_destination(self.request)
        context = {
            **super().get_context_data(**kwargs),
            **admin.site.each_context(self.request),
            "title": "Log in",
            "destination": path,
            "passwords": passwords.are_accepted(),
            "passkeys": passwords.are_accepted() and bool(settings.PASSKEY_ORIGINS),
        }
        if settings.SINGLE_SIGN_ON:
            context["single_sign_on"] = url_with_next("signin:start", path)
            context["outage"] = find_outage()
            context["issuer_logout"] = (
                sso.issuer_logout(self.request) if "out" in self.request.GET else ""
            )
        return context


class PasswordChange(PasswordChangeView):
    """The admin's page."""

    form_class = AdminOwnPasswordChangeForm
    success_url = reverse_lazy("admin:password_change_done")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), **admin.site.each_context(self.request)}


class SignOut(View):
    """Log out here; the login page then links to the issuer's logout, whose session goes on."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        # Read first: logging out empties the session.
        by_issuer = request.session.get(auth.BACKEND_SESSION_KEY) == sso.BACKEND
        auth.logout(request)
        messages.success(request, "You have been logged out.")
        return redirect(reverse("admin:login") + ("?out" if by_issuer else ""))


class PersonView(View):
    """A page for a person who is signed in or whose login is pending."""

    request: HttpRequest
    person: User
    pending: sessions.PendingLogin | None = None

    @method_decorator(never_cache)
    @method_decorator(sensitive_post_parameters())
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.pending = self.get_pending(request)
        if self.pending:
            self.person = self.pending.user
        elif request.user.is_authenticated:
            self.person = request.user
        else:
            return redirect(url_with_next("admin:login", get_destination(request)))
        return super().dispatch(request, *args, **kwargs)

    def get_pending(self, request: HttpRequest) -> sessions.PendingLogin | None:
        return sessions.get_pending(request)

    @property
    def destination(self) -> str:
        return self.pending.destination if self.pending else get_destination(self.request)

    def page(self, name: str, *, status: int = 200, **context: Any) -> HttpResponse:
        """Render the page ``name``, in the admin's layout for staff."""
        inside = self.pending is None and self.request.user.is_staff
        frame = admin.site.each_context(self.request)
        defaults = {
            "layout": INSIDE if inside else OUTSIDE,
            "title": "Your account",
            "person": self.person,
        }
        defaults["destination"] = self.destination
        # Whoever is signed in may go back without the proof.
        defaults["not_now"] = "" if self.pending else get_page_behind(self.destination)
        return TemplateResponse(
            self.request, f"signin/{name}.html", {**frame, **defaults, **context}, status=status
        )

    def is_recently_authenticated(self) -> bool:
        """Whether the person authenticated a short time ago."""
        # A browser left open must not be enough to add somebody else's telephone or passkey.
        if self.pending:
            return True
        age = settings.REAUTHENTICATE_AFTER or MAX_AGE_TO_ENROL
        at = self.request.user.assurance.authenticated_at  # type: ignore[union-attr]
        return at is not None and timezone.now() - at <= age

    def complete_second_factor(self, device: str) -> None:
        """Record a right code of ``device``; a pending login becomes a session."""
        if self.pending:
            sessions.start(
                self.request,
                self.pending.user,
                self.pending.assurance,
                backend=self.pending.backend,
                device=device,
                issuer_login=self.pending.issuer_login,
            )
        else:
            sessions.add_second_factor(self.request, device)


class Code(PersonView):
    """Asks for the second factor."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if not two_factor.has_any(self.person):
            return redirect(url_with_next("signin:second_factor", self.destination))
        return self._render(CodeForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = CodeForm(request.POST)
        if not form.is_valid():
            return self._render(form, status=400)
        try:
            device = two_factor.accept(self.person, form.cleaned_data["code"])
        except two_factor.WrongCode:
            form.refuse(WRONG_CODE)
            return self._render(form, status=400)
        except two_factor.TooManyCodes as error:
            return respond_too_many(form, error, self._render)
        path = self.destination
        self.complete_second_factor(device)
        return redirect(path)

    def _render(self, form: Form, *, status: int = 200) -> HttpResponse:
        return self.page(
            "code",
            form=form,
            enrolled=two_factor.is_enrolled(self.person),
            passkeys=bool(settings.PASSKEY_ORIGINS) and has_active(self.person.pk),
            status=status,
        )


class SecondFactor(PersonView):
    """Set up an authenticator, renew the recovery codes, or remove both."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if self.pending and two_factor.has_any(self.person):
            # A pending login may use the authenticator or passkey but not replace or add one.
            return redirect("signin:code")
        if two_factor.is_enrolled(self.person):
            return self._render_manage(CodeForm())
        if not self.is_recently_authenticated():
            here = url_with_next("signin:second_factor", self.destination)
            return redirect(url_with_next("signin:reauthenticate", here))
        if NEW_SECRET not in request.session:
            request.session[NEW_SECRET] = two_factor.new_secret()
        return self._render_enrol(CodeForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = CodeForm(request.POST)
        enrolled = two_factor.is_enrolled(self.person)
        if self.pending and two_factor.has_any(self.person):
            return redirect("signin:code")
        if not enrolled and (
            not self.is_recently_authenticated() or NEW_SECRET not in request.session
        ):
            return redirect(url_with_next("signin:second_factor", self.destination))
        again = self._render_manage if enrolled else self._render_enrol
        if not form.is_valid():
            return again(form, status=400)
        try:
            return self._change(request, form.cleaned_data["code"], enrolled=enrolled)
        except two_factor.WrongCode:
            form.refuse(WRONG_CODE)
            return again(form, status=400)
        except two_factor.TooManyCodes as error:
            return respond_too_many(form, error, again)
        except two_factor.AlreadyEnrolled:
            messages.info(request, ALREADY_SET_UP)
            return redirect(url_with_next("signin:second_factor", self.destination))

    def _change(self, request: HttpRequest, code: str, *, enrolled: bool) -> HttpResponse:
        if not enrolled:
            secret = request.session[NEW_SECRET]
            device, codes = two_factor.enrol(self.person, secret, code)
            del request.session[NEW_SECRET]
            path = self.destination
            self.complete_second_factor(device)
            self.pending = None
            return self._render_codes(codes, path)
        if request.POST.get("do") == "renew":
            return self._render_codes(
                two_factor.renew_recovery_codes(self.person, code), self.destination
            )
        two_factor.remove(self.person, code)
        sessions.drop_second_factor(request)
        messages.success(request, REMOVED)
        return redirect("signin:second_factor")

    def _render_enrol(self, form: Form, *, status: int = 200) -> HttpResponse:
        secret = self.request.session[NEW_SECRET]
        if not form.is_bound:
            del form.fields["code"].widget.attrs["autofocus"]  # the picture comes first
        return self.page(
            "enrol",
            form=form,
            picture=two_factor.draw_qr_code(self.person, secret),
            secret=two_factor.format_secret(secret),
            demanded=settings.REQUIRE_SECOND_FACTOR,
            status=status,
        )

    def _render_manage(self, form: Form, *, status: int = 200) -> HttpResponse:
        remaining = two_factor.count_recovery_codes(self.person)
        return self.page("second_factor", form=form, left=remaining, status=status)

    def _render_codes(self, codes: list[str], path: str) -> HttpResponse:
        return self.page("codes", codes=codes, destination=path)


class SignedInView(PersonView):
    """A page for a signed-in person."""

    def get_pending(self, request: HttpRequest) -> None:
        return None


class Prove(SignedInView):
    """Redirect to the proof of identity that a decision still needs, and then to the decision."""

    def get(self, request: HttpRequest) -> HttpResponse:
        here = url_with_next("signin:prove", self.destination)
        try:
            # The same check as in a decision, so that this page asks for exactly what is needed.
            eligibility.check_assurance(Actor.human(self.person), timezone.now())
        except ReauthenticationRequired:
            return redirect(url_with_next("signin:reauthenticate", here))
        except SecondFactorRequired:
            return redirect(url_with_next("signin:code", here))
        return redirect(self.destination)


class Reauthenticate(SignedInView):
    """Authenticate again, in the way in which this session began."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._render(PasswordForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = PasswordForm(request.POST)
        if self._by_issuer():
            return self._render(form)
        if not form.is_valid():
            return self._render(form, status=400)
        user = auth.authenticate(
            request, username=self.person.get_username(), password=form.cleaned_data["password"]
        )
        if user is None or user.pk != self.person.pk:
            form.refuse(WRONG_PASSWORD)
            return self._render(form, status=400)
        path = self.destination
        proof = Assurance("password", timezone.now())
        return login.log_in(request, user, proof, backend=user.backend, destination=path)

    def _by_issuer(self) -> bool:
        """Whether the session began at the issuer, which then proves who the person is."""
        return self.request.session.get(auth.BACKEND_SESSION_KEY) == sso.BACKEND

    def _render(self, form: Form, *, status: int = 200) -> HttpResponse:
        link = f"{url_with_next('signin:start', self.destination)}&again=1"
        return self.page(
            "reauthenticate",
            form=form,
            single_sign_on=link if self._by_issuer() else "",
            passkeys=bool(settings.PASSKEY_ORIGINS) and has_active(self.person.pk),
            status=status,
        )


def respond_too_many(form: CodeForm, error: two_factor.TooManyCodes, page: Any) -> HttpResponse:
    """Render ``page`` with 429 and Retry-After, after too many wrong codes."""
    unit = "second" if error.seconds == 1 else "seconds"
    form.refuse(f"Too many wrong codes. Wait {error.seconds} {unit}, then try again.")
    response: HttpResponse = page(form, status=429)
    response.headers["Retry-After"] = str(error.seconds)
    return response
