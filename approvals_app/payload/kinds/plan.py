"""Terraform's and OpenTofu's plan as JSON (``terraform show -json``), formats 0.1 to 1.2."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from approvals_app.payload.facts import (
    LONGEST_HEADLINE,
    Data,
    Level,
    Path,
    Reading,
    clip,
    count,
    format_path,
    name_some,
    write_headline,
)
from approvals_app.payload.kinds._resources import (
    MOST_OF_NAME,
    SENSITIVE,
    Exposures,
    Group,
    Things,
    choose_facts,
    compare_values,
    describe_change,
    find_new_exposures,
    find_weakened,
    is_marked,
    list_marked,
    list_of,
    look_up,
    name_store,
    read_text,
    show_value,
    tell,
)
from approvals_app.payload.walking import Names

MARKS: Final = (
    "planned_values",
    "resource_drift",
    "output_changes",
    "deferred_changes",
    "deferred_action_invocations",
    "action_invocations",
    "errored",
)
"""Beside ``format_version``, one of these tells a plan from a state."""
ABOUT: Final = (
    *("format_version", "terraform_version", "timestamp", "applyable", "planned_values"),
    *("prior_state", "configuration", "variables", "relevant_attributes", "provider_schemas"),
)
"""Say nothing of what will happen beside the changes themselves."""
TEXT_MARKS: Final = ('"resource_changes"', '"planned_values"', '"action_invocations"', '"errored"')
"""One of these stands in a plan that is sent as a text."""
REASONS: Final = {
    "replace_because_tainted": "it is marked as tainted",
    "replace_because_cannot_update": "it cannot be changed in place",
    "replace_by_request": "its replacement was requested",
    "replace_by_triggers": "replace_triggered_by",
    "delete_because_no_resource_config": "no longer in the configuration",
    "delete_because_wrong_repetition": "count or for_each came or went",
    "delete_because_count_index": "outside of count",
    "delete_because_each_key": "no longer in for_each",
    "delete_because_enabled_false": "enabled is false",
    "delete_because_no_module": "its module is gone",
    "delete_because_no_move_target": "moved to what is not in the configuration",
    "instance_count_unknown": "the number of instances is not known yet",
    "resource_config_unknown": "its configuration is not known yet",
    "provider_config_unknown": "the provider's settings are not known yet",
    "deferred_prereq": "it waits for another deferred change",
    "absent_prereq": "what it needs does not exist yet",
}
HARM: Final = ("delet", "destroy", "drop", "erase", "purge", "remov", "truncat", "wipe", "terminat")
"""Parts of words in an action's address or configuration that make it a danger."""
FORGETS: Final = ("forget", "create anew")
"""What leaves a resource alive that nothing manages any more; keys of COUNTED."""
ACTIONS: Final = {
    "action_invocations": "action runs",
    "deferred_action_invocations": "action runs in a later plan",
}
THEN: Final = {"update": "changed", "replace": "replaced", "destroy": "destroyed"}
VERBS: Final = {
    "destroy": "destroy",
    "replace": "replace",
    "create anew": "create anew",
    "forget": "forget",
    "update": "change",
    "create": "create",
}
"""How the headline says what is done, the gravest first."""
MOST_NAMES: Final = 4
# The order in which the actions are counted, with the words for them.
COUNTED: Final = {
    "destroy": "to destroy",
    "replace": "to replace",
    "create": "to create",
    "update": "to change",
    "forget": "no longer managed",
    "create anew": "created anew, the old one kept",
    "read": "to read",
    "unknown": "not understood",
    "no-op": "unchanged",
}


@dataclass(frozen=True)
class Change:
    """An entry of ``resource_changes``; ``does`` is a key of COUNTED."""

    path: Path
    entry: Mapping[str, Any]
    change: Mapping[str, Any]
    does: str

    @property
    def address(self) -> str:
        """The address, with the key of a deposed object."""
        name = self.entry.get("address") or self.entry.get("name") or "a resource"
        address = clip(str(name), MOST_OF_NAME)
        deposed = self.entry.get("deposed")
        return f"{address} (deposed object {deposed})" if deposed else address

    @property
    def type(self) -> str:
        return str(self.entry.get("type") or "")

    @property
    def store(self) -> str:
        """What goes with the resource, such as ``database``; empty if it stores nothing."""
        return name_store(self.type)

    @property
    def reason(self) -> str:
        """Why the tool does it, in words; of a reason that we do not know, its code."""
        code = self.entry.get("action_reason")
        return REASONS.get(code, clip(code)) if isinstance(code, str) else ""

    @cached_property
    def differences(self) -> list[tuple[Path, Any, Any]]:
        """What differs and is known, sensitive values masked."""
        unknown, masks = self.change.get("after_unknown"), _masks_of(self.change)
        return [
            (path, SENSITIVE, SENSITIVE) if is_marked(path, *masks) else (path, old, new)
            for path, old, new in compare_values(
                self.change.get("before"), self.change.get("after")
            )
            if not is_marked(path, unknown)
        ]


def may_read(names: Names) -> bool:
    """Whether an object with these members may be a plan."""
    return "resource_changes" in names.exact or "format_version" in names.exact


def read(data: Data, path: Path) -> Reading | None:
    """What a plan destroys, opens, changes, and what it could not find out."""
    return _read_plan(data, path) or read_text(data, path, TEXT_MARKS, _read_plan)


def _read_plan(data: Data, path: Path) -> Reading | None:
    if not _is_plan(data):
        return None
    changes, strange = _list_changes(data, path)
    deferred = _list_deferred(data, path)
    whole = (*path, "resource_changes") if "resource_changes" in data else path
    facts = [
        *_tell_failures(data, path),
        *_tell_destroyed(changes, whole),
        *_tell_replaced(changes, whole),
        *_tell_deferred(deferred, (*path, "deferred_changes")),
        *_tell_exposures(changes, whole),
        *_tell_actions(data, path),
        *_tell_kept(changes, whole),
        *_tell_weakened(changes, whole),
        *tell("not understood", strange, whole, Level.NOTICE),
        *_tell_moves(changes, whole),
        *_tell_unknown(changes, whole),
        *_tell_sensitive(changes, whole),
        *_tell_drift(data, path),
        *_tell_updates(changes, whole),
        *_tell_created(changes, whole),
        *_tell_outputs(data, path),
    ]
    total = _count(changes, len(strange), whole) if changes or strange or not facts else []
    return Reading(
        "plan",
        choose_facts(facts, total),
        _list_used(data),
        {
            "destroys": sum(_destroys(each) for each in [*changes, *deferred]),
            "forgets": sum(each.does in FORGETS for each in [*changes, *deferred]),
            "actions": sum(len(list_of(data, name)) for name in ACTIONS),
        },
        _write_headline(data, changes, deferred),
    )


def _write_headline(data: Data, changes: list[Change], deferred: list[Change]) -> str:
    done = [each for each in changes if each.does in VERBS]
    deeds = {verb: sum(each.does == does for each in done) for does, verb in VERBS.items()}
    only = done[0].address if len(done) == 1 else ""
    gone = sum(map(_destroys, deferred))
    actions = sum(len(list_of(data, name)) for name in ACTIONS)
    texts = [
        write_headline(deeds, len(changes), "resource", only),
        f"destroy {count(gone, 'resource')} in a later plan" if gone else "",
        f"run {count(actions, 'action')} of providers" if actions else "",
    ]
    outputs = sum(len(group.things) for group in _tell_outputs(data, ()))
    moves = {group.label: len(group.things) for group in _tell_moves(changes, ())}
    texts += [
        f"move {count(moves['moved'], 'resource')}" if "moved" in moves else "",
        f"import {count(moves['imported'], 'resource')}" if "imported" in moves else "",
        f"change {count(outputs, 'output')}" if outputs and not any(texts) else "",
    ]
    nothing = f"Change none of {count(len(changes), 'resource')}" if changes else "Change nothing"
    text = "; ".join(filter(None, texts)) or nothing
    failed = "Failed plan: " if data.get("errored") is True else ""
    return clip(f"{failed}{text[0].upper()}{text[1:]}", LONGEST_HEADLINE)


def _is_plan(data: Data) -> bool:
    changes = data.get("resource_changes")
    if isinstance(changes, list) and any(_actions_of(each) for each in changes):
        return True
    return isinstance(data.get("format_version"), str) and (
        isinstance(changes, list) or any(name in data for name in MARKS)
    )


def _list_used(data: Data) -> set[str]:
    """The members that were read: their facts are told, or there was nothing to tell."""
    read = {
        *ABOUT,
        "resource_changes",
        "resource_drift",
        "deferred_changes",
        "deferred_action_invocations",
        "action_invocations",
        "output_changes",
        "checks",
        "condition_results",
        "errored",
        "complete",
    }
    return read & data.keys()


def _actions_of(entry: Any) -> list[Any]:
    change = entry.get("change") if isinstance(entry, dict) else None
    actions = change.get("actions") if isinstance(change, dict) else None
    return actions if isinstance(actions, list) else []


def _name_deed(actions: list[Any]) -> str:
    """A key of COUNTED. Any list with ``delete`` deletes: Terraform may add combinations."""
    names = {str(each) for each in actions}
    if "delete" in names:
        return "replace" if "create" in names else "destroy"
    if "forget" in names:
        return "create anew" if "create" in names else "forget"
    if len(names) == 1 and (name := names.pop()) in COUNTED:
        return name
    return "read" if names and names <= {"open", "renew", "close"} else "unknown"


def _list_changes(data: Data, path: Path) -> tuple[list[Change], Things]:
    """The entries that can be read, and the others."""
    changes: list[Change] = []
    strange: Things = []
    for place, entry in enumerate(list_of(data, "resource_changes")):
        at = (*path, "resource_changes", place)
        if not (actions := _actions_of(entry)):
            strange.append((f"entry {place + 1}", at))
        elif (deed := _name_deed(actions)) == "unknown":
            strange.append((f"{entry.get('address')}: {clip(', '.join(map(str, actions)))}", at))
        else:
            changes.append(Change(at, entry, entry["change"], deed))
    return changes, strange


def _list_deferred(data: Data, path: Path) -> list[Change]:
    deferred = []
    for place, entry in enumerate(list_of(data, "deferred_changes")):
        inner = entry.get("resource_change") if isinstance(entry, dict) else None
        if not (actions := _actions_of(inner)) or not isinstance(inner, dict):
            continue
        at = (*path, "deferred_changes", place, "resource_change")
        told = {**inner, "action_reason": entry.get("reason")}
        deferred.append(Change(at, told, inner["change"], _name_deed(actions)))
    return deferred


def _destroys(change: Change) -> bool:
    return change.does in ("destroy", "replace")


def _tell_failures(data: Data, path: Path) -> list[Group]:
    facts: list[Group] = []
    if data.get("errored") is True:
        facts += tell("plan failed", [("it is partial", (*path, "errored"))], path, Level.DANGER)
    elif data.get("complete") is False:
        value = "it is partial: further changes need another plan"
        facts += tell("plan incomplete", [(value, (*path, "complete"))], path, Level.DANGER)
    elif data.get("applyable") is False:
        facts += tell("plan", [("there is nothing to apply", (*path, "applyable"))], path)
    checks = _list_failed_checks(data, path)
    conditions = _list_failed_conditions(data, path)
    facts += tell("check fails", checks, (*path, "checks"), Level.DANGER)
    return facts + tell("condition fails", conditions, (*path, "condition_results"), Level.DANGER)


def _list_failed_checks(data: Data, path: Path) -> Things:
    failed: Things = []
    for place, check in enumerate(list_of(data, "checks")):
        if not isinstance(check, dict) or check.get("status") not in ("fail", "error"):
            continue
        address = check.get("address")
        name = address.get("to_display") if isinstance(address, dict) else address
        messages = "; ".join(_list_problems(check))
        text = f"{name or 'a check'}: {messages or check['status']}"
        failed.append((text, (*path, "checks", place)))
    return failed


def _list_problems(check: Mapping[str, Any]) -> list[str]:
    problems = [
        problem
        for instance in list_of(check, "instances")
        if isinstance(instance, dict)
        for problem in list_of(instance, "problems")
    ]
    return [
        str(each["message"]) for each in problems if isinstance(each, dict) and "message" in each
    ]


def _list_failed_conditions(data: Data, path: Path) -> Things:
    """Terraform 1.2 wrote conditions instead of checks; one that is unknown also says false."""
    return [
        (
            f"{each.get('address')}: {each.get('error_message') or each.get('condition_type')}",
            (*path, "condition_results", place),
        )
        for place, each in enumerate(list_of(data, "condition_results"))
        if isinstance(each, dict) and each.get("result") is False and not each.get("unknown")
    ]


def _describe_loss(change: Change) -> list[str]:
    """What goes with the resource, and what makes its loss final."""
    before = change.change.get("before")
    members = before if isinstance(before, dict) else {}
    notes = [change.store] if change.store else []
    if members.get("skip_final_snapshot") is True:
        notes.append("no final snapshot")
    if members.get("force_destroy") is True:
        notes.append("even if it is not empty")
    return notes


def _tell_destroyed(changes: list[Change], whole: Path) -> list[Group]:
    gone = [each for each in changes if each.does == "destroy"]
    stores = [(_describe_destroy(each), each.path) for each in gone if each.store]
    others = [(_describe_destroy(each), each.path) for each in gone if not each.store]
    return tell("destroyed", stores, whole, Level.DANGER) + tell(
        "also destroyed" if stores else "destroyed", others, whole, Level.NOTICE
    )


def _describe_destroy(change: Change) -> str:
    notes = [*_describe_loss(change), *filter(None, [change.reason])]
    return f"{change.address} ({'; '.join(notes)})" if notes else change.address


def _tell_replaced(changes: list[Change], whole: Path) -> list[Group]:
    replaced = [each for each in changes if each.does == "replace"]
    stores = [(_describe_replace(each), each.path) for each in replaced if each.store]
    others = [(_describe_replace(each), each.path) for each in replaced if not each.store]
    return tell("replaced", stores, whole, Level.DANGER) + tell(
        "also replaced" if stores else "replaced", others, whole, Level.NOTICE
    )


def _describe_replace(change: Change) -> str:
    """The order first: whether the resource is away for a while or there are two of it."""
    actions = change.change["actions"]
    is_down = actions.index("delete") < actions.index("create")
    order = (
        "destroyed, then created: down in between"
        if is_down
        else "two at once: created, then destroyed"
    )
    forces = _list_forces(change)
    notes = [
        order,
        *([f"forced by {', '.join(forces)}"] if forces else []),
        *filter(None, [change.reason]),
        *_describe_loss(change),
    ]
    return f"{change.address}: {'; '.join(notes)}"


def _list_forces(change: Change) -> list[str]:
    paths = change.change.get("replace_paths")
    forces = []
    for steps in paths if isinstance(paths, list) else []:
        if not isinstance(steps, list) or not all(type(step) in (str, int) for step in steps):
            continue
        path = tuple(steps)
        old, new = (look_up(change.change.get(side), path) for side in ("before", "after"))
        if is_marked(path, change.change.get("after_unknown")):
            forces.append(f"{format_path(path)} (known after apply)")
        elif is_marked(path, *_masks_of(change.change)):
            forces.append(f"{format_path(path)} {SENSITIVE}")
        else:
            forces.append(describe_change(path, old, new))
    return forces


def _masks_of(change: Mapping[str, Any]) -> tuple[Any, Any]:
    return change.get("before_sensitive"), change.get("after_sensitive")


def _tell_deferred(deferred: list[Change], whole: Path) -> list[Group]:
    gone = [(_describe_destroy(each), each.path) for each in deferred if _destroys(each)]
    others = [
        (f"{each.address} {COUNTED[each.does]}", each.path)
        for each in deferred
        if not _destroys(each)
    ]
    return tell("destroyed in a later plan", gone, whole, Level.DANGER) + tell(
        "deferred to a later plan", others, whole, Level.NOTICE
    )


def _tell_exposures(changes: list[Change], whole: Path) -> list[Group]:
    rules: Things = []
    grants: Things = []
    for each in changes:
        exposures = _find_new_exposures(each)
        if exposures.rules:
            rules.append((f"{each.address}: {', '.join(exposures.rules)}", each.path))
        if exposures.grants:
            grants.append((f"{each.address}: {', '.join(exposures.grants)}", each.path))
    return tell("open to the world", rules, whole, Level.DANGER) + tell(
        "made public", grants, whole, Level.DANGER
    )


def _find_new_exposures(change: Change) -> Exposures:
    if change.does == "destroy" and change.type.endswith("public_access_block"):
        return Exposures(grants=["the block of public access goes"])
    if change.does not in ("create", "update", "replace", "create anew"):
        return Exposures()
    sides = (change.change.get("before"), change.change.get("after"))
    new = find_new_exposures(change.type, *sides)
    if any(map(list_marked, _masks_of(change.change))):
        # Which of the values are sensitive does not matter: none of them is told.
        new.rules = [text.rpartition(" from ")[0] or text for text in new.rules]
    return new


def _tell_actions(data: Data, path: Path) -> list[Group]:
    """What a provider runs beside the changes; it leaves no resource behind and no way back."""
    facts: list[Group] = []
    for name, label in ACTIONS.items():
        harmful: Things = []
        others: Things = []
        for place, entry in enumerate(list_of(data, name)):
            at: Path = (*path, name, place)
            inner = entry.get("action_invocation") if isinstance(entry, dict) else None
            if isinstance(inner, dict):
                entry, at = inner, (*at, "action_invocation")
            if isinstance(entry, dict):
                text = _describe_action(entry)
                harms = any(word in text.lower() for word in HARM)
                (harmful if harms else others).append((text, at))
        facts += tell(label, harmful, (*path, name), Level.DANGER)
        facts += tell(label, others, (*path, name), Level.NOTICE)
    return facts


def _describe_action(entry: Mapping[str, Any]) -> str:
    text = str(entry.get("address") or entry.get("type") or "an action")
    trigger = entry.get("lifecycle_action_trigger")
    if isinstance(trigger, dict):
        event = str(trigger.get("action_trigger_event") or "a change of")
        words = "".join(f" {char.lower()}" if char.isupper() else char for char in event).strip()
        text += f" {words} {trigger.get('triggering_resource_address')}"
    values = entry.get("config_values")
    mask = entry.get("config_sensitive")
    settings = [
        f"{key} {SENSITIVE if is_marked((key,), mask) else show_value(value)}".rstrip()
        for key, value in (values.items() if isinstance(values, dict) else [])
        if value is not None
    ]
    return f"{text}: {name_some(settings)}" if settings else text


def _tell_kept(changes: list[Change], whole: Path) -> list[Group]:
    """What the tool forgets: it costs and runs on, and no plan will mention it again."""
    kept = [(f"{each.address} stays alive", each.path) for each in changes if each.does == "forget"]
    twins = [
        (f"{each.address}: a new one; the old one stays alive", each.path)
        for each in changes
        if each.does == "create anew"
    ]
    return tell("no longer managed", kept + twins, whole, Level.NOTICE)


def _tell_weakened(changes: list[Change], whole: Path) -> list[Group]:
    weakened = [
        (f"{each.address}: {', '.join(found)}", each.path)
        for each in changes
        if each.does in ("update", "replace") and (found := find_weakened(each.differences))
    ]
    return tell("weakened", weakened, whole, Level.NOTICE)


def _tell_moves(changes: list[Change], whole: Path) -> list[Group]:
    moved: Things = []
    imported: Things = []
    for each in changes:
        old = each.entry.get("previous_address")
        if isinstance(old, str):
            moved.append((f"{clip(old, MOST_OF_NAME)} → {each.address}", each.path))
        if each.change.get("importing") is not None:
            text = f"{each.address}, then {THEN[each.does]}" if each.does in THEN else each.address
            imported.append((text, each.path))
    return tell("moved", moved, whole, Level.NOTICE) + tell(
        "imported", imported, whole, Level.NOTICE
    )


def _tell_unknown(changes: list[Change], whole: Path) -> list[Group]:
    """Values of a resource that stays, and that nobody can know before the yes."""
    unknown: Things = []
    for each in changes:
        if each.does != "update":
            continue
        if names := [format_path(path) for path in list_marked(each.change.get("after_unknown"))]:
            at = (*each.path, "change", "after_unknown")
            unknown.append((f"{each.address}: {', '.join(filter(None, names)) or 'all'}", at))
    return tell("known after apply", unknown, whole, Level.NOTICE)


def _tell_sensitive(changes: list[Change], whole: Path) -> list[Group]:
    sensitive: Things = []
    for each in changes:
        if each.does not in ("update", "replace"):
            continue
        names = [format_path(path) for path, old, _ in each.differences if old is SENSITIVE]
        if names:
            sensitive.append(
                (f"{each.address}: {', '.join(filter(None, names)) or 'all'}", each.path)
            )
    return tell("sensitive values change", sensitive, whole, Level.NOTICE)


def _tell_drift(data: Data, path: Path) -> list[Group]:
    drift: Things = []
    for place, entry in enumerate(list_of(data, "resource_drift")):
        if not (actions := _actions_of(entry)) or actions == ["no-op"]:
            continue
        address = entry.get("address") or "a resource"
        suffix = " is gone" if "delete" in actions else ""
        drift.append((f"{address}{suffix}", (*path, "resource_drift", place)))
    return tell("changed outside", drift, (*path, "resource_drift"), Level.NOTICE)


def _tell_updates(changes: list[Change], whole: Path) -> list[Group]:
    updates = [
        (
            f"{each.address}: {texts}" if (texts := _describe_update(each)) else each.address,
            each.path,
        )
        for each in changes
        if each.does == "update"
    ]
    return tell("changed", updates, whole)


def _describe_update(change: Change) -> str:
    texts = [
        f"{format_path(path)} {SENSITIVE}" if old is SENSITIVE else describe_change(path, old, new)
        for path, old, new in change.differences[:MOST_NAMES]
    ]
    left = len(change.differences) - len(texts)
    return ", ".join(texts) + (f" and {left:,} more" if left else "")


def _tell_created(changes: list[Change], whole: Path) -> list[Group]:
    created = [(each.address, each.path) for each in changes if each.does == "create"]
    return tell("created", created, whole)


def _tell_outputs(data: Data, path: Path) -> list[Group]:
    outputs: Things = []
    entries = data.get("output_changes")
    for name, change in entries.items() if isinstance(entries, dict) else []:
        actions = _actions_of({"change": change})
        if not actions or actions == ["no-op"]:
            continue
        suffix = f" {SENSITIVE}" if any(map(list_marked, _masks_of(change))) else ""
        outputs.append((f"{name}{suffix}", (*path, "output_changes", name)))
    return tell("outputs change", outputs, (*path, "output_changes"))


def _count(changes: list[Change], strange: int, whole: Path) -> list[Group]:
    counts = Counter(each.does for each in changes) + Counter({"unknown": strange})
    texts = [f"{counts[deed]:,} {words}" for deed, words in COUNTED.items() if counts[deed]]
    return tell("resources", [(", ".join(texts) or "no changes", whole)], whole)
