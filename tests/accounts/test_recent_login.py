"""Prove it once more: whoever signed in too long ago decides on nothing before."""

import time
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import AnonymousUser, User

from audit_app.base.actors import Actor, Assurance
from audit_app.models import Event
from tests.accounts.authenticator import set_up
from tests.accounts.conftest import INBOX, LOGIN, START, ago, follow_redirect, text
from tests.factories import TaskFactory, the_approval

AGAIN = "/admin/reauthenticate/"


@pytest.fixture(autouse=True)
def a_quarter_of_an_hour(settings) -> None:
    settings.REAUTHENTICATE_AFTER = timedelta(minutes=15)


@pytest.fixture
def approval(bot, alice):
    return the_approval(TaskFactory(agent=bot))


@pytest.fixture
def stale(browser, alice):
    """A window in which alice signed in twenty minutes ago."""
    window = browser()
    with ago(minutes=20):
        window.log_in("alice")
    return window


def page_of(approval) -> str:
    return f"/admin/approvals_app/approval/{approval.pk}/change/"


def decide(window, approval, decision="approve", notes="I asked the customer."):
    return window.post(
        page_of(approval),
        decision=decision,
        payload_digest=approval.payload_digest,
        notes=notes,
    )


def test_a_fresh_session_decides(browser, approval):
    window = browser()
    window.log_in("alice")

    assert decide(window, approval).headers["Location"] == INBOX
    assert the_approval(approval.task).status == "approved"


@pytest.mark.parametrize("decision", ["approve", "reject"])
def test_a_stale_session_decides_nothing_and_that_is_recorded(stale, approval, decision):
    answer = decide(stale, approval, decision)

    assert answer.headers["Location"].startswith("/admin/prove/")
    assert the_approval(approval.task).status == "pending"
    refusal = Event.objects.get(event_type="operation.refused")
    assert refusal.actor == "human:alice"
    assert '"reauthentication_required"' in refusal.entry


def test_alice_gives_her_password_and_is_back_with_her_notes(stale, approval):
    asked = stale.client.get(decide(stale, approval).headers["Location"], follow=True)
    where, _ = asked.redirect_chain[-1]
    assert where.startswith(AGAIN)
    assert 'autocomplete="current-password"' in text(asked)

    answer = stale.post(AGAIN, password="alice", next=parse_qs(urlsplit(where).query)["next"][0])
    back = stale.client.get(answer.headers["Location"], follow=True)

    assert back.redirect_chain[-1][0] == page_of(approval)
    assert "I asked the customer." in text(back)
    assert "Nothing was decided yet" in text(back)
    assert the_approval(approval.task).status == "pending"
    assert decide(stale, approval).headers["Location"] == INBOX
    assert the_approval(approval.task).status == "approved"


def test_reading_needs_no_new_proof(stale, approval):
    assert 'value="approve"' in stale.read(page_of(approval))
    assert stale.person == "alice"


def test_a_wrong_password_proves_nothing_and_is_counted(stale, approval):
    answers = [stale.post(AGAIN, password="wrong").status_code for _ in range(5)]

    assert answers == [400, 400, 400, 400, 429]
    assert stale.post(AGAIN, password="alice").status_code == 429
    assert decide(stale, approval).headers["Location"].startswith("/admin/prove/")


def test_bobs_password_does_not_prove_alice(stale, approval, bob):
    assert stale.post(AGAIN, password="bob", username="bob").status_code == 400
    assert stale.person == "alice"


def test_the_sessions_key_changes_with_the_proof(stale):
    before = stale.client.session.session_key
    stale.post(AGAIN, password="alice")

    assert stale.client.session.session_key != before


@pytest.mark.parametrize("elsewhere", ["https://evil.example/", "//evil.example", "/\\evil"])
def test_it_leads_to_this_site_alone(stale, elsewhere):
    assert stale.post(AGAIN, password="alice", next=elsewhere).headers["Location"] == INBOX
    assert stale.get("/admin/prove/", next=elsewhere).headers["Location"] == INBOX


@pytest.mark.parametrize("page", [AGAIN, "/admin/prove/", "/admin/code/", "/admin/second-factor/"])
def test_nobody_has_nothing_to_prove(browser, page):
    assert browser().get(page).headers["Location"].startswith(LOGIN)


def test_by_api_the_code_says_so(api, approval, alice):
    with ago(minutes=20):
        caller = api(user=alice)
    sent = {"payload_digest": approval.payload_digest}
    answer = caller.post(f"/approvals/{approval.pk}/approve", sent)

    assert (answer.status_code, answer.json()["code"]) == (403, "reauthentication_required")
    assert api(user=alice).post(f"/approvals/{approval.pk}/approve", sent).status_code == 200


def test_who_may_not_decide_anyway_is_not_asked_for_a_proof(browser, charlie, approval):
    window = browser()
    with ago(minutes=20):
        window.log_in("charlie")

    assert decide(window, approval).status_code == 404


def test_the_second_factor_of_this_session_still_counts(browser, alice, approval, settings):
    settings.REQUIRE_SECOND_FACTOR = "decisions"
    window = browser()
    with ago(minutes=20):
        window.log_in("alice")
        set_up(window)
    assert decide(window, approval).headers["Location"].startswith("/admin/prove/")

    assert window.post(AGAIN, password="alice").headers["Location"] == INBOX
    assert decide(window, approval).headers["Location"] == INBOX


class TestBySingleSignOn:
    @pytest.fixture
    def window(self, provider, browser, approval):
        """A window in which the issuer says that alice gave her proof an hour ago."""
        provider.claims["auth_time"] = int(time.time()) - 3600
        window = browser()
        window.sign_on()
        return window

    def test_the_issuers_time_counts_and_not_the_sign_ins(self, provider, window, approval):
        assert provider.authorizations[0]["max_age"] == "900"
        assert decide(window, approval).headers["Location"].startswith("/admin/prove/")

    def test_the_issuer_asks_her_again_and_brings_her_back(self, provider, window, approval):
        asked = window.client.get(decide(window, approval).headers["Location"], follow=True)
        link = text(asked).split(f'href="{START}')[1].split('"')[0]
        provider.claims["auth_time"] = int(time.time())
        back = window.client.get(
            window.come_back(follow_redirect(window.client.get(START + link))).headers["Location"],
            follow=True,
        )

        asked_for = provider.authorizations[-1]
        assert (asked_for["prompt"], asked_for["max_age"]) == ("login", "0")
        assert back.redirect_chain[-1][0] == page_of(approval)
        assert "I asked the customer." in text(back)
        assert decide(window, approval).headers["Location"] == INBOX

    @pytest.mark.parametrize("auth_time", [None, "now", True, 0, -1, 1e300])
    def test_an_issuer_that_did_not_ask_or_does_not_tell_proves_nothing(
        self, provider, window, approval, auth_time
    ):
        provider.claims["auth_time"] = auth_time
        window.sign_on(again="1")

        assert "did not say when" in window.read()
        assert decide(window, approval).headers["Location"].startswith("/admin/prove/")

    def test_a_sign_in_whose_time_the_issuer_does_not_tell_is_not_fresh(
        self, provider, browser, approval
    ):
        del provider.claims["auth_time"]
        window = browser()
        window.sign_on()

        assert window.person == "alice"
        assert decide(window, approval).headers["Location"].startswith("/admin/prove/")

    def test_an_old_proof_is_not_a_new_one(self, provider, window, approval):
        window.sign_on(again="1")

        assert "did not say when" in window.read()

    def test_somebody_else_at_the_issuer_does_not_prove_alice(
        self, provider, window, approval, bob
    ):
        provider.knows("subject-of-bob", "bob", "finance")
        window.sign_on(again="1")

        assert "Somebody else signed in" in window.read()
        assert window.person == "alice"

    def test_no_password_proves_her(self, window, approval):
        User.objects.get(username="alice")
        assert window.post(AGAIN, password="alice").status_code == 200
        assert decide(window, approval).headers["Location"].startswith("/admin/prove/")


class TestWhatAnActorKnows:
    def test_of_a_user_whom_nobody_authenticated_nothing(self, alice):
        assert Actor.human(alice).assurance == Assurance("unknown", None, False)
        assert Actor.human(AnonymousUser()).assurance == Assurance()

    def test_what_a_token_claims(self):
        claims = {"auth_time": 1_700_000_000.7, "amr": ["pwd", "otp"]}

        assert Assurance.from_claims(claims) == Assurance(
            "oidc", datetime(2023, 11, 14, 22, 13, 20, tzinfo=UTC), True
        )

    def test_a_clock_that_is_a_little_ahead_is_now(self):
        at = Assurance.from_claims({"auth_time": time.time() + 30}).authenticated_at

        assert at is not None
        assert at <= datetime.now(UTC)
        assert Assurance.from_claims({"auth_time": time.time() + 120}).authenticated_at is None
