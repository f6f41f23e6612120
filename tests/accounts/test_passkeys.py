"""Passkeys of people: register and remove them, and sign in with them."""

import json
from datetime import timedelta

import pytest
from django.core.management import call_command
from django.test import Client

from approvals_app.decisions import passkeys
from approvals_app.decisions.webauthn import decode
from approvals_app.models import Passkey, PasskeyUse
from approvals_app.notifications.models import Notice, NoticeSettings
from approvals_app.notifications.recipients import record_notices
from audit_app.base.actors import Actor
from audit_app.models import Event
from tests.accounts.authenticator import PAGE as SECOND_FACTOR
from tests.accounts.conftest import INBOX, LOGIN, ago, later, text
from tests.authenticators import PRESENT, Authenticator, register

PAGE = "/admin/passkeys/"
NEW = "/admin/passkeys/new/"
USE = "/admin/passkeys/use/"
SIGN_IN = "/admin/login/passkey/"
CODE = "/admin/code/"
AGAIN = "/admin/reauthenticate/"


@pytest.fixture(autouse=True)
def here(settings):
    settings.PASSKEY_ORIGINS = ["http://localhost:8000"]
    settings.PASSKEY_DOMAIN = "localhost"


@pytest.fixture
def key(alice):
    made, _ = register(alice)
    return made


def challenge(window, where=USE):
    return decode(window.post(where).json()["options"]["challenge"])


def use(window, key, path, to=INBOX, **wrong):
    assertion = key.sign(challenge(window), **wrong)
    return window.post(path, assertion=json.dumps(assertion), next=to)


def add(window, key, label="Laptop", **wrong):
    answer = key.create(challenge(window, NEW), **wrong) | {"transports": ["usb", "strange"]}
    return window.post(PAGE, do="register", label=label, assertion=json.dumps(answer))


class TestRegistering:
    def test_alice_registers_one_and_administrators_are_told(self, browser, alice, root, bob):
        window = browser()
        window.log_in("alice")
        options = window.post(NEW).json()["options"]
        assert options["authenticatorSelection"]["userVerification"] == "required"
        assert [each["alg"] for each in options["pubKeyCredParams"]] == [-8, -7]
        assert options["rp"]["id"] == "localhost"
        assert add(window, Authenticator()).status_code == 302
        passkey = Passkey.objects.get()
        assert (passkey.user, passkey.label, passkey.transports) == (alice, "Laptop", ["usb"])
        page = window.read(PAGE)
        assert "Passkey registered." in page
        assert 'value="Laptop"' in page

        root.email = "root@example.com"
        root.save()
        alice.email = "alice@example.com"
        alice.save()
        NoticeSettings.objects.create(person=alice, without=["passkey"])
        record_notices(list(Event.objects.filter(event_type="passkey.registered")))
        told = Notice.objects.filter(kind="passkey").values_list("person__username", flat=True)
        assert sorted(told) == ["alice", "root"]

    def test_only_soon_after_signing_in(self, browser, alice):
        window = browser()
        with ago(minutes=20):
            window.log_in("alice")
        assert window.get(PAGE).headers["Location"].startswith(AGAIN)
        assert window.post(NEW).json() == {"options": None}
        assert window.post(PAGE, do="register").headers["Location"].startswith(AGAIN)
        assert not Passkey.objects.exists()

    def test_nobody_registers_one_before_they_are_signed_in(self, browser, alice, key):
        window = browser()
        assert window.post(NEW).status_code == 302
        window.log_in("alice")  # the passkey is still missing
        assert window.post(NEW).status_code == 302
        assert window.get(PAGE).headers["Location"].startswith(LOGIN)

    def test_what_the_authenticator_did_not_verify_is_refused(self, browser, alice):
        window = browser()
        window.log_in("alice")
        answer = add(window, Authenticator(), flags=PRESENT)
        assert answer.status_code == 400
        assert "The passkey did not verify who used it." in text(answer)

    def test_a_challenge_is_used_once_and_for_five_minutes(self, browser, alice):
        window = browser()
        window.log_in("alice")
        one = challenge(window, NEW)
        answer = json.dumps(Authenticator().create(one))
        assert window.post(PAGE, do="register", label="One", assertion=answer).status_code == 302
        again = json.dumps(Authenticator().create(one))
        assert window.post(PAGE, do="register", label="Two", assertion=again).status_code == 400
        late = json.dumps(Authenticator().create(challenge(window, NEW)))
        with later(minutes=6):
            answer = window.post(PAGE, do="register", label="Three", assertion=late)
        assert "It took too long." in text(answer)
        assert Passkey.objects.count() == 1


class TestRemoving:
    def test_its_owner_renames_and_removes_it(self, browser, alice, key):
        window = browser()
        use(window, key, SIGN_IN)
        pk = str(Passkey.objects.get().pk)
        window.post(PAGE, do="rename", passkey=pk, label="Phone")
        assert Passkey.objects.get().label == "Phone"
        window.post(PAGE, do="remove", passkey=pk)
        assert Passkey.objects.get().status == "revoked"
        assert Event.objects.filter(event_type="passkey.revoked", actor="human:alice").exists()

    def test_nobody_else_does(self, browser, alice, bob, key):
        window = browser()
        window.log_in("bob")
        for pk in (str(Passkey.objects.get().pk), "nonsense", "0" * 32):
            window.post(PAGE, do="remove", passkey=pk)
            window.post(PAGE, do="rename", passkey=pk, label="Mine")
        assert Passkey.objects.get().status == "active"
        assert Passkey.objects.get().label == "Laptop"

    def test_sessions_that_began_with_it_end(self, browser, alice, key):
        window = browser()
        use(window, key, SIGN_IN)
        assert window.person == "alice"
        passkeys.revoke_passkey(Passkey.objects.get().pk, by=Actor.human(alice))
        assert window.person == ""
        assert use(browser(), key, SIGN_IN).headers["Location"].startswith(LOGIN)

    def test_an_administrator_resets_all(self, browser, alice, key, capsys):
        call_command("reset_second_factor", "alice")
        assert Passkey.objects.get().status == "revoked"
        window = browser()
        window.log_in("alice")
        assert window.person == "alice"


class TestSigningIn:
    def test_without_name_and_password_and_as_with_a_second_factor(
        self, browser, alice, key, settings
    ):
        settings.REQUIRE_SECOND_FACTOR = "always"
        window = browser()
        options = window.post(USE).json()["options"]
        assert options["userVerification"] == "required"
        assert options["allowCredentials"] == []
        answer = use(window, key, SIGN_IN, "/admin/away/")
        assert answer.headers["Location"] == "/admin/away/"
        assert window.person == "alice"
        assurance = window.get(INBOX).wsgi_request.user.assurance
        assert (assurance.authenticated_by, assurance.second_factor) == ("passkey", True)
        assert PasskeyUse.objects.get().last_used_at

    @pytest.mark.parametrize(
        "wrong",
        [
            {"flags": PRESENT},
            {"origin": "https://phishing.example"},
            {"crossOrigin": True},
            {"type": "webauthn.create"},
        ],
    )
    def test_what_is_wrong_is_refused(self, browser, key, wrong):
        window = browser()
        assert use(window, key, SIGN_IN, **wrong).headers["Location"].startswith(LOGIN)
        assert window.person == ""
        assert "The passkey was not accepted." in window.read(LOGIN)

    def test_an_answer_signs_in_once(self, browser, key):
        window = browser()
        assertion = json.dumps(key.sign(challenge(window)))
        window.post(SIGN_IN, assertion=assertion)
        assert window.person == "alice"
        thief = browser()
        challenge(thief)
        thief.post(SIGN_IN, assertion=assertion)
        assert thief.person == ""

    @pytest.mark.parametrize("sent", ["", "{", "[]", '{"credential_id": 1}', '"text"', "null"])
    def test_nonsense_is_refused(self, browser, key, sent):
        window = browser()
        challenge(window)
        assert window.post(SIGN_IN, assertion=sent).headers["Location"].startswith(LOGIN)

    def test_wrong_ones_lock_out_as_wrong_passwords_do(self, browser, alice, key, settings):
        window = browser()
        for _ in range(settings.LOGIN_FAILURE_LIMIT):
            last = use(window, key, SIGN_IN, flags=PRESENT)
        assert last.status_code == 429
        assert use(window, key, SIGN_IN).status_code == 429
        assert window.log_in("alice").status_code == 429
        assert use(browser("203.0.113.9"), key, SIGN_IN).status_code == 302

    def test_an_ended_account_has_no_use_of_it(self, browser, alice, key):
        alice.is_active = False
        alice.save()
        window = browser()
        use(window, key, SIGN_IN)
        assert window.person == ""

    def test_with_single_sign_on_the_issuer_decides_who_comes_in(
        self, browser, alice, key, provider
    ):
        assert "Sign in with a passkey" not in browser().read(LOGIN)
        window = browser()
        use(window, key, SIGN_IN)
        assert window.person == ""

    def test_it_begins_where_passkeys_work(self, key):
        answer = Client(headers={"host": "127.0.0.1:8000"}).get(LOGIN, {"next": "/admin/away/"})
        assert answer.headers["Location"] == (
            "http://localhost:8000/admin/login/?next=%2Fadmin%2Faway%2F"
        )
        assert Client(headers={"host": "127.0.0.1:8001"}).get(LOGIN).status_code == 200


class TestInPlaceOfACode:
    def test_a_password_alone_is_no_longer_enough(self, browser, alice, key):
        window = browser()
        answer = window.log_in("alice")
        assert answer.headers["Location"] == CODE
        assert window.person == ""
        page = window.read(CODE)
        assert "Use a passkey" in page
        assert "six digits" not in page
        assert use(window, key, f"{CODE}passkey/").status_code == 302
        assert window.person == "alice"

    def test_a_pending_login_does_not_get_around_it_by_a_new_authenticator(
        self, browser, alice, key
    ):
        window = browser()
        window.log_in("alice")
        assert window.get(SECOND_FACTOR).headers["Location"] == CODE
        assert window.post(SECOND_FACTOR, code="123456").headers["Location"] == CODE

    def test_another_persons_passkey_does_not_help(self, browser, alice, bob, key):
        other, _ = register(bob)
        window = browser()
        window.log_in("alice")
        use(window, other, f"{CODE}passkey/")
        assert window.person == ""
        assert "The passkey was not accepted." in window.read(CODE)

    def test_it_confirms_who_decides(self, browser, alice, key, settings):
        settings.REAUTHENTICATE_AFTER = timedelta(minutes=15)
        window = browser()
        with ago(minutes=20):
            use(window, key, SIGN_IN)
        assert "Confirm with a passkey" in window.read(AGAIN)
        before = window.get(INBOX).wsgi_request.user.assurance.authenticated_at
        assert use(window, key, f"{AGAIN}passkey/").status_code == 302
        assert window.get(INBOX).wsgi_request.user.assurance.authenticated_at > before
