"""What a task carries, drawn by its kind: a mail as a mail, a plan as its changes.

Each renderer draws some members of ``data`` and leaves the others to the tree below it, so that
none can hide anything. The first that fits draws; an operator's own template for a type
(PAYLOAD_TEMPLATES) comes before all, and beside it everything is in the tree.
"""

import logging
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.template import Context, Engine, TemplateDoesNotExist
from django.utils.safestring import SafeString

from approvals_app.payload.diffs import lines_of
from audit_app.base.text_safety import visible

log = logging.getLogger(__name__)

Data = Mapping[str, Any]
FILE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
ADDRESSES = ("from", "reply_to", "to", "cc", "bcc", "recipients")
BODIES = ("text", "body")
ACTIONS = {
    ("create",): "create",
    ("update",): "change",
    ("delete",): "destroy",
    ("delete", "create"): "replace",
    ("create", "delete"): "replace",
    ("read",): "read",
    ("no-op",): "nothing",
}
MOST_LINES = 2_000


@dataclass(frozen=True, slots=True)
class Drawing:
    """``data`` as its page shows it: by ``template`` with ``parts``, and what it leaves over.

    ``problem`` says why an operator's template did not do.
    """

    name: str = ""
    template: str = ""
    parts: dict[str, Any] = field(default_factory=dict)
    rest: Any = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class Renderer:
    """``draws(data)`` returns the parts for the template and what they leave over, or None where
    ``data`` is nothing for it."""

    name: str
    draws: Callable[[Data], tuple[dict[str, Any], Any] | None]

    @property
    def template(self) -> str:
        return f"admin/approvals_app/payload/{self.name}.html"


RENDERERS: list[Renderer] = []
"""In the order in which they are asked."""


def renderer(name: str) -> Callable[[Callable[[Data], Any]], Callable[[Data], Any]]:
    def register(draws: Callable[[Data], Any]) -> Callable[[Data], Any]:
        RENDERERS.append(Renderer(name, draws))
        return draws

    return register


def draw(task_type: str, payload: Data) -> Drawing:
    """How the ``data`` of ``payload`` is shown."""
    data, problem = payload["data"], ""
    try:
        if own := _operators(task_type, payload):
            return Drawing("operator", "", {"html": own}, data)
    except Exception as error:  # whatever a template of somebody else's does
        log.exception("The template of %s failed.", task_type)
        problem = f"The template of this type failed ({type(error).__name__}); this is all of it."
    if isinstance(data, Mapping):
        for each in RENDERERS:
            if drawn := each.draws(data):
                return Drawing(each.name, each.template, drawn[0], drawn[1], problem)
    return Drawing(rest=data, problem=problem)


@renderer("plan")
def plan(data: Data) -> tuple[dict[str, Any], Any] | None:
    """A Terraform plan (its JSON output), at ``plan.resource_changes`` or ``resource_changes``."""
    holder = data.get("plan")
    inside = holder if isinstance(holder, Mapping) and "resource_changes" in holder else None
    changes = (inside or data).get("resource_changes")
    if not isinstance(changes, list) or not changes or not all(map(_is_change, changes)):
        return None
    shown = [_change(each) for each in changes]
    counts: dict[str, int] = {}
    for each in shown:
        counts[each["does"]] = counts.get(each["does"], 0) + 1
    left = _without(data, "plan" if inside else "resource_changes")
    if inside and (others := _without(inside, "resource_changes")):
        left["plan"] = others
    return {"changes": shown, "counts": counts}, left


@renderer("mail")
def mail(data: Data) -> tuple[dict[str, Any], Any] | None:
    if not isinstance(data.get("subject"), str) or not any(name in data for name in ADDRESSES):
        return None
    body = next((name for name in BODIES if isinstance(data.get(name), str)), None)
    if body is None and not isinstance(data.get("html"), str):
        return None
    people = {name: _texts(data[name]) for name in ADDRESSES if _texts(data.get(name))}
    drawn = {*people, "subject", *filter(None, [body])}
    parts = {
        "people": [(name.replace("_", " "), texts) for name, texts in people.items()],
        "subject": data["subject"],
        "text": data[body] if body else "",
    }
    if isinstance(data.get("html"), str):
        parts["html"] = data["html"]
        drawn.add("html")
    attached = data.get("attachments")
    if isinstance(attached, list) and attached and all(isinstance(each, str) for each in attached):
        parts["attachments"] = attached
        drawn.add("attachments")
    return parts, _without(data, *drawn)


@renderer("command")
def command(data: Data) -> tuple[dict[str, Any], Any] | None:
    """A shell command: ``argv``, a list, or ``command``, a text."""
    argv, line = data.get("argv"), data.get("command")
    if isinstance(argv, list) and argv and all(isinstance(each, str) for each in argv):
        line, drawn = shlex.join(argv), "argv"
    elif isinstance(line, str) and line:
        drawn = "command"
    else:
        return None
    where = [name for name in ("user", "host", "cwd") if isinstance(data.get(name), str)]
    parts = {"line": line, "sudo": data.get("sudo") is True}
    parts |= {name: data[name] for name in where}
    also = ["sudo"] if isinstance(data.get("sudo"), bool) else []
    return parts, _without(data, drawn, *where, *also)


@renderer("statement")
def statement(data: Data) -> tuple[dict[str, Any], Any] | None:
    """SQL: ``sql``, or ``query`` beside a ``database``."""
    name = "sql" if isinstance(data.get("sql"), str) else "query"
    if not isinstance(data.get(name), str) or (name == "query" and "database" not in data):
        return None
    where = [n for n in ("database", "host", "engine") if isinstance(data.get(n), str)]
    parts = {"sql": data[name], "where": [(n, data[n]) for n in where]}
    return parts, _without(data, name, *where)


@renderer("patch")
def patch(data: Data) -> tuple[dict[str, Any], Any] | None:
    """A change of code: ``diff`` or ``patch``, in the unified format."""
    for name in ("diff", "patch"):
        text = data.get(name)
        if isinstance(text, str) and re.search(r"^@@ |^(\+\+\+|---) ", text, re.MULTILINE):
            return {"patch": text}, _without(data, name)
    return None


def _operators(task_type: str, payload: Data) -> SafeString | None:
    """What an operator's own template makes of ``payload``; None: there is none of this type."""
    if not settings.PAYLOAD_TEMPLATES or not FILE_NAME.fullmatch(task_type):
        return None
    try:
        template = _engine(settings.PAYLOAD_TEMPLATES).get_template(f"{task_type}.html")
    except TemplateDoesNotExist:
        return None
    return template.render(Context({name: _seen(payload[name]) for name in payload}))


@cache
def _engine(folder: Path) -> Engine:
    return Engine(
        dirs=[str(folder)],
        autoescape=True,
        debug=False,
        builtins=["approvals_app.templatetags.approvals"],
    )


class _Text(str):
    """A text that a template writes with every character to be seen."""

    __slots__ = ()

    def __html__(self) -> SafeString:
        return visible(str(self))


def _seen(value: Any) -> Any:
    match value:
        case str():
            return _Text(value)
        case dict():
            return {_Text(name): _seen(inner) for name, inner in value.items()}
        case list():
            return [_seen(inner) for inner in value]
    return value


def _is_change(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and isinstance(value.get("address"), str)
        and isinstance(value.get("change"), Mapping)
        and isinstance(value["change"].get("actions"), list)
        and all(isinstance(action, str) for action in value["change"]["actions"])
    )


def _change(found: Data) -> dict[str, Any]:
    change = found["change"]
    does = ACTIONS.get(tuple(change["actions"]), " and ".join(change["actions"]))
    before, after = change.get("before"), change.get("after")
    others = _without(found, "address", "change")
    if more := _without(change, "actions", "before", "after"):
        others["change"] = more
    known = before is not None or after is not None
    return {
        "address": found["address"],
        "does": does,
        "lines": lines_of(before, after, MOST_LINES) if known else [],
        "others": others,
    }


def _texts(value: Any) -> list[str]:
    """A text, or a list of nothing else, as a list; anything else is not drawn."""
    if isinstance(value, str) and value:
        return [value]
    if isinstance(value, list) and value and all(isinstance(each, str) for each in value):
        return value
    return []


def _without(data: Data, *names: str) -> dict[str, Any]:
    return {name: value for name, value in data.items() if name not in names}
