"""The list of the inbox: one line a request, in groups, and what can be selected."""

import os
import re
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission
from playwright.sync_api import expect

from approvals_app.decisions import break_glass, operations
from audit_app.base.actors import Actor
from audit_app.trail.operation import clock
from tests.browser.axe import violations
from tests.database import without_guards
from tests.factories import ReviewerFactory, TaskFactory, find_approval, policy, the_approval

pytestmark = pytest.mark.browser

SHOTS = os.environ.get("SHOTS")
"""A folder for pictures of each page, to be looked at."""


OVERLAPS = """() => [...document.querySelectorAll(".o-queue tr[data-key]")].filter(row => {
    const shown = cell => {
        const parts = [...cell.querySelectorAll("a, .o-tag, .o-dot, input, time")]
        if (parts.length) return parts.map(part => part.getBoundingClientRect())
        const range = document.createRange()
        range.selectNodeContents(cell)
        const clips = getComputedStyle(cell).overflow !== "visible"
        return [(clips ? cell : range).getBoundingClientRect()]
    }
    const boxes = [...row.cells].flatMap(shown).filter(box => box.width)
    return boxes.some((one, at) => boxes.slice(at + 1).some(other =>
        one.left < other.right - 1 && other.left < one.right - 1
        && one.top < other.bottom - 1 && other.top < one.bottom - 1))
}).length"""
"""How many rows have parts that cover each other."""

CUT = """() => {
    const edge = document.querySelector("#inbox-list .o-panel").getBoundingClientRect().right
    const parts = document.querySelectorAll(".o-queue tr[data-key] :is(.o-tag, time, td)")
    return [...parts].filter(part => {
        const range = document.createRange()
        range.selectNodeContents(part)
        const clips = getComputedStyle(part).overflow !== "visible"
        const box = (clips ? part : range).getBoundingClientRect()
        return box.right > edge + 1
    }).map(part => part.innerText)
}"""
"""What of the rows lies behind the edge of the list."""


def shot(page, name):
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"{name}.png")


def credit(bot, name, amount="7.50", **other):
    data = {"amount": amount, "currency": "EUR"}
    given = {"task_type": "credit", "description": f"Credit for {name}.", "data": data} | other
    return the_approval(TaskFactory(agent=bot, **given))


def due(approval, **later):
    with without_guards() as cursor:
        at = clock() + timedelta(**later)
        cursor.execute("UPDATE approvals SET expires_at = %s WHERE id = %s", [at, approval.pk])


@pytest.fixture
def full(bot, alice, bob):
    """Every kind of row, and more than a screen of them."""
    policy("wires", when={"task_type": "wire"}, asks="2 finance, 1 legal", risk="high")
    policy(
        "silent",
        when={"task_type": "silent"},
        asks="1 finance",
        on_timeout="approve_without_a_human",
    )
    wire = TaskFactory(
        agent=bot,
        task_type="wire",
        description="Pay the invoices HM-2026-0912 and HM-2026-0957 of the supplier, which moved "
        "to another bank in November; nobody has called them back yet, please do so first.",
        data={"amount": "18750.00", "currency": "EUR", "beneficiary": {"name": "Huber GmbH"}},
    )
    urgent = credit(bot, "a kettle")
    due(urgent, minutes=50)
    credit(bot, "silence", "12.00", task_type="silent")
    blocked = credit(bot, "an unnamed order", "99.90")
    operations.request_changes(
        blocked.pk, by=Actor.human(bob), payload_digest=blocked.payload_digest, message="Whose?"
    )
    odd = credit(bot, "M\u0430ra, already approved by your manager", "249.90")
    dave = ReviewerFactory(username="dave", roles=["finance"])
    dave.user_permissions.add(Permission.objects.get(codename="break_glass"))
    alone = credit(bot, "the hotel", "310.00")
    break_glass.break_glass(
        alone.pk, by=Actor.human(dave), payload_digest=alone.payload_digest, reason="Closes soon."
    )
    for number in range(14):
        due(credit(bot, f"order {number}", f"{number + 5}.00"), days=2, minutes=number)
    return {"wire": wire, "urgent": urgent, "odd": odd, "blocked": blocked}


@pytest.mark.parametrize("colors", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 720, 1280, 1440, 1920])
def test_nothing_overlaps_or_is_cut(signed_in, alice, full, width, colors):
    page = signed_in(alice, width=width, colors=colors)
    shot(page, f"queue-{colors}-{width}")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    overlaps = page.evaluate(OVERLAPS)
    assert overlaps == 0
    assert page.evaluate(CUT) == []
    assert violations(page) == []


def test_twenty_requests_are_on_one_screen(signed_in, alice, bot):
    for number in range(20):
        credit(bot, f"order {number}, of a customer who wrote a long mail about it " * 3)
    page = signed_in(alice, width=1440)
    rows = page.locator("tr[data-key]")
    expect(rows).to_have_count(20)
    shot(page, "queue-twenty")
    assert rows.last.evaluate("row => row.getBoundingClientRect().bottom") <= 900


def test_what_is_selected_is_counted_and_added_up(signed_in, alice, bot):
    for number in range(4):
        credit(bot, f"order {number}", f"{number + 5}.50")
    credit(bot, "Texas", "1234.00", data={"amount": "1234.00", "currency": "USD"})
    page = signed_in(alice, width=1440)
    bar = page.locator("#inbox-selection")
    expect(bar).to_be_hidden()
    boxes = page.get_by_role("checkbox", name="Select: ")
    boxes.nth(0).check()
    expect(bar.get_by_role("status")).to_have_text("1 selected, 5.50 EUR")
    boxes.nth(2).click(modifiers=["Shift"])
    expect(bar.get_by_role("status")).to_have_text("3 selected, 19.50 EUR")
    page.get_by_role("checkbox", name="Select all that can be approved together").check()
    expect(bar.get_by_role("status")).to_have_text("5 selected, 28.00 EUR, 1,234.00 USD")
    shot(page, "queue-selected")
    assert violations(page) == []
    bar.get_by_role("button", name="Clear").click()
    expect(bar).to_be_hidden()
    expect(boxes.nth(0)).not_to_be_checked()
    boxes.nth(1).check()
    bar.get_by_role("button", name="Review 1").click()
    expect(
        page.get_by_text("1 selected, 6.50 EUR in total, all credit, all from bot")
    ).to_be_visible()


def test_what_needs_a_look_can_not_be_selected_and_says_why(signed_in, alice, full):
    page = signed_in(alice, width=1440)
    page.get_by_role("checkbox", name="Select all that can be approved together").check()
    wire = page.locator(f"#row-{find_approval(full['wire'], 'finance').pk}")
    expect(wire.get_by_role("checkbox")).to_be_disabled()
    expect(wire.get_by_role("checkbox")).not_to_be_checked()
    expect(wire.get_by_role("checkbox")).to_have_accessible_description(
        "High risk: open it to approve."
    )
    odd = page.locator(f"#row-{full['odd'].pk}")
    expect(odd.locator(".o-pick")).to_have_attribute("title", re.compile("Suspicious text"))


def test_what_is_blocked_is_folded_at_the_end(signed_in, alice, full):
    page = signed_in(alice, width=1440)
    row = page.locator(f"#row-{full['blocked'].pk}")
    expect(row).to_be_hidden()
    page.get_by_text("Waiting for others").click()
    expect(row).to_contain_text("Changes requested")
    # It stays unfolded when the list is refreshed.
    operations.approve(
        full["urgent"].pk,
        by=Actor.human(ReviewerFactory(username="helen", roles=["finance"])),
        payload_digest=full["urgent"].payload_digest,
    )
    expect(page.locator(f"#row-{full['urgent'].pk}")).to_have_count(0, timeout=15_000)
    expect(page.get_by_role("rowheader", name="Due today")).to_have_count(0)
    expect(row).to_be_visible()


def test_without_javascript_requests_are_selected_and_filtered_by_plain_forms(
    signed_in, alice, full
):
    page = signed_in(alice, width=1440, javascript=False)
    page.get_by_role("checkbox", name="Select: Credit for order 3.").check()
    page.get_by_role("button", name="Review selected").click()
    page.get_by_role("button", name="Approve these 1").click()
    expect(page.get_by_text("1 approved")).to_be_visible()
    page.get_by_role("link", name="Back to the inbox").click()
    page.get_by_text("Filters").click()
    page.get_by_label("Group").select_option("finance")
    page.get_by_role("button", name="Apply").click()
    expect(page.locator(".o-queue")).to_be_visible()
    page.get_by_text("Waiting for others").click()
    expect(page.locator(f"#row-{full['blocked'].pk}")).to_be_visible()
