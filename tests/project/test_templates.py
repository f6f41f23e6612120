"""What every page of ours keeps to."""

import re

from tests.serving import ROOT

FORMS = [
    (path.relative_to(ROOT / "templates"), form)
    for path in sorted((ROOT / "templates").rglob("*.html"))
    for form in re.findall(r"<form.*?</form>", path.read_text(), re.DOTALL)
]
VERBS = re.compile(r"<button(?=[^>]* name=)[^>]*>")
NO_DEFAULT = '{% include "admin/orchestrator/no_default_button.html" %}'


def test_a_form_of_several_verbs_has_no_default_button():
    """Else Enter in a field presses the first of them, whatever that does."""
    several = [(str(path), form) for path, form in FORMS if len(VERBS.findall(form)) > 1]
    assert "admin/approvals_app/decision/form.html" in dict(several)
    for path, form in several:
        assert NO_DEFAULT in form[: VERBS.search(form).start()], path
