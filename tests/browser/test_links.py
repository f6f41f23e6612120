"""Links in a payload: those of the operator's hosts open, others after a question."""

import pytest
from playwright.sync_api import expect

from tests.factories import TaskFactory, the_approval
from tests.hostile.conftest import window  # noqa: F401  # a fixture

pytestmark = pytest.mark.browser

KNOWN = "https://wiki.example.com/refunds?x=1"
OTHER = "https://shop.example.net/orders/1."
FALSE = "https://wiki.example.com@evil.example/"


@pytest.fixture
def page(window, alice, bot, settings):  # noqa: F811
    settings.PAYLOAD_LINK_HOSTS = ("wiki.example.com",)
    page, watch = window(alice)
    data = {"known": KNOWN, "other": OTHER, "false": FALSE}
    approval = the_approval(TaskFactory(agent=bot, data=data))
    page.goto(f"/admin/approvals_app/approval/{approval.pk}/change/")
    page.watch = watch
    return page


def test_only_a_link_to_a_listed_host_is_a_link(page):
    payload = page.locator(".o-main .o-payload").first
    links = payload.locator("a")
    expect(links).to_have_count(1)
    expect(links).to_have_attribute("href", KNOWN)
    expect(links).to_have_attribute("rel", "noopener noreferrer")
    expect(links).to_have_attribute("target", "_blank")


def test_another_opens_only_after_its_real_host_was_read(page):
    asked = []
    page.on("dialog", lambda dialog: asked.append(dialog.message))
    payload = page.locator(".o-main .o-payload").first
    payload.get_by_role("button", name="Open the link to evil.example").click()
    payload.get_by_role("button", name="Open the link to shop.example.net").click()
    assert asked[0].startswith("This opens evil.example, in a new tab:")
    assert asked[1].endswith("https://shop.example.net/orders/1")
    assert [each for each in page.watch.noted if each != "dialog"] == []


def test_a_link_can_be_copied(page):
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    payload = page.locator(".o-main .o-payload").first
    payload.get_by_role("button", name="Copy the link to shop.example.net").click()
    expect(payload.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == "https://shop.example.net/orders/1"
