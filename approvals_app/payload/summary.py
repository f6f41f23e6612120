"""The summary of a payload: at most seven facts, the most dangerous first, drawn from its members.

Each kind is a module of ``kinds`` with one function that recognises an object by its shape and
reads it. A summary never hides: the page shows the whole payload below it, and says which members
no fact tells of.
"""

import gc
import hashlib
import re
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Final

import orjson

from approvals_app.payload import walking
from approvals_app.payload.facts import (
    LONGEST_HEADLINE,
    MOST_FACTS,
    MOST_JOINED,
    RANKS,
    Data,
    Fact,
    Found,
    Level,
    Moment,
    Path,
    Reading,
    Text,
    clip,
    find,
    fit,
    format_path,
    join_alike,
)
from approvals_app.payload.kinds import (
    calls,
    changes,
    command,
    dates,
    mail,
    manifest,
    money,
    patch,
    plan,
    statement,
)
from approvals_app.payload.sensitive import hide_values

COUNTED_TRAITS: Final = ("destroys", "forgets", "actions", "recipients")
LONGEST_LINE: Final = 160
MOST_NAMED: Final = 5
"""So many members that no fact tells of are named."""
MOST_KNOWN: Final = 2_000
Reader = Callable[[Data, Path], Reading | None]
NUMBERS: Final = re.compile(r"(?<![\w.,/-])\d[\d.,']*\d|(?<![\w.,/-])\d(?![\w.,/-])")
IN_NAMES: Final = re.compile(r"(?<=[_/-])\d+(?![^\W_])")
"""A number in a name, as in ``flow_logs_2024``."""
DAYS: Final = re.compile(r"\b\d{4}-\d\d-(\d\d)(?!\d)")
"""The day of a date, which a description writes as 25 November."""


@dataclass(frozen=True, slots=True)
class Kind:
    """How one kind is found.

    ``read`` returns what it read in an object, or None if the object is of another kind. It is
    called where ``may_read`` says yes to the names of the object's members, and, if it
    ``reads_output``, where a text may be a tool's output. ``closes``: what it has read is not read
    by any other kind.
    """

    read: Reader
    may_read: Callable[[walking.Names], bool]
    reads_output: bool = False
    closes: bool = True


@dataclass(frozen=True, slots=True)
class TextKind:
    """A kind whose texts are read together: there is a limit to how much of all is parsed.

    ``find`` returns the texts that it would read in an object, also in some objects inside it.
    """

    find: Callable[[Data], list[Text]]
    read_several: Callable[[Sequence[Found]], list[tuple[Path, Reading]]]
    may_read: Callable[[walking.Names], bool]


@dataclass(frozen=True, slots=True)
class WholeKind:
    """A kind that reads a payload as a whole, wherever in it its objects stand."""

    read_all: Callable[[Data, walking.Survey], list[tuple[Path, Reading]]]
    may_read: Callable[[walking.Names], bool]
    reads_output: bool = False


CHANGES: Final = (
    Kind(plan.read, plan.may_read, reads_output=True),
    Kind(changes.read, changes.may_read, reads_output=True),
    Kind(patch.read, patch.may_read),
    Kind(calls.read, calls.may_read),
    Kind(manifest.read, manifest.may_read, closes=False),
)
"""What they read is a description of a change: the SQL or the amounts in it are not executed."""
TEXTS: Final = (
    TextKind(statement.find, statement.read_several, statement.may_read),
    TextKind(command.find, command.read_several, command.may_read),
)
ACTIONS: Final = (
    WholeKind(money.read_all, money.may_read, reads_output=True),
    WholeKind(mail.read_all, mail.may_read),
)


@dataclass(frozen=True, slots=True)
class Summary:
    """``facts`` in the order of their levels; ``left_out`` further ones did not fit.

    ``unread`` counts the members that no fact tells of, ``unread_paths`` are the first of them.
    ``strange_numbers`` are in the agent's description and nowhere in the payload. ``traits`` are
    what policies ask for: COUNTED_TRAITS, ``as_root``, ``amounts`` (a text without its currency,
    by currency), ``partial`` (not all was read) and, where there is one clear sum, ``amount``.

    ``headline`` is our own title of the task, drawn from the data alone: verb, object, amount, such
    as ``Refund 249.90 EUR to Mara Lindqvist`` or ``Destroy 2, replace 1 of 14 resources``. It tells
    the gravest of what the kinds read and says that there is more; one line of at most 90
    characters; empty where no kind reads the data. Names in it are texts of the agent: escape and
    mark them as any.

    ``dangerous_paths`` are those from which facts of danger or notice come, with the single things
    that a fact counts, and those of facts that did not fit: what leads to one is not folded.
    """

    kinds: tuple[str, ...]
    facts: tuple[Fact, ...]
    left_out: int
    unread: int
    strange_numbers: tuple[str, ...]
    traits: Mapping[str, Any]
    headline: str = ""
    dangerous_paths: frozenset[Path] = frozenset()
    unread_paths: tuple[Path, ...] = ()

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

    @property
    def unread_names(self) -> tuple[str, ...]:
        """The first members that no fact tells of, as paths in words."""
        return tuple(format_path(path) for path in self.unread_paths)


@dataclass(frozen=True)
class Contents:
    """What was read in a payload, whatever the time is: a summary without the clock."""

    facts: tuple[Fact, ...]
    moments: tuple[Moment, ...]
    summary: Summary

    def summarize(self, now: datetime) -> Summary:
        """The summary at ``now``: what should have happened by then is a danger."""
        if not self.moments:
            return self.timeless
        return self._complete([*self.facts, *dates.describe_moments(self.moments, now)])

    @cached_property
    def timeless(self) -> Summary:
        return self._complete(self.facts)

    def _complete(self, facts: Sequence[Fact]) -> Summary:
        grave = [fact for fact in facts if fact.level is not Level.PLAIN]
        return replace(
            self.summary,
            facts=tuple(fit(facts)),
            left_out=max(0, len(facts) - MOST_FACTS + 1 - MOST_JOINED),
            dangerous_paths=frozenset(
                path for fact in grave for path in fact.members or (fact.path,)
            ),
        )


_contents: dict[bytes, Contents] = {}


def summarize_text(payload: str, now: datetime | None = None) -> Summary:
    """The summary of a task's payload as it is kept, at ``now``.

    What was read lately is remembered; the clock is read each time.
    """
    key = hashlib.sha256(payload.encode()).digest()
    known = _contents.get(key)
    if known is None:
        known = read_contents(orjson.loads(payload))
        if len(_contents) >= MOST_KNOWN:
            _contents.clear()
        _contents[key] = known
    return known.summarize(now or datetime.now(UTC))


def summarize(payload: Data, now: datetime | None = None) -> Summary:
    """The summary at ``now`` of a task's payload, whose ``data`` may be any JSON."""
    return read_contents(payload).summarize(now or datetime.now(UTC))


def read_contents(payload: Data) -> Contents:
    """What the kinds read in a task's payload."""
    # Reading makes many small objects and hardly a cycle: the collector would look through all of
    # them again and again, and take a third of the time.
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        return _read_contents(payload)
    finally:
        if was_enabled:
            gc.enable()


def _read_contents(payload: Data) -> Contents:
    data = payload["data"]
    # The kinds read objects: a list at the top is the only member of one.
    outer = () if isinstance(data, dict) else ("",)
    found = _read({"": data} if outer else data)
    facts = [_unwrap(fact, outer) for fact in _merge(found.readings, found.unseen)]
    headline = _write_headline([reading for _, reading in found.readings])
    # They are told in lists, mails and chats, where nobody could ask for a value to be shown.
    headline, *values = hide_values([headline, *(fact.value for fact in facts)], data)
    facts = [replace(fact, value=value) for fact, value in zip(facts, values, strict=True)]
    unread = [path[len(outer) :] for path in _find_unread(found, outer)]
    return Contents(
        facts=tuple(facts),
        moments=tuple(replace(each, path=each.path[len(outer) :]) for each in found.moments),
        summary=Summary(
            kinds=tuple(dict.fromkeys(reading.kind for _, reading in found.readings)),
            facts=(),
            left_out=0,
            unread=len(unread),
            unread_paths=tuple(unread[:MOST_NAMED]),
            strange_numbers=_find_strange_numbers(payload),
            traits=_combine_traits(found),
            headline=headline,
        ),
    )


def _unwrap(fact: Fact, outer: Path) -> Fact:
    if not outer:
        return fact
    members = tuple(path[len(outer) :] for path in fact.members)
    return replace(fact, path=fact.path[len(outer) :], members=members)


# --- reading ---


@dataclass(slots=True)
class _Contents:
    """What was read in ``data``; ``unseen`` says what was not."""

    data: Any
    readings: list[tuple[Path, Reading]] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    unseen: list[Fact] = field(default_factory=list)


def _read(data: Data) -> _Contents:
    survey = walking.survey(data)
    found = _Contents(data)
    descriptions = [kind for kind in CHANGES if _may_occur(kind, survey)]
    actions = [
        kind
        for kind in ACTIONS
        if kind.may_read(survey.names) or (kind.reads_output and survey.holds_output)
    ]
    texts = [kind for kind in TEXTS if kind.may_read(survey.names)]
    has_dates = dates.may_read(survey.names)
    if not (descriptions or actions or texts or has_dates):
        return found
    if survey.objects > walking.MOST_OBJECTS or survey.deeper:
        data, place = walking.cut(data)
        found.unseen.append(_describe_cut(survey, place or ()))
    if descriptions:
        readings, closed = _read_objects(data, descriptions, survey)
        found.readings += readings
        data = walking.leave_out(data, closed)
    if texts:
        found.readings += _read_texts(data, texts)
    for kind in actions:
        found.readings += kind.read_all(data, survey)
    if has_dates:
        found.moments = dates.find_moments(data)
    for _, reading in found.readings:
        found.moments += reading.moments
    return found


def _may_occur(kind: Kind, survey: walking.Survey) -> bool:
    return (
        kind.may_read(survey.names)
        or (kind.reads_output and survey.holds_output)
        or (kind.read is changes.read and changes.may_hold_list(survey.names))
    )


def _describe_cut(survey: walking.Survey, place: Path) -> Fact:
    value = f"of {survey.objects:,} objects, those after the first {walking.MOST_OBJECTS:,}"
    if survey.objects <= walking.MOST_OBJECTS:
        value = f"what is nested more than {walking.DEEPEST} deep"
    return Fact("not read", value, place, Level.DANGER)


def _read_objects(
    data: Any, kinds: Sequence[Kind], survey: walking.Survey
) -> tuple[list[tuple[Path, Reading]], dict[Path, Set[str]]]:
    """Read each object of ``data`` with those of ``kinds`` that may read it.

    Returns also the members, by their object, that no other kind reads.
    """
    closed: dict[Path, Set[str]] = {}
    readings: list[tuple[Path, Reading]] = []
    chosen: dict[tuple[str, ...], list[Kind]] = {}
    looks_inside = survey.holds_output or changes.may_hold_list(survey.names)

    def visit(path: Path, each: Data) -> Set[str]:
        names = tuple(each)
        some = chosen.get(names)
        if some is None:
            some = chosen[names] = _choose(kinds, each)
        if looks_inside:
            some = [kind for kind in kinds if kind in some or _may_hold(kind, each)]
        for kind in some:
            reading = kind.read(each, path)
            if reading is not None:
                readings.append((path, reading))
                if kind.closes:
                    closed[path] = closed.get(path, frozenset()) | reading.used
        return closed.get(path, frozenset())

    walking.walk(data, visit)
    return readings, closed


def _choose(kinds: Sequence[Kind], each: Data) -> list[Kind]:
    names = walking.gather_names(each.keys())
    return [kind for kind in kinds if kind.may_read(names)]


def _may_hold(kind: Kind, each: Data) -> bool:
    """Whether an object may be read for what is inside: a text, or a list of objects."""
    if kind.reads_output and walking.has_output(each.values()):
        return True
    return kind.read is changes.read and any(isinstance(value, list) for value in each.values())


def _read_texts(data: Any, kinds: Sequence[TextKind]) -> list[tuple[Path, Reading]]:
    """Read the texts of all objects, those of one kind together."""
    objects: list[list[Found]] = [[] for _ in kinds]
    done: list[set[Path]] = [set() for _ in kinds]

    chosen: dict[tuple[str, ...], list[tuple[int, TextKind]]] = {}

    def visit(path: Path, each: Data) -> None:
        names = tuple(each)
        if names not in chosen:
            gathered = walking.gather_names(each.keys())
            chosen[names] = [each for each in enumerate(kinds) if each[1].may_read(gathered)]
        for at, kind in chosen[names]:
            if path not in done[at] and (texts := kind.find(each)):
                objects[at].append(Found(path, each, texts))
                for text in texts:
                    steps = text.steps
                    done[at].update((*path, *steps[:end]) for end in range(1, len(steps)))

    walking.walk(data, visit)
    return [
        reading
        for kind, some in zip(kinds, objects, strict=True)
        if some
        for reading in kind.read_several(some)
    ]


# --- what several readings say together ---


def _merge(readings: Sequence[tuple[Path, Reading]], unseen: Sequence[Fact]) -> list[Fact]:
    """The facts of all readings: those of several of one kind with one label are one fact."""
    kinds: dict[str, list[Reading]] = {}
    for _, reading in readings:
        if reading.facts:
            kinds.setdefault(reading.kind, []).append(reading)
    facts = list(unseen)
    for some in kinds.values():
        told = [fact for reading in some for fact in reading.facts]
        facts += told if len(some) == 1 else join_alike(told)
    return facts


def _combine_traits(found: _Contents) -> dict[str, Any]:
    traits: dict[str, Any] = dict.fromkeys(COUNTED_TRAITS, 0) | {"as_root": False}
    sums: list[Mapping[str, Any]] = []
    for _, reading in found.readings:
        for name in COUNTED_TRAITS:
            traits[name] += reading.traits.get(name, 0)
        traits["as_root"] |= reading.traits.get("as_root", False)
        if "amounts" in reading.traits:
            sums.append(reading.traits)
    traits |= money.add_amounts(sums)
    traits["partial"] = bool(found.unseen) or any(
        reading.traits.get("partial", False) for _, reading in found.readings
    )
    return traits


def _write_headline(readings: list[Reading]) -> str:
    """The headline of what is gravest; how much more there is, where something else happens."""
    told = [reading for reading in readings if reading.headline and reading.facts]
    told.sort(key=lambda reading: min(RANKS[fact.level] for fact in reading.facts))
    if not told:
        return ""
    # One text may be read by two kinds: SQL as a command.
    texts = {fact.path for fact in told[0].facts}
    others = [each for each in told[1:] if not texts.issuperset(fact.path for fact in each.facts)]
    more = f"; and {len(others):,} more" if others else ""
    return clip(told[0].headline, LONGEST_HEADLINE - len(more)) + more


# --- what no fact tells of ---


def _find_unread(found: _Contents, outer: Path) -> list[Path]:
    """The members that no fact tells of, of the payload and of the objects that were read."""
    used: dict[Path, set[str]] = {}
    for path, reading in found.readings:
        used.setdefault(path, set()).update(reading.used)
    told: dict[Path, set[Any]] = {path: set(names) for path, names in used.items()}
    told.setdefault(outer, set())
    for path in [outer, *used, *(each.path for each in found.moments)]:
        for end in range(len(path)):  # the way down to it
            told.setdefault(path[:end], set()).add(path[end])
    unread: list[Path] = []
    for path, steps in told.items():
        # What a fact tells of, it tells of as a whole.
        if any(path[end] in used.get(path[:end], ()) for end in range(len(path))):
            continue
        each = find(found.data, path)
        names: Any = each if isinstance(each, dict) else ()
        if isinstance(each, list):
            names = range(len(each))
        unread += [(*path, name) for name in names if name not in steps]
    return unread


def _find_strange_numbers(payload: Data) -> tuple[str, ...]:
    described = NUMBERS.findall(str(payload.get("description") or ""))
    if not described:
        return ()
    known = {_plain(text) for text in NUMBERS.findall(_join_texts(payload.get("data")))}
    known |= {_plain(text) for text in NUMBERS.findall(_join_texts(payload.get("context")))}
    known |= {_plain(text) for text in IN_NAMES.findall(_join_texts(payload.get("data")))}
    known |= {_plain(day) for day in DAYS.findall(_join_texts(payload.get("data")))}
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
