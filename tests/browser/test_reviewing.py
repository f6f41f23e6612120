"""People at their browsers: what they see, what they click, and what comes of it."""

import pytest
from playwright.sync_api import expect

from sessions_app.models import Task
from tests.factories import TaskFactory, the_approval

pytestmark = pytest.mark.browser

REFUND = "Refund 42.50 EUR to customer 1007 for a broken kettle."


def test_alice_reads_a_refund_approves_it_and_its_agent_hears(signed_in, api, alice, bot):
    task = TaskFactory(agent=bot, context={"order": {"lines": ["kettle", "postage"]}})
    page = signed_in(alice)

    expect(page.get_by_role("row", name=REFUND)).to_contain_text("42.50 EUR")
    page.get_by_role("link", name=REFUND).click()
    page.get_by_text("The whole payload, as JSON").click()
    expect(page.locator(".o-raw").first).to_contain_text('"customer": 1007')
    expect(page.locator(".o-payload").last).to_contain_text("postage")
    page.get_by_label("Comment").fill("Checked the order.")
    page.get_by_role("button", name="Approve").click()

    expect(page.get_by_text("Approved: ")).to_be_visible()
    expect(page.get_by_text("All clear.")).to_be_visible()
    approval = the_approval(task)
    assert (approval.status, approval.notes) == ("approved", "Checked the order.")
    assert approval.decided_by == alice
    assert api(bot).get(f"/tasks/{task.pk}").json()["status"] == "approved"


def test_bob_who_clicks_after_alice_is_told_so_and_keeps_his_notes(signed_in, alice, bob, bot):
    task = TaskFactory(agent=bot)
    windows = [signed_in(alice), signed_in(bob)]
    for window in windows:
        window.get_by_role("link", name=REFUND).click()
    hers, his = windows

    hers.get_by_role("button", name="Approve").click()
    expect(hers.get_by_text("Approved: ")).to_be_visible()
    his.get_by_label("Comment").fill("I would ask for a photo first.")
    his.get_by_role("button", name="Approve").click()

    expect(his.get_by_role("alert")).to_contain_text("alice approved this")
    expect(his.get_by_label("Your comment (not sent)")).to_have_value(
        "I would ask for a photo first."
    )
    expect(his.get_by_role("button", name="Approve")).to_have_count(0)
    assert the_approval(task).decided_by == alice
    assert Task.objects.get().status == "approved"


def test_charlie_of_another_group_finds_nothing_even_at_the_address(signed_in, charlie, bot):
    approval = the_approval(TaskFactory(agent=bot))
    page = signed_in(charlie)

    expect(page.get_by_text("All clear.")).to_be_visible()
    answer = page.goto(f"/admin/approvals_app/approval/{approval.pk}/change/")

    assert answer.status == 404
    expect(page.get_by_role("heading", name="Not found")).to_be_visible()


def test_alice_rejects_with_the_keyboard_alone(signed_in, alice, bot):
    task = TaskFactory(agent=bot)
    page = signed_in(alice)
    page.get_by_role("link", name=REFUND).press("Enter")

    page.get_by_label("Comment").focus()
    page.keyboard.type("Twice in a week.")
    page.keyboard.press("Tab")
    for verb in ("Approve", "Request changes"):
        expect(page.get_by_role("button", name=verb)).to_be_focused()
        page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Reject")).to_be_focused()
    page.keyboard.press("Enter")

    expect(page.get_by_text("Rejected: ")).to_be_visible()
    assert (the_approval(task).status, the_approval(task).notes) == ("rejected", "Twice in a week.")


@pytest.mark.parametrize("width", [360, 1440])
def test_nothing_is_wider_than_the_window_whatever_an_agent_writes(signed_in, alice, bot, width):
    task = TaskFactory(
        agent=bot,
        description="An unbroken " + "w" * 400,
        data={"sql": "DELETE FROM orders\nWHERE " + "x" * 500, "k" * 120: ["v" * 300, None]},
    )
    page = signed_in(alice, width=width)

    for path in (
        "/admin/",
        f"/admin/approvals_app/approval/{the_approval(task).pk}/change/",
        f"/admin/sessions_app/task/{task.pk}/change/",
    ):
        assert page.goto(path).status == 200
        assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_character_that_turns_text_around_is_shown_as_its_code(signed_in, alice, bot):
    TaskFactory(agent=bot, data={"payee": "\u202egro.live"})
    page = signed_in(alice)
    page.get_by_role("link", name=REFUND).click()

    expect(page.locator(".o-payload").first).to_contain_text("U+202Egro.live")
    assert "\u202e" not in page.content()
