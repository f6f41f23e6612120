"""The frame around every page: by the keyboard, and where no script runs."""

import pytest
from playwright.sync_api import expect

from tests.browser.test_login import log_in
from tests.factories import TaskFactory

pytestmark = pytest.mark.browser

REFUND = "Refund 42.50 EUR to customer 1007 for a broken kettle."


def test_the_first_tab_skips_to_the_content(signed_in, alice, bot):
    TaskFactory(agent=bot)
    page = signed_in(alice, width=1440)
    page.keyboard.press("Tab")
    skip = page.get_by_role("link", name="Skip to content")
    expect(skip).to_be_focused()
    expect(skip).to_be_in_viewport()
    page.keyboard.press("Enter")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.closest('#content') !== null")


def test_the_menu_under_my_name_opens_by_the_keyboard(signed_in, alice):
    page = signed_in(alice, width=1440)
    name = page.locator("summary", has_text="alice")
    name.focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="Notifications")).to_be_visible()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    page.get_by_role("button", name="Dark").press("Enter")
    expect(page.locator("html")).to_have_class("dark")


def test_what_the_sidebar_is_called_has_no_icons_in_it(signed_in, alice, bot):
    TaskFactory(agent=bot)
    page = signed_in(alice, width=1440)
    for name in ("Inbox 1", "History", "Delegation", "Dashboards"):
        expect(page.get_by_role("link", name=name, exact=True)).to_be_visible()
    expect(page.get_by_role("link", name="Agents", exact=True)).to_be_hidden()
    page.get_by_text("Administration").click()
    expect(page.get_by_role("link", name="Agents", exact=True)).to_be_visible()


@pytest.mark.parametrize("width", [360, 1440])
def test_where_no_script_runs_the_inbox_and_the_sidebar_are_there(
    chromium, site, alice, bot, width
):
    TaskFactory(agent=bot)
    size = {"width": width, "height": 900}
    context = chromium.new_context(base_url=site, viewport=size, java_script_enabled=False)
    page = context.new_page()
    page.goto("/admin/login/")
    log_in(page, "alice", "alice")
    expect(page.get_by_role("link", name=REFUND)).to_be_visible()
    page.get_by_role("link", name="History", exact=True).click()
    expect(page.get_by_role("navigation", name="History")).to_be_visible()
    expect(page.get_by_role("link", name="My decisions")).to_be_visible()
    context.close()
