"""What somebody wrote is kept while they prove who they are, and when they do not want to now."""

import html
import re
import time
from datetime import timedelta
from urllib.parse import parse_qs, urlsplit

import pytest
from django.contrib.auth.models import Permission

from approvals_app.models import Approval
from approvals_app.review import drafts
from tests.accounts.authenticator import set_up
from tests.accounts.conftest import START, ago, follow_redirect, later, text
from tests.factories import TaskFactory, policy, the_approval

AGAIN = "/admin/reauthenticate/"
BULK = "/admin/approvals_app/approval/bulk/"
FORM = {
    "type": "object",
    "required": ["account"],
    "properties": {
        "account": {"type": "string", "enum": ["main", "reserve"]},
        "limit": {"type": "integer"},
    },
}
CONFIRMED = "Nothing was decided yet"
EDITED = {"description": "Less.", "data_json": '{"amount": "40.00"}', "context_json": "{}"}


@pytest.fixture(autouse=True)
def a_quarter_of_an_hour(settings) -> None:
    settings.REAUTHENTICATE_AFTER = timedelta(minutes=15)


@pytest.fixture
def window(browser, alice):
    """A window in which alice signed in twenty minutes ago."""
    window = browser()
    with ago(minutes=20):
        window.log_in("alice")
    return window


@pytest.fixture
def approval(bot, alice):
    return the_approval(TaskFactory(agent=bot))


def page_of(approval, page="change"):
    return f"/admin/approvals_app/approval/{approval.pk}/{page}/"


def send(window, approval, page="change", **fields):
    return window.post(page_of(approval, page), payload_digest=approval.payload_digest, **fields)


def expect_proof(window, answer):
    """``answer`` leads to the proof; its page."""
    assert answer.headers["Location"].startswith("/admin/prove/"), answer.content
    asked = window.client.get(answer.headers["Location"], follow=True)
    assert asked.redirect_chain[-1][0].startswith(AGAIN)
    return asked


def confirm(window, asked):
    """Give the password; the page that this leads back to."""
    (path,) = parse_qs(urlsplit(asked.redirect_chain[-1][0]).query)["next"]
    done = window.post(AGAIN, password="alice", next=path)
    return window.client.get(done.headers["Location"], follow=True)


def refuse(window, asked):
    """Choose "Not now"; the page that this leads back to."""
    link = re.search(r'href="([^"]+)">Not now<', asked.content.decode())
    return window.client.get(html.unescape(link[1]), follow=True)


def value_of(page, name):
    """What the field ``name`` of ``page`` holds."""
    field = re.search(
        rf'<textarea[^>]*name="{name}"[^>]*>([^<]*)</textarea>'
        rf'|<input[^>]*name="{name}"[^>]*value="([^"]*)"',
        page.content.decode(),
    )
    return html.unescape(field[1] or field[2] or "")


@pytest.mark.parametrize("back", [confirm, refuse])
class TestOnePage:
    def test_a_comment(self, window, approval, back):
        page = back(
            window, expect_proof(window, send(window, approval, decision="reject", notes="n"))
        )
        assert value_of(page, "notes") == "n"
        assert (CONFIRMED in text(page)) is (back is confirm)

    def test_an_edit(self, window, approval, back):
        answer = send(window, approval, "edit", **EDITED, notes="A typo.")
        page = back(window, expect_proof(window, answer))
        assert page.request["PATH_INFO"] == page_of(approval, "edit")
        assert {name: value_of(page, name) for name in EDITED} == EDITED
        assert value_of(page, "notes") == "A typo."
        assert ("Nothing was saved yet" in text(page)) is (back is confirm)

    def test_an_answer(self, window, bot, alice, back):
        data = {"question": "Which account?", "schema": FORM}
        approval = the_approval(TaskFactory(agent=bot, task_type="question", data=data))
        fields = {"answer.account": "reserve", "answer.limit": "17"}
        page = back(
            window, expect_proof(window, send(window, approval, decision="approve", **fields))
        )
        assert "<option selected>reserve</option>" in text(page)
        assert value_of(page, "answer.limit") == "17"

    def test_what_was_typed_to_confirm(self, window, bot, alice, back):
        policy(asks="1 finance", type_out="data.amount")
        approval = the_approval(TaskFactory(agent=bot))
        page = back(
            window,
            expect_proof(
                window, send(window, approval, decision="approve", typed="249.90", notes="n")
            ),
        )
        assert value_of(page, "typed") == "249.90"

    def test_a_reason_to_break_the_glass(self, window, approval, alice, back):
        alice.user_permissions.add(Permission.objects.get(codename="break_glass"))
        page = back(
            window,
            expect_proof(window, send(window, approval, decision="break_glass", notes="Fire")),
        )
        assert re.search(r'<textarea id="glass"[^>]*>Fire</textarea>', text(page))
        assert re.search(r'<textarea id="notes"[^>]*></textarea>', text(page))

    def test_a_delegate(self, window, approval, bob, back):
        answer = send(window, approval, decision="delegate", to="bob", notes="Away.")
        if answer.headers["Location"].startswith("/admin/prove/"):
            page = back(window, expect_proof(window, answer))
            assert value_of(page, "to") == "bob"

    def test_several(self, window, bot, alice, back):
        approvals = [the_approval(TaskFactory(agent=bot)) for _ in range(3)]
        fields = {f"digest.{each.pk}": each.payload_digest for each in approvals}
        ids = [str(each.pk) for each in approvals]
        sent = {"approval": ids, "decision": "approve", "notes": "All fine.", **fields}
        answer = window.client.post(BULK, sent)
        page = back(window, expect_proof(window, answer))

        assert "Review 3 requests" in text(page)
        assert value_of(page, "notes") == "All fine."
        assert (CONFIRMED in text(page)) is (back is confirm)
        assert Approval.objects.filter(status="pending").count() == 3
        if back is confirm:
            assert "3 approved" in text(window.client.post(BULK, sent))
            assert value_of(window.client.get(BULK, {"approval": ids}), "notes") == ""


class TestAfterwards:
    def test_a_reload_keeps_it_until_it_is_sent(self, window, approval):
        confirm(window, expect_proof(window, send(window, approval, decision="reject", notes="n")))
        for _ in range(2):
            page = window.get(page_of(approval))
            assert value_of(page, "notes") == "n"
            assert CONFIRMED not in text(page)
        send(window, approval, decision="reject", notes="n")

        assert the_approval(approval.task).notes == "n"
        assert (
            drafts.load_draft(window.get(page_of(approval)).wsgi_request, page_of(approval)) == {}
        )

    def test_two_tabs_keep_their_own(self, window, bot, alice):
        first, second = (the_approval(TaskFactory(agent=bot)) for _ in range(2))
        asked = expect_proof(window, send(window, first, decision="reject", notes="first"))
        expect_proof(window, send(window, second, decision="reject", notes="second"))
        expect_proof(window, send(window, first, "edit", **EDITED, notes="edit"))
        confirm(window, asked)

        assert value_of(window.get(page_of(first)), "notes") == "first"
        assert value_of(window.get(page_of(second)), "notes") == "second"
        assert value_of(window.get(page_of(first, "edit")), "notes") == "edit"

    def test_somebody_else_in_the_same_browser_gets_nothing(self, window, approval, bob):
        expect_proof(window, send(window, approval, decision="reject", notes="secret"))
        window.post("/admin/logout/")
        window.log_in("bob")
        assert "secret" not in window.read(page_of(approval))

    def test_the_second_factor_can_wait_too(self, browser, alice, approval, settings):
        settings.REAUTHENTICATE_AFTER = None
        settings.REQUIRE_SECOND_FACTOR = "decisions"
        window = browser()
        window.log_in("alice")
        telephone, _ = set_up(window)
        other = browser()
        other.log_in("alice")
        with later(minutes=1):
            session = window.client.session
            session["signin_proof"] = {**session["signin_proof"], "device": ""}
            session.save()
            answer = send(window, approval, decision="reject", notes="n")
            asked = window.client.get(answer.headers["Location"], follow=True)
            assert asked.redirect_chain[-1][0].startswith("/admin/code/")
            assert value_of(refuse(window, asked), "notes") == "n"
            (path,) = parse_qs(urlsplit(asked.redirect_chain[-1][0]).query)["next"]
            done = window.post("/admin/code/", code=telephone.code(), next=path)
            page = window.client.get(done.headers["Location"], follow=True)
            assert value_of(page, "notes") == "n"
            assert CONFIRMED in text(page)

    def test_many_drafts_do_not_fill_the_session(self, window, bot, alice, monkeypatch):
        monkeypatch.setattr(drafts, "MAX_DRAFTS", 2)
        approvals = [the_approval(TaskFactory(agent=bot)) for _ in range(3)]
        for n, each in enumerate(approvals):
            send(window, each, decision="reject", notes=f"note {n}")
        notes = [value_of(window.get(page_of(each)), "notes") for each in approvals]
        assert notes == ["", "note 1", "note 2"]

    def test_one_long_draft_is_kept_whatever_its_length(self, window, bot, alice, monkeypatch):
        monkeypatch.setattr(drafts, "MAX_CHARACTERS", 50)
        first, second = (the_approval(TaskFactory(agent=bot)) for _ in range(2))
        send(window, first, decision="reject", notes="x" * 60)
        assert value_of(window.get(page_of(first)), "notes") == "x" * 60
        send(window, second, decision="reject", notes="y" * 60)
        assert value_of(window.get(page_of(first)), "notes") == ""
        assert value_of(window.get(page_of(second)), "notes") == "y" * 60


class TestBySingleSignOn:
    def test_several_survive_the_way_to_the_issuer(self, provider, browser, bot, alice):
        provider.claims["auth_time"] = 1_700_000_000
        window = browser()
        window.sign_on()
        approvals = [the_approval(TaskFactory(agent=bot)) for _ in range(50)]
        ids = [str(each.pk) for each in approvals]
        fields = {f"digest.{each.pk}": each.payload_digest for each in approvals}
        answer = window.client.post(
            BULK, {"approval": ids, "decision": "reject", "notes": "No.", **fields}
        )
        asked = expect_proof(window, answer)
        link = html.unescape(text(asked).split(f'href="{START}')[1].split('"')[0])
        # gunicorn takes lines of 4,094 characters.
        assert len(START + link) < 4000
        with later(seconds=1):
            provider.claims["auth_time"] = int(time.time())
            where = follow_redirect(window.client.get(START + link))
        page = window.client.get(window.come_back(where).headers["Location"], follow=True)
        assert "Review 50 requests" in text(page)
        assert value_of(page, "notes") == "No."
