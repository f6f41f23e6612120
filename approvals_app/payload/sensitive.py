"""Sensitive values of a payload: found by their marks and names, masked on pages.

Masked are what Terraform, OpenTofu, Pulumi and CloudFormation mark as sensitive, the data of
Kubernetes' secrets, and members that are called password, secret, token, private key, API key or
authorization, also where the name stands beside the value: ``{"name": "PASSWORD", "value": "x"}``.
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from approvals_app.payload.facts import Path, count, find

SIGN: Final = "••• sensitive"
PULUMI_SIGN: Final = "4dabf18193072939515e22adb298388d"
PULUMI_SECRET: Final = "1b47061264138c4ac30d75fd1eb44270"  # noqa: S105  # what marks a secret
MARKED_BY: Final = {
    "before": "before_sensitive",
    "after": "after_sensitive",
    "values": "sensitive_values",
}
"""Members whose parts the other member marks, in plans and states of Terraform and OpenTofu."""
NAMED_BY: Final = (
    ("name", "value"),
    ("key", "value"),
    ("Name", "Value"),
    ("Key", "Value"),
    ("ParameterKey", "ParameterValue"),
)
VALUES: Final = frozenset({"value", "default", "Default"})
"""Members that ``sensitive`` or ``NoEcho`` beside them speak of."""
NAME: Final = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|secret|token|private_?key|secret_?key|access_?key"
    r"|api_?key|authorization|credentials?)$"
)
NOT_SECRET: Final = re.compile(r"(?:page|next|continuation|sync)_?token$")
LEAST: Final = 3
"""Characters of a value that is looked for in other texts; shorter ones are everywhere."""
HINT: Final = re.compile(
    r"sensitive|passw|passphrase|secret|token|key|authorization|credential|noecho|4dabf1", re.I
)
"""In whatever has something sensitive; a quick test before the slow one."""


def find_sensitive(value: Any) -> list[Path]:
    """The paths of all sensitive values in a JSON value; none is inside another."""
    return list(_find(value, ()))


def may_be_sensitive(text: str) -> bool:
    """Whether the JSON ``text`` may hold sensitive values: False is certain, and quick."""
    return bool(HINT.search(text))


def mask(value: Any, before: Any = None) -> Any:
    """``value`` with a text in place of each sensitive value. Where ``before``, an earlier version
    of ``value``, has another one in the same place, the text says that it changed."""
    paths = find_sensitive(value)
    return _replace(value, _grow({path: _describe(value, path, before) for path in paths}))


def restore(edited: Any, original: Any) -> Any:
    """``edited``, a masked and then edited ``original``, with the values behind the masks.

    Raises ValueError where a mask stands elsewhere than its value did.
    """
    masked = [
        path
        for path in find_sensitive(original)
        if _find_or_none(edited, path) == _describe(original, path, None)
    ]
    restored = _replace(edited, _grow({path: find(original, path) for path in masked}))
    if any(SIGN in text for text in _list_texts(restored)):
        raise ValueError("a masked value can't be moved or changed in part: write the whole value.")
    return restored


def hide_values(texts: Iterable[str], value: Any) -> list[str]:
    """``texts`` without the sensitive values of ``value`` that they repeat."""
    secrets = {text for text in _list_secrets(value) if len(text) >= LEAST}
    found = sorted(secrets, key=len, reverse=True)
    hidden = []
    for text in texts:
        for secret in found:
            text = text.replace(secret, "•••")
        hidden.append(text)
    return hidden


def _find(value: Any, path: Path, *, is_named: bool = False) -> Iterator[Path]:
    """``is_named``: the member that ``value`` stands in has the name of something sensitive."""
    if isinstance(value, list):
        for at, inner in enumerate(value):
            if isinstance(inner, dict | list) or _may_hold_json(inner):
                yield from _find(inner, (*path, at))
    elif isinstance(value, str):
        if _read_json(value) is not None:
            yield path
    elif isinstance(value, Mapping):
        yield from _find_members(value, path, is_named=is_named)


def _find_members(value: Mapping[str, Any], path: Path, *, is_named: bool) -> Iterator[Path]:
    marked = dict(_list_marked(value))
    beside = _list_values_by_mark(value, is_named=is_named)
    is_pulumi = value.get(PULUMI_SIGN) == PULUMI_SECRET
    for name, inner in value.items():
        if name in marked:
            yield from ((*path, name, *steps) for steps in marked[name])
        elif isinstance(inner, dict | list):
            if inner and ((is_pulumi and name != PULUMI_SIGN) or name in beside[WHOLE]):
                yield (*path, name)
            elif name in ("data", "stringData") and value.get("kind") == "Secret":
                yield from ((*path, name, key) for key in inner if isinstance(inner, dict))
            else:
                yield from _find(inner, (*path, name), is_named=_is_sensitive_name(name))
        elif inner is None or inner == "" or inner is True or inner is False:
            continue
        elif (
            _is_sensitive_name(name)
            or name in beside[WHOLE]
            or name in beside[SCALAR]
            or (is_pulumi and name != PULUMI_SIGN)
            or (_may_hold_json(inner) and _read_json(inner) is not None)
        ):
            yield (*path, name)


WHOLE, SCALAR = 0, 1


def _list_values_by_mark(
    holder: Mapping[str, Any], *, is_named: bool
) -> tuple[frozenset[str], frozenset[str]]:
    """The members of ``holder`` that another of its members, or its own name, says to be sensitive:
    whatever they are, and if they are scalars."""
    whole = holder.get("sensitive") is True or holder.get("NoEcho") in (True, "true")
    scalar = {
        beside
        for called, beside in NAMED_BY
        if beside in holder and _is_sensitive_name(str(holder.get(called)))
    }
    if is_named:
        scalar.add("value")
    return (VALUES if whole else frozenset()), frozenset(scalar)


def _may_hold_json(value: Any) -> bool:
    return isinstance(value, str) and value[:1] in ("{", "[")


def _list_marked(value: Mapping[str, Any]) -> Iterator[tuple[str, list[Path]]]:
    """Members of which another member says what in them is sensitive, and what that is."""
    for name, mark in MARKED_BY.items():
        if name in value and value.get(mark):
            steps = set(_follow_marks(value[name], value[mark], ()))
            steps.update(_find(value[name], ()))  # names tell, too
            yield name, sorted(_leave_outermost(steps), key=str)


def _leave_outermost(paths: set[Path]) -> set[Path]:
    return {path for path in paths if not any(path[:end] in paths for end in range(len(path)))}


def _follow_marks(value: Any, marks: Any, path: Path) -> Iterator[Path]:
    if marks is True:
        if value is not None:
            yield path
    elif isinstance(marks, Mapping) and isinstance(value, Mapping):
        for name, mark in marks.items():
            if name in value:
                yield from _follow_marks(value[name], mark, (*path, name))
    elif isinstance(marks, list) and isinstance(value, list):
        for at, (inner, mark) in enumerate(zip(value, marks, strict=False)):
            yield from _follow_marks(inner, mark, (*path, at))


@lru_cache(maxsize=4_096)
def _is_sensitive_name(name: str) -> bool:
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name[-100:]).lower()
    return bool(NAME.search(words)) and not NOT_SECRET.search(words)


def _read_json(text: str) -> Any:
    """The JSON value that ``text`` holds, if there is something sensitive in it; else None."""
    if text[:1] not in ("{", "[") or not HINT.search(text):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if find_sensitive(value) else None


def _describe(value: Any, path: Path, before: Any) -> str:
    inner = find(value, path)
    if isinstance(inner, str) and (inside := _read_json(inner)) is not None:
        return json.dumps(mask(inside), ensure_ascii=False)
    if isinstance(inner, Mapping | list):
        words = count(len(inner), "field" if isinstance(inner, Mapping) else "item")
    else:
        words = count(len(inner if isinstance(inner, str) else json.dumps(inner)), "character")
    old = _find_old(value, path, before)
    return f"{SIGN}, {words}" + (", changed" if old is not None and old != inner else "")


def _find_old(value: Any, path: Path, before: Any) -> Any:
    """What stood at ``path`` before: in the earlier version, or in a plan's own ``before``."""
    if before is None and "after" in path:
        before = value
        at = len(path) - 1 - path[::-1].index("after")
        path = (*path[:at], "before", *path[at + 1 :])
    return _find_or_none(before, path)


def _find_or_none(value: Any, path: Path) -> Any:
    try:
        return find(value, path)
    except (LookupError, TypeError):
        return None


@dataclass(frozen=True, slots=True)
class _Leaf:
    """What takes the place of a value."""

    value: Any


def _grow(leaves: Mapping[Path, Any]) -> dict[Any, Any]:
    """The tree of the steps to all ``leaves``."""
    tree: dict[Any, Any] = {}
    for path, value in leaves.items():
        node = tree
        for step in path[:-1]:
            node = node.setdefault(step, {})
        node[path[-1]] = _Leaf(value)
    return tree


def _replace(value: Any, tree: Any) -> Any:
    """A copy of ``value`` with the leaves of ``tree`` in their places; ``value`` itself stays."""
    if isinstance(tree, _Leaf):
        return tree.value
    if not tree:
        return value
    if isinstance(value, Mapping):
        return dict(value) | {name: _replace(value[name], tree[name]) for name in tree}
    return [_replace(each, tree.get(at)) for at, each in enumerate(value)]


def _list_secrets(value: Any) -> Iterator[str]:
    """The texts in the sensitive values of ``value``."""
    for path in find_sensitive(value):
        inner = find(value, path)
        inside = _read_json(inner) if isinstance(inner, str) else None
        yield from _list_texts(inner) if inside is None else _list_secrets(inside)


def _list_texts(value: Any) -> Iterator[str]:
    match value:
        case str():
            yield value
        case Mapping():
            for inner in value.values():
                yield from _list_texts(inner)
        case list():
            for inner in value:
                yield from _list_texts(inner)
