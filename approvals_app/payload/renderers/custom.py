"""An operator's own template for a task type: ``PAYLOAD_TEMPLATES/<task_type>.html``."""

import re
from functools import cache
from pathlib import Path as Folder
from typing import Any

from django.conf import settings
from django.template import Context, Engine, TemplateDoesNotExist
from django.utils.safestring import SafeString

from approvals_app.payload.emphasis import Emphasis
from approvals_app.payload.facts import Data, Level, Path
from approvals_app.payload.summary import Summary
from audit_app.base.text_safety import visible

FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


class Danger:
    """How dangerous each member of ``data`` is, for templates: ``{{ danger.customer.iban }}`` says
    ``danger``, ``notice`` or ``plain``, the worst of what the summary says of it."""

    def __init__(self, emphasis: Emphasis, path: Path = ()) -> None:
        self._emphasis, self._path = emphasis, path

    def __getitem__(self, step: str) -> "Danger":
        # Django's templates name positions in a list by their digits.
        position = (*self._path, int(step)) if step.isdecimal() else ()
        is_position = bool(position) and self._emphasis.warns_within(position)
        return Danger(self._emphasis, position if is_position else (*self._path, step))

    def __str__(self) -> str:
        return self._emphasis.level_within(self._path).value

    def __eq__(self, other: object) -> bool:
        return str(self) == other

    def __hash__(self) -> int:
        return hash(str(self))

    def __bool__(self) -> bool:
        return self._emphasis.level_within(self._path) != Level.PLAIN


def render_template(
    task_type: str, payload: Data, summary: Summary, emphasis: Emphasis
) -> SafeString | None:
    """Render the operator's template for ``task_type``; None if there is none.

    Raises whatever the template raises.
    """
    # Agents choose the task type: a name with a path separator must not leave the folder.
    if not settings.PAYLOAD_TEMPLATES or not FILE_NAME.fullmatch(task_type):
        return None
    try:
        template = _engine(settings.PAYLOAD_TEMPLATES).get_template(f"{task_type}.html")
    except TemplateDoesNotExist:
        return None
    context = {name: _mark_unseen(payload[name]) for name in payload}
    facts = [_mark_unseen(fact.as_dict()) for fact in summary.facts]
    context["summary"] = {"level": summary.level.value, "facts": facts}
    context["danger"] = Danger(emphasis)
    return template.render(Context(context))


@cache
def _engine(folder: Folder) -> Engine:
    return Engine(
        dirs=[str(folder)],
        autoescape=True,
        debug=False,
        builtins=["approvals_app.templatetags.approvals"],
    )


class _Text(str):
    """Text that a template renders with its invisible characters marked."""

    __slots__ = ()

    def __html__(self) -> SafeString:
        return visible(str(self))


def _mark_unseen(value: Any) -> Any:
    """``value`` with every text in it, keys included, as ``_Text``."""
    match value:
        case str():
            return _Text(value)
        case dict():
            return {_Text(name): _mark_unseen(inner) for name, inner in value.items()}
        case list():
            return [_mark_unseen(inner) for inner in value]
    return value
