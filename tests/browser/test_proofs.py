"""A reviewer who must prove who they are loses nothing on the way, nor by declining."""

from datetime import datetime, timedelta
from importlib import import_module

import pytest
from django.conf import settings as configured
from django.contrib.sessions.models import Session
from playwright.sync_api import expect

from tests.browser.axe import violations
from tests.factories import TaskFactory, the_approval

pytestmark = pytest.mark.browser

KEPT = "What you wrote is still here."
EDITED = '{"amount": "40.00"}'


@pytest.fixture
def long_ago(signed_in, alice, settings):
    """A page on which alice confirmed who she is an hour ago."""
    settings.REAUTHENTICATE_AFTER = timedelta(minutes=15)
    page = signed_in(alice)
    store = import_module(configured.SESSION_ENGINE).SessionStore
    for key in Session.objects.values_list("pk", flat=True):
        session = store(key)
        proof = session["signin_proof"]
        at = datetime.fromisoformat(proof["at"]) - timedelta(hours=1)
        session["signin_proof"] = {**proof, "at": at.isoformat()}
        session.save()
    return page


def confirm(page):
    page.get_by_label("Password").fill("alice")
    page.get_by_role("button", name="Confirm").click()


def test_an_edit_survives_not_now_and_then_the_proof(long_ago, bot):
    approval = the_approval(TaskFactory(agent=bot, description="Refund it."))
    page = long_ago
    page.goto(f"/admin/approvals_app/approval/{approval.pk}/edit/")
    page.get_by_text("Advanced: JSON").click()
    page.get_by_label("Data, as JSON").fill(EDITED)
    page.get_by_role("button", name="Save revision").click()
    expect(page.get_by_role("heading", name="Confirm it's you")).to_be_visible()
    assert violations(page) == []
    page.get_by_role("link", name="Not now").click()
    expect(page.get_by_label("Data, as JSON")).to_have_value(EDITED)
    expect(page.get_by_text(KEPT)).to_be_visible()

    page.get_by_role("button", name="Save revision").click()
    confirm(page)
    expect(page.get_by_text("Nothing was saved yet")).to_be_visible()
    expect(page.get_by_label("Data, as JSON")).to_have_value(EDITED)
    page.get_by_role("button", name="Save revision").click()
    expect(page.get_by_text("Revision 2 saved.")).to_be_visible()
    page.wait_for_function("Object.keys(sessionStorage).length === 0")


def test_several_are_decided_after_the_proof(long_ago, bot):
    for _ in range(2):
        TaskFactory(agent=bot)
    page = long_ago
    page.goto("/admin/")
    for box in page.get_by_role("checkbox", name="Select:").all():
        box.check()
    page.get_by_role("button", name="Review 2").click()
    page.get_by_label("Comment").fill("Both are fine.")
    page.get_by_role("button", name="Approve these 2").click()
    confirm(page)

    expect(page.get_by_role("heading", name="Review 2 requests")).to_be_visible()
    expect(page.get_by_text("Nothing was decided yet")).to_be_visible()
    expect(page.get_by_label("Comment")).to_have_value("Both are fine.")
    page.get_by_role("button", name="Approve these 2").click()
    expect(page.get_by_role("heading", name="2 approved")).to_be_visible()


def test_two_tabs_keep_their_own_words(long_ago, bot):
    first, second = (the_approval(TaskFactory(agent=bot)) for _ in range(2))
    page, other = long_ago, long_ago.context.new_page()
    for tab, approval, words in ((page, first, "One."), (other, second, "Two.")):
        tab.goto(f"/admin/approvals_app/approval/{approval.pk}/change/")
        tab.get_by_label("Comment").fill(words)
        tab.get_by_role("button", name="Reject").click()
        expect(tab.get_by_role("heading", name="Confirm it's you")).to_be_visible()
    confirm(page)
    expect(page.get_by_label("Comment")).to_have_value("One.")
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_text("Rejected: ")).to_be_visible()
    other.get_by_role("link", name="Not now").click()
    expect(other.get_by_label("Comment")).to_have_value("Two.")
