"""Times on an open page go on counting, and a deadline that passes says so."""

import re

import pytest
from playwright.sync_api import expect

from tests.factories import TaskFactory, the_approval

pytestmark = pytest.mark.browser


@pytest.fixture
def page(signed_in, alice, bot):
    """Alice's page of a request, whose browser's clock stands still until it is moved."""
    approval = the_approval(TaskFactory(agent=bot))
    page = signed_in(alice)
    page.clock.install()
    page.goto(f"/admin/approvals_app/approval/{approval.pk}/change/")
    page.evaluate(
        "addEventListener('o-due-passed', (event) => { window.passed = event.target.textContent; })"
    )
    return page


def test_a_deadline_counts_down_and_says_when_it_has_passed(page):
    deadline = page.locator("time[data-live^='Due ']").first
    expect(deadline).to_have_text(re.compile(r"\((6 d 23 h|7 d)\)$"))
    page.clock.fast_forward(6 * 86_400_000 + 23 * 3_600_000)
    expect(deadline).to_have_text(re.compile(r"\((59 min|1 h)\)$"))
    expect(deadline).to_have_class("o-urgent")
    page.clock.fast_forward(58 * 60_000 + 10_000)
    expect(deadline).to_have_text(re.compile(r"\(1 min \d+ s\)$"))
    assert page.evaluate("window.passed") is None
    page.clock.fast_forward(120_000)
    expect(deadline).to_have_text(re.compile(r"^Expired at \d\d:\d\d$"))
    assert page.evaluate("window.passed") == deadline.text_content()


def test_a_wrong_clock_of_the_browser_does_not_matter(signed_in, alice, bot):
    approval = the_approval(TaskFactory(agent=bot))
    page = signed_in(alice)
    page.add_init_script("const now = Date.now; Date.now = () => now() - 5 * 86_400_000;")
    page.goto(f"/admin/approvals_app/approval/{approval.pk}/change/")
    expect(page.locator("time[data-live^='Due ']").first).to_have_text(
        re.compile(r"\((6 d 23 h|7 d)\)$")
    )


def test_the_browsers_time_zone_is_told_until_the_person_chooses_one(chromium, site, alice, bot):
    context = chromium.new_context(base_url=site, timezone_id="Asia/Kathmandu")
    page = context.new_page()
    page.goto("/admin/login/")
    page.get_by_label("Username").fill("alice")
    page.get_by_label("Password").fill("alice")
    page.get_by_role("button", name="Log in").click()
    approval = the_approval(TaskFactory(agent=bot))
    page.goto(f"/admin/approvals_app/approval/{approval.pk}/change/")
    local = page.evaluate(
        "(at) => new Date(at).toLocaleTimeString('en-GB', {hour: '2-digit', minute: '2-digit'})",
        approval.expires_at.isoformat(),
    )
    expect(page.locator("time[data-live^='Due ']").first).to_contain_text(local)
    context.close()
