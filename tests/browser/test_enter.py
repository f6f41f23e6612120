"""Enter in a field presses no button that decides, revokes, rotates or retires: whoever wants that
presses the button itself."""

import pytest
from playwright.sync_api import expect

from audit_app.models import Event
from tests.accounts.authenticator import Authenticator
from tests.browser.world import addresses, people, work
from tests.factories import TaskFactory, the_approval

__all__ = ["people", "work"]

pytestmark = pytest.mark.browser

REFUND = "Refund 42.50 EUR to customer 1007 for a broken kettle."
FIELDS = "input:is(form *, [form]):not([type=hidden], [type=submit], [type=button], [type=radio])"
TEXTS = (None, "text", "search", "password", "email", "url")
# What forms of one verb do, where Enter may press their only button.
DONE_BY_ENTER = {"identity.changed", "webhook.changed"}

LISTEN = """addEventListener("submit", (event) => {
    if (event.target.goesAhead || event.submitter?.formMethod === "dialog") return;
    event.preventDefault();
    window.entered = [event.target, event.submitter];
}, true)"""
# What the browser checks first, somebody may have filled in as it wants it.
UNFOLD = """() => {
    for (const each of document.querySelectorAll("details")) each.open = true;
    for (const each of document.querySelectorAll("form")) each.noValidate = true;
    for (const each of document.querySelectorAll("form select"))
        if (!each.value && each.options.length > 1) each.selectedIndex = 1;
    delete window.entered;
}"""
SEND = """() => {
    const [form, submitter] = window.entered;
    form.goesAhead = true;
    form.requestSubmit(submitter);
}"""


def press_enter_in_every_field(page, address):
    """In each field by itself, on a fresh page where the one before was sent; their names."""
    pressed, place, sent = [], 0, True
    while True:
        if sent:
            page.goto(address)
        page.evaluate(UNFOLD)
        fields = page.locator(FIELDS).locator("visible=true")
        if place >= fields.count():
            return pressed
        field = fields.nth(place)
        place += 1
        if not field.is_enabled():
            continue
        if field.get_attribute("type") in TEXTS and not field.input_value():
            field.fill("charlie")
        pressed.append(field.get_attribute("name"))
        field.press("Enter")
        sent = page.evaluate("Boolean(window.entered)")
        if sent:
            with page.expect_navigation():
                page.evaluate(SEND)


def latest():
    return Event.objects.latest("position").position


def since(position):
    return set(Event.objects.filter(position__gt=position).values_list("event_type", flat=True))


def test_enter_in_the_name_of_a_stand_in_does_not_approve(signed_in, alice, charlie, bot):
    task = TaskFactory(agent=bot)
    page = signed_in(alice)
    page.get_by_role("link", name=REFUND).click()
    page.get_by_text("More actions").click()
    page.get_by_label("Delegate this to").fill("charlie")
    page.keyboard.press("Enter")
    page.get_by_label("Comment").fill("Still here.")
    page.get_by_role("button", name="Delegate").click()
    expect(page.get_by_text("Delegated to charlie")).to_be_visible()
    assert the_approval(task).status == "pending"


@pytest.mark.parametrize(
    ("key", "name", "status"), [("a", "Approve", "approved"), ("r", "Reject", "rejected")]
)
def test_enter_on_a_button_presses_it(signed_in, alice, bot, key, name, status):
    task = TaskFactory(agent=bot)
    page = signed_in(alice)
    with page.expect_navigation():
        page.get_by_role("link", name=REFUND).click()
    page.get_by_label("Comment").fill("Because.")
    page.get_by_label("Comment").blur()
    page.keyboard.press(key)
    expect(page.get_by_role("button", name=name)).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text(f"{status.capitalize()}: Payment of 42.50 EUR.")).to_be_visible()
    assert the_approval(task).status == status


@pytest.mark.parametrize("key", ["r", "c"])
def test_the_key_of_a_verb_that_needs_a_reason_leads_to_it(signed_in, alice, bot, key):
    """A reason that is typed at once must not press other keys."""
    TaskFactory(agent=bot)
    page = signed_in(alice)
    with page.expect_navigation():
        page.get_by_role("link", name=REFUND).click()
    page.keyboard.press(key)
    page.keyboard.type("the")
    expect(page.get_by_label("Comment")).to_have_value("the")


def test_enter_in_a_field_decides_nothing_anywhere(signed_in, work, people):
    page = signed_in(people["alice"], width=1440, colors="light")
    page.add_init_script(LISTEN)
    before, pressed = latest(), {}
    places = addresses(work)
    del places["passkeys"]  # where Enter asks the device, see test_passkeys.py
    for name, address in places.items():
        pressed[name] = press_enter_in_every_field(page, address)
        assert since(before) <= DONE_BY_ENTER, name
    assert {"to", "answer.urgent"} <= set(pressed["decide-question"])
    assert "typed" in pressed["decide-careful"]
    assert "q" in pressed["inbox"]


def test_enter_sets_a_second_factor_up_and_does_not_remove_it(signed_in, alice):
    page = signed_in(alice)
    page.goto("/admin/second-factor/")
    telephone = Authenticator(page.locator("code.o-whole").inner_text())
    page.get_by_label("Six-digit code").fill(telephone.code())
    page.keyboard.press("Enter")
    codes = page.get_by_label("Recovery codes").get_by_role("listitem")
    expect(codes).to_have_count(10)
    code = codes.first.inner_text()
    page.add_init_script(LISTEN)
    page.goto("/admin/second-factor/")
    page.get_by_label("Code or recovery code").fill(code)
    page.keyboard.press("Enter")
    assert not page.evaluate("Boolean(window.entered)")
    page.evaluate("for (const form of document.forms) form.goesAhead = true")
    page.get_by_role("button", name="New recovery codes").click()
    expect(page.get_by_label("Recovery codes")).not_to_contain_text(code)
