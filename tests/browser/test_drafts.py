"""What a reviewer wrote is kept until it is decided, and a page that lost it says what happened."""

import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from playwright.sync_api import expect

from approvals_app.decisions import operations
from audit_app.base.actors import Actor
from sessions_app.tasks.operations import revise_task
from tests.browser.axe import violations
from tests.factories import TaskFactory, approve_task, the_approval

pytestmark = pytest.mark.browser

NOTES = "I would ask for a photo first."
KEPT = "Nothing was decided. What you wrote is still here."


SIGNED_OUT = "You were signed out. Nothing was decided; your note is kept."


def url(approval, page="change"):
    return f"/admin/approvals_app/approval/{approval.pk}/{page}/"


def sign_in_again(page, name):
    page.get_by_label("Username").fill(name)
    page.get_by_label("Password").fill(name)
    page.get_by_role("button", name="Log in").click()


@pytest.fixture
def approval(bot):
    return the_approval(TaskFactory(agent=bot))


def test_a_session_that_ended_loses_no_word_and_decides_nothing(signed_in, alice, approval):
    page = signed_in(alice)
    page.goto(url(approval))
    page.get_by_label("Comment").fill(NOTES)
    Session.objects.all().delete()
    page.get_by_role("button", name="Reject").click()
    sign_in_again(page, "alice")

    expect(page.get_by_text(SIGNED_OUT)).to_have_count(1)
    expect(page.get_by_text(KEPT)).to_have_count(0)
    expect(page.get_by_label("Comment")).to_have_value(NOTES)
    assert violations(page) == []
    assert the_approval(approval.task).status == "pending"
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_text("Rejected: ")).to_be_visible()
    assert the_approval(approval.task).notes == NOTES
    assert page.evaluate("Object.keys(sessionStorage).length") == 0


@pytest.mark.parametrize("form", ["change", "edit", "bulk"])
def test_without_javascript_a_session_that_ended_loses_no_word(signed_in, alice, approval, form):
    page = signed_in(alice, javascript=False)
    bulk = f"/admin/approvals_app/approval/bulk/?approval={approval.pk}"
    page.goto(bulk if form == "bulk" else url(approval, form))
    label = "Comment" if form != "edit" else "Description"
    page.get_by_label(label).first.fill(NOTES)
    Session.objects.all().delete()
    names = {"change": "Approve", "edit": "Save revision", "bulk": "Approve these 1"}
    page.get_by_role("button", name=names[form]).first.click()
    sign_in_again(page, "alice")

    expect(page.get_by_text(SIGNED_OUT)).to_be_visible()
    expect(page.get_by_label(label).first).to_have_value(NOTES)
    assert the_approval(approval.task).status == "pending"
    page.get_by_role("button", name=names[form]).first.click()
    page.goto("/admin/")
    assert approval.task.approvals.filter(status="pending", revision=1).count() == 0


def test_without_javascript_somebody_else_gets_no_draft(signed_in, alice, bob, approval):
    page = signed_in(alice, javascript=False)
    page.goto(url(approval))
    page.get_by_label("Comment").first.fill(NOTES)
    Session.objects.all().delete()
    page.get_by_role("button", name="Approve").first.click()
    sign_in_again(page, "bob")
    expect(page.get_by_role("button", name="Approve").first).to_be_visible()
    expect(page.get_by_text(SIGNED_OUT)).to_have_count(0)
    expect(page.get_by_label("Comment").first).to_have_value("")


def test_the_page_that_says_not_sent_leads_back_to_the_words(site, signed_in, alice, approval):
    page = signed_in(alice)
    page.goto(url(approval))
    page.get_by_label("Comment").fill(NOTES)
    # As by another sign-in in another tab.
    page.context.add_cookies([{"name": settings.CSRF_COOKIE_NAME, "value": "x" * 32, "url": site}])
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Nothing was decided or saved")).to_be_visible()

    page.get_by_role("link", name="Open the page again").click()
    expect(page.get_by_role("status").filter(has_text=KEPT)).to_be_visible()
    expect(page.get_by_label("Comment")).to_have_value(NOTES)
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved: ")).to_be_visible()


def test_a_reload_keeps_an_editors_text(signed_in, alice, approval):
    page = signed_in(alice)
    page.goto(url(approval, "edit"))
    page.get_by_text("Advanced: JSON").click()
    page.get_by_label("Data, as JSON").fill('{"amount": "40.00"}')
    page.reload()
    expect(page.get_by_label("Data, as JSON")).to_have_value('{"amount": "40.00"}')
    expect(page.get_by_text("What you wrote is still here; it was not sent.")).to_be_visible()
    page.get_by_role("button", name="Save revision").click()
    expect(page.get_by_role("alert")).to_contain_text("The description says 42.50, 1007")
    page.get_by_role("button", name="Save revision").click()
    expect(page.get_by_text("Revision 2 saved.")).to_be_visible()
    assert approval.task.approvals.get(status="pending").revision == 2


def test_somebody_else_gets_no_draft(signed_in, alice, bob, approval):
    page = signed_in(alice)
    page.goto(url(approval))
    page.get_by_label("Comment").fill(NOTES)
    Session.objects.all().delete()
    page.goto(url(approval))
    sign_in_again(page, "bob")
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    expect(page.get_by_label("Comment")).to_have_value("")
    assert page.evaluate("JSON.stringify(sessionStorage)").find(NOTES) == -1


def test_a_slower_editor_keeps_the_text_and_sees_who_was_faster(
    signed_in, alice, bob, approval, look
):
    page = signed_in(alice)
    page.goto(url(approval, "edit"))
    page.get_by_label("Description").fill("Refund 40 EUR only.")
    operations.edit(
        approval.pk,
        by=Actor.human(bob),
        payload_digest=approval.payload_digest,
        description="Refund 41 EUR.",
        notes="A scratch.",
    )
    page.get_by_role("button", name="Save revision").click()

    expect(page.get_by_role("alert")).to_contain_text("Withdrawn by bob")
    expect(page.get_by_role("note")).to_contain_text("bob revised this")
    expect(page.get_by_label("Your description")).to_have_value("Refund 40 EUR only.")
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= look[0]
    page.get_by_role("link", name="Revision 2 waits for finance").click()
    expect(page.get_by_role("region", name="bot says")).to_contain_text("Refund 41 EUR.")
    # And once more where the session ended as well.
    page.goto(url(approval, "edit"))
    expect(page.get_by_label("Your description")).to_have_value("Refund 40 EUR only.")


def test_a_slower_voter_sees_the_revision_and_keeps_the_words(signed_in, alice, bot, approval):
    page = signed_in(alice)
    page.goto(url(approval))
    page.get_by_label("Comment").fill(NOTES)
    revise_task(approval.task_id, by=bot.as_actor(), data={"amount": "1"})
    page.get_by_role("button", name="Approve").click()

    expect(page.get_by_role("alert")).to_contain_text("Withdrawn by bot")
    expect(page.get_by_role("note").filter(has_text="bot revised this")).to_be_visible()
    expect(page.get_by_label("Your comment (not sent)")).to_have_value(NOTES)
    expect(page.get_by_role("link", name="Revision 2 waits for finance")).to_be_visible()


def test_a_session_ended_while_a_colleague_decided(signed_in, alice, bob, approval):
    page = signed_in(alice)
    page.goto(url(approval))
    page.get_by_label("Comment").fill(NOTES)
    Session.objects.all().delete()
    approve_task(approval.task, bob)
    page.get_by_role("button", name="Reject").click()
    sign_in_again(page, "alice")
    expect(page.get_by_text("bob approved this")).to_be_visible()
    expect(page.get_by_label("Your comment (not sent)")).to_have_value(NOTES)


def test_a_choice_of_several_survives_a_session_that_ended(signed_in, alice, bot):
    for _ in range(3):
        TaskFactory(agent=bot)
    page = signed_in(alice)
    boxes = page.get_by_role("checkbox", name="Select:")
    boxes.nth(0).check()
    boxes.nth(2).check()
    page.get_by_role("button", name="Review 2").click()
    page.get_by_label("Comment").fill(NOTES)
    Session.objects.all().delete()
    page.get_by_role("button", name="Reject these 2").click()
    sign_in_again(page, "alice")

    expect(page.get_by_role("heading", name="Review 2 requests")).to_be_visible()
    expect(page.get_by_text(SIGNED_OUT)).to_be_visible()
    expect(page.get_by_label("Comment")).to_have_value(NOTES)
    page.get_by_role("button", name="Reject these 2").click()
    expect(page.get_by_role("heading", name="2 rejected")).to_be_visible()
