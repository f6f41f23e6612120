"""Renders a payload by its content: an e-mail as an e-mail, a Terraform plan as its changes.

Each renderer shows some members of ``data``; the JSON tree below it shows all others, so that no
renderer can hide anything. The first renderer that accepts the data is used. An operator's template
for the task type (PAYLOAD_TEMPLATES) takes precedence, and the tree below it shows the whole data.
"""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from django.utils.safestring import SafeString

from approvals_app.payload.emphasis import NO_EMPHASIS, Emphasis, emphasize
from approvals_app.payload.facts import Data
from approvals_app.payload.json_tree import render_tree
from approvals_app.payload.renderers import code, custom, mail, plan
from approvals_app.payload.summary import Summary, summarize

log = logging.getLogger(__name__)

Renderer = Callable[[Data, Emphasis], tuple[dict[str, Any], Any] | None]
"""Returns the context of its template and the remaining members; None: it does not accept them."""

RENDERERS: Final[Mapping[str, Renderer]] = {
    "plan": plan.render,
    "mail": mail.render,
    "command": code.render_command,
    "statement": code.render_statement,
    "patch": code.render_patch,
}
"""By the name of their template, in order of precedence."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """How a page shows ``data``: ``template`` with ``context``, then ``remaining`` as a tree, in
    which what ``emphasis`` warns of comes first.

    ``problem`` tells the reviewer that an operator's template failed; empty: none did.
    """

    name: str = ""
    template: str = ""
    context: dict[str, Any] = field(default_factory=dict)
    remaining: Any = None
    problem: str = ""
    emphasis: Emphasis = NO_EMPHASIS

    @property
    def tree(self) -> SafeString:
        """``remaining`` as HTML."""
        return render_tree(self.remaining, emphasis=self.emphasis)


def render(task_type: str, payload: Data, summary: Summary | None = None) -> Rendering:
    """Choose how to show the ``data`` of ``payload``; ``summary`` is its summary where the caller
    has it. A failing operator's template is logged."""
    summary = summary or summarize(payload)
    data, problem, emphasis = payload["data"], "", emphasize(summary.facts)
    try:
        if html := custom.render_template(task_type, payload, summary, emphasis):
            return Rendering("operator", "", {"html": html}, data, emphasis=emphasis)
    except Exception as error:  # an operator's template can raise anything
        log.exception("The template of %s failed.", task_type)
        problem = f"The template of this type failed ({type(error).__name__}); this is all of it."
    if isinstance(data, Mapping):
        for name, each in RENDERERS.items():
            if rendered := each(data, emphasis):
                template = f"admin/approvals_app/payload/{name}.html"
                return Rendering(name, template, *rendered, problem, emphasis)
    return Rendering(remaining=data, problem=problem, emphasis=emphasis)
