"""The decision page's first screen: whoever is tired decides what they mean to decide."""

import os
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission
from playwright.sync_api import expect

from approvals_app.decisions import break_glass, delegations, operations
from approvals_app.decisions.deadlines import expire_approvals
from approvals_app.models import Approval, Vote
from audit_app.base.actors import Actor
from tests.factories import OPS, ReviewerFactory, TaskFactory, find_approval, policy, set_columns

pytestmark = pytest.mark.browser

SHOTS = os.environ.get("SHOTS")
"""A folder for pictures of each page, to be looked at."""
WIRE = {"amount": "18750.00", "currency": "EUR", "beneficiary": {"name": "Huber GmbH"}}
CHANGED = re.compile("bob changed amount 9,?120.50 → 9,?020.50: “100 EUR were a typo”")
CALL = "Call the beneficiary under a number that is known from before."


def shot(page, name, whole=False):
    if SHOTS:
        width = page.viewport_size["width"]
        page.screenshot(path=Path(SHOTS) / f"{name}-{width}.png", full_page=whole)


def url(approval):
    return f"/admin/approvals_app/approval/{approval.pk}/change/"


def vote(operation, person, approval, **more):
    given = {"by": Actor.human(person), "payload_digest": approval.payload_digest}
    return operation(approval.pk, **given, **more)


def confirm(page, name="Approve"):
    """Press the button of a high-risk request, and that of the question which follows."""
    page.get_by_role("button", name=name).click()
    page.get_by_role("dialog").get_by_role("button", name=name).click()


@pytest.fixture
def erin(database):
    return ReviewerFactory(username="erin", roles=["legal"])


@pytest.fixture
def wire(bot):
    """Of two of finance and one of legal, high risk, with an instruction."""
    policy(
        "wires",
        asks="2 finance, 1 legal",
        instructions=CALL,
        risk="high",
        deadline="1h",
        valid_for="40m",
    )
    return TaskFactory(
        agent=bot,
        task_type="wire_transfer_approval",
        description="Nobody has called them back yet. Pay 18,750.00 EUR, please.",
        data=WIRE,
    )


def test_silence_that_approves_is_said_before_anything_else(signed_in, alice, bot):
    policy(asks="1 finance", on_timeout="approve_without_a_human", deadline="20m", valid_for="40m")
    page = signed_in(alice)
    page.goto(url(find_approval(TaskFactory(agent=bot), "finance")))
    line = page.get_by_text("If nobody answers by today")
    expect(line).to_contain_text("approved automatically")
    expect(
        page.get_by_text("Once approved, an agent of finance may do it within 40 minutes.")
    ).to_be_visible()
    assert line.bounding_box()["y"] < 500
    shot(page, "silence")


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ({}, "rejected"),
        ({"escalate": [{"role": "dba", "count": 1, "deadline": "1h"}]}, "goes to dba"),
    ],
)
def test_what_silence_does_is_always_said(signed_in, alice, bot, terms, text):
    policy(asks="1 finance", deadline="20m", **terms)
    page = signed_in(alice)
    page.goto(url(find_approval(TaskFactory(agent=bot), "finance")))
    expect(page.get_by_text("If nobody answers by")).to_contain_text(text)


def test_requested_changes_block_the_approval_in_sight_and_with_their_words(
    signed_in, alice, bob, erin, wire
):
    vote(operations.request_changes, bob, find_approval(wire, "finance"), message="Call them back.")
    for person, role in ((alice, "finance"), (erin, "legal")):
        page = signed_in(person)
        page.goto(url(find_approval(wire, role)))
        banner = page.get_by_role("note").filter(has_text="Changes requested")
        expect(banner).to_contain_text("by bob")
        expect(banner).to_contain_text("Call them back.")
        blocked = page.get_by_role("button", name="Blocked: bob requested changes")
        expect(blocked).to_be_disabled()
        expect(page.get_by_role("button", name="Approve")).to_have_count(0)
        expect(page.locator(".o-standing .o-state")).to_have_text("changes requested")
        expect(page.get_by_role("button", name="Reject")).to_be_enabled()
    shot(page, "changes")


def test_the_policys_instruction_is_ticked_before_the_yes_and_kept(signed_in, alice, wire):
    approval = find_approval(wire, "finance")
    page = signed_in(alice)
    page.goto(url(approval))
    expect(page.get_by_text("Before you approve")).to_be_visible()
    page.get_by_role("button", name="Approve").click()
    box = page.get_by_role("checkbox", name=CALL)
    expect(box).to_be_focused()
    expect(box).to_have_attribute("aria-invalid", "true")
    expect(page.get_by_role("alert")).to_contain_text("Nothing was approved.")
    shot(page, "instruction")
    box.check()
    confirm(page)
    expect(page.get_by_text("Your approval is recorded.")).to_be_visible()
    assert Vote.objects.get().confirmed_instruction == CALL


def test_why_a_policy_asks_stands_in_cel_only_for_whoever_wants_to_know(signed_in, alice, bot):
    policy(asks="1 finance", when={"condition": "double(data.amount) > 1.0"})
    page = signed_in(alice)
    page.goto(url(find_approval(TaskFactory(agent=bot), "finance")))
    expect(page.get_by_text("double(data.amount)")).to_be_hidden()
    page.get_by_text("Why this policy?").click()
    expect(page.get_by_text("double(data.amount)")).to_be_visible()


def test_every_group_and_who_voted_stands_in_the_decision_box(signed_in, alice, bob, erin, wire):
    vote(operations.approve, bob, find_approval(wire, "finance"), confirmed=True)
    page = signed_in(alice)
    page.goto(url(find_approval(wire, "finance")))
    chips = page.locator(".o-decide").get_by_label("Approvals").get_by_role("listitem")
    expect(chips).to_have_text(["finance 1/2 bob", "legal 0/1"], use_inner_text=True)
    shot(page, "chips", whole=True)
    vote(operations.approve, erin, find_approval(wire, "legal"), confirmed=True)
    page.reload()
    expect(chips).to_have_text(["finance 1/2 bob", "legal 1/1 erin"], use_inner_text=True)
    page.get_by_role("checkbox", name=CALL).check()
    confirm(page)
    expect(page.get_by_text("Approved: Pay 18,750.00 EUR to Huber GmbH. View")).to_be_visible()


def test_three_verbs_of_one_weight_and_two_of_them_want_a_reason(signed_in, alice, bot):
    approval = find_approval(TaskFactory(agent=bot), "finance")
    page = signed_in(alice)
    for verb, problem in (("Reject", "why you reject"), ("Request changes", "what should change")):
        page.goto(url(approval))
        page.get_by_role("button", name=verb).click()
        expect(page.get_by_role("alert")).to_contain_text(problem)
        expect(page.get_by_label("Comment")).to_be_focused()
        expect(page.get_by_label("Comment")).to_have_attribute("aria-invalid", "true")
    heights = {
        page.get_by_role("button", name=n).bounding_box()["y"] for n in ("Approve", "Reject")
    }
    assert len(heights) == 1
    page.get_by_label("Comment").fill("The order is older than 30 days.")
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_text("Rejected: ")).to_be_visible()
    assert Approval.objects.get().notes == "The order is older than 30 days."


def test_the_title_is_ours_and_the_agents_words_are_said_to_be_its_own(signed_in, alice, wire):
    page = signed_in(alice)
    page.goto(url(find_approval(wire, "finance")))
    expect(page.get_by_role("heading", level=2)).to_have_text("Pay 18,750.00 EUR to Huber GmbH")
    words = page.get_by_role("region", name="bot says")
    expect(words).to_contain_text("Nobody has called them back yet.")
    head = page.locator(".o-head-high")
    expect(head).to_contain_text("high risk")
    expect(head).to_contain_text("policy wires", ignore_case=True)


def test_a_review_of_an_emergency_asks_its_own_question(signed_in, alice, bob, charlie, erin, wire):
    charlie.groups.set(bob.groups.all())
    charlie.user_permissions.add(Permission.objects.get(codename="break_glass"))
    first = find_approval(wire, "finance")
    vote(break_glass.break_glass, charlie, first, reason="The supplier stops deliveries tonight.")
    review = Approval.objects.get(override__isnull=False, approver_role="finance")

    page = signed_in(alice)
    page.goto(url(review))
    expect(page.get_by_role("heading", level=2)).to_contain_text("Review of an emergency approval")
    expect(page.get_by_text("It may already have been done.")).to_be_visible()
    expect(page.get_by_text("approved alone, under review (0 of 3)")).to_be_visible()
    expect(page.locator(".o-head")).to_contain_text("high risk")
    expect(page.get_by_role("button", name="Approve")).to_have_count(0)
    expect(page.get_by_role("button", name="Request changes")).to_have_count(0)
    expect(
        page.get_by_role("note").filter(has_text="The supplier stops deliveries")
    ).to_be_visible()
    shot(page, "review")
    page.get_by_role("button", name="Object").click()
    expect(page.get_by_role("alert")).to_contain_text("why")
    confirm(page, "Uphold")
    expect(page.get_by_text("Your review is recorded. 1 more from finance")).to_be_visible()

    page = signed_in(charlie)
    page.goto(url(first))
    expect(page.get_by_text("approved alone, under review (1 of 3)")).to_be_visible()
    expect(page.get_by_role("note").filter(has_text="Break glass")).to_be_visible()


def test_whoever_stands_in_is_told_for_whom_they_vote(signed_in, alice, erin, wire):
    week = {"starts_at": operations.clock(), "ends_at": operations.clock() + timedelta(days=7)}
    delegations.grant_delegation(by=Actor.human(erin), to="alice", **week)
    page = signed_in(alice)
    page.goto(url(find_approval(wire, "legal")))
    expect(page.get_by_role("note").filter(has_text="You vote for erin (legal)")).to_be_visible()
    shot(page, "standing-in")
    page.get_by_role("checkbox", name=CALL).check()
    confirm(page, "Approve for erin")
    expect(
        page.get_by_text("Your approval for erin is recorded. 2 more from finance needed.")
    ).to_be_visible()


def test_a_person_of_two_groups_chooses_the_seat_and_votes_once(signed_in, alice, bot):
    person = ReviewerFactory(username="dora", roles=["dba", "sre"])
    policy(asks="1 dba, 1 sre")
    task = TaskFactory(agent=bot)
    page = signed_in(person)
    page.goto(url(find_approval(task, "dba")))
    expect(page.get_by_text("You are asked as dba and as sre")).to_be_visible()
    page.get_by_role("link", name="Vote as sre instead").click()
    expect(page.get_by_role("button", name="Approve as sre")).to_be_visible()
    page.go_back()
    page.get_by_role("button", name="Approve as dba").click()
    expect(page.get_by_text("Your approval is recorded. 1 more from sre needed.")).to_be_visible()
    page.goto(url(find_approval(task, "sre")))
    expect(page.get_by_text("You already voted on this task (as dba).")).to_be_visible()


def test_what_is_typed_wrongly_is_said_at_the_field(signed_in, alice, bot):
    policy("large", asks="1 finance", risk="high", type_out="data.amount")
    page = signed_in(alice)
    page.goto(url(find_approval(TaskFactory(agent=bot), "finance")))
    expect(page.locator(".o-head-high")).to_contain_text("policy large", ignore_case=True)
    page.get_by_role("button", name="Approve").click()
    field = page.get_by_label("To approve, type")
    expect(field).to_be_focused()
    expect(field).to_have_attribute("aria-invalid", "true")
    expect(field).to_have_accessible_description("Type 42.50 to approve. Nothing was approved.")


def test_at_the_deadline_the_verbs_stop(signed_in, alice, bot):
    policy(asks="1 finance", deadline="1h")
    approval = find_approval(TaskFactory(agent=bot), "finance")
    page = signed_in(alice)
    page.goto(url(approval))
    expect(page.get_by_role("button", name="Approve")).to_be_enabled()
    page.locator(".o-due time").dispatch_event("o-due-passed", {"bubbles": True})
    page.evaluate(
        "document.querySelector('.o-due time')"
        ".dispatchEvent(new CustomEvent('o-due-passed', {bubbles: true}))"
    )
    for name in ("Approve", "Request changes", "Reject"):
        expect(page.get_by_role("button", name=name)).to_be_disabled()
    expect(page.get_by_role("status").filter(has_text="The deadline has passed.")).to_be_visible()


def test_an_expired_request_says_to_whom_it_goes_and_leads_there(signed_in, alice, bot):
    ReviewerFactory(username="dora", roles=["dba"])
    policy(asks="1 finance", escalate=[{"role": "dba", "count": 1, "deadline": "1h"}])
    task = TaskFactory(agent=bot)
    approval = find_approval(task, "finance")
    page = signed_in(alice)
    set_columns(Approval, expires_at=operations.clock() - timedelta(minutes=1))
    page.goto(url(approval))
    expect(page.locator(".o-standing .o-state")).to_have_text("expired")
    expect(page.locator(".o-consequence")).to_contain_text("goes to dba")
    sum(expire_approvals(by=OPS, batch_size=10))
    page.reload()
    note = page.get_by_role("note").filter(has_text="Expired")
    expect(note).to_contain_text("goes to dba")
    note.get_by_role("link", name="dba").click()
    assert page.url.endswith(url(find_approval(task, "dba")))


def test_whom_to_delegate_to_is_offered_and_the_delegation_is_taken_back(
    signed_in, alice, bob, bot
):
    week = {"starts_at": operations.clock(), "ends_at": operations.clock() + timedelta(days=7)}
    diana = ReviewerFactory(username="diana", roles=["finance"])
    delegations.grant_delegation(by=Actor.human(bob), to="diana", **week)
    approval = find_approval(TaskFactory(agent=bot), "finance")
    page = signed_in(alice)
    page.goto(url(approval))
    page.get_by_text("More actions").click()
    options = page.locator("#people option")
    assert options.evaluate_all("all => all.map(o => o.label)") == ["bob (away)", ""]
    page.get_by_label("Delegate this to").fill("alicia")
    page.get_by_role("button", name="Delegate").click()
    expect(page.get_by_label("Delegate this to")).to_have_accessible_description(
        'No user named "alicia".'
    )
    page.get_by_label("Delegate this to").fill("diana")
    page.get_by_role("button", name="Delegate").click()
    expect(page.get_by_role("heading", name="All clear.", exact=True)).to_be_visible()
    page.goto(url(approval))
    expect(page.get_by_text("Delegated to diana")).to_be_visible()
    page.get_by_role("button", name="Take back").click()
    expect(page.get_by_text("Delegation taken back.")).to_be_visible()
    page.goto(url(approval))
    expect(page.get_by_text("Delegated to diana")).to_have_count(0)
    assert diana.stands_in.filter(status="active").count() == 1


def test_an_edit_is_of_fields_is_previewed_and_warns_of_the_old_number(signed_in, alice, bob, bot):
    data = {"amount": "9120.50", "currency": "EUR", "beneficiary": {"name": "Nordwind"}}
    given = {"task_type": "payment_approval", "description": "Pay 9,120.50 EUR to Nordwind."}
    task = TaskFactory(agent=bot, data=data, **given)
    page = signed_in(bob)
    page.goto(f"{url(find_approval(task, 'finance'))[:-7]}edit/")
    expect(page.get_by_label("Data, as JSON")).to_be_hidden()
    page.get_by_label("amount").fill("9020.50")
    page.get_by_label("Comment").fill("100 EUR were a typo")
    page.get_by_role("button", name="Preview changes").click()
    expect(page.get_by_role("region", name="What you change")).to_contain_text("9020.50")
    expect(page.get_by_role("alert")).to_contain_text("The description says 9,120.50")
    shot(page, "editor", whole=True)
    assert task.revision == type(task).objects.get(pk=task.pk).revision
    page.get_by_role("button", name="Save revision").click()
    expect(page.get_by_text("Revision 2 saved. Someone else must approve it.")).to_be_visible()

    page = signed_in(alice)
    page.goto(url(find_approval(task, "finance")))
    expect(page.get_by_role("heading", level=2)).to_contain_text("9,020.50 EUR")
    expect(page.get_by_role("heading", level=2)).not_to_contain_text("9,120.50")
    note = page.get_by_role("region", name="Changed by bob")
    expect(note).to_contain_text(CHANGED)
    expect(
        page.get_by_role("note").filter(has_text="The description says 9,120.50")
    ).to_be_visible()
    shot(page, "edited")


def test_the_second_link_skips_to_the_decision(signed_in, alice, bot):
    page = signed_in(alice)
    page.goto(url(find_approval(TaskFactory(agent=bot), "finance")))
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to the decision")
    expect(skip).to_be_focused()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#decision') !== null")


def test_similar_decisions_say_what_one_person_approved_alone(signed_in, alice, bob, bot):
    bob.user_permissions.add(Permission.objects.get(codename="break_glass"))
    alone = find_approval(TaskFactory(agent=bot), "finance")
    vote(break_glass.break_glass, bob, alone, reason="The shop closes.")
    page = signed_in(alice)
    page.goto(url(find_approval(TaskFactory(agent=bot), "finance")))
    expect(page.get_by_text("alone (break glass) by bob")).to_be_visible()
