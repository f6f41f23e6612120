"""Renders a payload by its content: an e-mail as an e-mail, a Terraform plan as its changes.

Each renderer shows some members of ``data``; the JSON tree below it shows all others, so that no
renderer can hide anything. The first renderer that accepts the data is used. An operator's template
for the task type (PAYLOAD_TEMPLATES) takes precedence, and the tree below it shows the whole data.
"""

import logging
import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.template import Context, Engine, TemplateDoesNotExist
from django.utils.safestring import SafeString

from approvals_app.payload.diffs import diff_lines
from audit_app.base.text_safety import visible

log = logging.getLogger(__name__)

Data = Mapping[str, Any]
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
ADDRESSES = ("from", "reply_to", "to", "cc", "bcc", "recipients")
BODIES = ("text", "body")
NOTHING = "nothing"
ACTIONS = {
    ("create",): "create",
    ("update",): "change",
    ("delete",): "destroy",
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
    ("read",): "read",
    ("no-op",): NOTHING,
}
SHOWN_FIRST, SHOWN_LAST = ("destroy", "replace"), NOTHING
"""The others stand between, as they were sent."""
MOST_LINES = 300
"""Lines of a change that are compared: the time is quadratic."""
MOST_SHOWN = 100
"""Changes of a plan, and addresses of one kind, that are shown as such; the tree has the others."""


@dataclass(frozen=True, slots=True)
class Rendering:
    """How a page shows ``data``: ``template`` with ``context``, then ``remaining`` as a tree.

    ``problem`` tells the reviewer that an operator's template failed; empty: none did.
    """

    name: str = ""
    template: str = ""
    context: dict[str, Any] = field(default_factory=dict)
    remaining: Any = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Renderer:
    """``render(data)`` returns the template's context and the remaining members, or None if the
    renderer does not accept ``data``."""

    name: str
    render: Callable[[Data], tuple[dict[str, Any], Any] | None]

    @property
    def template(self) -> str:
        return f"admin/approvals_app/payload/{self.name}.html"


RENDERERS: list[Renderer] = []
"""In order of precedence."""


def renderer(name: str) -> Callable[[Callable[[Data], Any]], Callable[[Data], Any]]:
    """Register the decorated function as the renderer called ``name``, after those before it."""

    def register(render: Callable[[Data], Any]) -> Callable[[Data], Any]:
        RENDERERS.append(Renderer(name, render))
        return render

    return register


def render(task_type: str, payload: Data) -> Rendering:
    """Choose how to show the ``data`` of ``payload``. A failing operator's template is logged."""
    data, problem = payload["data"], ""
    try:
        if html := _render_operator_template(task_type, payload):
            return Rendering("operator", "", {"html": html}, data)
    except Exception as error:  # an operator's template can raise anything
        log.exception("The template of %s failed.", task_type)
        problem = f"The template of this type failed ({type(error).__name__}); this is all of it."
    if isinstance(data, Mapping):
        for each in RENDERERS:
            if rendered := each.render(data):
                return Rendering(each.name, each.template, rendered[0], rendered[1], problem)
    return Rendering(remaining=data, problem=problem)


@renderer("plan")
def plan(data: Data) -> tuple[dict[str, Any], Any] | None:
    """A Terraform plan (its JSON output), at ``plan.resource_changes`` or ``resource_changes``."""
    holder = data.get("plan")
    inside = holder if isinstance(holder, Mapping) and "resource_changes" in holder else None
    changes = (inside or data).get("resource_changes")
    if not isinstance(changes, list) or not changes or not all(map(_is_change, changes)):
        return None
    counts = dict(Counter(_describe_action(each["change"]) for each in changes))
    changes = sorted(changes, key=lambda each: _rank(_describe_action(each["change"])))
    described = [_describe_change(each) for each in changes[:MOST_SHOWN]]
    shown = [each for each in described if each["does"] != NOTHING]
    unchanged = [each for each in described if each["does"] == NOTHING]
    others = _without(inside or data, "resource_changes")
    if more := changes[MOST_SHOWN:]:
        others["resource_changes"] = more
    remaining = _without(data, "plan") if inside else others
    if inside and others:
        remaining["plan"] = others
    return {"changes": shown, "unchanged": unchanged, "counts": counts}, remaining


@renderer("mail")
def mail(data: Data) -> tuple[dict[str, Any], Any] | None:
    """An e-mail: ``subject``, an address, and ``text``, ``body`` or ``html``."""
    if not isinstance(data.get("subject"), str) or not any(name in data for name in ADDRESSES):
        return None
    body = next((name for name in BODIES if isinstance(data.get(name), str)), None)
    if body is None and not isinstance(data.get("html"), str):
        return None
    people = {name: _read_texts(data[name]) for name in ADDRESSES if _read_texts(data.get(name))}
    more = {name: texts[MOST_SHOWN:] for name, texts in people.items() if texts[MOST_SHOWN:]}
    rendered = {*people, "subject", *filter(None, [body])}
    context = {
        "people": [(name.replace("_", " "), t[:MOST_SHOWN]) for name, t in people.items()],
        "subject": data["subject"],
        "text": data[body] if body else "",
    }
    if isinstance(data.get("html"), str):
        context["html"] = data["html"]
        rendered.add("html")
    names = data.get("attachments")
    if isinstance(names, list) and names and all(isinstance(each, str) for each in names):
        context["attachments"] = names
        rendered.add("attachments")
    return context, _without(data, *rendered) | more


@renderer("command")
def command(data: Data) -> tuple[dict[str, Any], Any] | None:
    """A shell command: ``argv``, a list, or ``command``, a text."""
    argv, line = data.get("argv"), data.get("command")
    if isinstance(argv, list) and argv and all(isinstance(each, str) for each in argv):
        line, rendered = shlex.join(argv), "argv"
    elif isinstance(line, str) and line:
        rendered = "command"
    else:
        return None
    where = [name for name in ("user", "host", "cwd") if isinstance(data.get(name), str)]
    context = {"line": line, "sudo": data.get("sudo") is True}
    context |= {name: data[name] for name in where}
    # A sudo that is not a boolean is left to the tree: it is not silently taken for false.
    also = ["sudo"] if isinstance(data.get("sudo"), bool) else []
    return context, _without(data, rendered, *where, *also)


@renderer("statement")
def statement(data: Data) -> tuple[dict[str, Any], Any] | None:
    """SQL: ``sql``, or ``query`` beside a ``database``."""
    name = "sql" if isinstance(data.get("sql"), str) else "query"
    if not isinstance(data.get(name), str) or (name == "query" and "database" not in data):
        return None
    where = [n for n in ("database", "host", "engine") if isinstance(data.get(n), str)]
    context = {"sql": data[name], "where": [(n, data[n]) for n in where]}
    return context, _without(data, name, *where)


@renderer("patch")
def patch(data: Data) -> tuple[dict[str, Any], Any] | None:
    """A code change: ``diff`` or ``patch``, in the unified format."""
    for name in ("diff", "patch"):
        text = data.get(name)
        if isinstance(text, str) and re.search(r"^@@ |^(\+\+\+|---) ", text, re.MULTILINE):
            return {"patch": text}, _without(data, name)
    return None


def _render_operator_template(task_type: str, payload: Data) -> SafeString | None:
    """Render the operator's template for ``task_type``; None if there is none."""
    # Agents choose the task type: a name with a path separator must not leave the folder.
    if not settings.PAYLOAD_TEMPLATES or not FILE_NAME.fullmatch(task_type):
        return None
    try:
        template = _engine(settings.PAYLOAD_TEMPLATES).get_template(f"{task_type}.html")
    except TemplateDoesNotExist:
        return None
    return template.render(Context({name: _mark_unseen(payload[name]) for name in payload}))


@cache
def _engine(folder: Path) -> Engine:
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


def _is_change(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("address"), str)
        and isinstance(value.get("change"), Mapping)
        and isinstance(value["change"].get("actions"), list)
        and all(isinstance(action, str) for action in value["change"]["actions"])
    )


def _rank(action: str) -> int:
    if action in SHOWN_FIRST:
        return SHOWN_FIRST.index(action)
    return len(SHOWN_FIRST) + (action == SHOWN_LAST)


def _describe_change(resource: Data) -> dict[str, Any]:
    change = resource["change"]
    before, after = change.get("before"), change.get("after")
    others = _without(resource, "address", "change")
    if more := _without(change, "actions", "before", "after"):
        others["change"] = more
    has_values = before is not None or after is not None
    return {
        "address": resource["address"],
        "does": _describe_action(change),
        "lines": diff_lines(before, after, MOST_LINES) if has_values else [],
        "others": others,
    }


def _describe_action(change: Data) -> str:
    return ACTIONS.get(tuple(change["actions"]), " and ".join(change["actions"]))


def _read_texts(value: Any) -> list[str]:
    """A text or a list of texts, as a list; empty for anything else."""
    if isinstance(value, str) and value:
        return [value]
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return value
    return []


def _without(data: Data, *names: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in names}
