"""A change set of CloudFormation, as DescribeChangeSet answers it."""

from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from approvals_app.payload.facts import Data, Level, Path, Reading, clip, name_some, write_headline
from approvals_app.payload.kinds._resources import (
    MOST_OF_NAME,
    Exposures,
    Group,
    Things,
    choose_facts,
    compare_values,
    describe_change,
    find_new_exposures,
    find_weakened,
    list_of,
    name_store,
    parse_json,
    tell,
)

KINDS_OF_CHANGE: Final = {
    "Add": "to create",
    "Modify": "to change",
    "Remove": "to remove",
    "Import": "to import",
    "Dynamic": "not determined yet",
    "SyncWithActual": "to record as they are",
}
KEEPS: Final = ("Retain", "ReplaceAndRetain")
FATES: Final = {
    "Delete": "deleted",
    "ReplaceAndDelete": "the old one is deleted",
    "Snapshot": "deleted after a snapshot",
    "ReplaceAndSnapshot": "the old one is deleted after a snapshot",
    "Retain": "stays alive",
    "ReplaceAndRetain": "the old one stays alive",
}
FAILED: Final = ("FAILED", "OBSOLETE", "UNAVAILABLE", "EXECUTE_FAILED", "DELETE_FAILED")


def read(data: Data, path: Path) -> Reading | None:
    """What the change set removes, replaces and opens."""
    entries = list_of(data, "Changes")
    if not any(_get_resource(each) for each in entries):
        return None
    whole = (*path, "Changes")
    changes: list[tuple[Mapping[str, Any], Path]] = []
    strange: Things = []
    for place, entry in enumerate(entries):
        if (change := _get_resource(entry)) and str(change.get("Action")) in KINDS_OF_CHANGE:
            changes.append((change, (*whole, place, "ResourceChange")))
        else:
            strange.append((f"entry {place + 1}", (*whole, place)))
    facts = [
        *_tell_failures(data, path),
        *_tell_removed(changes, whole),
        *_tell_replaced(changes, whole),
        *_tell_exposures(changes, whole),
        *_tell_uncertain(changes, whole),
        *tell("not understood", strange, whole, Level.NOTICE),
        *_tell_weakened(changes, whole),
        *_tell_others(changes, whole),
        *_tell_stack(data, path),
    ]
    counts = Counter(str(change["Action"]) for change, _ in changes)
    texts = [f"{counts[name]:,} {words}" for name, words in KINDS_OF_CHANGE.items() if counts[name]]
    total = tell("resources", [(", ".join(texts) or "none understood", whole)], whole)
    used = {"Changes", "Status", "ExecutionStatus", "StackName", "ChangeSetName", "NextToken"}
    return Reading(
        "change set",
        choose_facts(facts, total),
        used & data.keys(),
        {
            "destroys": sum(_destroys(change) for change, _ in changes),
            "forgets": sum(_goes(change) and not _destroys(change) for change, _ in changes),
        },
        _write_headline([change for change, _ in changes]),
    )


def _write_headline(changes: list[Mapping[str, Any]]) -> str:
    deeds = {
        "remove": [each for each in changes if each["Action"] == "Remove"],
        "replace": [each for each in changes if _is_replaced(each)],
        "change": [e for e in changes if e["Action"] == "Modify" and not _is_replaced(e)],
        "import": [each for each in changes if each["Action"] == "Import"],
        "create": [each for each in changes if each["Action"] == "Add" and not _is_replaced(each)],
    }
    done = [each for some in deeds.values() for each in some]
    only = _name(done[0]) if len(done) == 1 else ""
    numbers = {verb: len(some) for verb, some in deeds.items()}
    return write_headline(numbers, len(changes), "resource", only)


def _get_resource(entry: Any) -> Mapping[str, Any] | None:
    change = entry.get("ResourceChange") if isinstance(entry, dict) else None
    return change if isinstance(change, dict) and "Action" in change else None


def _is_replaced(change: Mapping[str, Any]) -> bool:
    policy = str(change.get("PolicyAction"))
    return str(change.get("Replacement")) == "True" or policy.startswith("ReplaceAnd")


def _destroys(change: Mapping[str, Any]) -> bool:
    """Whether the resource goes for certain; ``Conditional`` is told, not counted."""
    return _goes(change) and change.get("PolicyAction") not in KEEPS


def _goes(change: Mapping[str, Any]) -> bool:
    return change.get("Action") == "Remove" or _is_replaced(change)


def _name(change: Mapping[str, Any]) -> str:
    name = str(change.get("LogicalResourceId") or "a resource")
    physical = change.get("PhysicalResourceId")
    return clip(f"{name} ({physical})" if physical and physical != name else name, MOST_OF_NAME)


def _describe_fate(change: Mapping[str, Any]) -> str:
    """What happens to what the resource stores; older change sets do not say."""
    policy = str(change.get("PolicyAction") or "")
    fate = FATES.get(policy, policy or "whether it is kept is not said")
    store = name_store(str(change.get("ResourceType")))
    return f"{store}; {fate}" if store else fate


def _is_store(change: Mapping[str, Any]) -> bool:
    return bool(name_store(str(change.get("ResourceType"))))


def _tell_failures(data: Data, path: Path) -> list[Group]:
    facts: list[Group] = []
    for name in ("Status", "ExecutionStatus"):
        if (status := data.get(name)) in FAILED:
            reason = data.get("StatusReason")
            text = f"{status}: {reason}" if isinstance(reason, str) and not facts else str(status)
            facts += tell("change set", [(clip(text, 200), (*path, name))], path, Level.DANGER)
    if data.get("NextToken"):
        text = "it is partial: further changes are on the next page"
        facts += tell("change set incomplete", [(text, (*path, "NextToken"))], path, Level.DANGER)
    return facts


def _tell_removed(changes: list[tuple[Mapping[str, Any], Path]], whole: Path) -> list[Group]:
    groups: dict[tuple[str, Level], Things] = {}
    for change, at in changes:
        if change["Action"] != "Remove":
            continue
        if not _destroys(change):
            group = ("no longer managed", Level.NOTICE)
        else:
            group = ("removed", Level.DANGER if _is_store(change) else Level.NOTICE)
        groups.setdefault(group, []).append((f"{_name(change)}: {_describe_fate(change)}", at))
    return [
        fact
        for (label, level), things in groups.items()
        for fact in tell(label, things, whole, level)
    ]


def _tell_replaced(changes: list[tuple[Mapping[str, Any], Path]], whole: Path) -> list[Group]:
    stores: Things = []
    others: Things = []
    for change, at in changes:
        if not _is_replaced(change):
            continue
        forces = _list_forces(change, ("Always",))
        forced = f"; forced by {', '.join(forces)}" if forces else ""
        is_danger = _is_store(change) and _destroys(change)
        (stores if is_danger else others).append(
            (f"{_name(change)}: {_describe_fate(change)}{forced}", at)
        )
    return tell("replaced", stores, whole, Level.DANGER) + tell(
        "replaced", others, whole, Level.NOTICE
    )


def _list_targets(change: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [
        target
        for detail in list_of(change, "Details")
        if isinstance(detail, dict) and isinstance(target := detail.get("Target"), dict)
    ]


def _list_forces(change: Mapping[str, Any], when: tuple[str, ...]) -> list[str]:
    forces = [
        describe_change((str(each.get("Name") or each.get("Attribute")),), *_sides_of(each))
        if "BeforeValue" in each or "AfterValue" in each
        else str(each.get("Name") or each.get("Attribute"))
        for each in _list_targets(change)
        if each.get("RequiresRecreation") in when
    ]
    return list(dict.fromkeys(forces))


def _sides_of(target: Mapping[str, Any]) -> tuple[Any, Any]:
    return target.get("BeforeValue"), target.get("AfterValue")


def _tell_uncertain(changes: list[tuple[Mapping[str, Any], Path]], whole: Path) -> list[Group]:
    """What CloudFormation decides only while it runs."""
    stores: Things = []
    others: Things = []
    nested: Things = []
    for change, at in changes:
        conditional = str(change.get("Replacement")) == "Conditional" and not _is_replaced(change)
        if conditional or change["Action"] == "Dynamic":
            forces = _list_forces(change, ("Conditionally", "Always"))
            because = f": {name_some(forces)}" if forces else ""
            (stores if _is_store(change) else others).append((f"{_name(change)}{because}", at))
        if change.get("ResourceType") == "AWS::CloudFormation::Stack":
            nested.append((_name(change), at))
    return [
        *tell("may be replaced, with its data", stores, whole, Level.DANGER),
        *tell("may be replaced", others, whole, Level.NOTICE),
        *tell("stack whose changes are not shown", nested, whole, Level.NOTICE),
    ]


def _list_differences(change: Mapping[str, Any]) -> list[tuple[Path, Any, Any]]:
    """From the details, which name properties, or from the whole contexts."""
    targets: list[tuple[Path, Any, Any]] = [
        ((str(each.get("Name") or each.get("Attribute")),), *_sides_of(each))
        for each in _list_targets(change)
    ]
    return targets or compare_values(*_parse_contexts(change))


def _parse_contexts(change: Mapping[str, Any]) -> tuple[Any, Any]:
    texts = (change.get(name) for name in ("BeforeContext", "AfterContext"))
    before, after = (parse_json(text) if isinstance(text, str) else None for text in texts)
    return before, after


def _tell_exposures(changes: list[tuple[Mapping[str, Any], Path]], whole: Path) -> list[Group]:
    rules: Things = []
    grants: Things = []
    for change, at in changes:
        if change["Action"] == "Remove":
            continue
        new = _find_new_exposures(change)
        if new.rules:
            rules.append((f"{_name(change)}: {', '.join(new.rules)}", at))
        if new.grants:
            grants.append((f"{_name(change)}: {', '.join(new.grants)}", at))
    return tell("open to the world", rules, whole, Level.DANGER) + tell(
        "made public", grants, whole, Level.DANGER
    )


def _find_new_exposures(change: Mapping[str, Any]) -> Exposures:
    before, after = _parse_contexts(change)
    targets = _list_targets(change)
    if after is None:  # without --include-property-values there are names, and at times values
        before = {str(each.get("Name")): _parse(each.get("BeforeValue")) for each in targets}
        after = {str(each.get("Name")): _parse(each.get("AfterValue")) for each in targets}
    return find_new_exposures(str(change.get("ResourceType")), before, after)


def _parse(value: Any) -> Any:
    parsed = parse_json(value) if isinstance(value, str) else None
    return value if parsed is None else parsed


def _tell_weakened(changes: list[tuple[Mapping[str, Any], Path]], whole: Path) -> list[Group]:
    weakened = [
        (f"{_name(change)}: {', '.join(found)}", at)
        for change, at in changes
        if change["Action"] == "Modify" and (found := find_weakened(_list_differences(change)))
    ]
    return tell("weakened", weakened, whole, Level.NOTICE)


def _tell_others(changes: list[tuple[Mapping[str, Any], Path]], whole: Path) -> list[Group]:
    imported = [(_name(change), at) for change, at in changes if change["Action"] == "Import"]
    created = [(_name(change), at) for change, at in changes if change["Action"] == "Add"]
    changed = [
        (f"{_name(change)}: {texts}" if (texts := _describe_update(change)) else _name(change), at)
        for change, at in changes
        if change["Action"] == "Modify"
        and not _is_replaced(change)
        and change.get("Replacement") != "Conditional"
    ]
    return [
        *tell("imported", imported, whole, Level.NOTICE),
        *tell("changed", changed, whole),
        *tell("created", created, whole),
    ]


def _describe_update(change: Mapping[str, Any]) -> str:
    texts = [
        describe_change(path, old, new) if (old, new) != (None, None) else str(path[0])
        for path, old, new in _list_differences(change)
    ]
    return name_some(list(dict.fromkeys(texts)))


def _tell_stack(data: Data, path: Path) -> list[Group]:
    stack, name = data.get("StackName"), data.get("ChangeSetName")
    if not isinstance(stack, str) or not stack.strip():
        return []
    text = f"{stack}, by the change set {name}" if isinstance(name, str) else stack
    return tell("stack", [(clip(text, 160), (*path, "StackName"))], path)
