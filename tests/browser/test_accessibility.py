"""What opens by a click, and what stands outside of the admin, as axe-core reads it: nothing that
WCAG 2.2 AA forbids. Every other page is read in test_pictures."""

import re
from functools import partial

import pytest
from playwright.sync_api import expect

from approvals_app.models import Approval, ApprovalPolicy
from orchestrator.web.circuit_breaker import availability
from sessions_app.models import Agent
from tests.accounts.authenticator import Authenticator
from tests.accounts.conftest import provider
from tests.browser.axe import violations
from tests.browser.test_login import log_in
from tests.browser.test_pictures import keep, wider_than_the_window
from tests.browser.world import addresses, of, people, work

__all__ = ["people", "provider", "work"]

pytestmark = pytest.mark.browser

LOOKS = [(1440, "light"), (360, "dark")]
LEGIBLE_AT = 640
"""How wide 1280 pixels are at twice their size (WCAG 1.4.4)."""


class Reader:
    """Reads a page after the other, and keeps what keeps somebody out."""

    def __init__(self, width, colors):
        self.width, self.colors, self.found = width, colors, []

    def read(self, page, name):
        keep(page, name, self.width, self.colors)
        if wider := wider_than_the_window(page):
            self.found.append(f"{name} scrolls sideways by {wider} px")
        self.found += [f"{name}: {one}" for one in violations(page)]


@pytest.fixture
def reader(width, colors):
    reader = Reader(width, colors)
    yield reader
    assert not reader.found, "\n".join(reader.found)


def press(page, name):
    with page.expect_navigation():
        page.get_by_role("button", name=name).click()


@pytest.mark.parametrize(("width", "colors"), LOOKS)
def test_what_opens_by_a_click_keeps_nobody_out(reader, signed_in, people, work, width, colors):
    page = signed_in(people["alice"], width=width, colors=colors)
    page.emulate_media(reduced_motion="reduce", color_scheme=colors)
    page.keyboard.press("?")
    reader.read(page, "keys")
    page.keyboard.press("Escape")
    for box in page.get_by_role("checkbox", name="Select:", disabled=False).all()[:3]:
        box.check()
    press(page, re.compile("Review [0-9]"))
    reader.read(page, "bulk")
    press(page, re.compile("Reject these"))
    reader.read(page, "bulk-done")
    page.goto("/admin/policies/new/")
    page.get_by_role("textbox", name="Name").fill("everything")
    page.get_by_label("Group").first.fill("finance")
    press(page, "Simulate")
    reader.read(page, "policy-tried")
    page.get_by_label("Answer within", exact=True).first.fill("soon")
    press(page, "Simulate")
    reader.read(page, "policy-refused")
    page.goto(f"/admin/policies/{ApprovalPolicy.objects.first().pk}/retire/")
    reader.read(page, "policy-retire")
    agent = Agent.objects.get(name="support-bot")
    page.goto(of(agent, "revoke"))
    page.evaluate("for (const form of document.forms) form.noValidate = true")
    press(page, "Revoke agent")
    reader.read(page, "revoke-refused")
    page.goto(of(agent, "rotate"))
    press(page, "Rotate key")
    reader.read(page, "key")
    page.goto("/admin/audit_app/webhook/add/")
    page.get_by_label("Name").fill("siem")
    page.get_by_label("Address").fill("nowhere")
    press(page, "Create webhook")
    reader.read(page, "webhook-refused")
    page.get_by_label("Address").fill("https://siem.example/events")
    press(page, "Create webhook")
    reader.read(page, "secret")

    page = signed_in(people["dave"], width=width, colors=colors)
    page.emulate_media(reduced_motion="reduce", color_scheme=colors)
    page.goto(of(Approval.objects.get(task=work["careful"])))
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")
    reader.read(page, "decide-unfolded")
    page.get_by_role("button", name="Request changes").click()
    expect(page.get_by_role("alert")).to_be_visible()
    reader.read(page, "decide-refused")


@pytest.fixture
def window(chromium, site, width, colors):
    """A browser in which nobody is signed in yet."""
    size = {"width": width, "height": 900}
    context = chromium.new_context(base_url=site, viewport=size, color_scheme=colors)
    context.set_default_timeout(10_000)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize(("width", "colors"), LOOKS)
def test_the_way_in_keeps_nobody_out(reader, window, alice, settings, width, colors):
    settings.REQUIRE_SECOND_FACTOR = "always"
    window.goto("/admin/")
    reader.read(window, "login")
    log_in(window, "alice", "wrong")
    reader.read(window, "login-refused")
    log_in(window, "alice", "alice")
    expect(window.get_by_role("img", name="QR code")).to_be_visible()
    reader.read(window, "enrol")
    telephone = Authenticator(window.locator("code.o-whole").inner_text())
    window.get_by_label("Six-digit code").fill(telephone.wrong())
    press(window, "Set up")
    reader.read(window, "enrol-refused")
    window.get_by_label("Six-digit code").fill(telephone.code())
    press(window, "Set up")
    reader.read(window, "codes")
    code = window.get_by_label("Recovery codes").get_by_role("listitem").first.inner_text()
    window.goto("/admin/second-factor/")
    reader.read(window, "second-factor-managed")

    window.context.clear_cookies()
    window.goto("/admin/")
    log_in(window, "alice", "alice")
    expect(window.get_by_label("Code")).to_be_visible()
    reader.read(window, "code")
    window.get_by_label("Code").fill(code)
    press(window, "Continue")
    reader.read(window, "inbox-empty")

    window.context.clear_cookies()
    window.goto("/admin/")
    for _ in range(5):
        log_in(window, "alice", "wrong")
    expect(window.get_by_role("heading", name="Too many attempts")).to_be_visible()
    reader.read(window, "locked-out")


@pytest.mark.parametrize(("width", "colors"), LOOKS)
def test_single_sign_on_that_fails_keeps_nobody_out(
    reader,
    window,
    provider,
    settings,
    width,
    colors,
):
    window.goto("/admin/")
    reader.read(window, "login-single-sign-on")
    provider.error = "access_denied"
    window.get_by_role("link", name="Sign in with single sign-on").click()
    expect(window.get_by_role("alert")).to_contain_text("denied access")
    reader.read(window, "login-not-let-in")


@pytest.mark.parametrize(("width", "colors"), LOOKS)
def test_what_went_wrong_is_told_to_everybody(
    reader, window, signed_in, alice, bot, monkeypatch, width, colors
):
    page = signed_in(alice, width=width, colors=colors)
    read = partial(reader.read, page)
    for name, path, status in (
        ("malformed", "/admin/?q=%00", 400),
        ("not-allowed", "/admin/auth/user/", 403),
        ("not-found", f"/admin/sessions_app/agent/{bot.pk}/change/", 404),
    ):
        assert page.goto(path).status == status
        read(name)
    with monkeypatch.context() as patch:
        patch.setattr(availability, "away", True)
        assert page.goto("/admin/").status == 503
        read("database-away")

    window.goto("/admin/login/")
    window.context.clear_cookies()
    log_in(window, "alice", "alice")
    expect(window.get_by_role("heading", name="Your session expired")).to_be_visible()
    reader.read(window, "too-old")


def test_at_twice_the_size_nothing_is_cut_off(signed_in, people, work):
    page = signed_in(people["alice"], width=LEGIBLE_AT)
    wide = {}
    for name, path in addresses(work).items():
        page.goto(path)
        if wider := wider_than_the_window(page):
            wide[name] = wider
    assert wide == {}
