"""What is dangerous is seen without a click, on a desktop and on a phone."""

from datetime import UTC, datetime

import pytest

from tests.browser.axe import violations
from tests.factories import TaskFactory, the_approval
from tests.payloads.reading import FOLDER, load, summarize_data

pytestmark = pytest.mark.browser

BOTTOMS = "found => found.map(each => each.getBoundingClientRect().bottom + scrollY)"
FIRST_SCREENS = {1440: 900, 360: 1_800}
"""Pixels from the top by width: one screen, and two."""
DANGEROUS = sorted(
    path.stem
    for path in FOLDER.glob("*.json")
    if any(
        fact.level == "danger"
        for fact in summarize_data(load(path.stem), now=datetime.now(UTC)).facts
    )
)


@pytest.mark.parametrize("width", FIRST_SCREENS)
def test_each_danger_is_on_the_first_screens(signed_in, alice, bot, width, subtests):
    page = signed_in(alice, width=width)
    for name in DANGEROUS:
        with subtests.test(payload=name):
            data = load(name)
            approval = the_approval(TaskFactory(agent=bot, description="Please.", data=data))
            page.goto(f"/admin/approvals_app/approval/{approval.pk}/change/")
            facts = summarize_data(data, now=datetime.now(UTC)).facts
            dangers = [fact for fact in facts if fact.level == "danger"]
            bottoms = page.locator(".o-fact-danger").evaluate_all(BOTTOMS)
            assert len(bottoms) == len(dangers)
            assert max(bottoms) <= FIRST_SCREENS[width]


def test_a_summary_is_accessible(signed_in, alice, bot):
    task = TaskFactory(agent=bot, description="Pay 1234 EUR", data=load("payments_30_rows"))
    page = signed_in(alice)
    assert violations(page) == []
    page.goto(f"/admin/approvals_app/approval/{the_approval(task).pk}/change/")
    page.get_by_role("heading", name="What will happen").wait_for()
    assert violations(page) == []
