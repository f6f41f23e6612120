"""What a policy, or a question, asks of whoever decides; and whoever decides in another's place."""

import re

import pytest
from playwright.sync_api import expect

from approvals_app.models import Approval
from tests.factories import TaskFactory, policy, the_approval

pytestmark = pytest.mark.browser

NOTE = re.compile("^note")
REFUND = "Refund 42.50 EUR to customer 1007 for a broken kettle."


def open_task(page, name=REFUND):
    page.goto("/admin/")
    page.get_by_role("link", name=name).click()
    return page


def test_alice_looks_at_it_and_types_the_amount_before_she_approves(signed_in, alice, bot):
    policy("careful", asks="1 finance", risk="high", look_for="2s", type_out="data.amount")
    task = TaskFactory(agent=bot)
    page = signed_in(alice)
    expect(page.get_by_role("row", name=REFUND)).to_contain_text("High risk")
    open_task(page)
    approve = page.get_by_role("button", name="Approve")
    expect(approve).to_be_disabled()
    expect(page.get_by_role("button", name="Reject")).to_be_enabled()
    expect(approve).to_be_enabled()
    page.get_by_label("Comment").fill("Seen.")
    approve.click()
    expect(page.get_by_role("alert")).to_contain_text("Type 42.50 to approve.")
    expect(page.get_by_label("Comment")).to_have_value("Seen.")
    page.get_by_label("To approve, type").fill("42.50")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved: ")).to_be_visible()
    assert the_approval(task).status == "approved"


def test_alice_answers_a_question(signed_in, alice, bot):
    schema = {
        "type": "object",
        "required": ["account"],
        "properties": {
            "account": {"type": "string", "enum": ["main", "reserve"]},
            "note": {"type": "string"},
        },
    }
    data = {"question": "Which account?", "schema": schema}
    task = TaskFactory(agent=bot, task_type="question", description="Which account?", data=data)
    page = open_task(signed_in(alice), "Which account?")
    page.get_by_label(NOTE).fill("As always.")
    page.get_by_role("button", name="Send answer").click()
    expect(page.get_by_role("alert")).to_contain_text("account")
    expect(page.get_by_label(NOTE)).to_have_value("As always.")
    page.get_by_label("account", exact=True).select_option("reserve")
    page.get_by_role("button", name="Send answer").click()
    expect(page.get_by_text("Approved: ")).to_be_visible()
    [vote] = the_approval(task).votes.all()
    assert vote.answer == {"account": "reserve", "note": "As always."}


def test_charlie_of_another_group_decides_for_alice_who_asked_him_to(
    signed_in, alice, charlie, bot
):
    task = TaskFactory(agent=bot)
    page = open_task(signed_in(alice))
    page.get_by_text("More actions").click()
    page.get_by_label("Delegate this to").fill("charlie")
    page.get_by_role("button", name="Delegate").click()
    expect(page.get_by_text("Delegated to charlie")).to_be_visible()

    page = open_task(signed_in(charlie))
    # He is told so, too, who decides for her.
    expect(page.get_by_text("alice is also looking at this.")).to_be_visible()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved for alice: ")).to_be_visible()
    [vote] = Approval.objects.get(task=task).votes.all()
    assert (vote.voter, vote.seat_of) == (charlie, alice)


def test_alice_searches_a_long_payload_and_reads_its_bytes(signed_in, alice, bot):
    lines = [{"name": f"item {n}", "price": n} for n in range(40)]
    data = {"order": {"lines": {f"l{n}": line for n, line in enumerate(lines)}}}
    task = TaskFactory(agent=bot, task_type="order_approval", data=data)
    page = open_task(signed_in(alice))
    page.get_by_label("Find a field").fill("item 37")
    expect(page.locator(".o-payload").get_by_text("item 37")).to_be_visible()
    expect(page.locator(".o-payload").get_by_text("item 12")).to_be_hidden()
    page.get_by_text("The whole payload, as JSON").click()
    expect(page.get_by_label("The exact bytes")).to_have_text(task.payload)
