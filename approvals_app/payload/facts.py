"""What a summary says of a payload: facts, each with the member that it comes from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final

LONGEST_HEADLINE: Final = 90
MOST_FACTS: Final = 7
MOST_JOINED: Final = 6
"""So many facts that do not fit are named."""
MOST_MEMBERS: Final = 200
"""So many paths of the things that one fact counts are kept."""
Data = Mapping[str, Any]
Path = tuple[str | int, ...]
"""Members and positions from the payload's ``data`` down: ``("plan", "resource_changes", 3)``."""


class Level(StrEnum):
    """How much a fact matters, the most first."""

    DANGER = "danger"
    NOTICE = "notice"
    PLAIN = "plain"


RANKS: Final = {level: rank for rank, level in enumerate(Level)}


@dataclass(frozen=True, slots=True)
class Fact:
    """``label`` says what ``value`` is; both are drawn by us from the member at ``path``.

    ``members`` are the paths of the things of which the fact tells by number or by some names;
    empty if ``path`` is the only one. ``at`` is the moment, or the day, of which the fact tells.
    """

    label: str
    value: str
    path: Path
    level: Level = Level.PLAIN
    members: tuple[Path, ...] = ()
    at: date | None = None

    @property
    def moment(self) -> datetime | None:
        """``at`` where it is a moment and no whole day: a page shows it in the reader's zone."""
        return self.at if isinstance(self.at, datetime) else None

    @property
    def where(self) -> str:
        """The path as a text."""
        return format_path(self.path)

    def as_dict(self) -> dict[str, str]:
        """For JSON: ``{label, value, level, path}``."""
        return {
            "label": self.label,
            "value": self.value,
            "level": self.level.value,
            "path": self.where,
        }


@dataclass(frozen=True, slots=True)
class Moment:
    """When something happens, as ``text``; ``at`` is None where the time zone is not said.

    A summary judges it by the clock at the time of reading.

    ``over`` is when it is past for certain. ``is_due``: past is wrong; the start of a window that
    has an end may be.
    """

    label: str
    text: str
    path: Path
    at: date | None
    over: datetime
    is_due: bool = True


@dataclass(slots=True)
class Reading:
    """What one kind read in an object of the payload.

    ``facts`` stand in the order in which they are said where their levels are equal. ``used`` names
    the members of the object that the facts tell of. ``traits`` are what policies ask for:
    ``destroys``, ``forgets``, ``actions`` and ``recipients`` count, ``as_root`` is true or false,
    ``amount`` is a text like ``249.90 EUR``. ``headline`` says what will happen in one line: verb,
    object, amount. ``moments`` are those in texts that it opened.
    """

    kind: str
    facts: list[Fact] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    traits: dict[str, Any] = field(default_factory=dict)
    headline: str = ""
    moments: list[Moment] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Text:
    """A text of an object that a kind reads, at ``steps`` from the object; ``words`` of a list."""

    steps: Path
    text: str
    words: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """An object in which a kind found what it reads."""

    path: Path
    data: Data
    texts: list[Text]


def format_path(path: Path) -> str:
    """``plan.resource_changes[3].change``; a member with other characters as ``["due-date"]``."""
    text = ""
    for step in path:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.replace("_", "a").isalnum() and step.isascii():
            text += f".{step}" if text else step
        else:
            quoted = step.replace("\\", "\\\\").replace('"', '\\"')
            text += f'["{quoted}"]'
    return text


def find(data: Any, path: Path) -> Any:
    """The value at ``path``. Raises LookupError or TypeError if there is none."""
    for step in path:
        data = data[step]
    return data


def share_path(paths: Sequence[Path]) -> Path:
    """The steps that all paths start with."""
    unique = set(paths)
    first, last = min(unique, key=_order_of), max(unique, key=_order_of)
    steps = zip(first, last, strict=False)
    return first[: next((at for at, (one, other) in enumerate(steps) if one != other), len(first))]


def _order_of(path: Path) -> tuple[str, ...]:
    return tuple(str(step) for step in path)


def clip(text: str, longest: int = 80) -> str:
    """``text`` on one line, with an ellipsis in the middle where it is longer."""
    line = " ".join(text.split())
    if len(line) <= longest:
        return line
    half = (longest - 1) // 2
    return f"{line[:half]}…{line[-half:]}"


def count(number: int, one: str, many: str = "") -> str:
    """``1 payment``, ``30 payments``, ``1,200 payments``."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def write_headline(deeds: Mapping[str, int], total: int, one: str, only: str = "") -> str:
    """``Destroy 2, replace 1 of 14 resources``; ``only`` names the thing where it is one.

    ``deeds`` counts by verb, the gravest first; empty if nothing is done.
    """
    parts = [f"{verb} {number:,}" for verb, number in deeds.items() if number]
    if not parts:
        return ""
    done = sum(deeds.values())
    of = f" of {total:,}" if len(parts) > 1 or total > done else ""
    text = f"{', '.join(parts)}{of} {one if total == 1 else f'{one}s'}"
    text = text[0].upper() + text[1:]
    return clip(f"{text}: {only}" if only and done == 1 else text, LONGEST_HEADLINE)


def name_some(names: Sequence[str], most: int = 3) -> str:
    """``a, b, c and 4 more``."""
    shown = ", ".join(clip(name, 60) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def fit(facts: Sequence[Fact], most: int = MOST_FACTS) -> list[Fact]:
    """The facts by level, at most ``most``: the last one names those that would be too many."""
    ordered = sorted(facts, key=lambda fact: RANKS[fact.level])
    if len(ordered) <= most:
        return ordered
    rest = ordered[most - 1 :]
    text = "; ".join(f"{fact.label}: {clip(fact.value)}" for fact in rest[:MOST_JOINED])
    if len(rest) > MOST_JOINED:
        text += f"; and {len(rest) - MOST_JOINED:,} more"
    path = share_path([fact.path for fact in rest])
    grave = [fact for fact in rest if fact.level is not Level.PLAIN]
    return [
        *ordered[: most - 1],
        Fact("and also", text, path, rest[0].level, list_members(grave)),
    ]


def join_alike(facts: Sequence[Fact]) -> list[Fact]:
    """``facts`` with those of one label and level as one, by number and with some values."""
    groups: dict[tuple[str, Level], list[Fact]] = {}
    for fact in facts:
        groups.setdefault((fact.label, fact.level), []).append(fact)
    return [_join(some) for some in groups.values()]


def _join(facts: list[Fact]) -> Fact:
    if len(facts) == 1:
        return facts[0]
    values = list(dict.fromkeys(fact.value for fact in facts))
    number = f"{len(facts):,}: " if len(facts) > 3 else ""
    path = share_path([fact.path for fact in facts])
    first = facts[0]
    return Fact(first.label, number + name_some(values), path, first.level, list_members(facts))


def list_members(facts: Sequence[Fact]) -> tuple[Path, ...]:
    """The paths of the things of which ``facts`` tell, not too many of them."""
    paths = dict.fromkeys(path for fact in facts for path in fact.members or (fact.path,))
    return tuple(paths)[:MOST_MEMBERS]
