"""A page as axe-core reads it."""

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Page

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]


def violations(page: Page) -> list[str]:
    """What WCAG 2.2 AA forbids, each as the rule and the element."""
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": RULES}}).response
    return [
        f"{one['id']} {node['html'][:160]} {node['target']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]
