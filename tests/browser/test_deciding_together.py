"""Several people at their browsers decide on one task, or change it, or one of them alone."""

import os
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission
from playwright.sync_api import expect

from approvals_app.models import Approval, ApprovalPolicy, Override
from sessions_app.models import Task
from tests.factories import ReviewerFactory, TaskFactory, find_approval, policy

pytestmark = pytest.mark.browser

REFUND = "Refund 42.50 EUR to customer 1007 for a broken kettle."
SHOTS = os.environ.get("SHOTS")
"""A folder for pictures of each page, to be looked at."""


def shot(page, name):
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


@pytest.fixture
def erin(database):
    return ReviewerFactory(username="erin", roles=["legal"])


@pytest.fixture
def task(bot):
    policy("two-and-one", asks="2 finance, 1 legal")
    return TaskFactory(agent=bot)


def open_task(page, name=REFUND):
    page.goto("/admin/")
    page.get_by_role("link", name=name).click()
    return page


def test_three_people_say_yes_one_after_the_other(signed_in, task, alice, bob, erin):
    page = open_task(signed_in(alice))
    expect(page.get_by_label("Approvals", exact=True)).to_contain_text("finance 0/2")
    page.get_by_text("Why this policy?").click()
    expect(page.get_by_text("Policy two-and-one")).to_be_visible()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("1 more from finance")).to_be_visible()
    page.goto(f"/admin/approvals_app/approval/{find_approval(task, 'finance').pk}/change/")
    expect(page.get_by_text("You approved, just now")).to_be_visible()
    shot(page, "voted")

    for person, message in ((erin, "1 more from finance needed"), (bob, "Approved: ")):
        page = open_task(signed_in(person))
        page.get_by_role("button", name="Approve").click()
        expect(page.get_by_text(message)).to_be_visible()
    assert Task.objects.get().status == "approved"


def test_alice_takes_back_what_she_said(signed_in, task, alice):
    page = open_task(signed_in(alice))
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("1 more from finance and 1 more from legal needed")).to_be_visible()
    page.goto(f"/admin/approvals_app/approval/{find_approval(task, 'finance').pk}/change/")
    page.get_by_role("button", name="Withdraw").click()
    expect(page.get_by_text("Vote withdrawn.")).to_be_visible()
    expect(page.get_by_role("link", name=REFUND)).to_be_visible()


def test_alice_edits_and_bob_sees_what_she_changed(signed_in, alice, bob, bot):
    TaskFactory(agent=bot)
    page = open_task(signed_in(alice))
    page.get_by_text("More actions").click()
    page.get_by_role("link", name="Edit payload").click()
    page.get_by_text("Advanced: JSON").click()
    data = page.get_by_label("Data, as JSON")
    data.fill('{"amount": "40.00",\n "currency": "EUR",\n}')
    page.get_by_role("button", name="Save revision").click()
    expect(data).to_have_accessible_description("Line 2: remove the extra comma.")
    expect(data).to_be_focused()
    data.fill('{"amount": "40.00", "currency": "EUR", "customer": 1007}')
    page.get_by_label("Comment").fill("Without the postage.")
    shot(page, "edit")
    page.get_by_role("button", name="Save revision").click()
    expect(page.get_by_role("alert")).to_contain_text("The description says 42.50")
    page.get_by_role("button", name="Save revision").click()
    expect(page.get_by_text("Revision 2 saved. Someone else must approve it.")).to_be_visible()
    expect(page.get_by_text("All clear.")).to_be_visible()

    page = open_task(signed_in(bob))
    expect(page.get_by_role("heading", name="Changes in revision 2, by alice")).to_be_visible()
    expect(page.locator(".o-removed")).to_contain_text('"amount": "42.50"')
    expect(page.locator(".o-added")).to_contain_text('"amount": "40.00"')
    shot(page, "revision")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved: ")).to_be_visible()


def test_changes_need_words(signed_in, alice, bot):
    TaskFactory(agent=bot)
    page = open_task(signed_in(alice))
    page.get_by_role("button", name="Request changes").click()
    expect(page.get_by_role("alert")).to_contain_text("what should change")
    page.get_by_label("Comment").fill("Name the order.")
    page.get_by_role("button", name="Request changes").click()
    expect(page.get_by_text("Changes requested. Approval is blocked")).to_be_visible()
    assert Approval.objects.get().votes.get().notes == "Name the order."


def test_alice_breaks_the_glass_and_everybody_sees_it(signed_in, task, alice, bob, erin):
    alice.user_permissions.add(Permission.objects.get(codename="break_glass"))
    page = open_task(signed_in(alice))
    page.get_by_text("More actions").click()
    page.locator("summary", has_text="Break glass").click()
    shot(page, "glass")
    page.get_by_label("Reason for the emergency").fill("The data centre burns.")
    page.get_by_role("button", name="Approve now, alone").click()
    expect(page.get_by_text("Approved without the others.")).to_be_visible()
    assert Task.objects.get().status == "approved"

    page = signed_in(erin)
    expect(page.get_by_text("The data centre burns.")).to_be_visible()
    shot(page, "told")
    open_task(page)
    expect(page.get_by_text("Your review")).to_be_visible()
    shot(page, "review")
    page.get_by_label("Comment").fill("It could have waited.")
    page.get_by_role("button", name="Object").click()
    expect(page.get_by_text("Objected: ")).to_be_visible()
    assert Override.objects.get().status == "condemned"


def test_alice_chooses_several_and_sees_what_became_of_each(signed_in, alice, bot):
    for number in range(3):
        TaskFactory(agent=bot, description=f"Refund number {number}.", data={"customer": 1007})
    page = signed_in(alice)
    for number in (0, 2):
        page.get_by_role("checkbox", name=f"Select: Refund number {number}.").check()
    page.get_by_role("button", name="Review 2").click()
    expect(page.get_by_role("heading", name="Review 2 requests")).to_be_visible()
    shot(page, "several")
    page.get_by_role("button", name="Approve these 2").click()
    expect(page.get_by_role("heading", name="2 approved")).to_be_visible()
    assert sorted(Approval.objects.values_list("status", flat=True)) == [
        "approved",
        "approved",
        "pending",
    ]


def test_an_administrator_writes_a_policy_and_tries_it_first(signed_in, alice, bot):
    TaskFactory(agent=bot)
    alice.user_permissions.add(Permission.objects.get(codename="change_approvalpolicy"))
    page = signed_in(alice)
    page.goto("/admin/policies/")
    expect(page.get_by_text("No policies yet.")).to_be_visible()
    page.get_by_role("link", name="New policy").click()
    page.get_by_role("textbox", name="Name").fill("refunds")
    page.get_by_label("Task type").fill("refund*")
    page.get_by_label("Group").first.fill("finance")
    page.get_by_label("How many").first.fill("2")
    page.get_by_label("Answer within", exact=True).first.fill("24h")
    expect(page.get_by_text("Asks 2 of finance, 24 h, then rejects.")).to_be_visible()
    page.get_by_role("radio", name="In the end: approve without a human").check()
    expect(page.get_by_text("Silence means yes")).to_be_visible()
    page.get_by_role("radio", name="Refused").check()
    expect(page.get_by_text("Refuses.")).to_be_visible()
    expect(page.get_by_label("Group").first).to_be_hidden()
    expect(page.get_by_role("button", name="Activate")).to_have_count(0)
    page.get_by_role("button", name="Simulate").click()
    headline = "1 task from the last 30 days: 1 outcome changes, 0 tasks get other approvers"
    expect(page.get_by_text(headline)).to_be_visible()
    shot(page, "tried")
    page.get_by_label("Description").fill("Refunds are closed.")
    expect(page.get_by_role("button", name="Activate")).to_be_hidden()
    page.get_by_role("button", name="Simulate").click()
    page.get_by_role("button", name="Activate").click()
    expect(page.get_by_text("refunds is active.")).to_be_visible()
    shot(page, "policy")
    assert ApprovalPolicy.objects.get().rule["then"] == "refuse"
    page.get_by_role("link", name="Retire").click()
    page.get_by_label("Type refunds to retire it").fill("refunds")
    page.get_by_role("button", name="Retire").click()
    expect(page.get_by_text("refunds is retired.")).to_be_visible()
