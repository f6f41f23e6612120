"""The pages for passkeys: register, rename, remove, and use one to sign in or confirm."""

import json
from collections.abc import Mapping
from datetime import timedelta
from secrets import token_bytes
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib import auth, messages
from django.contrib.auth.models import User
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect
from django.utils import timezone
from django.utils.crypto import salted_hmac
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from approvals_app.decisions import passkeys, webauthn
from approvals_app.errors import NotYourPasskey, PasskeyInvalid, PasskeyKnown, SignatureInvalid
from approvals_app.models import LONGEST_LABEL, Passkey
from audit_app.base.actors import Actor, Assurance
from audit_app.base.errors import InvalidTransition, NotFound
from audit_app.http.serializers import UUID_TEXT
from orchestrator.accounts import login, passwords, sessions
from orchestrator.accounts.destinations import get_destination, url_with_next
from orchestrator.accounts.views import PersonView, SignedInView

CHALLENGE = "signin_challenge"
CHALLENGE_AGE = timedelta(minutes=5)
BACKEND = "orchestrator.accounts.passkeys.PasskeyBackend"
NOT_ACCEPTED = "The passkey was not accepted. Try again."


class PasskeyBackend(passwords.PasswordBackend):
    """Signs in by a passkey whoever could by a password: with single sign-on the issuer decides."""

    def authenticate(  # type: ignore[override]  # other credentials
        self,
        request: HttpRequest | None,
        *,
        username: str,
        passkey: Mapping[str, str],
        challenge: bytes,
    ) -> User | None:
        user = User.objects.filter(username=username).first()
        if user is None or not self.user_can_authenticate(user):
            return None
        if not passwords.are_accepted_from(user):
            return None
        try:
            with transaction.atomic():
                passkeys.use_passkey(passkey, challenge, user_id=user.pk)
        except SignatureInvalid:
            return None
        return user


class SignIn(View):
    """Sign in with a passkey that the browser offers, without a username."""

    http_method_names = ["post"]

    @method_decorator(never_cache)
    def post(self, request: HttpRequest) -> HttpResponse:
        path = get_destination(request)
        user, device = _authenticate(request)
        if user is None:
            messages.error(request, NOT_ACCEPTED)
            return redirect(url_with_next("admin:login", path))
        return login.log_in(
            request, user, _prove(), backend=BACKEND, destination=path, device=device
        )


class SecondFactor(PersonView):
    """Give a passkey instead of a code."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        path = self.destination
        passkey, assertion, challenge = _read_use(request)
        try:
            if passkey is None:
                raise SignatureInvalid(why="")
            with transaction.atomic():
                passkeys.use_passkey(assertion, challenge, user_id=self.person.pk)
        except SignatureInvalid:
            messages.error(request, NOT_ACCEPTED)
            return redirect(url_with_next("signin:code", path))
        self.complete_second_factor(name_device(passkey))
        return redirect(path)


class Reauthenticate(SignedInView):
    """Authenticate again by a passkey instead of a password."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        path = self.destination
        user, device = _authenticate(request, self.person)
        if user is None:
            messages.error(request, NOT_ACCEPTED)
            return redirect(url_with_next("signin:reauthenticate", path))
        return login.log_in(
            request, user, _prove(), backend=BACKEND, destination=path, device=device
        )


class Passkeys(SignedInView):
    """A person's own passkeys, soon after they signed in."""

    def get(self, request: HttpRequest) -> HttpResponse:
        if not self.is_recently_authenticated():
            return self._ask_who_it_is()
        return self._render()

    def post(self, request: HttpRequest) -> HttpResponse:
        if not self.is_recently_authenticated():
            return self._ask_who_it_is()
        by, what = Actor.human(self.person), request.POST.get("do", "")
        label = request.POST.get("label", "")
        try:
            match what:
                case "register":
                    self._register(by, label)
                    messages.success(request, "Passkey registered.")
                case "rename":
                    passkeys.rename_passkey(_read_id(request), by=by, label=label)
                    messages.success(request, "Renamed.")
                case "remove":
                    passkeys.revoke_passkey(_read_id(request), by=by)
                    messages.success(request, "Passkey removed. Remove it from the device, too.")
        except (PasskeyInvalid, PasskeyKnown) as error:
            return self._render(problem=str(error), status=400)
        except (NotFound, NotYourPasskey, InvalidTransition):
            messages.error(request, "This passkey is gone.")
        return redirect(url_with_next("signin:passkeys", self.destination))

    def _register(self, by: Actor, label: str) -> None:
        answer, challenge = _read_answer(self.request), _take_challenge(self.request)
        if not challenge:
            raise PasskeyInvalid(field="passkey", why="It took too long. Try again.")
        transports = answer.get("transports")
        passkeys.register_passkey(
            answer,
            by=by,
            challenge=challenge,
            label=label,
            transports=transports if isinstance(transports, list) else (),
        )

    def _ask_who_it_is(self) -> HttpResponse:
        here = url_with_next("signin:passkeys", self.destination)
        return redirect(url_with_next("signin:reauthenticate", here))

    def _render(self, *, problem: str = "", status: int = 200) -> HttpResponse:
        return self.page(
            "passkeys",
            title="Passkeys",
            passkeys=passkeys.list_active(self.person.pk),
            problem=problem,
            longest_label=LONGEST_LABEL,
            origins=settings.PASSKEY_ORIGINS,
            status=status,
        )


class CreationOptions(SignedInView):
    """What the browser is given to make a passkey."""

    http_method_names = ["post"]

    def post(self, request: HttpRequest) -> HttpResponse:
        if not self.is_recently_authenticated():
            return JsonResponse({"options": None})  # sending the form asks who it is
        known = passkeys.list_active(self.person.pk)
        handle = salted_hmac("orchestrator.passkeys", str(self.person.pk), algorithm="sha256")
        options = webauthn.build_creation_options(
            _keep_challenge(request),
            user_handle=handle.digest(),
            name=self.person.get_username(),
            known=[each.credential_id for each in known],
        )
        return JsonResponse({"options": options})


class RequestOptions(View):
    """What the browser is given to use a passkey: the person's own, once it is known who it is."""

    http_method_names = ["post"]

    @method_decorator(never_cache)
    def post(self, request: HttpRequest) -> HttpResponse:
        pending = sessions.get_pending(request)
        user: Any = pending.user if pending else request.user
        known = passkeys.list_active(user.pk) if user.is_authenticated else ()
        options = webauthn.build_request_options(_keep_challenge(request), known)
        return JsonResponse({"options": options})


def _authenticate(request: HttpRequest, person: User | None = None) -> tuple[User | None, str]:
    """Whoever's passkey was used, only ``person`` if given, and its id as a device's; None: nobody.

    A failure counts towards the lockout as a wrong password does.
    """
    passkey, assertion, challenge = _read_use(request)
    if passkey is None or (person and passkey.user_id != person.pk):
        return None, ""
    name = passkey.user.get_username()
    found: Any = auth.authenticate(request, username=name, passkey=assertion, challenge=challenge)
    return found, name_device(passkey)


def _read_use(request: HttpRequest) -> tuple[Passkey | None, dict[str, str], bytes]:
    """The passkey that the browser used, what it answered, and to which challenge."""
    challenge = _take_challenge(request)
    try:
        assertion = webauthn.read_members(_read_answer(request), webauthn.ASSERTION_MEMBERS)
    except webauthn.NotVerified:
        return None, {}, b""
    found = Passkey.objects.active().filter(credential_id=assertion["credential_id"])
    return (found.select_related("user").first() if challenge else None), assertion, challenge


def name_device(passkey: Passkey) -> str:
    """The id of ``passkey`` among a session's second factors."""
    return f"{sessions.PASSKEY}{passkey.pk}"


def _prove() -> Assurance:
    # The authenticator verified the person itself: by what they have, and know or are.
    return Assurance("passkey", timezone.now(), second_factor=True)


def _keep_challenge(request: HttpRequest) -> bytes:
    challenge = token_bytes(32)
    request.session[CHALLENGE] = [webauthn.encode(challenge), timezone.now().timestamp()]
    return challenge


def _take_challenge(request: HttpRequest) -> bytes:
    """The challenge of this browser, once; empty if there is none, or an old one."""
    text, since = request.session.pop(CHALLENGE, ("", 0))
    is_old = timezone.now().timestamp() - since > CHALLENGE_AGE.total_seconds()
    return b"" if is_old else webauthn.decode(text)


def _read_answer(request: HttpRequest) -> dict[str, Any]:
    try:
        answer = json.loads(request.POST.get("assertion", ""))
    except (ValueError, RecursionError):
        answer = None
    return answer if isinstance(answer, dict) else {}


def _read_id(request: HttpRequest) -> UUID:
    """The passkey that was posted. Raises NotFound."""
    text = request.POST.get("passkey", "")
    if not UUID_TEXT.fullmatch(text):
        raise NotFound(what="passkey")
    return UUID(text)
