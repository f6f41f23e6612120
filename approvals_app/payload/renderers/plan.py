"""A Terraform plan as its changes: what is lost first."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from approvals_app.payload.diffs import Line, diff_lines
from approvals_app.payload.emphasis import Emphasis
from approvals_app.payload.facts import Data, Path
from approvals_app.payload.json_tree import Tail
from approvals_app.payload.renderers._parts import MOST_SHOWN, without

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
"""Lines of a change that are aligned: the time is quadratic."""
FEW = 6
"""Fewer changes than these are all unfolded."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change as the template shows it; ``others`` are its members that stand beside it."""

    address: str
    does: str
    is_open: bool
    lines: list[Line]
    others: dict[str, Any] = field(default_factory=dict)
    are_others_open: bool = False


def render(data: Data, emphasis: Emphasis) -> tuple[dict[str, Any], Any] | None:
    """A Terraform plan (its JSON output), at ``plan.resource_changes`` or ``resource_changes``."""
    holder = data.get("plan")
    inside = holder if isinstance(holder, Mapping) and "resource_changes" in holder else None
    changes = (inside or data).get("resource_changes")
    if not isinstance(changes, list) or not changes or not all(map(_is_change, changes)):
        return None
    path = ("plan", "resource_changes") if inside else ("resource_changes",)
    actions = [_describe_action(each["change"]) for each in changes]
    order = sorted(
        range(len(changes)), key=lambda at: (emphasis.rank((*path, at)), _rank(actions[at]))
    )
    described = [
        _describe_change(changes[at], actions[at], emphasis, (*path, at), len(changes))
        for at in order[:MOST_SHOWN]
    ]
    others = without(inside or data, "resource_changes")
    if more := order[MOST_SHOWN:]:
        others["resource_changes"] = Tail([changes[at] for at in more], more)
    remaining = without(data, "plan") if inside else others
    if inside and others:
        remaining["plan"] = others
    context = {
        # A resource that is only moved or imported changes nothing, and may still be warned of.
        "changes": [each for each in described if each.does != NOTHING or each.is_open],
        "unchanged": [each for each in described if each.does == NOTHING and not each.is_open],
        "counts": dict(Counter(actions)),
    }
    return context, remaining


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


def _describe_change(
    resource: Data, does: str, emphasis: Emphasis, path: Path, count: int
) -> Change:
    change = resource["change"]
    before, after = change.get("before"), change.get("after")
    others = without(resource, "address", "change")
    more = without(change, "actions", "before", "after")
    if more:
        others["change"] = more
    has_values = before is not None or after is not None
    return Change(
        address=resource["address"],
        does=does,
        is_open=emphasis.warns_within(path)
        or does in SHOWN_FIRST
        or (count < FEW and does != NOTHING),
        lines=diff_lines(before, after, MOST_LINES) if has_values else [],
        others=others,
        are_others_open=any(
            emphasis.warns_within((*path, *steps)) for steps in _list_steps(others)
        ),
    )


def _list_steps(others: Data) -> list[Path]:
    """The paths of the members of ``others``, inside of ``change`` too."""
    inside: list[Path] = [("change", name) for name in others.get("change", ())]
    return [(name,) for name in others if name != "change"] + inside


def _describe_action(change: Data) -> str:
    return ACTIONS.get(tuple(change["actions"]), " and ".join(change["actions"]))
