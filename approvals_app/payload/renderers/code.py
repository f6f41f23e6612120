"""Commands, SQL and patches, as source code."""

import re
import shlex
from typing import Any

from approvals_app.payload.emphasis import Emphasis
from approvals_app.payload.facts import Data
from approvals_app.payload.renderers._parts import without


def render_command(data: Data, _: Emphasis) -> tuple[dict[str, Any], Any] | None:
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
    return context, without(data, rendered, *where, *also)


def render_statement(data: Data, _: Emphasis) -> tuple[dict[str, Any], Any] | None:
    """SQL: ``sql``, or ``query`` beside a ``database``."""
    name = "sql" if isinstance(data.get("sql"), str) else "query"
    if not isinstance(data.get(name), str) or (name == "query" and "database" not in data):
        return None
    where = [n for n in ("database", "host", "engine") if isinstance(data.get(n), str)]
    context = {"sql": data[name], "where": [(n, data[n]) for n in where]}
    return context, without(data, name, *where)


def render_patch(data: Data, _: Emphasis) -> tuple[dict[str, Any], Any] | None:
    """A code change: ``diff`` or ``patch``, in the unified format."""
    for name in ("diff", "patch"):
        text = data.get(name)
        if isinstance(text, str) and re.search(r"^@@ |^(\+\+\+|---) ", text, re.MULTILINE):
            return {"patch": text}, without(data, name)
    return None
