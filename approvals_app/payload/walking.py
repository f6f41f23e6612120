"""Walks a payload's objects: what names they have, and each with its path, lists included."""

from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from typing import Any, Final

from approvals_app.payload.facts import Data, Path

MOST_OBJECTS: Final = 50_000
"""So many objects of a payload are read; a pain.001 of 1 MB has 48,000."""
DEEPEST: Final = 60
SHORTEST_OUTPUT: Final = 40
"""A shorter text holds no tool's output."""
_CONTAINERS: Final = frozenset([dict, list])


@dataclass(frozen=True, slots=True)
class Names:
    """Names of members: ``exact``, and ``plain``, without case, separators and XML's prefixes."""

    exact: Set[str]
    plain: Set[str]


def gather_names(exact: Set[str]) -> Names:
    # In one text: a payload may have as many names as members.
    joined = "\n".join(exact).replace("_", "").replace("-", "").lower()
    plain = set(joined.split("\n"))
    if ":" in joined:
        plain |= {name.rpartition(":")[2] for name in plain}
    return Names(exact, plain)


@dataclass(frozen=True, slots=True)
class Survey:
    """``names`` of all members; ``objects`` there are; whether some are ``deeper`` than is read.

    ``holds_output``: a text in it may be a tool's output, as JSON or XML.
    """

    names: Names
    objects: int
    deeper: bool
    holds_output: bool


def survey(data: Any) -> Survey:
    """Look at all of ``data`` once, however large and deep it is."""
    names: set[str] = set()
    objects = depth = 0
    holds_output = False
    level = [data] if type(data) in _CONTAINERS else []
    deeper = False
    while level:
        inner: list[Any] = []
        for each in level:
            values: Any = each
            if type(each) is dict:
                names.update(each)
                objects += 1
                values = each.values()
            for value in values:
                kind = type(value)
                if kind is dict or kind is list:
                    inner.append(value)
                elif kind is str and not holds_output and len(value) >= SHORTEST_OUTPUT:
                    holds_output = has_output([value])
        deeper = deeper or (depth >= DEEPEST)
        level = inner
        depth += 1
    return Survey(gather_names(names), objects, deeper, holds_output)


def has_output(values: Iterable[Any]) -> bool:
    """Whether one is a text that begins like JSON or XML, and is long enough for a tool's."""
    texts = [each for each in values if type(each) is str and len(each) >= SHORTEST_OUTPUT]
    return any(text.lstrip()[:1] in ("{", "[", "<") for text in texts)


def cut(data: Any) -> tuple[Any, Path | None]:
    """``data`` as far as it is read, and the path of the first place that is cut.

    Lists and objects lose their further entries; what stays has the path that it had.
    """
    left = MOST_OBJECTS
    first: Path | None = None

    def copy(value: Any, path: Path) -> Any:
        nonlocal left, first
        if type(value) not in _CONTAINERS:
            return value
        left -= 1
        kept: Any = {} if type(value) is dict else []
        for step, inner in value.items() if type(value) is dict else enumerate(value):
            if type(inner) in _CONTAINERS and (left <= 0 or len(path) >= DEEPEST):
                first = path if first is None else first
                if type(value) is list:
                    break
                continue
            copied = copy(inner, (*path, step))
            if type(kept) is dict:
                kept[step] = copied
            else:
                kept.append(copied)
        return kept

    return copy(data, ()), first


def walk(data: Any, visit: Callable[[Path, Data], Set[str] | None], path: Path = ()) -> None:
    """Visit each object of ``data``, outermost first and in its order, those in lists too.

    ``visit`` returns the names of the members that are not entered; None enters all.
    """
    pending: list[tuple[Path, Any]] = [(path, data)]
    while pending:
        at, each = pending.pop()
        if type(each) is dict:
            closed = visit(at, each)
            pending += [
                ((*at, name), value)
                for name, value in reversed(each.items())
                if type(value) in _CONTAINERS and not (closed and name in closed)
            ]
        elif type(each) is list:
            pending += [
                ((*at, place), each[place])
                for place in range(len(each) - 1, -1, -1)
                if type(each[place]) in _CONTAINERS
            ]


def leave_out(data: Any, closed: Mapping[Path, Set[str]]) -> Any:
    """``data`` without the members ``closed[path]`` of the objects at these paths."""
    # One tree of all ways, so that a list of many such objects is copied once.
    tree: dict[Any, Any] = {}
    for path, names in closed.items():
        node = tree
        for step in path:
            node = node.setdefault(step, {})
        node[None] = names
    return _prune(data, tree) if tree else data


def replace_at(data: Any, values: Mapping[Path, Any]) -> Any:
    """``data`` with other values at these paths; what is not on the way to one is not copied."""
    tree: dict[Any, Any] = {}
    for path, value in values.items():
        node = tree
        for step in path[:-1]:
            node = node.setdefault(step, {})
        node[path[-1]] = _Leaf(value)
    return _replace(data, tree)


@dataclass(frozen=True, slots=True)
class _Leaf:
    value: Any


def _replace(value: Any, tree: Mapping[Any, Any]) -> Any:
    kept = value.copy()
    for step, inner in tree.items():
        is_leaf = isinstance(inner, _Leaf)
        kept[step] = inner.value if is_leaf else _replace(value[step], inner)
    return kept


def _prune(value: Any, tree: Mapping[Any, Any]) -> Any:
    kept = value.copy()
    for step, inner in tree.items():
        if step is None:
            for name in inner:
                del kept[name]
        else:
            kept[step] = _prune(value[step], inner)
    return kept
