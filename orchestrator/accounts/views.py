"""The pages on which people sign in, set up a second factor, and prove who they are once more."""

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

from approvals_app.decisions import eligibility
from approvals_app.errors import ReauthenticationRequired, SecondFactorRequired
from audit_app.base.actors import Actor, Assurance
from orchestrator.accounts import login, passwords, sessions, sso, two_factor
from orchestrator.accounts.destinations import destination, leading_to
from orchestrator.accounts.forms import CodeForm, PasswordChangeForm, PasswordForm, SignInForm
from orchestrator.accounts.issuer import is_reachable

NEW_SECRET = "signin_secret"  # noqa: S105  # the name of a session's entry
FRESH_ENOUGH_TO_ENROL = timedelta(minutes=15)
INSIDE = "admin/base_site.html"
OUTSIDE = "signin/outside.html"

WRONG_CODE = (
    "This code is wrong or already used. Wait for the next one and check the clock of your device."
)
WRONG_PASSWORD = "Wrong password."  # noqa: S105  # a sentence
SET_UP_ALREADY = "A second factor was set up already, perhaps in another tab."
REMOVED = "Second factor removed. You can set up another."


def account_links(request: HttpRequest) -> list[dict[str, Any]]:
    """What is in a person's own menu (UNFOLD["ACCOUNT"]["navigation"])."""
    links = [{"title": "Second factor", "link": reverse("signin:second_factor")}]
    if request.user.is_authenticated and request.user.has_usable_password():
        links.append({"title": "Change password", "link": reverse("admin:password_change")})
    return links


class SignIn(LoginView):
    """The login page, whatever leads in."""

    template_name = "admin/login.html"
    authentication_form = SignInForm

    def get(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if request.user.is_authenticated and request.user.is_staff:
            return redirect(destination(request))
        return super().get(request, *args, **kwargs)

    def form_valid(self, form: AuthenticationForm) -> HttpResponse:
        user: Any = form.get_user()
        return login.enter(
            self.request,
            user,
            Assurance("password", timezone.now()),
            backend=user.backend,
            destination=destination(self.request),
        )

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        path = destination(self.request)
        context = {
            **super().get_context_data(**kwargs),
            **admin.site.each_context(self.request),
            "title": "Log in",
            "destination": path,
            "passwords": passwords.accepted(),
        }
        if settings.SINGLE_SIGN_ON:
            context["single_sign_on"] = leading_to("signin:start", path)
            context["reachable"] = is_reachable()
            context["issuer_logout"] = (
                sso.issuer_logout(self.request) if "out" in self.request.GET else ""
            )
        return context


class PasswordChange(PasswordChangeView):
    """The admin's own page."""

    form_class = PasswordChangeForm
    success_url = reverse_lazy("admin:password_change_done")

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), **admin.site.each_context(self.request)}


class SignOut(View):
    """Here, and by a link at the issuer too: its session goes on otherwise."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        by_issuer = request.session.get(auth.BACKEND_SESSION_KEY) == sso.BACKEND
        auth.logout(request)
        messages.success(request, "You have been logged out.")
        return redirect(reverse("admin:login") + ("?out" if by_issuer else ""))


class PersonView(View):
    """A page for whoever is signed in, or set aside with a second factor left to give."""

    request: HttpRequest
    person: User
    aside: sessions.SetAside | None = None

    @method_decorator(never_cache)
    @method_decorator(sensitive_post_parameters())
    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        self.aside = self.who_is_set_aside(request)
        if self.aside:
            self.person = self.aside.user
        elif request.user.is_authenticated:
            self.person = request.user
        else:
            return redirect(leading_to("admin:login", destination(request)))
        return super().dispatch(request, *args, **kwargs)

    def who_is_set_aside(self, request: HttpRequest) -> sessions.SetAside | None:
        return sessions.who_is_set_aside(request)

    @property
    def destination(self) -> str:
        return self.aside.destination if self.aside else destination(self.request)

    def page(self, name: str, *, status: int = 200, **context: Any) -> HttpResponse:
        """The page ``name``, inside of the admin for whoever is in it."""
        inside = self.aside is None and self.request.user.is_staff
        frame = admin.site.each_context(self.request)
        told = {
            "layout": INSIDE if inside else OUTSIDE,
            "title": "Your account",
            "person": self.person,
        }
        told["destination"] = self.destination
        return TemplateResponse(
            self.request, f"signin/{name}.html", {**frame, **told, **context}, status=status
        )

    def given(self, device: str) -> None:
        """A code of ``device`` was right: whoever was set aside is signed in."""
        if self.aside:
            sessions.begin(
                self.request,
                self.aside.user,
                self.aside.assurance,
                backend=self.aside.backend,
                device=device,
            )
        else:
            sessions.add_second_factor(self.request, device)


class Code(PersonView):
    """The second factor."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if not two_factor.enrolled(self.person):
            return redirect(leading_to("signin:second_factor", self.destination))
        return self._page(CodeForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = CodeForm(request.POST)
        if not form.is_valid():
            return self._page(form, status=400)
        try:
            device = two_factor.accept(self.person, form.cleaned_data["code"])
        except two_factor.WrongCode:
            form.refuse(WRONG_CODE)
            return self._page(form, status=400)
        except two_factor.TooManyCodes as error:
            return slowed_down(form, error, self._page)
        path = self.destination
        self.given(device)
        return redirect(path)

    def _page(self, form: Form, *, status: int = 200) -> HttpResponse:
        return self.page("code", form=form, status=status)


class SecondFactor(PersonView):
    """Set an authenticator up, renew the recovery codes, or remove both."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if two_factor.enrolled(self.person):
            # Whoever gave only a password so far may use the authenticator, and not replace it.
            return redirect("signin:code") if self.aside else self._managed(CodeForm())
        if not self._proved_lately():
            here = leading_to("signin:second_factor", self.destination)
            return redirect(leading_to("signin:reauthenticate", here))
        if NEW_SECRET not in request.session:
            request.session[NEW_SECRET] = two_factor.new_secret()
        return self._new(CodeForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = CodeForm(request.POST)
        enrolled = two_factor.enrolled(self.person)
        if enrolled and self.aside:
            return redirect("signin:code")
        if not enrolled and (not self._proved_lately() or NEW_SECRET not in request.session):
            return redirect(leading_to("signin:second_factor", self.destination))
        again = self._managed if enrolled else self._new
        if not form.is_valid():
            return again(form, status=400)
        try:
            return self._change(request, form.cleaned_data["code"], enrolled=enrolled)
        except two_factor.WrongCode:
            form.refuse(WRONG_CODE)
            return again(form, status=400)
        except two_factor.TooManyCodes as error:
            return slowed_down(form, error, again)
        except two_factor.EnrolledAlready:
            messages.info(request, SET_UP_ALREADY)
            return redirect(leading_to("signin:second_factor", self.destination))

    def _change(self, request: HttpRequest, code: str, *, enrolled: bool) -> HttpResponse:
        if not enrolled:
            secret = request.session[NEW_SECRET]
            device, codes = two_factor.enrol(self.person, secret, code)
            del request.session[NEW_SECRET]
            path = self.destination
            self.given(device)
            self.aside = None
            return self._shown_once(codes, path)
        if request.POST.get("do") == "renew":
            return self._shown_once(
                two_factor.renew_recovery_codes(self.person, code), self.destination
            )
        two_factor.remove(self.person, code)
        sessions.drop_second_factor(request)
        messages.success(request, REMOVED)
        return redirect("signin:second_factor")

    def _proved_lately(self) -> bool:
        """A window that was left open must not be enough to add somebody's telephone."""
        if self.aside:
            return True
        age = settings.REAUTHENTICATE_AFTER or FRESH_ENOUGH_TO_ENROL
        at = self.request.user.assurance.authenticated_at  # type: ignore[union-attr]
        return at is not None and timezone.now() - at <= age

    def _new(self, form: Form, *, status: int = 200) -> HttpResponse:
        secret = self.request.session[NEW_SECRET]
        if not form.is_bound:
            del form.fields["code"].widget.attrs["autofocus"]  # the picture comes first
        return self.page(
            "enrol",
            form=form,
            picture=two_factor.picture(self.person, secret),
            secret=two_factor.readable(secret),
            demanded=settings.REQUIRE_SECOND_FACTOR,
            status=status,
        )

    def _managed(self, form: Form, *, status: int = 200) -> HttpResponse:
        left = two_factor.recovery_codes_left(self.person)
        return self.page("second_factor", form=form, left=left, status=status)

    def _shown_once(self, codes: list[str], path: str) -> HttpResponse:
        return self.page("codes", codes=codes, destination=path)


class SignedInView(PersonView):
    """A page for whoever is signed in."""

    def who_is_set_aside(self, request: HttpRequest) -> None:
        return None


class Prove(SignedInView):
    """On to whatever proof a decision lacks still, and then to the decision."""

    def get(self, request: HttpRequest) -> HttpResponse:
        here = leading_to("signin:prove", self.destination)
        try:
            eligibility.check_assurance(Actor.human(self.person), timezone.now())
        except ReauthenticationRequired:
            return redirect(leading_to("signin:reauthenticate", here))
        except SecondFactorRequired:
            return redirect(leading_to("signin:code", here))
        return redirect(self.destination)


class Reauthenticate(SignedInView):
    """Prove who you are once more, by the way that this session began."""

    def get(self, request: HttpRequest) -> HttpResponse:
        return self._page(PasswordForm())

    def post(self, request: HttpRequest) -> HttpResponse:
        form = PasswordForm(request.POST)
        if self._by_issuer():
            return self._page(form)
        if not form.is_valid():
            return self._page(form, status=400)
        user = auth.authenticate(
            request, username=self.person.get_username(), password=form.cleaned_data["password"]
        )
        if user is None or user.pk != self.person.pk:
            form.refuse(WRONG_PASSWORD)
            return self._page(form, status=400)
        path = self.destination
        proof = Assurance("password", timezone.now())
        return login.enter(request, user, proof, backend=user.backend, destination=path)

    def _by_issuer(self) -> bool:
        return self.request.session.get(auth.BACKEND_SESSION_KEY) == sso.BACKEND

    def _page(self, form: Form, *, status: int = 200) -> HttpResponse:
        link = f"{leading_to('signin:start', self.destination)}&again=1"
        return self.page(
            "reauthenticate",
            form=form,
            single_sign_on=link if self._by_issuer() else "",
            status=status,
        )


def slowed_down(form: CodeForm, error: two_factor.TooManyCodes, page: Any) -> HttpResponse:
    """``page`` with 429: after wrong codes, even a right one has to wait."""
    unit = "second" if error.seconds == 1 else "seconds"
    form.refuse(f"Too many wrong codes. Wait {error.seconds} {unit}, then try again.")
    answer: HttpResponse = page(form, status=429)
    answer.headers["Retry-After"] = str(error.seconds)
    return answer
