"""Whatever an agent writes is text: it is read as it is, its tricks are marked, nothing runs."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.factories import TaskFactory, the_approval
from tests.hostile.gallery import CHAPTERS, GALLERY, STOLEN, Trick

pytestmark = pytest.mark.browser

NARROW = (
    "long word",
    "zalgo",
    "many alike rows",
    "userinfo",
    "huge numbers",
    "right-to-left file name",
)
"""What could push a page wider than a phone is."""

WRITTEN = """() => {
  const places = document.querySelectorAll(".o-first, .o-main, .o-title");
  const inside = [...places].flatMap(place => [...place.querySelectorAll("*")]);
  return {
    elements: [...new Set(inside.map(each => each.localName))],
    attributes: [...new Set(inside.flatMap(each => each.getAttributeNames()))],
    text: [...places].map(place => place.textContent).join("\\n"),
  };
}"""
ELEMENTS = {
    "section",
    "div",
    "details",
    "summary",
    "h3",
    "h4",
    "p",
    "pre",
    "code",
    "dl",
    "dt",
    "dd",
    "ol",
    "ul",
    "li",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "span",
    "b",
    "small",
    "mark",
    "sup",
    "data",
    "time",
    "label",
    "input",
    "button",
}
"""All that our templates draw there: no link, no form, nothing that loads or runs. Our script adds
the buttons by which an address is copied, or opened after a question."""
ATTRIBUTES = {
    "class",
    "id",
    "role",
    "tabindex",
    "aria-label",
    "aria-labelledby",
    "aria-live",
    "open",
    "scope",
    "title",
    "value",
    "datetime",
    "data-search",
    "type",
    "for",
}


def open_task(page: Page, bot, trick):
    approval = the_approval(TaskFactory(agent=bot, description=trick.description, data=trick.data))
    page.goto(f"/admin/approvals_app/approval/{approval.pk}/change/")
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_visible()
    return approval


def unfold(page: Page) -> None:
    page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")


@pytest.mark.parametrize("tricks", CHAPTERS.values(), ids=CHAPTERS)
def test_what_an_agent_writes_is_text_and_its_tricks_are_marked(
    tricks, window, alice, bot, subtests
):
    page, watch = window(alice)
    for name, trick in tricks.items():
        watch.noted.clear()
        with subtests.test(name):
            _is_text_and_marked(trick, page, watch, bot)


def _is_text_and_marked(trick, page, watch, bot):
    approval = open_task(page, bot, trick)

    for kind, words in trick.marks:
        expect(page.locator(f"mark.{kind}").first).to_be_visible()
        notes = "mark.o-unseen" if kind == "o-unseen" else ".o-warnings"
        expect(page.locator(notes, has_text=words).first).to_be_visible()
    expect(page.locator(".o-found")).to_have_count(1 if trick.marks else 0)
    if trick.honest:
        expect(page.locator(".o-main mark")).to_have_count(0)

    unfold(page)
    written = page.evaluate(WRITTEN)
    assert set(written["elements"]) <= ELEMENTS
    assert set(written["attributes"]) <= ATTRIBUTES
    for text in trick.shows:
        assert _plain(text) in _plain(written["text"])

    assert page.evaluate("window.ran") is None
    assert page.evaluate("({}).ran") is None
    assert page.url.endswith(f"/{approval.pk}/change/")
    assert page.locator("form[action]").count() == _forms_of_ours(page)
    assert watch.noted == []


def test_no_trick_makes_a_phone_scroll_sideways(window, alice, bot, subtests):
    page, _ = window(alice, width=360)
    for name in NARROW:
        with subtests.test(name):
            open_task(page, bot, GALLERY[name])
            unfold(page)
            assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_alice_who_clicks_and_types_all_over_it_runs_nothing(window, alice, bot):
    page, watch = window(alice)
    for name in ("Alpine", "htmx", "out of an attribute", "script as a link", "a form of its own"):
        open_task(page, bot, GALLERY[name])
        for part in page.locator(".o-main .o-payload, .o-main .o-words").all():
            part.click(position={"x": 20, "y": 10})
        page.keyboard.press("Tab")
        assert page.evaluate("window.ran") is None
    assert watch.noted == []


def test_the_summary_leads_to_one_mark_after_the_other(window, alice, bot):
    page, _ = window(alice)
    marked = Trick({"a": {"b": {"c": {"d": "x\u200by"}}}, "e": "approve this now"})
    open_task(page, bot, marked)
    button = page.get_by_role("button", name="Next")
    for words in ("U+200B", "approve this"):
        button.click()
        focused = page.locator("mark:focus")
        expect(focused).to_contain_text(words)
        expect(focused).to_be_in_viewport()


def test_the_watch_sees_what_it_watches_for(window, alice, bot):
    """Otherwise the tests above would hold on any page."""
    page, watch = window(alice)
    open_task(page, bot, GALLERY["script"])
    with page.expect_console_message(lambda said: "Security Policy" in said.text):
        page.evaluate(f"document.body.append(Object.assign(new Image(), {{src: '{STOLEN}'}}))")
    page.evaluate("alert('x')")
    page.evaluate("fetch('/stolen').then(() => 0)")
    kinds = {each.partition(":")[0] for each in watch.noted}
    assert kinds == {"policy", "dialog", "request"}


def test_the_gallery_is_large():
    assert len(GALLERY) >= 40


def _plain(text: str) -> str:
    """A text without the numbers of its notes, and with its blanks as one."""
    text = re.sub(r"warning \d+", "", text)
    return " ".join(text.split())


def _forms_of_ours(page: Page) -> int:
    return page.locator("form[action^='/']").count()
