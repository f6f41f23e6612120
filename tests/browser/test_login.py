"""People at the login page, with a real browser: in, locked out, asked twice, and back again."""

import pytest
from django.contrib.auth.models import Group
from django_otp.plugins.otp_totp.models import TOTPDevice
from playwright.sync_api import Page, expect

from tests.accounts.authenticator import Authenticator
from tests.accounts.conftest import ago, later, provider  # noqa: F401  # a fixture
from tests.factories import TaskFactory, the_approval

pytestmark = pytest.mark.browser

REFUND = "Refund 42.50 EUR to customer 1007 for a broken kettle."


@pytest.fixture
def window(chromium, site, look) -> Page:
    """A browser in which nobody is signed in yet."""
    size = {"width": look[0], "height": 900}
    context = chromium.new_context(base_url=site, viewport=size, color_scheme=look[1])
    context.set_default_timeout(10_000)
    yield context.new_page()
    context.close()


def log_in(page: Page, username: str, password: str) -> None:
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(password)
    with page.expect_navigation():
        page.get_by_role("button", name="Log in").click()


def test_alice_signs_in_by_single_sign_on_and_approves(provider, window, bot):  # noqa: F811
    Group.objects.create(name="finance")
    task = TaskFactory(agent=bot)
    approval = the_approval(task)
    window.goto(f"/admin/approvals_app/approval/{approval.pk}/change/")

    window.get_by_role("link", name="Sign in with single sign-on").click()
    expect(window.get_by_role("heading", name="Payment of 42.50 EUR", level=2)).to_be_visible()
    expect(window.get_by_role("region", name="bot says")).to_contain_text(REFUND)
    window.get_by_role("button", name="Approve").click()

    expect(window.get_by_text("Approved: ")).to_be_visible()
    approval = the_approval(task)
    assert (approval.status, approval.decided_by.username) == ("approved", "alice")


def test_whoever_guesses_is_locked_out_in_plain_words(window, alice):
    for n in range(5):
        window.goto("/admin/")
        log_in(window, "alice", f"guess {n}")

    expect(window.get_by_role("heading", name="Too many attempts")).to_be_visible()
    expect(window.get_by_text("in 15 minutes")).to_be_visible()
    window.get_by_role("link", name="Back to the login page").click()
    log_in(window, "alice", "alice")
    expect(window.get_by_role("heading", name="Too many attempts")).to_be_visible()


def test_alice_sets_a_second_factor_up_when_she_decides_and_gives_it_when_she_logs_in(
    window, alice, bot, settings
):
    settings.REQUIRE_SECOND_FACTOR = "decisions"
    task = TaskFactory(agent=bot)
    window.goto("/admin/")
    with ago(minutes=2):
        log_in(window, "alice", "alice")
        window.get_by_role("link", name=REFUND).click()
        window.get_by_label("Comment").fill("Checked the order.")
        window.get_by_role("button", name="Approve").click()

        expect(window.get_by_role("img", name="QR code")).to_be_visible()
        telephone = Authenticator(window.locator("code.o-whole").inner_text())
        window.get_by_label("Six-digit code").fill(telephone.code())
        window.get_by_role("button", name="Set up").click()
        expect(window.get_by_label("Recovery codes").get_by_role("listitem")).to_have_count(10)
        window.get_by_role("link", name="I have saved them").click()

        expect(window.get_by_text("Nothing was decided yet")).to_be_visible()
        expect(window.get_by_label("Comment")).to_have_value("Checked the order.")
        window.get_by_role("button", name="Approve").click()
        expect(window.get_by_text("Approved: ")).to_be_visible()
    approval = the_approval(task)
    assert (approval.status, approval.notes) == ("approved", "Checked the order.")

    window.goto("about:blank")  # an answer to the page that was left would bring a cookie back
    window.context.clear_cookies()
    window.goto("/admin/")
    log_in(window, "alice", "alice")
    window.bring_to_front()  # what is behind another window has no focus
    expect(window.get_by_label("Code")).to_be_focused()
    window.keyboard.type(telephone.wrong())
    window.keyboard.press("Enter")
    expect(window.get_by_role("alert")).to_contain_text("wrong or already used")
    with later(seconds=2):
        window.get_by_label("Code").fill(telephone.code())
        window.keyboard.press("Enter")
        expect(window.get_by_text("All clear.")).to_be_visible()
    assert TOTPDevice.objects.get().user == alice


def test_after_a_while_alice_is_asked_again_and_comes_back_to_her_page(
    window, alice, bot, settings
):
    settings.REAUTHENTICATE_AFTER = settings.SESSION_AGE / 48
    task = TaskFactory(agent=bot)
    window.goto("/admin/")
    with ago(minutes=20):
        log_in(window, "alice", "alice")
        window.wait_for_url("**/admin/")
    window.get_by_role("link", name=REFUND).click()
    window.get_by_label("Comment").fill("No receipt.")
    window.get_by_role("button", name="Reject").click()

    expect(window.get_by_role("heading", name="Confirm it's you")).to_be_visible()
    assert the_approval(task).status == "pending"
    window.get_by_label("Password").fill("alice")
    window.get_by_role("button", name="Confirm").click()

    expect(window.get_by_label("Comment")).to_have_value("No receipt.")
    window.get_by_role("button", name="Reject").click()
    expect(window.get_by_text("Rejected: ")).to_be_visible()
    assert the_approval(task).notes == "No receipt."
