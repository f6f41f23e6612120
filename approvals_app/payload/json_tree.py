"""A JSON value as HTML that opens and closes: nested, whole, and searchable on its page."""

import json
from collections.abc import Iterator, Sequence
from html import escape
from typing import Any

from django.utils.safestring import SafeString, mark_safe

from audit_app.base.text_safety import visible

OPEN_LEVELS = 2
OPEN_MEMBERS = 40
ROWS_SHOWN = 25
MOST_COLUMNS = 12


def tree(value: Any) -> SafeString:
    """``value`` whole: objects and lists within each other as parts that open, lists of like
    objects as tables, every text escaped with its unseen characters marked."""
    return mark_safe("".join(_drawn(value, 0)))  # noqa: S308  # escaped, piece by piece


def _drawn(value: Any, level: int) -> Iterator[str]:
    match value:
        case {} if value:
            yield from _inside(_members(value, level), _of(len(value), "member"), value, level)
        case [_, *_]:
            columns = _columns(value)
            inner = _table(value, columns) if columns else _items(value, level)
            yield from _inside(inner, _of(len(value), "row" if columns else "item"), value, level)
        case _:
            yield _plain(value)


def _plain(value: Any) -> str:
    """What has nothing within."""
    match value:
        case "":
            return '<span class="o-quiet">empty text</span>'
        case str() if "\n" in value:
            return f'<pre tabindex="0">{visible(value)}</pre>'
        case str():
            return visible(value)
        case {} | []:
            return '<span class="o-quiet">nothing</span>'
        case _:
            return f"<code>{escape(json.dumps(value))}</code>"


def _inside(inner: Iterator[str], words: str, value: Any, level: int) -> Iterator[str]:
    """The outermost part has nothing to close it by."""
    if level == 0:
        yield from inner
        return
    is_open = level <= OPEN_LEVELS and len(value) <= OPEN_MEMBERS
    yield f'<details class="o-node"{" open" if is_open else ""}><summary>{words}</summary>'
    yield from inner
    yield "</details>"


def _members(value: dict[str, Any], level: int) -> Iterator[str]:
    yield '<dl class="o-fields">'
    for name in sorted(value):
        yield f"<div><dt>{visible(name)}</dt><dd>"
        yield from _drawn(value[name], level + 1)
        yield "</dd></div>"
    yield "</dl>"


def _items(value: Sequence[Any], level: int) -> Iterator[str]:
    yield "<ol>"
    for item in value:
        yield "<li>"
        yield from _drawn(item, level + 1)
        yield "</li>"
    yield "</ol>"


def _columns(value: Sequence[Any]) -> list[str]:
    """The columns of a list of like objects, each with plain values; empty: it is no table."""
    if len(value) < 2 or not all(isinstance(item, dict) and item for item in value):
        return []
    names = list(dict.fromkeys(name for item in value for name in item))
    if len(names) > MOST_COLUMNS or not all(len(item) * 2 >= len(names) for item in value):
        return []
    plain = all(not isinstance(cell, dict | list) for item in value for cell in item.values())
    return names if plain else []


def _table(value: Sequence[dict[str, Any]], columns: list[str]) -> Iterator[str]:
    yield from _rows(value[:ROWS_SHOWN], columns)
    if others := value[ROWS_SHOWN:]:
        yield f'<details class="o-node"><summary>{_of(len(others), "row")} more</summary>'
        yield from _rows(others, columns)
        yield "</details>"


def _rows(value: Sequence[dict[str, Any]], columns: list[str]) -> Iterator[str]:
    yield '<div class="o-sideways" tabindex="0" role="group" aria-label="Table">'
    yield '<table class="o-grid">'
    heads = "".join(f'<th scope="col">{visible(name)}</th>' for name in columns)
    yield f"<thead><tr>{heads}</tr></thead><tbody>"
    for item in value:
        cells = (_plain(item[name]) if name in item else "" for name in columns)
        yield f"<tr><td>{'</td><td>'.join(cells)}</td></tr>"
    yield "</tbody></table></div>"


def _of(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
