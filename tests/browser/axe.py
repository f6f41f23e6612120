"""A page as axe-core reads it."""

from importlib.resources import files

from playwright.sync_api import Page

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
AXE = files("axe_playwright_python").joinpath("axe.min.js").read_text()
# Only what is wrong is asked for: all that is right with a page is a megabyte.
READ = """async rules => {
    const how = {runOnly: {type: "tag", values: rules}, resultTypes: ["violations"]};
    const {violations} = await axe.run(document, how);
    return violations.flatMap(one => one.nodes.map(
        node => `${one.id} ${node.html.slice(0, 160)} ${JSON.stringify(node.target)}`));
}"""


def violations(page: Page) -> list[str]:
    """What WCAG 2.2 AA forbids, each as the rule and the element."""
    page.evaluate(AXE)
    found: list[str] = page.evaluate(READ, RULES)
    return found
