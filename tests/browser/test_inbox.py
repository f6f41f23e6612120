"""People whose inbox is open while others work: what moves in it, what stays, and by which keys."""

import os
from pathlib import Path

import pytest
from playwright.sync_api import expect

from approvals_app.decisions import operations
from approvals_app.models import Approval
from audit_app.base.actors import Actor
from tests.factories import AgentFactory, TaskFactory, policy, the_approval

pytestmark = pytest.mark.browser

SHOTS = os.environ.get("SHOTS")
"""A folder for pictures of each page, to be looked at."""


def shot(page, name):
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png", full_page=True)


def refund(bot, name, **data):
    """Without an amount nothing is drawn from the data: the page is titled by its description."""
    data = data or {"customer": 1007}
    return the_approval(TaskFactory(agent=bot, description=f"Refund {name}.", data=data))


def approve(approval, by):
    seen = {"payload_digest": approval.payload_digest}
    operations.approve(approval.pk, by=Actor.human(by), **seen)


def waits_for(page, name):
    return expect(page.get_by_role("row", name=f"Refund {name}.")).to_be_visible()


@pytest.fixture
def open_inbox(signed_in, alice):
    """alice's inbox, whose time a test lets pass."""

    def open_inbox(path="/admin/", **window):
        page = signed_in(alice, **window)
        page.clock.install()
        page.goto(path)
        return page

    return open_inbox


def test_what_is_new_appears_and_what_was_decided_leaves_by_itself(open_inbox, bot, bob):
    kettle, lamp = refund(bot, "kettle"), refund(bot, "lamp")
    page = open_inbox()
    expect(page).to_have_title("(2) Inbox | Orchestrator")
    page.get_by_role("checkbox", name="Select: Refund lamp.").check()
    page.get_by_role("link", name="Refund lamp.").focus()

    approve(kettle, bob)
    refund(bot, "chair")
    refund(bot, "table")
    page.clock.run_for(6_000)

    waits_for(page, "chair")
    waits_for(page, "table")
    expect(page.get_by_role("row", name="Refund kettle.")).to_have_count(0)
    expect(page.get_by_role("checkbox", name="Select: Refund lamp.")).to_be_checked()
    expect(page.get_by_role("link", name="Refund lamp.")).to_be_focused()
    expect(page).to_have_title("(3) Inbox | Orchestrator")
    page.clock.run_for(100)
    expect(page.locator("#inbox-news")).to_have_text("2 new, 1 no longer waiting")
    assert lamp.status == "pending"


def test_the_focus_goes_to_the_next_row_when_its_own_is_decided(open_inbox, bot, bob):
    kettle = refund(bot, "kettle")
    refund(bot, "lamp")
    page = open_inbox()
    page.get_by_role("link", name="Refund kettle.").focus()
    approve(kettle, bob)
    page.clock.run_for(6_000)
    expect(page.get_by_role("link", name="Refund lamp.")).to_be_focused()


def test_an_empty_inbox_fills_and_empties(open_inbox, bot, bob):
    page = open_inbox()
    expect(page.get_by_text("All clear.")).to_be_visible()
    kettle = refund(bot, "kettle")
    page.clock.run_for(6_000)
    waits_for(page, "kettle")
    approve(kettle, bob)
    page.clock.run_for(6_000)
    expect(page.get_by_text("All clear.")).to_be_visible()
    expect(page).to_have_title("Inbox | Orchestrator")


def test_nothing_is_sent_twice_while_nothing_moves(open_inbox, bot):
    refund(bot, "kettle")
    page = open_inbox()
    answers = []
    page.on("response", lambda answer: "/admin/inbox/" in answer.url and answers.append(answer))
    with page.expect_response("**/admin/inbox/*"):
        page.clock.run_for(5_100)
    page.wait_for_load_state("networkidle")
    with page.expect_response("**/admin/inbox/*"):
        page.clock.run_for(5_100)
    assert [answer.status for answer in answers] == [200, 304]


def test_a_hidden_window_asks_for_nothing_until_it_is_looked_at(open_inbox, bot):
    page = open_inbox()
    asked = []
    page.on("request", lambda request: "/admin/inbox/" in request.url and asked.append(request))
    hide = "value => { Object.defineProperty(document, 'hidden', {configurable: true, value});"
    hide += " document.dispatchEvent(new Event('visibilitychange')) }"
    page.evaluate(hide, True)
    page.clock.run_for(60_000)
    assert asked == []
    refund(bot, "kettle")
    page.evaluate(hide, False)
    waits_for(page, "kettle")


def test_a_list_that_is_stale_says_so_and_heals(open_inbox, bot):
    refund(bot, "kettle")
    page = open_inbox()
    page.context.set_offline(True)
    page.clock.run_for(6_000)
    expect(page.get_by_text("Offline since")).to_be_visible()
    waits_for(page, "kettle")
    shot(page, "inbox-stale")
    refund(bot, "lamp")
    page.context.set_offline(False)
    page.clock.run_for(31_000)
    waits_for(page, "lamp")
    expect(page.get_by_text("Offline since")).to_have_count(0)


def test_whoever_is_signed_out_is_shown_the_way_back_and_nothing_is_asked_again(open_inbox, bot):
    refund(bot, "kettle")
    page = open_inbox("/admin/?q=kettle")
    page.context.clear_cookies()
    page.clock.run_for(6_000)
    link = page.get_by_role("link", name="Sign in again")
    expect(link).to_be_visible()
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    page.clock.run_for(60_000)
    assert asked == []
    link.click()
    page.get_by_label("Username").fill("alice")
    page.get_by_label("Password").fill("alice")
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_label("Search requests")).to_have_value("kettle")


def test_alice_sees_that_bob_looks_at_it(open_inbox, signed_in, bot, bob):
    kettle = refund(bot, "kettle")
    page = open_inbox()
    his = signed_in(bob)
    his.get_by_role("link", name="Refund kettle.").click()
    expect(his.get_by_role("heading", name="Refund kettle.", level=2)).to_be_visible()
    his.wait_for_load_state("networkidle")
    page.clock.run_for(6_000)
    expect(page.get_by_role("row", name="Refund kettle.")).to_contain_text("bob is looking")
    shot(page, "inbox-looking")
    page.goto(f"/admin/approvals_app/approval/{kettle.pk}/change/")
    told = page.get_by_text("bob is also looking at this.")
    expect(told).to_be_visible()
    # Nothing moved under alice's finger when it was told.
    place = page.get_by_role("button", name="Approve").bounding_box()
    page.locator("[data-looking]").evaluate("told => { told.textContent = '' }")
    assert page.get_by_role("button", name="Approve").bounding_box() == place


def test_alice_narrows_names_and_removes_a_view(signed_in, alice, bot):
    refund(bot, "kettle", shop="Paris")
    refund(bot, "lamp", shop="Rome")
    page = signed_in(alice)
    page.get_by_role("searchbox").fill("par")
    page.get_by_role("button", name="Search").click()
    waits_for(page, "kettle")
    expect(page.get_by_role("row", name="Refund lamp.")).to_have_count(0)
    page.get_by_label("Save this view as").fill("Paris only")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("View saved.")).to_be_visible()
    shot(page, "inbox-view")
    page.goto("/admin/")
    waits_for(page, "lamp")
    page.get_by_role("link", name="Paris only").click()
    expect(page.get_by_role("row", name="Refund lamp.")).to_have_count(0)
    page.get_by_role("button", name="Remove the view Paris only").click()
    expect(page.get_by_role("link", name="Paris only")).to_have_count(0)


class TestKeys:
    def test_alice_moves_chooses_and_opens(self, signed_in, alice, bot):
        for name in ("kettle", "lamp", "chair"):
            refund(bot, name)
        page = signed_in(alice)
        page.keyboard.press("j")
        expect(page.get_by_role("link", name="Refund kettle.")).to_be_focused()
        page.keyboard.press("j")
        page.keyboard.press("x")
        expect(page.get_by_role("checkbox", name="Select: Refund lamp.")).to_be_checked()
        page.keyboard.press("k")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="Refund kettle.", level=2)).to_be_visible()

    def test_no_single_key_decides(self, signed_in, alice, bot):
        kettle = refund(bot, "kettle")
        page = signed_in(alice)
        page.goto(f"/admin/approvals_app/approval/{kettle.pk}/change/")
        page.keyboard.press("r")
        expect(page.get_by_label("Comment")).to_be_focused()
        page.get_by_label("Comment").blur()
        page.keyboard.press("a")
        expect(page.get_by_role("button", name="Approve")).to_be_focused()
        expect(page.get_by_text("Approve: press Enter to confirm")).to_be_attached()
        assert Approval.objects.get().status == "pending"
        page.keyboard.press("Enter")
        expect(page.get_by_text("Approved: ")).to_be_visible()

    def test_keys_are_letters_while_alice_writes(self, signed_in, alice, bot):
        kettle = refund(bot, "kettle")
        page = signed_in(alice)
        page.goto(f"/admin/approvals_app/approval/{kettle.pk}/change/")
        page.keyboard.press("n")
        page.keyboard.type("a jar?")
        expect(page.get_by_label("Comment")).to_have_value("a jar?")
        expect(page.get_by_label("Comment")).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("g")
        page.keyboard.press("i")
        page.wait_for_url("**/admin/")
        page.keyboard.press("/")
        page.keyboard.type("x")
        expect(page.get_by_role("searchbox")).to_have_value("x")

    def test_they_are_listed_and_can_be_switched_off_for_good(self, signed_in, alice, bot):
        refund(bot, "kettle")
        page = signed_in(alice)
        page.keyboard.press("?")
        dialog = page.get_by_role("dialog", name="Keys")
        expect(dialog).to_contain_text("Next request")
        shot(page, "inbox-keys")
        dialog.get_by_role("checkbox").uncheck()
        page.keyboard.press("Escape")
        page.reload()
        page.keyboard.press("j")
        expect(page.get_by_role("link", name="Refund kettle.")).not_to_be_focused()
        page.keyboard.press("?")
        expect(page.get_by_role("checkbox", name="Use these keys")).not_to_be_checked()


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("colors", ["light", "dark"])
def test_the_inbox_as_it_looks(signed_in, alice, bob, bot, width, colors):
    policy("two", when={"task_type": "wire*"}, asks="2 finance")
    hers = AgentFactory(name="alices", owner=alice)
    amount = {"amount": "42.50", "currency": "EUR"}
    refund(bot, "kettle", **amount)
    TaskFactory(agent=bot, task_type="wire_transfer_approval", description="Wire 90,000 EUR.")
    TaskFactory(agent=bot, description="Mail all customers.", data={"recipients": 12_000})
    TaskFactory(agent=hers, description="Her own agent's refund.")
    approve(refund(bot, "lamp", **amount), alice)
    page = signed_in(alice, width=width, colors=colors)
    page.get_by_role("checkbox", name="Select: ").first.check()
    shot(page, f"inbox-{colors}-{width}")
    for tab in ("decided", "asked"):
        page.goto(f"/admin/?tab={tab}")
        shot(page, f"inbox-{tab}-{colors}-{width}")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.goto("/admin/?q=refund&age=1h")
    shot(page, f"inbox-none-{colors}-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
