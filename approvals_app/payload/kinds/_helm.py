"""The JSON of the plugin helm-diff: ``helm diff upgrade --output json`` or ``structured``."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from approvals_app.payload.facts import (
    Data,
    Level,
    Path,
    Reading,
    format_path,
    name_some,
    write_headline,
)
from approvals_app.payload.kinds._resources import (
    Group,
    Things,
    choose_facts,
    describe_change,
    find_new_exposures,
    find_weakened,
    list_of,
    name_store,
    tell,
)

COUNTED: Final = {
    "REMOVE": "to remove",
    "ADD": "to add",
    "MODIFY": "to change",
    "MODIFY_SUPPRESSED": "to change, not shown",
    "OWNERSHIP": "to change their owner",
}
# Removed with the object, though they store nothing themselves.
WORKLOADS: Final = ("Deployment", "DaemonSet", "Job", "CronJob", "Service", "Ingress", "Pod")


def read(data: Data, path: Path) -> Reading | None:
    """What the upgrade removes and changes; the list may stand at any member."""
    for member in data:
        entries = list_of(data, member)
        if any(_name_change(each) for each in entries):
            return _read_entries(entries, member, path)
    return None


def _name_change(entry: Any) -> str:
    """A key of COUNTED; empty if this is no object of Kubernetes that changes."""
    if not isinstance(entry, dict) or not isinstance(entry.get("kind"), str):
        return ""
    change = entry.get("change", entry.get("changeType"))
    return change if isinstance(change, str) and change in COUNTED else ""


def _read_entries(entries: list[Any], member: str, path: Path) -> Reading:
    whole = (*path, member)
    changes = [(each, (*whole, place)) for place, each in enumerate(entries) if _name_change(each)]
    strange = [
        (f"entry {place + 1}", (*whole, place))
        for place, each in enumerate(entries)
        if not _name_change(each)
    ]
    removed = [(each, at) for each, at in changes if _name_change(each) == "REMOVE"]
    facts = [
        *_tell_removed(removed, whole),
        *_tell_exposures(changes, whole),
        *tell("not understood", strange, whole, Level.NOTICE),
        *_tell_weakened(changes, whole),
        *_tell_suppressed(changes, whole),
        *_tell_changed(changes, whole),
    ]
    counts = Counter(_name_change(each) for each, _ in changes)
    texts = [f"{counts[name]:,} {words}" for name, words in COUNTED.items() if counts[name]]
    return Reading(
        "helm",
        choose_facts(facts, tell("objects", [(", ".join(texts), whole)], whole)),
        {member},
        {"destroys": len(removed)},
        _write_headline([each for each, _ in changes]),
    )


def _write_headline(changes: list[Mapping[str, Any]]) -> str:
    counts = Counter(_name_change(each) for each in changes)
    deeds = {
        "remove": counts["REMOVE"],
        "change": len(changes) - counts["REMOVE"] - counts["ADD"],
        "add": counts["ADD"],
    }
    only = _name(changes[0]) if len(changes) == 1 else ""
    return write_headline(deeds, len(changes), "Kubernetes object", only)


def _name(entry: Mapping[str, Any]) -> str:
    namespace = entry.get("namespace")
    name = f"{entry['kind']} {entry.get('name', '')}".strip()
    return f"{name} in {namespace}" if namespace else name


def _tell_removed(removed: list[tuple[Mapping[str, Any], Path]], whole: Path) -> list[Group]:
    stores: Things = []
    others: Things = []
    for each, at in removed:
        store = name_store(f"kubernetes:{each['kind']}")
        if store or each["kind"] in WORKLOADS:
            stores.append((f"{_name(each)} ({store})" if store else _name(each), at))
        else:
            others.append((_name(each), at))
    return tell("removed", stores, whole, Level.DANGER) + tell(
        "also removed" if stores else "removed", others, whole, Level.NOTICE
    )


def _list_differences(entry: Mapping[str, Any]) -> list[tuple[Path, Any, Any]]:
    """The fields of a structured diff."""
    return [
        (_path_of(each), each.get("oldValue"), each.get("newValue"))
        for each in list_of(entry, "changes")
        if isinstance(each, dict)
    ]


def _path_of(field: Mapping[str, Any]) -> Path:
    steps = [*str(field.get("path") or "").split("."), str(field.get("field"))]
    return tuple(int(step) if re.fullmatch("[0-9]{1,9}", step) else step for step in steps if step)


def _tell_exposures(changes: list[tuple[Mapping[str, Any], Path]], whole: Path) -> list[Group]:
    opened: Things = []
    for each, at in changes:
        kind = str(each["kind"])
        differences = _list_differences(each)
        before, after = (
            [{str(path[-1]): sides[side]} for path, *sides in differences] for side in (0, 1)
        )
        if rules := find_new_exposures(kind, before, after).rules:
            opened.append((f"{_name(each)}: {', '.join(rules)}", at))
    return tell("open to the world", opened, whole, Level.DANGER)


def _tell_weakened(changes: list[tuple[Mapping[str, Any], Path]], whole: Path) -> list[Group]:
    weakened = [
        (f"{_name(each)}: {', '.join(found)}", at)
        for each, at in changes
        if (found := find_weakened(_list_differences(each)))
    ]
    return tell("weakened", weakened, whole, Level.NOTICE)


def _tell_suppressed(changes: list[tuple[Mapping[str, Any], Path]], whole: Path) -> list[Group]:
    suppressed = [
        (_name(each), at)
        for each, at in changes
        if _name_change(each) == "MODIFY_SUPPRESSED" or each.get("changesSuppressed") is True
    ]
    return tell("changes that are not shown", suppressed, whole, Level.NOTICE)


def _tell_changed(changes: list[tuple[Mapping[str, Any], Path]], whole: Path) -> list[Group]:
    changed: Things = []
    added: Things = []
    for each, at in changes:
        # A secret's values stay out of lists, mail and chat.
        shows = each["kind"] != "Secret"
        if _name_change(each) == "ADD":
            added.append((_name(each), at))
        elif _name_change(each) == "MODIFY":
            texts = [
                describe_change(path, old, new) if shows else format_path(path)
                for path, old, new in _list_differences(each)
            ]
            changed.append((f"{_name(each)}: {name_some(texts)}" if texts else _name(each), at))
    return tell("changed", changed, whole) + tell("added", added, whole)
