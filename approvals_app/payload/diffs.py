"""Line diffs of two pretty-printed JSON values."""

import json
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import chain
from typing import Any
from uuid import UUID

from django.db.models import F
from django.utils.safestring import SafeString, mark_safe

from audit_app.base.text_safety import is_budget_spent, pretty, visible
from sessions_app.models import TaskRevision

AROUND = 3
SAME = "="
"""The sign of a line that stands for several unchanged lines."""

CLASSES = {"+": "o-added", "-": "o-removed", SAME: "o-same"}

Line = tuple[str, str]
"""The sign (``+``, ``-``, a space or ``=``) and the text."""


def diff_lines(before: Any, after: Any, most: int = 5_000) -> list[Line]:
    """The diff from ``before`` to ``after``; None stands for no value.

    Values of more than ``most`` lines together are not compared: one line says so.
    """
    # SequenceMatcher takes quadratic time at worst, and agents choose the values.
    old, new = _lines(before), _lines(after)
    if len(old) + len(new) > most:
        return [(SAME, f"{len(old):,} lines became {len(new):,}: too long to compare here.")]
    return list(chain.from_iterable(_hunks(old, new)))


def diff_tasks(ids: Iterable[UUID]) -> dict[UUID, list[Line]]:
    """The diff of each task's current revision from the one before it, by task id.

    Leaves out tasks that were never revised, or that wait again as they were. Sends one query.
    """
    before = TaskRevision.objects.filter(task__in=list(ids), number=F("task__revision") - 1)
    before = before.exclude(payload_digest=F("task__payload_digest"))
    now = before.values_list("task_id", "payload", "task__payload")
    return {task: diff_lines(json.loads(old), json.loads(new)) for task, old, new in now}


def render_lines(lines: Sequence[Line]) -> SafeString:
    """A diff as HTML, a ``span`` for each line."""
    # In Python: a template takes five times as long, and a plan may have ten thousand lines.
    out = []
    for sign, line in lines:
        if is_budget_spent():
            break
        lead = "… " if sign == SAME else f"{sign} "
        out.append(f'<span class="{CLASSES.get(sign, "")}">{lead}{visible(line)}</span>')
    return mark_safe("".join(out))  # noqa: S308  # escaped by visible


def _lines(value: Any) -> list[str]:
    return [] if value is None else pretty(value).splitlines()


def _hunks(old: list[str], new: list[str]) -> Iterator[list[Line]]:
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for kind, first, last, begin, end in matcher.get_opcodes():
        if kind == "equal":
            yield _fold_equal_lines(old[first:last], at_start=first == 0, at_end=last == len(old))
        else:
            yield [*(("-", line) for line in old[first:last])]
            yield [*(("+", line) for line in new[begin:end])]


def _fold_equal_lines(lines: list[str], *, at_start: bool, at_end: bool) -> list[Line]:
    head, tail = (0 if at_start else AROUND), (0 if at_end else AROUND)
    hidden = len(lines) - head - tail
    if hidden < 2:
        return [(" ", line) for line in lines]
    words = f"{hidden:,} lines are the same"
    after = lines[len(lines) - tail :]
    return [
        *((" ", line) for line in lines[:head]),
        (SAME, words),
        *((" ", line) for line in after),
    ]
