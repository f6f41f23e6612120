"""What a summary says of a payload: facts, each with the member that it comes from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

Data = Mapping[str, Any]
Path = tuple[str | int, ...]
"""Members and positions from the payload's ``data`` down: ``("plan", "resource_changes", 3)``."""


class Level(StrEnum):
    """How much a fact matters, the most first."""

    DANGER = "danger"
    NOTICE = "notice"
    PLAIN = "plain"


@dataclass(frozen=True, slots=True)
class Fact:
    """``label`` says what ``value`` is; both are drawn by us from the member at ``path``."""

    label: str
    value: str
    path: Path
    level: Level = Level.PLAIN

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


@dataclass(slots=True)
class Reading:
    """What one kind read in an object of the payload.

    ``facts`` stand in the order in which they are said where their levels are equal. ``used`` names
    the members of the object that the facts tell of. ``traits`` are what policies ask for:
    ``destroys`` and ``recipients`` count, ``as_root`` is true or false, ``amount`` is a text like
    ``249.90 EUR``.
    """

    kind: str
    facts: list[Fact] = field(default_factory=list)
    used: set[str] = field(default_factory=set)
    traits: dict[str, Any] = field(default_factory=dict)


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
    first, last = min(paths, key=_order_of), max(paths, key=_order_of)
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


def name_some(names: Sequence[str], most: int = 3) -> str:
    """``a, b, c and 4 more``."""
    shown = ", ".join(clip(name, 60) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


def fit(facts: Sequence[Fact], most: int = 7) -> list[Fact]:
    """The facts by level, at most ``most``: the last one names those that would be too many."""
    levels = list(Level)
    ordered = sorted(facts, key=lambda fact: levels.index(fact.level))
    if len(ordered) <= most:
        return ordered
    rest = ordered[most - 1 :]
    worst = [fact for fact in rest if fact.level is rest[0].level]
    text = name_some([f"{fact.label}: {fact.value}" for fact in worst], 6)
    path = share_path([fact.path for fact in worst])
    return [*ordered[: most - 1], Fact("and", text, path, rest[0].level)]


def walk_objects(data: Any, path: Path = (), depth: int = 8) -> Iterator[tuple[Path, Data]]:
    """``data`` and the objects under its members, outermost first; lists are not entered."""
    if isinstance(data, Mapping) and depth:
        yield path, data
        for name, value in data.items():
            yield from walk_objects(value, (*path, name), depth - 1)
