"""Line diffs of two pretty-printed JSON values."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from difflib import SequenceMatcher
from itertools import chain
from typing import Any
from uuid import UUID

from django.db.models import F
from django.utils.safestring import SafeString, mark_safe

from approvals_app.payload.sensitive import mask
from audit_app.base.text_safety import (
    gather_notes,
    is_budget_spent,
    pretty,
    reveal,
    visible,
)
from sessions_app.models import TaskRevision

AROUND = 3
MOST_DIFFERING = 500
"""Lines of one side that are listed where they are too many to be aligned."""
SAME = "="
"""The sign of a line that stands for several unchanged lines."""

CLASSES = {"+": "o-added", "-": "o-removed", SAME: "o-same"}

Line = tuple[str, str]
"""The sign (``+``, ``-``, a space or ``=``) and the text."""


def diff_lines(before: Any, after: Any, most: int = 5_000) -> list[Line]:
    """The diff from ``before`` to ``after``; None stands for no value.

    Where more than ``most`` lines lie between the first and the last that differ, lines are not
    aligned: those that only one side has are listed.
    """
    old, new = _lines(before), _lines(after)
    head = _count_equal(old, new)
    tail = _count_equal(old[head:][::-1], new[head:][::-1])
    changed = old[head : len(old) - tail], new[head : len(new) - tail]
    # SequenceMatcher takes quadratic time at worst, and agents choose the values.
    if len(changed[0]) + len(changed[1]) > most:
        return _list_differing(*changed)
    lines = _fold_equal_lines(old[:head], at_start=True, at_end=not any(changed))
    lines += chain.from_iterable(_hunks(*changed))
    return lines + _fold_equal_lines(old[len(old) - tail :], at_start=False, at_end=True)


def diff_tasks(ids: Iterable[UUID]) -> dict[UUID, list[Line]]:
    """The diff of each task's current revision from the one before it, by task id.

    Leaves out tasks that were never revised, or that wait again as they were. Sends one query.
    """
    before = TaskRevision.objects.filter(task__in=list(ids), number=F("task__revision") - 1)
    before = before.exclude(payload_digest=F("task__payload_digest"))
    now = before.values_list("task_id", "payload", "task__payload")
    return {task: diff_payloads(json.loads(old), json.loads(new)) for task, old, new in now}


def diff_payloads(before: Any, after: Any) -> list[Line]:
    """The diff of two payloads with their sensitive values masked."""
    return diff_lines(mask(before), mask(after, before))


def render_lines(lines: Sequence[Line]) -> SafeString:
    """A diff as HTML, a ``span`` for each line."""
    # In Python: a template takes five times as long, and a plan may have ten thousand lines.
    out = []
    with gather_notes() as notes:
        for sign, line in lines:
            if is_budget_spent():
                break
            lead = "… " if sign == SAME else f"{sign} "
            # The count of equal lines is our own sentence.
            text = reveal(line) if sign == SAME else visible(line)
            out.append(f'<span class="{CLASSES.get(sign, "")}">{lead}{text}</span>')
    return mark_safe("".join(out) + notes.render())  # noqa: S308  # escaped by visible


def _count_equal(old: Sequence[str], new: Sequence[str]) -> int:
    """How many lines both start with."""
    pairs = enumerate(zip(old, new, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(old), len(new)))


def _list_differing(old: list[str], new: list[str]) -> list[Line]:
    """The lines that only one side has, each side in its order; MOST_DIFFERING of each."""
    words = f"{len(old):,} lines became {len(new):,}; these are on one side only"
    lines: list[Line] = [(SAME, words)]
    for sign, these, others in (("-", old, new), ("+", new, old)):
        surplus = Counter(these) - Counter(others)
        differing: list[Line] = []
        for line in these:
            if surplus[line] > 0:
                surplus[line] -= 1
                differing.append((sign, line))
        lines += differing[:MOST_DIFFERING]
        if more := differing[MOST_DIFFERING:]:
            lines.append((SAME, f"{len(more):,} more of these"))
    return lines


def _lines(value: Any) -> list[str]:
    return [] if value is None else pretty(value).splitlines()


def _hunks(old: list[str], new: list[str]) -> Iterator[list[Line]]:
    """The diff of lines of which neither the first nor the last are equal."""
    matcher = SequenceMatcher(None, old, new, autojunk=False)
    for kind, first, last, begin, end in matcher.get_opcodes():
        if kind == "equal":
            yield _fold_equal_lines(old[first:last], at_start=False, at_end=False)
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
