"""A yes by mistake, and second thoughts: what a reviewer sees and does."""

from datetime import timedelta

import pytest
from playwright.sync_api import expect

from audit_app.models import Event
from sessions_app.models import Task
from sessions_app.tasks.operations import claim
from tests.browser.axe import violations
from tests.factories import TaskFactory, approve_task, the_approval

pytestmark = pytest.mark.browser

REFUND = "Refund 42.50 EUR to customer 1007 for a broken kettle."


def url(approval):
    return f"/admin/approvals_app/approval/{approval.pk}/change/"


def test_alice_takes_her_yes_back_with_the_keyboard_and_is_asked_again(signed_in, alice, bot, look):
    task = TaskFactory(agent=bot)
    page = signed_in(alice)
    page.get_by_role("link", name=REFUND).click()
    page.get_by_role("button", name="Approve").click()
    assert violations(page) == []

    page.get_by_role("link", name="View", exact=True).press("Enter")
    assert violations(page) == []
    page.get_by_label("Why the approval is recalled").focus()
    page.keyboard.type("The wrong customer.")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Cancel the task")).to_be_focused()
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")

    expect(page.get_by_text("Recalled. The task waits for approval again.")).to_be_visible()
    expect(page.get_by_role("row", name=REFUND)).to_be_visible()
    assert Event.objects.get(event_type="task.recalled").metadata["reason"] == "The wrong customer."
    first = task.approvals.get(revision=1)
    page.goto(url(first))
    note = page.get_by_role("note")
    expect(note).to_contain_text("alice recalled this")
    expect(note).to_contain_text("The wrong customer.")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= look[0]
    note.get_by_role("link", name="Revision 2 waits for finance").click()
    expect(page.get_by_role("button", name="Approve")).to_be_visible()


def test_bob_stops_what_alice_approved(signed_in, alice, bob, bot):
    task = approve_task(TaskFactory(agent=bot), alice)
    page = signed_in(bob)
    page.goto(url(the_approval(task)))

    page.get_by_label("Why the approval is recalled").fill("Fraud.")
    page.get_by_role("button", name="Cancel the task").click()

    expect(page.get_by_text("Recalled. The task is cancelled.")).to_be_visible()
    assert Task.objects.get().status == "cancelled"
    page.goto(url(the_approval(task)))
    expect(page.get_by_role("note")).to_contain_text("the task is cancelled")


def test_after_the_claim_the_page_says_since_when_it_is_too_late(signed_in, alice, bot, payer):
    task = approve_task(TaskFactory(agent=bot), alice)
    page = signed_in(alice)
    page.goto(url(the_approval(task)))
    claim(task.pk, by=payer.as_actor(), lease=timedelta(minutes=5))

    page.get_by_label("Why the approval is recalled").fill("The wrong customer.")
    page.get_by_role("button", name="Cancel the task").click()

    expect(page.get_by_role("alert")).to_contain_text("too late to recall this: payer claimed")
    expect(page.get_by_role("button", name="Cancel the task")).to_have_count(0)
    assert Task.objects.get().status == "claimed"


def test_who_only_reads_is_offered_no_recall(signed_in, alice, root, bot):
    task = approve_task(TaskFactory(agent=bot), alice)
    page = signed_in(root)
    page.goto(url(the_approval(task)))
    expect(page.get_by_role("heading", name="Decision")).to_be_visible()
    expect(page.get_by_label("Why the approval is recalled")).to_have_count(0)


@pytest.fixture
def root(database):
    """A superuser in no group."""
    from tests.factories import ReviewerFactory

    return ReviewerFactory(username="root", is_superuser=True)
