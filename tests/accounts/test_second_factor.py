"""A code after the password: set up, asked for, lost, removed."""

import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connections
from django_otp.plugins.otp_static.models import StaticToken
from django_otp.plugins.otp_totp.models import TOTPDevice

from orchestrator.accounts import two_factor
from tests.accounts.authenticator import PAGE, Authenticator, recovery_codes, set_up
from tests.accounts.conftest import INBOX, LOGIN, ago, later, text
from tests.commands.conftest import expect_failure
from tests.factories import TaskFactory, the_approval

CODE = "/admin/code/"


@pytest.fixture
def telephone(browser, alice) -> Authenticator:
    """Alice set a second factor up a while ago; her recovery codes are ``kept``."""
    window = browser()
    with ago(hours=1):
        window.log_in("alice")
        made, codes = set_up(window)
    made.kept = codes
    return made


@pytest.fixture
def approval(bot):
    return the_approval(TaskFactory(agent=bot))


def decide(window, approval, decision="approve", notes=""):
    return window.post(
        f"/admin/approvals_app/approval/{approval.pk}/change/",
        decision=decision,
        payload_digest=approval.payload_digest,
        notes=notes,
    )


class TestSettingItUp:
    def test_alice_reads_a_picture_types_a_code_and_is_shown_ten_recovery_codes_once(
        self, browser, alice
    ):
        window = browser()
        window.log_in("alice")
        page = window.read(PAGE)
        assert "<svg" in page
        assert not re.search(r"<svg.*style|<path[^>]*style", page)
        _, codes = set_up(window)

        assert len(set(codes)) == 10
        assert codes[0] not in window.read(PAGE)
        assert "10 recovery codes left" in window.read(PAGE)
        assert not StaticToken.objects.filter(token__in=codes).exists()
        assert window.person == "alice"

    def test_a_wrong_code_sets_nothing_up(self, browser, alice):
        window = browser()
        window.log_in("alice")
        window.read(PAGE)
        for wrong in ("000000x", "", "12345", "１２３４５６7"):
            assert window.post(PAGE, code=wrong).status_code == 400

        assert not TOTPDevice.objects.exists()

    def test_without_having_seen_the_secret_there_is_nothing_to_confirm(self, browser, alice):
        window = browser()
        window.log_in("alice")

        assert window.post(PAGE, code="123456").status_code == 302
        assert not TOTPDevice.objects.exists()

    def test_a_window_that_was_left_open_is_not_enough(self, browser, alice):
        window = browser()
        with ago(minutes=16):
            window.log_in("alice")

        answer = window.get(PAGE)
        assert answer.headers["Location"].startswith("/admin/reauthenticate/")

    def test_a_second_tab_is_told(self, browser, alice):
        window = browser()
        window.log_in("alice")
        set_up(window)
        secret = two_factor.new_secret()
        other = Authenticator(two_factor.format_secret(secret))
        with pytest.raises(two_factor.AlreadyEnrolled):
            two_factor.enrol(alice, secret, other.code())

        assert TOTPDevice.objects.count() == 1

    def test_the_code_that_set_it_up_is_used_up(self, browser, alice):
        window = browser()
        window.log_in("alice")
        telephone, _ = set_up(window)
        other = browser()
        other.log_in("alice")

        assert other.post(CODE, code=telephone.shown).status_code == 400

    def test_nobody_sees_anybodys_secret_in_the_admin(self, browser, root, telephone):
        window = browser()
        window.log_in("root")
        device = TOTPDevice.objects.get()

        for page in ("", f"{device.pk}/change/", f"{device.pk}/config/", f"{device.pk}/qrcode/"):
            assert window.get(f"/admin/otp_totp/totpdevice/{page}").status_code == 404


class TestLoggingIn:
    def test_the_code_is_asked_for_after_the_password_and_nobody_is_in_before(
        self, browser, telephone
    ):
        window = browser()
        answer = window.log_in("alice", next="/admin/audit_app/event/")
        assert answer.headers["Location"] == CODE
        assert not window.person
        assert window.client.get("/approvals").status_code in (401, 403)

        answer = window.post(CODE, code=telephone.code())
        assert answer.headers["Location"] == "/admin/audit_app/event/"
        assert window.person == "alice"

    def test_a_code_counts_once(self, browser, telephone):
        code = telephone.code()
        first, second = browser(), browser()
        for window in (first, second):
            window.log_in("alice")
        first.post(CODE, code=code)

        assert second.post(CODE, code=code).status_code == 400
        assert (first.person, second.person) == ("alice", "")

    def test_one_code_in_two_windows_at_once_opens_one(self, browser, telephone):
        windows = [browser() for _ in range(4)]
        for window in windows:
            window.log_in("alice")
        code = telephone.code()

        def give(window) -> int:
            try:
                return window.post(CODE, code=code).status_code
            finally:
                connections.close_all()

        with ThreadPoolExecutor(4) as pool:
            answers = sorted(pool.map(give, windows))

        assert answers[0] == 302
        assert set(answers[1:]) <= {400, 429}

    def test_a_recovery_code_counts_once_too_however_it_is_typed(self, browser, telephone):
        typed = telephone.kept[3].upper().replace("-", " ")
        first, second = browser(), browser()
        for window in (first, second):
            window.log_in("alice")

        assert first.post(CODE, code=typed).status_code == 302
        assert second.post(CODE, code=typed).status_code == 400
        assert (first.person, second.person) == ("alice", "")

    def test_a_wrong_code_given_while_the_clock_ran_ahead_delays_nobody(self, browser, telephone):
        window = browser()
        window.log_in("alice")
        with later(minutes=3):
            assert window.post(CODE, code=telephone.wrong()).status_code == 400

        assert window.post(CODE, code=telephone.code()).status_code == 302

    def test_after_wrong_codes_even_a_right_one_has_to_wait(self, browser, telephone):
        window = browser()
        window.log_in("alice")
        assert window.post(CODE, code=telephone.wrong()).status_code == 400

        answer = window.post(CODE, code=telephone.code())
        assert answer.status_code == 429
        assert int(answer.headers["Retry-After"]) >= 1
        assert "Too many wrong codes" in text(answer)
        with later(seconds=2):
            assert window.post(CODE, code=telephone.code()).status_code == 302

    def test_each_wrong_code_doubles_the_wait_whoever_types_it(self, browser, telephone):
        waits = []
        for n in range(4):
            with later(minutes=n):
                window = browser(f"192.0.2.{n + 1}")
                window.log_in("alice")
                window.post(CODE, code=telephone.wrong())
                waits.append(int(window.post(CODE, code="000000").headers["Retry-After"]))

        assert waits == [1, 2, 4, 8]

    def test_somebody_with_the_password_alone_can_neither_replace_nor_remove_it(
        self, browser, telephone
    ):
        window = browser()
        window.log_in("alice")

        assert window.get(PAGE).headers["Location"] == CODE
        for do in ("remove", "renew", ""):
            assert window.post(PAGE, code="123456", do=do).headers["Location"] == CODE
        assert TOTPDevice.objects.count() == 1

    def test_a_password_that_was_given_long_ago_has_to_be_given_again(self, browser, telephone):
        window = browser()
        with ago(minutes=11):
            window.log_in("alice")

        answer = window.post(CODE, code=telephone.code())
        assert answer.headers["Location"].startswith(LOGIN)
        assert not window.person

    @pytest.mark.parametrize("change", [{"is_active": False}, {"password": "!"}])
    def test_whose_account_changed_meanwhile_is_not_let_in(self, browser, telephone, change):
        window = browser()
        window.log_in("alice")
        User.objects.update(**change)

        window.post(CODE, code=telephone.code())
        assert not window.person

    def test_bobs_codes_are_no_use_to_alice(self, browser, telephone, bob):
        his = browser()
        his.log_in("bob")
        theirs, kept = set_up(his)
        window = browser()
        window.log_in("alice")

        for code in (theirs.code(), kept[0]):
            assert window.post(CODE, code=code).status_code in (400, 429)
        assert not window.person


class TestRemoving:
    @pytest.fixture
    def window(self, browser, telephone):
        window = browser()
        window.log_in("alice")
        with ago(minutes=2):
            window.post(CODE, code=telephone.code())
        return window

    def test_it_is_removed_with_a_code_and_with_nothing_else(self, browser, window, telephone):
        assert window.post(PAGE, do="remove", code="").status_code == 400
        assert window.post(PAGE, do="remove", code=telephone.wrong()).status_code == 400
        assert TOTPDevice.objects.count() == 1
        with later(seconds=5):
            window.post(PAGE, do="remove", code=telephone.code())

        assert not TOTPDevice.objects.exists()
        assert not StaticToken.objects.exists()
        assert browser().log_in("alice").headers["Location"] == INBOX

    def test_new_recovery_codes_take_the_place_of_the_old(self, browser, window, telephone):
        codes = recovery_codes(window.post(PAGE, do="renew", code=telephone.code()))
        other = browser()
        other.log_in("alice")

        assert other.post(CODE, code=telephone.kept[0]).status_code == 400
        with later(seconds=5):
            assert other.post(CODE, code=codes[0]).status_code == 302

    def test_an_administrator_resets_it_for_whoever_lost_everything(
        self, browser, window, telephone, settings, capsys
    ):
        call_command("reset_second_factor", "alice")
        call_command("reset_second_factor", "alice", "--format", "json")

        out = capsys.readouterr().out.splitlines()
        assert out[0] == "Removed the second factor of alice."
        assert out[1] == '{"username": "alice", "removed": false}'
        assert browser().log_in("alice").headers["Location"] == INBOX
        settings.REQUIRE_SECOND_FACTOR = "always"
        assert not window.person, "a session with the lost telephone counts for nothing"

    def test_resetting_somebody_unknown_is_one_sentence(self):
        assert (
            expect_failure("reset_second_factor", "nobody")[1] == "There is no user called nobody."
        )


class TestDemanded:
    def test_always_nobody_is_in_before_they_set_it_up(self, browser, alice, settings):
        settings.REQUIRE_SECOND_FACTOR = "always"
        window = browser()
        answer = window.log_in("alice", next="/admin/audit_app/event/")

        assert answer.headers["Location"] == PAGE
        assert not window.person
        page = window.read(PAGE)
        assert "Required to sign in." in page
        set_up(window)
        assert window.person == "alice"

    def test_always_a_session_from_before_ends(self, browser, alice, settings):
        window = browser()
        window.log_in("alice")
        settings.REQUIRE_SECOND_FACTOR = "always"

        assert not window.person

    def test_decisions_alice_reads_without_and_sets_it_up_at_her_first_decision(
        self, browser, alice, approval, settings
    ):
        settings.REQUIRE_SECOND_FACTOR = "decisions"
        window = browser()
        window.log_in("alice")
        page = f"/admin/approvals_app/approval/{approval.pk}/change/"
        assert 'value="approve"' in window.read(page)

        answer = decide(window, approval, notes="Looks right.")
        assert answer.headers["Location"].startswith("/admin/prove/")
        approval.refresh_from_db(fields=["version"])
        assert approval.version == 1
        step = window.client.get(answer.headers["Location"], follow=True)
        assert "Required to decide" in text(step)
        set_up(window)
        assert "Looks right." in window.read(page)
        decide(window, approval, notes="Looks right.")

        assert the_approval(approval.task).status == "approved"

    def test_decisions_by_api_are_refused_with_a_code_that_says_what_is_missing(
        self, api, alice, approval, settings
    ):
        settings.REQUIRE_SECOND_FACTOR = "decisions"
        sent = {"payload_digest": approval.payload_digest}
        answer = api(user=alice).post(f"/approvals/{approval.pk}/approve", sent)

        assert (answer.status_code, answer.json()["code"]) == (403, "second_factor_required")

    def test_the_trail_tells_that_it_was_given(self, browser, telephone, approval, settings, api):
        settings.REQUIRE_SECOND_FACTOR = "decisions"
        window = browser()
        window.log_in("alice")
        window.post(CODE, code=telephone.code())
        decide(window, approval)

        bot = approval.task.agent
        events = api(user=User.objects.get(username="alice")).get(
            "/audit/events", event_type="approval.approved"
        )
        (event,) = events.json()["events"]
        assert event["metadata"]["second_factor"] is True
        assert event["metadata"]["authenticated_by"] == "password"
        assert event["metadata"]["authenticated_at"]
        assert bot.name == "bot"


class TestBySingleSignOn:
    @pytest.mark.parametrize(
        "claims",
        [
            {"amr": ["pwd", "mfa"]},
            {"amr": ["otp"]},
            {"amr": ["hwk", "user"]},
            {"acr": "http://schemas.openid.net/pape/policies/2007/06/multi-factor"},
        ],
    )
    def test_the_issuers_second_factor_counts(
        self, provider, browser, alice, approval, settings, claims
    ):
        settings.REQUIRE_SECOND_FACTOR = "always"
        provider.claims |= claims
        window = browser()
        window.sign_on()

        assert decide(window, approval).headers["Location"] == INBOX
        assert the_approval(approval.task).status == "approved"

    @pytest.mark.parametrize(
        "claims", [{}, {"amr": ["pwd"]}, {"amr": "mfa"}, {"amr": [{}]}, {"acr": "1"}, {"acr": []}]
    )
    def test_an_issuer_that_asked_for_a_password_alone_is_not_enough(
        self, provider, browser, alice, settings, claims
    ):
        settings.REQUIRE_SECOND_FACTOR = "always"
        provider.claims |= claims
        window = browser()

        assert window.sign_on().headers["Location"] == PAGE
        assert not window.person
        set_up(window)
        assert window.person == "alice"
