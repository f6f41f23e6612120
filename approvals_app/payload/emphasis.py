"""Which parts of a payload its facts warn of: these are shown first, and never folded away."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from approvals_app.payload.facts import Fact, Level, Path

UNRANKED = 1_000_000


@dataclass(frozen=True, slots=True)
class Emphasis:
    """``levels`` are those of the members that facts of danger or notice come from. ``ranks`` order
    the members that any fact comes from, and all that these are inside of: the most dangerous has
    0. Of those, ``warned`` have a fact of danger or notice in them."""

    levels: Mapping[Path, Level] = field(default_factory=dict)
    ranks: Mapping[Path, int] = field(default_factory=dict)
    warned: frozenset[Path] = frozenset()

    def warns_within(self, path: Path) -> bool:
        """Whether a fact of danger or notice comes from ``path`` or from inside it."""
        return path in self.warned

    def rank(self, path: Path) -> int:
        """For sorting lists: what facts warn of comes first, all else keeps its order."""
        return self.ranks[path] if path in self.warned else UNRANKED

    def sort_members(self, names: Iterable[str], path: Path) -> list[str]:
        """The members of the object at ``path``: those that facts come from as the facts are
        ordered, then the others in their order."""
        return sorted(names, key=lambda name: self.ranks.get((*path, name), UNRANKED))

    def level_within(self, path: Path) -> Level:
        """The worst level of the facts that come from ``path`` or from inside it."""
        levels = (level for each, level in self.levels.items() if each[: len(path)] == path)
        return min(levels, key=list(Level).index, default=Level.PLAIN)


NO_EMPHASIS = Emphasis()


def emphasize(facts: Iterable[Fact]) -> Emphasis:
    """The emphasis that ``facts``, the most dangerous first, put on a payload's ``data``."""
    levels: dict[Path, Level] = {}
    ranks: dict[Path, int] = {}
    warned: set[Path] = set()
    for rank, fact in enumerate(facts):
        around = [fact.path[:end] for end in range(len(fact.path) + 1)]
        for path in around:
            ranks.setdefault(path, rank)
        if fact.level != Level.PLAIN:
            levels.setdefault(fact.path, fact.level)
            warned.update(around)
    return Emphasis(levels, ranks, frozenset(warned))
