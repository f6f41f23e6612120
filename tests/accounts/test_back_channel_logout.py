"""Whoever logs out at the issuer is logged out here (OpenID Connect Back-Channel Logout 1.0)."""

import time
from typing import Any

import pytest
from django.contrib.auth.models import Group
from django.contrib.sessions.models import Session
from django.test import Client

from orchestrator.accounts.models import IssuerSession
from tests.accounts.authenticator import set_up
from tests.accounts.conftest import START, later
from tests.accounts.provider import CLIENT_ID, Keys

LOGOUT = "/admin/single-sign-on/logout/"
EVENT = "http://schemas.openid.net/event/backchannel-logout"


@pytest.fixture(autouse=True)
def finance() -> Group:
    return Group.objects.create(name="finance")


@pytest.fixture
def windows(provider, browser):
    """Two browsers of alice's, each with a login of its own at the issuer."""
    windows = {}
    for sid in ("first", "second"):
        provider.claims["sid"] = sid
        windows[sid] = browser()
        windows[sid].sign_on()
    return windows


def make_token(provider, *, typ: str = "logout+jwt", **changed: Any) -> str:
    now = int(time.time())
    claims = {"iss": provider.url, "aud": CLIENT_ID, "iat": now, "exp": now + 60, "jti": "1"}
    claims |= {"events": {EVENT: {}}, "sub": "subject-of-alice", **changed}
    provider.typ = typ
    try:
        return provider.sign({name: value for name, value in claims.items() if value is not None})
    finally:
        provider.typ = "JWT"


def send(token: str) -> Any:
    client = Client(enforce_csrf_checks=True, raise_request_exception=False)
    return client.post(LOGOUT, {"logout_token": token})


def people(windows) -> dict[str, str]:
    return {sid: window.person for sid, window in windows.items()}


@pytest.mark.parametrize("typ", ["logout+jwt", "JWT"])
def test_a_logout_of_one_login_ends_its_session_alone(provider, windows, typ):
    answer = send(make_token(provider, typ=typ, sid="first"))

    assert (answer.status_code, answer.headers["Cache-Control"]) == (200, "no-store")
    assert people(windows) == {"first": "", "second": "alice"}


def test_a_login_is_found_without_its_person(provider, windows):
    assert send(make_token(provider, sid="second", sub=None)).status_code == 200
    assert people(windows) == {"first": "alice", "second": ""}


def test_a_logout_of_the_person_ends_all_their_sessions(provider, windows, browser):
    provider.knows("subject-of-bob", "bob", "finance")
    bob = browser()
    bob.sign_on()
    send(make_token(provider))

    assert people(windows) == {"first": "", "second": ""}
    assert bob.person == "bob"


def test_a_login_that_the_issuer_did_not_name_is_ended_by_its_person(provider, browser):
    window = browser()
    window.sign_on()
    send(make_token(provider, sid="unknown here"))
    assert not window.person


def test_somebody_elses_login_is_left_alone(provider, windows):
    assert send(make_token(provider, sid="first", sub="subject-of-bob")).status_code == 200
    assert send(make_token(provider, sid="third")).status_code == 200
    assert people(windows) == {"first": "alice", "second": "alice"}


def test_a_session_whose_key_changed_is_found(provider, windows, settings):
    window = windows["first"]
    set_up(window)
    provider.claims |= {"sid": "first", "auth_time": int(time.time())}
    window.sign_on(again="1")
    assert IssuerSession.objects.count() == 2

    send(make_token(provider, sid="first"))
    assert not window.person


def test_a_login_that_waits_for_its_second_factor_ends_too(provider, browser, settings):
    settings.REQUIRE_SECOND_FACTOR = "always"
    window = browser()
    window.sign_on()
    assert window.get("/admin/second-factor/").status_code == 200
    send(make_token(provider))

    assert window.get("/admin/second-factor/").headers["Location"].startswith("/admin/login/")


def test_a_password_session_is_none_of_the_issuers(provider, browser, root, settings):
    settings.ADMIN_PASSWORD_FALLBACK = True
    window = browser()
    window.log_in("root")
    assert not IssuerSession.objects.exists()
    send(make_token(provider))
    assert window.person == "root"


def test_logins_go_with_their_sessions(provider, windows):
    windows["first"].post("/admin/logout/")
    assert IssuerSession.objects.get().sid == "second"
    with later(days=2):
        Session.get_session_store_class().clear_expired()
    assert not IssuerSession.objects.exists()


REFUSED = {
    "no token": lambda provider: "",
    "no logout token": lambda provider: make_token(provider, events={"another": {}}),
    "no events": lambda provider: make_token(provider, events=None),
    "events that are none": lambda provider: make_token(provider, events=EVENT),
    "an event that is no object": lambda provider: make_token(provider, events={EVENT: True}),
    "an ID token": lambda provider: make_token(provider, nonce="n"),
    "nobody": lambda provider: make_token(provider, sub=None),
    "a subject that is none": lambda provider: make_token(provider, sub=7),
    "a login that is none": lambda provider: make_token(provider, sid=["first"]),
    "another client's": lambda provider: make_token(provider, aud="another"),
    "another issuer's": lambda provider: make_token(provider, iss="https://evil.example"),
    "expired": lambda provider: make_token(provider, exp=1_700_000_000),
    "without an end": lambda provider: make_token(provider, exp=None),
    "without an id": lambda provider: make_token(provider, jti=None),
    "an access token": lambda provider: make_token(provider, typ="at+jwt"),
    "another event": lambda provider: make_token(provider, typ="secevent+jwt"),
}


@pytest.mark.parametrize("which", REFUSED)
def test_what_is_refused_ends_nothing_and_is_in_the_log(provider, windows, caplog, which):
    answer = send(REFUSED[which](provider))

    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid_request"
    assert answer.headers["Cache-Control"] == "no-store"
    assert people(windows) == {"first": "alice", "second": "alice"}
    assert sum("logout refused" in str(record.msg) for record in caplog.records) == 1


def test_another_key_signs_nobody_out(provider, windows):
    provider.signed_by = Keys()
    assert send(make_token(provider)).status_code == 400
    assert people(windows) == {"first": "alice", "second": "alice"}


def test_keys_that_can_not_be_had_are_no_refusal(provider):
    token = make_token(provider)
    provider.up = False
    answer = send(token)
    assert answer.status_code == 503
    assert int(answer.headers["Retry-After"]) >= 1


def test_it_is_a_post_and_gone_without_single_sign_on(provider, browser, settings):
    assert browser().get(LOGOUT).status_code == 405
    settings.SINGLE_SIGN_ON = False
    assert send("x").status_code == 404
    assert browser().get(START).status_code == 404
