"""The summary of a payload: at most seven facts, the most dangerous first, drawn from its members.

Each kind is a module of ``kinds`` with one function that recognises an object by its shape and
reads it. A summary never hides: the page shows the whole payload below it, and says how many
members no fact tells of.
"""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson

from approvals_app.payload.facts import Data, Fact, Level, Path, Reading, clip, walk_objects
from approvals_app.payload.kinds import (
    changes,
    command,
    mail,
    money,
    patch,
    plan,
    statement,
)

MOST_FACTS: Final = 7
LONGEST_LINE: Final = 160
Reader = Callable[[Data, Path], Reading | None]
KINDS: Final[tuple[Reader, ...]] = (
    plan.read,
    changes.read,
    statement.read,
    command.read,
    money.read,
    mail.read,
    patch.read,
)
"""Each returns what it read in an object, or None if the object is of another kind."""
NUMBERS: Final = re.compile(r"(?<![\w.,/-])\d[\d.,']*\d|(?<![\w.,/-])\d(?![\w.,/-])")
LEVELS: Final = {level: rank for rank, level in enumerate(Level)}


@dataclass(frozen=True, slots=True)
class Summary:
    """``facts`` in the order of their levels; ``left_out`` further ones did not fit.

    ``unread`` counts the members that no fact tells of. ``strange_numbers`` are in the agent's
    description and nowhere in the payload.
    """

    kinds: tuple[str, ...]
    facts: tuple[Fact, ...]
    left_out: int
    unread: int
    strange_numbers: tuple[str, ...]
    traits: Mapping[str, Any]

    @property
    def line(self) -> str:
        """The first facts on one line, for lists, mail and chat."""
        return clip(
            "; ".join(f"{fact.label}: {fact.value}" for fact in self.facts[:2]), LONGEST_LINE
        )

    @property
    def level(self) -> Level:
        """The level of the most dangerous fact."""
        return self.facts[0].level if self.facts else Level.PLAIN


def summarize_text(payload: str) -> Summary:
    """The summary of a task's payload as it is kept, from memory where it was asked for lately."""
    key = hashlib.sha256(payload.encode()).digest()
    known = _summaries.get(key)
    if known is None:
        known = summarize(orjson.loads(payload))
        if len(_summaries) >= MOST_KNOWN:
            _summaries.clear()
        _summaries[key] = known
    return known


_summaries: dict[bytes, Summary] = {}
MOST_KNOWN: Final = 2_000


def summarize(payload: Data) -> Summary:
    """The summary of a task's payload, whose ``data`` may be any JSON."""
    data = payload["data"]
    readings = _read(data)
    facts = [fact for _, reading in readings for fact in reading.facts]
    ordered = sorted(facts, key=lambda fact: LEVELS[fact.level])
    traits: dict[str, Any] = {"destroys": 0, "as_root": False, "recipients": 0}
    for _, reading in readings:
        for name, value in reading.traits.items():
            traits[name] = _combine(traits.get(name), value)
    return Summary(
        kinds=tuple(dict.fromkeys(reading.kind for _, reading in readings)),
        facts=tuple(ordered[:MOST_FACTS]),
        left_out=max(0, len(facts) - MOST_FACTS),
        unread=_count_unread(data, readings),
        strange_numbers=_find_strange_numbers(payload),
        traits=traits,
    )


def _read(data: Any) -> list[tuple[Path, Reading]]:
    readings: list[tuple[Path, Reading]] = []
    taken: dict[Reader, list[Path]] = {read: [] for read in KINDS}
    for path, each in walk_objects(data):
        for read in KINDS:
            # What is inside an object that this kind has read is read by it already.
            if any(path[: len(outer)] == outer for outer in taken[read]):
                continue
            reading = read(each, path)
            if reading is not None:
                taken[read].append(path)
                readings.append((path, reading))
    return readings


def _combine(one: Any, other: Any) -> Any:
    if isinstance(one, bool) and isinstance(other, bool):
        return one or other
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    return other if one is None else one


def _count_unread(data: Any, readings: list[tuple[Path, Reading]]) -> int:
    """The members that no fact tells of, of ``data`` and of the objects that were read."""
    if not isinstance(data, Mapping):
        return 0
    read = {path: set[str]() for path, _ in readings} | {(): set[str]()}
    for path, reading in readings:
        read[path] |= reading.used
        for end in range(len(path)):  # the way down to it
            if path[:end] in read:
                read[path[:end]].add(str(path[end]))
    unread = 0
    for path, used in read.items():
        each: Any = data
        for step in path:
            each = each[step]
        unread += len(each.keys() - used)
    return unread


def _find_strange_numbers(payload: Data) -> tuple[str, ...]:
    described = NUMBERS.findall(str(payload.get("description") or ""))
    if not described:
        return ()
    known = {_plain(text) for text in NUMBERS.findall(_join_texts(payload.get("data")))}
    known |= {_plain(text) for text in NUMBERS.findall(_join_texts(payload.get("context")))}
    strange = [text for text in described if len(_plain(text)) > 1 and _plain(text) not in known]
    return tuple(dict.fromkeys(strange))


def _plain(number: str) -> str:
    """``number`` without separators and the zeros of a fraction: 1,000.00, 1.000 and 1000 agree."""
    whole = re.sub(r"[.,](\d{1,2})$", r"#\1", number)
    digits, _, fraction = re.sub(r"[.,']", "", whole).partition("#")
    return digits.lstrip("0") + ("." + fraction.rstrip("0") if fraction.strip("0") else "")


def _join_texts(value: Any) -> str:
    """All texts and numbers of a JSON value, with blanks between."""
    pending, found = [value], []
    while pending:
        each = pending.pop()
        if isinstance(each, Mapping):
            pending += [*each.keys(), *each.values()]
        elif isinstance(each, list):
            pending += each
        elif each is not None and not isinstance(each, bool):
            found.append(str(each))
    return " ".join(found)
