"""After a decision the inbox is as it was: its filter, its page and the place in it."""

from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import expect

from approvals_app.review import inbox
from tests.factories import TaskFactory

pytestmark = pytest.mark.browser


@pytest.fixture
def refunds(bot):
    """Two pages and one request more, and others of another type."""
    # Without an amount nothing is drawn from the data: a page is titled by its description.
    for number in range(2 * inbox.PAGE_SIZE + 1):
        TaskFactory(agent=bot, description=f"Refund number {number}.", data={"customer": 1007})
    TaskFactory(agent=bot, task_type="payout_approval", description="A payout.")


def go_back(page):
    page.get_by_role("navigation", name="Queue").get_by_role("link", name="Inbox").click()


def query(page):
    return parse_qs(urlsplit(page.url).query)


def test_filter_page_and_place(signed_in, alice, refunds, look):
    page = signed_in(alice)
    page.goto("/admin/?type=refund_approval&page=2")
    links = page.locator(".o-row-link")
    following, after = links.nth(12).inner_text(), links.nth(13).inner_text()
    links.nth(11).click()
    page.get_by_role("button", name="Approve").click()

    # The next one opens by itself, and leads back to where the list goes on.
    expect(page.get_by_role("heading", name=following, level=2)).to_be_visible()
    frame = page.get_by_role("navigation", name="Breadcrumbs").get_by_role("link", name="Inbox")
    queue = page.get_by_role("navigation", name="Queue").get_by_role("link", name="Inbox")
    expect(frame).to_have_attribute("href", queue.get_attribute("href"))
    go_back(page)
    expect(page.get_by_role("link", name=after, exact=True)).to_be_focused()
    assert query(page) == {"type": ["refund_approval"], "page": ["2"]}
    expect(page.get_by_role("link", name=after, exact=True)).to_be_in_viewport()
    page.keyboard.press("j")
    expect(page.locator(".o-row-link").nth(13)).to_be_focused()


def test_the_way_over_an_edit_and_the_key_lead_there_too(signed_in, alice, refunds):
    page = signed_in(alice)
    page.goto("/admin/?type=refund_approval&page=2")
    page.locator(".o-row-link").nth(3).click()
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    page.keyboard.press("e")
    page.get_by_label("Description").fill("Refund less.")
    page.get_by_role("button", name="Save revision").click()
    expect(page.get_by_text("Revision 2 saved.")).to_be_visible()
    assert query(page) == {"type": ["refund_approval"], "page": ["2"]}

    page.locator(".o-row-link").nth(3).click()
    expect(page.get_by_role("button", name="Approve")).to_be_visible()
    page.keyboard.press("g")
    page.keyboard.press("i")
    expect(page.get_by_role("heading", name="Inbox")).to_be_visible()
    assert query(page) == {"type": ["refund_approval"], "page": ["2"]}


def test_several_at_once(signed_in, alice, refunds):
    page = signed_in(alice)
    page.goto("/admin/?type=refund_approval&page=2")
    page.get_by_role("checkbox", name="Select:").first.check()
    page.get_by_role("button", name="Review 1").click()
    page.get_by_role("button", name="Approve these 1").click()
    page.get_by_role("link", name="Back to the inbox").click()
    expect(page.locator(".o-row-link")).to_have_count(20)
    assert query(page) == {"type": ["refund_approval"], "page": ["2"]}


def test_the_last_of_its_page_leads_to_the_page_before(signed_in, alice, refunds):
    page = signed_in(alice)
    page.goto("/admin/?type=refund_approval&page=3")
    page.get_by_role("link", name="Refund number").click()
    page.get_by_role("button", name="Approve").click()
    # What was passed over on the way here is next.
    expect(page.get_by_role("navigation", name="Queue")).to_contain_text("40 of 40")
    go_back(page)
    expect(page.locator(".o-row-link")).to_have_count(20)
    expect(page.get_by_text("Page 2")).to_be_visible()


def test_nothing_that_a_link_says_leads_elsewhere(signed_in, alice, refunds):
    page = signed_in(alice)
    page.locator(".o-row-link").first.click()
    page.goto(f"{page.url.partition('?')[0]}?inbox=%2F%2Fevil.example&row=x%22onclick")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved: ")).to_be_visible()
    go_back(page)
    page.wait_for_url("**/admin/*")
    assert urlsplit(page.url).path == "/admin/"
    assert "evil" not in page.url
