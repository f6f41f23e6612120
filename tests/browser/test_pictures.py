"""Every page of ours in a world of people at work, in light and dark, at a desk and on a phone.

Each is there, says no error in the console, does not scroll sideways, cuts no text off, and has
nothing that WCAG 2.2 AA forbids; ``make screenshots`` keeps its picture.
"""

import os
from pathlib import Path

import pytest
from playwright.sync_api import Page

from tests.browser.axe import violations
from tests.browser.world import addresses, people, work

__all__ = ["people", "work"]

pytestmark = pytest.mark.browser

KEPT = os.environ.get("SCREENSHOTS")
"""The folder that pictures are kept in."""


def wider_than_the_window(page: Page) -> int:
    return page.evaluate(
        "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    )


CUT_OFF = """() => [...document.querySelectorAll("main *, #main *")].filter(element => {
    const style = getComputedStyle(element);
    // An ellipsis says that there is more: of an agent's words beside our headline.
    if (element.matches(".o-agents") && style.webkitLineClamp !== "none") return false;
    return style.overflowY === "hidden" && element.clientHeight > 1
        && element.scrollHeight > element.clientHeight + 1 && element.innerText?.trim();
}).map(element => element.innerText.trim().slice(0, 60))"""


def cut_off(page: Page) -> list[str]:
    """The beginnings of texts of which a part can't be seen, nor scrolled to."""
    return page.evaluate(CUT_OFF)


def keep(page: Page, name: str, width: int, colors: str) -> None:
    if not KEPT:
        return
    page.wait_for_load_state("networkidle")
    phone = "-phone" if width < 700 else ""
    dark = "-dark" if colors == "dark" else ""
    page.screenshot(path=Path(KEPT) / f"{name}{phone}{dark}.png", full_page=width < 700)


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("colors", ["light", "dark"])
def test_every_page_can_be_looked_at_by_anybody(signed_in, work, people, width, colors):
    page = signed_in(people["alice"], width=width, colors=colors)
    page.emulate_media(reduced_motion="reduce", color_scheme=colors)
    said: list[str] = []
    page.on("console", lambda line: line.type == "error" and said.append(line.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    found = []
    for name, address in addresses(work).items():
        answer = page.goto(address)
        if not answer.ok:
            found.append(f"{name} answers {answer.status}")
            continue
        keep(page, name, width, colors)
        if wider := wider_than_the_window(page):
            found.append(f"{name} scrolls sideways by {wider} px")
        found += [f"{name} cuts off: {text!r}" for text in cut_off(page)]
        found += [f"{name}: {one}" for one in violations(page)]
    assert not found + said, "\n".join(found + said)
