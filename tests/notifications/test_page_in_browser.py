"""The page of notices by keyboard, on a small screen and in the dark."""

import os
from pathlib import Path

import pytest

from approvals_app.notifications.models import NoticeSettings
from tests.browser.test_accessibility import violations
from tests.factories import TaskFactory
from tests.notifications.conftest import adds

pytestmark = pytest.mark.browser
SHOTS = os.environ.get("SHOTS")


@pytest.fixture
def full(tell, chat, mailbox, bot, alice):
    """alice's page with something in each of its parts."""
    alice.email = "alice@example.com"
    alice.save()
    mailbox.refuses = True
    adds(alice, chat.url)
    TaskFactory(agent=bot)
    tell()
    return alice


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("colors", ["light", "dark"])
def test_the_page_keeps_nobody_out(signed_in, full, colors, width):
    page = signed_in(full, width=width, colors=colors)
    page.emulate_media(reduced_motion="reduce")
    page.goto("/admin/notifications/")
    assert page.get_by_text("Failed (last seven days").is_visible()
    if SHOTS:
        page.screenshot(path=Path(SHOTS) / f"notices-{colors}-{width}.png", full_page=True)
    assert violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    page.get_by_label("Until").fill("07:00")
    page.get_by_role("button", name="Save").click()
    assert "Quiet hours need a start" in page.get_by_role("alert").inner_text()
    assert violations(page) == []


def test_it_is_done_by_keyboard_alone(signed_in, full):
    page = signed_in(full)
    page.goto("/admin/notifications/")
    page.get_by_role("checkbox", name="Reminders before a deadline").focus()
    page.keyboard.press("Space")
    page.get_by_role("radio", name="Immediately").focus()
    page.keyboard.press("ArrowDown")
    page.get_by_label("From").focus()
    page.keyboard.type("1000PM")
    page.get_by_label("Until").focus()
    page.keyboard.type("0700AM")
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.keyboard.press("Enter")
    page.wait_for_selector("text=This applies to new events")
    wish = NoticeSettings.objects.get(person=full)
    assert (wish.without, wish.digest, wish.time_zone) == (["reminder"], "hourly", "Europe/Berlin")
    assert (wish.quiet_from.hour, wish.quiet_until.hour) == (22, 7)
