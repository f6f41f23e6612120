"""docs/architecture.md quotes code that exists, names files that exist, and keeps its terms few."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
APPS = ("audit_app", "sessions_app", "approvals_app", "orchestrator")
PAGE = (ROOT / "docs" / "architecture.md").read_text()
MOST_TERMS = 40


def test_every_quoted_snippet_is_in_a_source_file():
    sources = [path.read_text() for app in APPS for path in (ROOT / app).rglob("*.py")]
    snippets = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert snippets
    for snippet in snippets:
        assert any(snippet in source for source in sources), f"no source file has:\n{snippet}"


def test_every_named_path_exists():
    paths = re.findall(rf"`((?:{'|'.join(APPS)})/[^`]+)`", PAGE)
    assert paths
    for path in paths:
        assert (ROOT / path).exists(), f"architecture.md names {path}"


def test_there_are_at_most_forty_terms_of_our_own():
    terms = re.findall(r"^- \*\*", PAGE.partition("## Own terms")[2], re.MULTILINE)
    assert 0 < len(terms) <= MOST_TERMS
