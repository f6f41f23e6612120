"""What is on the first screen of a telephone, and what overlaps at no width."""

import json
import os
from pathlib import Path

import pytest

from tests.browser.world import addresses, people, work
from tests.factories import TaskFactory, find_approval, policy

__all__ = ["people", "work"]

pytestmark = pytest.mark.browser

PAYLOADS = sorted((Path(__file__).parents[1] / "payloads").glob("*.json"))
TELEPHONE = {"width": 360, "height": 740}
ZOOMED = {"width": 720, "height": 450}
"""A window of 1440 × 900 at 200 %."""
SHOTS = os.environ.get("SHOTS")

# Where each part ends, and where the fixed bar begins.
MEASURE = """() => {
    const end = (selector) => {
        const found = [...document.querySelectorAll(selector)];
        return Math.max(0, ...found.map((each) => each.getBoundingClientRect().bottom));
    };
    const bar = document.querySelector(".o-verbs").getBoundingClientRect();
    return {
        title: end(".o-title"), silence: end(".o-consequence"), top: bar.top,
        // Plain facts are whole in the payload below: those after the first may run on.
        summary: end(".o-fact:first-child, .o-fact-danger, .o-fact-notice"),
        fixed: getComputedStyle(document.querySelector(".o-verbs")).position,
        wide: document.documentElement.scrollWidth,
    };
}"""
# Pairs of neighbours that cover each other, and buttons that something else covers.
OVERLAPS = """() => {
    const parts = document.querySelectorAll(".o-head, .o-panel, .o-problem, .o-told");
    const boxes = [...parts].filter((each) => !each.parentElement.closest(".o-panel"));
    const found = [];
    for (const [i, one] of boxes.entries()) for (const other of boxes.slice(i + 1)) {
        const [a, b] = [one.getBoundingClientRect(), other.getBoundingClientRect()];
        const x = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const y = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (x > 1 && y > 1) found.push(`${one.className} / ${other.className}`);
    }
    return found;
}"""


def url(approval):
    return f"/admin/approvals_app/approval/{approval.pk}/change/"


def test_on_a_telephone_summary_silence_and_verbs_are_on_the_first_screen(signed_in, alice, bot):
    policy(asks="1 finance", on_timeout="approve_without_a_human", deadline="1h")
    page = signed_in(alice, width=360)
    page.set_viewport_size(TELEPHONE)
    below, ends = {}, {}
    for path in PAYLOADS:
        data = json.loads(path.read_text())
        given = {"task_type": "work_approval", "description": f"Please do {path.stem}."}
        task = TaskFactory(agent=bot, data=data, **given)
        page.goto(url(find_approval(task, "finance")))
        found = page.evaluate(MEASURE)
        if SHOTS:
            page.screenshot(path=Path(SHOTS) / f"payload-{path.stem}.png")
        ends[path.stem] = round(max(found[n] for n in ("title", "silence", "summary")))
        if (
            ends[path.stem] > found["top"]
            or found["fixed"] != "fixed"
            or found["wide"] > TELEPHONE["width"]
        ):
            below[path.stem] = found
    assert below == {}, ends


def test_at_twice_the_size_the_verbs_stay_in_sight(signed_in, people, work):
    page = signed_in(people["alice"], width=ZOOMED["width"])
    page.set_viewport_size(ZOOMED)
    for name, path in addresses(work).items():
        if not name.startswith("decide-"):
            continue
        page.goto(path)
        verbs = page.locator(".o-verbs")
        if not verbs.count():
            continue
        for place in (0, 100_000):
            page.evaluate("top => scrollTo(0, top)", place)
            box = verbs.bounding_box()
            assert box["y"] + box["height"] == ZOOMED["height"], (name, place)
        last = page.locator(".o-around > *").last.bounding_box()
        assert last["y"] + last["height"] <= box["y"], name


@pytest.mark.parametrize("width", [360, 720, 1280, 1440])
def test_nothing_overlaps_wherever_the_page_is_scrolled_to(signed_in, people, work, width):
    page = signed_in(people["alice"], width=width)
    found = {}
    for name, path in addresses(work).items():
        if not name.startswith(("decide-", "decided", "review")):
            continue
        page.goto(path)
        for place in (0, 600, 100_000):
            page.evaluate("top => scrollTo(0, top)", place)
            if overlaps := page.evaluate(OVERLAPS):
                found[name, place] = overlaps
    assert found == {}
