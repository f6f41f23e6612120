"""The layout of a state machine's diagram: states in columns, transitions as arrows."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from audit_app.models import Event, Subject

WIDE, TALL, ACROSS, DOWN = 148, 34, 192, 56
MARGIN = 8
MOST_STATES = 100


@dataclass(frozen=True, slots=True)
class StateDiagram:
    """Boxes and arrows, in SVG user units."""

    states: list[dict[str, Any]]
    arrows: list[dict[str, Any]]
    width: int
    height: int
    label: str
    wide: ClassVar[int] = WIDE
    tall: ClassVar[int] = TALL
    """The size of each box."""


def build_state_diagram(row: Subject, past_states: Sequence[str] = ()) -> StateDiagram:
    """The diagram of ``row``'s model, with its present state and its ``past_states`` marked."""
    model: Any = type(row)
    transitions = model._meta.get_field("status").get_all_transitions(model)
    pairs = sorted({(str(t.source), str(t.target)) for t in transitions})
    names = [str(state) for state in model.Status.values]
    positions = _place_states(names, pairs)
    present: str = row.status
    states = [
        {
            "name": name.replace("_", " "),
            "x": x,
            "y": y,
            "text_x": x + WIDE // 2,
            "text_y": y + TALL // 2 + 4,
            "present": name == present,
            "passed": name in past_states and name != present,
        }
        for name, (x, y) in positions.items()
    ]
    steps = set(itertools.pairwise(past_states))
    arrows = [
        {"path": _path(positions[one], positions[other]), "passed": (one, other) in steps}
        for one, other in pairs
    ]
    past = ", ".join(name.replace("_", " ") for name in past_states) or present.replace("_", " ")
    return StateDiagram(
        states,
        arrows,
        width=max(x for x, _ in positions.values()) + WIDE + MARGIN,
        height=max(y for _, y in positions.values()) + TALL + MARGIN + 24,
        label=f"{model._meta.verbose_name}: {past}. Now {present.replace('_', ' ')}.",
    )


def _place_states(names: list[str], pairs: list[tuple[str, str]]) -> dict[str, tuple[int, int]]:
    """The position of each state, in the column of its distance from the first state."""
    ranks = {names[0]: 0}
    queue = [names[0]]
    for name in queue:
        for source, target in pairs:
            if source == name and target not in ranks:
                ranks[target] = ranks[name] + 1
                queue.append(target)
    filled: dict[int, int] = {}
    positions = {}
    for name in names:
        rank = ranks.get(name, 0)
        row = filled.get(rank, 0)
        filled[rank] = row + 1
        positions[name] = (MARGIN + rank * ACROSS, MARGIN + row * DOWN)
    return positions


def _path(one: tuple[int, int], other: tuple[int, int]) -> str:
    (x1, y1), (x2, y2) = one, other
    if x2 > x1:
        begin, end = (x1 + WIDE, y1 + TALL // 2), (x2 - 3, y2 + TALL // 2)
        middle = (begin[0] + end[0]) // 2
        return f"M{begin[0]} {begin[1]} C{middle} {begin[1]} {middle} {end[1]} {end[0]} {end[1]}"
    if x2 == x1:
        side, out = x1 + WIDE, x1 + WIDE + 30
        return f"M{side} {y1 + 24} C{out} {y1 + 24} {out} {y2 + 10} {side + 3} {y2 + 10}"
    foot = max(y1, y2) + TALL + 20
    begin, end = (x1 + WIDE // 2, y1 + TALL), (x2 + WIDE // 2, y2 + TALL + 3)
    return f"M{begin[0]} {begin[1]} C{begin[0]} {foot} {end[0]} {foot} {end[0]} {end[1]}"


def list_past_states(row: Subject) -> list[str]:
    """The states that ``row`` went through, oldest first, read from its events."""
    events = Event.objects.filter(subject_type=row.subject_type, subject_id=row.pk)
    changes = events.filter(to_state__isnull=False).order_by("seq")
    return [str(state) for state in changes.values_list("to_state", flat=True)[:MOST_STATES]]
