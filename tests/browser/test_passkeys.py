"""Passkeys in a real Chromium with a virtual authenticator: register, sign in, sign a vote."""

import pytest
from playwright.sync_api import expect

from approvals_app.models import Passkey, PasskeyUse, Vote
from tests.browser.axe import violations
from tests.factories import TaskFactory, policy, the_approval

pytestmark = pytest.mark.browser

REFUND = "Refund 42.50 EUR to customer 1007 for a broken kettle."


@pytest.fixture
def site(site, settings):
    """At localhost, whose pages may use passkeys."""
    local = site.replace("127.0.0.1", "localhost")
    settings.PASSKEY_ORIGINS, settings.PASSKEY_DOMAIN = [local], "localhost"
    return local


@pytest.fixture
def to_sign(bot):
    policy(asks="1 finance", signed="required")
    return the_approval(TaskFactory(agent=bot))


class Device:
    """A window's virtual authenticator."""

    def __init__(self, page, **options):
        self.session = page.context.new_cdp_session(page)
        self.session.send("WebAuthn.enable")
        given = {
            "protocol": "ctap2",
            "transport": "internal",
            "hasResidentKey": True,
            "hasUserVerification": True,
            "isUserVerified": True,
            "automaticPresenceSimulation": True,
        }
        answer = self.session.send("WebAuthn.addVirtualAuthenticator", {"options": given | options})
        self.name = {"authenticatorId": answer["authenticatorId"]}

    def credentials(self):
        return self.session.send("WebAuthn.getCredentials", self.name)["credentials"]

    def add(self, credential):
        self.session.send("WebAuthn.addCredential", self.name | {"credential": credential})

    def verify(self, right):
        self.session.send("WebAuthn.setUserVerified", self.name | {"isUserVerified": right})

    def remove_all(self):
        self.session.send("WebAuthn.clearCredentials", self.name)


def register(page, name="Laptop"):
    page.goto("/admin/passkeys/")
    page.get_by_label("passkey").fill(name)
    page.get_by_role("button", name="Register a passkey").click()
    expect(page.get_by_text("Passkey registered.")).to_be_visible()


def open_request(page, approval):
    page.goto(f"/admin/approvals_app/approval/{approval.pk}/change/")
    expect(page.get_by_text("You sign your decision with your passkey.")).to_be_visible()
    return page


def problem(page):
    return expect(page.locator("[data-passkey-status]"))


def test_alice_registers_a_passkey_and_signs_her_decision_by_keyboard(signed_in, alice, to_sign):
    page = signed_in(alice, width=1440)
    Device(page)
    page.goto(f"/admin/approvals_app/approval/{to_sign.pk}/change/")
    expect(page.get_by_text("You need a passkey to decide this")).to_be_visible()
    expect(page.get_by_role("button", name="Approve")).to_be_disabled()
    page.get_by_role("link", name="Register a passkey").click()
    page.get_by_label("passkey").fill("Laptop")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Passkey registered.")).to_be_visible()
    assert not violations(page)
    page.get_by_role("link", name="Back", exact=True).click()
    expect(page.get_by_text("You sign your decision with your passkey.")).to_be_visible()
    assert not violations(page)
    page.keyboard.press("a")
    expect(page.get_by_role("button", name="Approve")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("Approved: ")).to_be_visible()
    cast = Vote.objects.get()
    assert cast.assertion["public_key"] == Passkey.objects.get().public_key
    assert PasskeyUse.objects.get().sign_count == cast.assertion["sign_count"] > 0


@pytest.mark.parametrize("colors", ["light", "dark"])
def test_on_a_phone(signed_in, alice, to_sign, colors):
    page = signed_in(alice, width=360, colors=colors)
    Device(page)
    register(page, "Phone")
    assert not violations(page)
    open_request(page, to_sign)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= 360
    page.get_by_label("Comment").fill("Not without a receipt.")
    page.get_by_role("button", name="Reject").click()
    expect(page.get_by_text("Rejected: ")).to_be_visible()
    assert Vote.objects.get().assertion


def test_a_change_is_requested_and_a_comment_that_is_missing_is_asked_for_first(
    signed_in, alice, to_sign
):
    page = signed_in(alice)
    Device(page)
    register(page)
    open_request(page, to_sign).get_by_role("button", name="Request changes").click()
    expect(page.get_by_text("Write in the comment what should change.")).to_be_visible()
    assert not PasskeyUse.objects.get().last_used_at
    page.get_by_label("Comment").fill("A receipt, please.")
    page.get_by_role("button", name="Request changes").click()
    expect(page.get_by_text("Changes requested. Approval is blocked")).to_be_visible()
    assert Vote.objects.get().assertion


def test_what_is_high_risk_is_confirmed_by_the_passkey_alone(signed_in, alice, bot):
    policy(asks="1 finance", signed="required", risk="high")
    approval = the_approval(TaskFactory(agent=bot))
    page = signed_in(alice)
    Device(page)
    register(page)
    open_request(page, approval).get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved: ")).to_be_visible()


def test_whoever_is_not_verified_decides_nothing(signed_in, alice, to_sign):
    page = signed_in(alice)
    device = Device(page)
    register(page)
    device.verify(False)
    open_request(page, to_sign).get_by_role("button", name="Approve").click()
    problem(page).to_contain_text("Nothing was decided.")
    expect(page.get_by_role("button", name="Approve")).to_be_focused()
    assert not Vote.objects.exists()
    device.verify(True)
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved: ")).to_be_visible()


def test_whoever_is_not_verified_registers_nothing(signed_in, alice):
    page = signed_in(alice)
    Device(page, isUserVerified=False)
    page.goto("/admin/passkeys/")
    page.get_by_label("passkey").fill("Laptop")
    page.get_by_role("button", name="Register a passkey").click()
    problem(page).to_contain_text("No passkey was made")
    assert not Passkey.objects.exists()


def test_at_another_address_the_page_says_where_passkeys_work(signed_in, alice, to_sign, site):
    page = signed_in(alice)
    Device(page)
    register(page)
    cookies = page.context.cookies()
    there = site.replace("localhost", "127.0.0.1")
    page.context.add_cookies(
        [{"name": each["name"], "value": each["value"], "url": there} for each in cookies]
    )
    page.goto(f"{there}/admin/approvals_app/approval/{to_sign.pk}/change/")
    page.get_by_role("button", name="Approve").click()
    problem(page).to_contain_text(f"Passkeys work at {site} only.")
    assert not Vote.objects.exists()


def test_a_repeated_request_decides_nothing(signed_in, alice, to_sign):
    policy("two", asks="2 finance", signed="required", priority=-1)
    approval = the_approval(TaskFactory(agent=to_sign.task.agent))
    page = signed_in(alice)
    Device(page)
    register(page)
    sent = []
    page.on("request", lambda it: "assertion=" in (it.post_data or "") and sent.append(it))
    open_request(page, approval).get_by_role("button", name="Approve").click()
    expect(page.get_by_text("recorded", exact=False).first).to_be_visible()
    page.goto(f"/admin/approvals_app/approval/{approval.pk}/change/")
    page.get_by_role("button", name="Withdraw").click()
    expect(page.get_by_text("Vote withdrawn.")).to_be_visible()
    page.goto(f"/admin/approvals_app/approval/{approval.pk}/change/")
    answer = page.evaluate(
        """async ([url, body]) => {
            const token = document.querySelector("[name=csrfmiddlewaretoken]").value;
            const headers = {"Content-Type": "application/x-www-form-urlencoded",
                "X-CSRFToken": token, "X-Flow": "send"};
            return (await fetch(url, {method: "POST", body, headers})).status;
        }""",
        [sent[-1].url, sent[-1].post_data],
    )
    assert answer == 403
    assert Vote.objects.cast().count() == 0


def test_a_copy_of_a_passkey_is_refused(signed_in, alice, to_sign, bot):
    other = the_approval(TaskFactory(agent=bot))
    page = signed_in(alice)
    device = Device(page)
    register(page)
    (copy,) = device.credentials()
    open_request(page, to_sign).get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved: ")).to_be_visible()
    device.remove_all()
    device.add(copy)
    open_request(page, other).get_by_role("button", name="Approve").click()
    expect(page.get_by_text("there may be a copy of it")).to_be_visible()
    assert Vote.objects.count() == 1


def test_a_removed_passkey_signs_nothing(signed_in, alice, to_sign):
    page = signed_in(alice)
    Device(page)
    register(page)
    open_request(page, to_sign)
    other = page.context.new_page()
    other.goto("/admin/passkeys/")
    other.get_by_role("button", name="Remove Laptop").click()
    expect(other.get_by_text("Passkey removed.")).to_be_visible()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("alert")).to_contain_text("Nothing was decided: votes on this are")
    expect(page.get_by_text("You need a passkey to decide this")).to_be_visible()
    assert not Vote.objects.exists()


def test_two_people_share_a_device_and_sign_each_with_their_own(
    signed_in, chromium, site, alice, bob, to_sign, bot
):
    second = the_approval(TaskFactory(agent=bot))
    page = signed_in(alice)
    device = Device(page)
    register(page)
    hers = device.credentials()
    page = signed_in(bob)
    device = Device(page)
    for each in hers:
        device.add(each)
    register(page, "Shared")
    assert len(device.credentials()) == 2
    open_request(page, to_sign).get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved: ")).to_be_visible()
    assert Vote.objects.get().voter == bob
    # Without his own, hers is of no use to him.
    device.remove_all()
    for each in hers:
        device.add(each)
    open_request(page, second).get_by_role("button", name="Approve").click()
    problem(page).to_contain_text("Nothing was decided.")
    assert Vote.objects.count() == 1


def test_alice_signs_in_without_name_and_password(signed_in, alice):
    page = signed_in(alice)
    Device(page)
    register(page)
    page.context.clear_cookies()
    page.goto("/admin/away/")
    assert not violations(page)
    page.get_by_role("button", name="Sign in with a passkey").click()
    page.wait_for_url("**/admin/away/")


def test_after_the_password_the_passkey_is_asked_for(signed_in, alice):
    page = signed_in(alice)
    Device(page)
    register(page)
    page.context.clear_cookies()
    page.goto("/admin/login/")
    page.get_by_label("Username").fill("alice")
    page.get_by_label("Password").fill("alice")
    page.get_by_role("button", name="Log in").click()
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url("**/admin/")


def test_without_a_passkey_everything_is_as_before(signed_in, alice, bot):
    policy(asks="1 finance", signed="when_possible")
    approval = the_approval(TaskFactory(agent=bot))
    page = signed_in(alice)
    page.goto(f"/admin/approvals_app/approval/{approval.pk}/change/")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("Approved: ")).to_be_visible()
    assert Vote.objects.get().assertion is None
