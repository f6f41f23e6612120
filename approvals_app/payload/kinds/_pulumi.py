"""A preview of Pulumi: ``pulumi preview --json``, or its engine's events."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from approvals_app.payload.facts import Data, Level, Path, Reading, clip, name_some, write_headline
from approvals_app.payload.kinds._resources import (
    MOST_OF_NAME,
    Group,
    Things,
    choose_facts,
    compare_values,
    find_new_exposures,
    find_weakened,
    list_of,
    name_store,
    tell,
)

# A replacement is three steps of one resource; each of them alone tells of it.
REPLACING: Final = (
    "replace",
    "create-replacement",
    "delete-replaced",
    "import-replacement",
    "read-replacement",
)
DROPPING: Final = ("discard", "discard-replaced", "remove-pending-replace")
"""Only Pulumi's record of the resource goes."""
VERBS: Final = {
    "delete": "delete",
    "replace": "replace",
    "discard": "drop from the state",
    "update": "change",
    "import": "import",
    "create": "create",
}
"""How the headline says what is done, the gravest first."""
COUNTED: Final = {
    "delete": "to delete",
    "replace": "to replace",
    "create": "to create",
    "update": "to change",
    "import": "to import",
    "discard": "dropped from the state",
    "refresh": "to refresh",
    "read": "to read",
    "same": "unchanged",
}


@dataclass(slots=True)
class Step:
    """The steps of one resource; ``does`` is a key of COUNTED, ``ops`` are in the given order.

    ``store`` says what goes with the resource; empty if it stores nothing.
    """

    path: Path
    does: str
    name: str
    store: str
    type: str
    ops: list[str] = field(default_factory=list)
    old: Mapping[str, Any] = field(default_factory=dict)
    new: Mapping[str, Any] = field(default_factory=dict)
    reasons: list[str] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)

    @property
    def is_kept(self) -> bool:
        """Whether the thing itself stays: only Pulumi's record of it goes."""
        return self.old.get("retainOnDelete") is True or self.old.get("external") is True

    @property
    def destroys(self) -> bool:
        return self.does in ("delete", "replace") and not self.is_kept


def read(data: Data, path: Path) -> Reading | None:
    """What the preview deletes, replaces and opens."""
    member = next((name for name in ("steps", "events") if _holds_steps(data, name)), None)
    if member is None:
        return None
    whole = (*path, member)
    steps, strange = _list_steps(list_of(data, member), whole)
    facts = [
        *_tell_failures(data, path),
        *_tell_deleted(steps, whole),
        *_tell_replaced(steps, whole),
        *_tell_unlisted(data, steps, path),
        *_tell_exposures(steps, whole),
        *tell("not understood", strange, whole, Level.NOTICE),
        *_tell_kept(steps, whole),
        *_tell_weakened(steps, whole),
        *_tell_others(steps, whole),
    ]
    counts = Counter(each.does for each in steps)
    texts = [f"{counts[does]:,} {words}" for does, words in COUNTED.items() if counts[does]]
    total = tell("resources", [(", ".join(texts) or "none understood", whole)], whole)
    used = {member, "changeSummary", "diagnostics", "maybeCorrupt"} & data.keys()
    gone = [each for each in steps if each.does in ("delete", "replace")]
    traits = {
        "destroys": sum(each.destroys for each in gone),
        "forgets": sum(each.is_kept for each in gone),
    }
    headline = _write_headline(steps)
    return Reading("preview", choose_facts(facts, total), used, traits, headline)


def _write_headline(steps: list[Step]) -> str:
    done = [each for each in steps if each.does in VERBS]
    deeds = {verb: sum(each.does == does for each in done) for does, verb in VERBS.items()}
    return write_headline(deeds, len(steps), "resource", done[0].name if len(done) == 1 else "")


def _read_step(entry: Any) -> Mapping[str, Any] | None:
    """A step of a preview, or what an event says of one."""
    if not isinstance(entry, dict):
        return None
    event = entry.get("resourcePreEvent")
    step = event.get("metadata") if isinstance(event, dict) else entry
    if not isinstance(step, dict):
        return None
    is_step = isinstance(step.get("op"), str) and isinstance(step.get("urn"), str)
    return step if is_step else None


def _holds_steps(data: Data, member: str) -> bool:
    return any(_read_step(each) for each in list_of(data, member))


def _list_steps(entries: list[Any], whole: Path) -> tuple[list[Step], Things]:
    """One step for each resource, and the entries that we do not understand."""
    steps: dict[tuple[str, bool], Step] = {}
    strange: Things = []
    for place, entry in enumerate(entries):
        at = (*whole, place)
        step = _read_step(entry)
        if step is None:
            # Events other than those of resources are of no step.
            if not isinstance(entry, dict) or "sequence" not in entry:
                strange.append((f"entry {place + 1}", at))
            continue
        op = str(step["op"])
        does = "replace" if op in REPLACING else "discard" if op in DROPPING else op
        if does not in COUNTED:
            strange.append((f"{clip(op, 40)} of {clip(str(step['urn']))}", at))
            continue
        _add_step(steps, at, step, op, does)
    return list(steps.values()), strange


def _add_step(
    steps: dict[tuple[str, bool], Step], at: Path, step: Mapping[str, Any], op: str, does: str
) -> None:
    urn = str(step["urn"])
    # A resource may be replaced, and an older copy of it be deleted.
    key = (urn, does == "replace")
    each = steps.get(key)
    if each is None or does != "replace":
        name, kind = _split_urn(urn)
        each = Step(at, does, name, name_store(kind), kind)
        steps[key if key not in steps else (f"{urn} {at}", False)] = each
    each.ops.append(op)
    each.old = each.old or _object_of(step, "oldState", "old")
    each.new = each.new or _object_of(step, "newState", "new")
    each.reasons = each.reasons or _texts_of(step, "replaceReasons", "keys")
    each.changed = each.changed or _texts_of(step, "diffReasons", "diffs")


def _split_urn(urn: str) -> tuple[str, str]:
    """The name with its type, and the type, which in a URN follows the types of the parents."""
    parts = urn.split("::", 3)
    if len(parts) < 4:
        return clip(urn, MOST_OF_NAME), ""
    kind = parts[2].rpartition("$")[2]
    return clip(f"{parts[3]} ({kind})", MOST_OF_NAME), kind


def _object_of(step: Mapping[str, Any], *names: str) -> Mapping[str, Any]:
    for name in names:
        if isinstance(value := step.get(name), dict):
            return value
    return {}


def _texts_of(step: Mapping[str, Any], *names: str) -> list[str]:
    return [each for name in names for each in list_of(step, name) if isinstance(each, str)]


def _tell_failures(data: Data, path: Path) -> list[Group]:
    facts: list[Group] = []
    if data.get("maybeCorrupt") is True:
        text = "its state may be corrupt"
        facts += tell("preview failed", [(text, (*path, "maybeCorrupt"))], path, Level.DANGER)
    errors: Things = []
    for place, each in enumerate(list_of(data, "diagnostics")):
        if isinstance(each, dict) and each.get("severity") == "error":
            errors.append((str(each.get("message")), (*path, "diagnostics", place)))
    return facts + tell("preview failed", errors, (*path, "diagnostics"), Level.DANGER)


def _describe(step: Step, *notes: str) -> str:
    told = [
        *notes,
        *filter(None, [step.store]),
        *(["it is protected: Pulumi will refuse"] if step.old.get("protect") is True else []),
    ]
    return f"{step.name}: {'; '.join(told)}" if told else step.name


def _tell_deleted(steps: list[Step], whole: Path) -> list[Group]:
    gone = [each for each in steps if each.does == "delete" and each.destroys]
    stores = [(_describe(each), each.path) for each in gone if each.store]
    others = [(_describe(each), each.path) for each in gone if not each.store]
    return tell("deleted", stores, whole, Level.DANGER) + tell(
        "also deleted" if stores else "deleted", others, whole, Level.NOTICE
    )


def _tell_replaced(steps: list[Step], whole: Path) -> list[Group]:
    replaced = [each for each in steps if each.does == "replace" and each.destroys]
    stores = [(_describe_replace(each), each.path) for each in replaced if each.store]
    others = [(_describe_replace(each), each.path) for each in replaced if not each.store]
    return tell("replaced", stores, whole, Level.DANGER) + tell(
        "also replaced" if stores else "replaced", others, whole, Level.NOTICE
    )


def _describe_replace(step: Step) -> str:
    """With the order, where both steps are listed."""
    notes = []
    if {"create-replacement", "delete-replaced"} <= set(step.ops):
        is_down = step.ops.index("delete-replaced") < step.ops.index("create-replacement")
        notes.append(
            "deleted, then created: down in between"
            if is_down
            else "two at once: created, then deleted"
        )
    if step.reasons:
        notes.append(f"forced by {name_some(step.reasons)}")
    return _describe(step, *notes)


def _tell_unlisted(data: Data, steps: list[Step], path: Path) -> list[Group]:
    """The preview's own count may know of more than its steps show."""
    counts = data.get("changeSummary")
    counted = counts.get("delete") if isinstance(counts, dict) else None
    listed = sum("delete" in each.ops for each in steps)
    if not isinstance(counted, int) or counted <= listed:
        return []
    text = f"{counted - listed:,} of {counted:,} are counted and not listed"
    return tell("deletions", [(text, (*path, "changeSummary", "delete"))], path, Level.DANGER)


def _tell_exposures(steps: list[Step], whole: Path) -> list[Group]:
    rules: Things = []
    grants: Things = []
    for each in steps:
        if each.does in ("delete", "discard", "same"):
            continue
        new = find_new_exposures(each.type, each.old.get("inputs"), each.new.get("inputs"))
        if new.rules:
            rules.append((f"{each.name}: {', '.join(new.rules)}", each.path))
        if new.grants:
            grants.append((f"{each.name}: {', '.join(new.grants)}", each.path))
    return tell("open to the world", rules, whole, Level.DANGER) + tell(
        "made public", grants, whole, Level.DANGER
    )


def _tell_kept(steps: list[Step], whole: Path) -> list[Group]:
    kept = [
        (f"{each.name} stays alive", each.path)
        for each in steps
        if each.does in ("delete", "replace") and each.is_kept
    ]
    return tell("no longer managed", kept, whole, Level.NOTICE)


def _tell_weakened(steps: list[Step], whole: Path) -> list[Group]:
    weakened: Things = []
    for each in steps:
        if each.does not in ("update", "replace") or not each.old:
            continue
        differences = compare_values(each.old.get("inputs"), each.new.get("inputs"))
        differences.append((("protect",), each.old.get("protect"), each.new.get("protect")))
        if found := find_weakened(differences):
            weakened.append((f"{each.name}: {', '.join(found)}", each.path))
    return tell("weakened", weakened, whole, Level.NOTICE)


def _tell_others(steps: list[Step], whole: Path) -> list[Group]:
    def name(does: str) -> Things:
        return [(each.name, each.path) for each in steps if each.does == does]

    changed = [
        (f"{each.name}: {name_some(each.changed)}" if each.changed else each.name, each.path)
        for each in steps
        if each.does == "update"
    ]
    return [
        *tell("imported", name("import"), whole, Level.NOTICE),
        *tell("dropped from the state", name("discard"), whole, Level.NOTICE),
        *tell("changed", changed, whole),
        *tell("created", name("create"), whole),
    ]
