"""Renders a JSON value as collapsible HTML that the page can search."""

import json
from collections.abc import Iterator, Sequence
from typing import Any

from django.utils.safestring import SafeString, mark_safe

from audit_app.base.text_safety import is_budget_spent, visible

OPEN_LEVELS = 2
OPEN_MEMBERS = 40
ROWS_SHOWN = 25
MOST_COLUMNS = 12


def render_tree(value: Any) -> SafeString:
    """All of ``value`` as HTML: nested objects and lists collapse, lists of similar objects become
    tables. Every text is escaped, with its invisible characters marked."""
    return mark_safe("".join(_render(value, 0)))  # noqa: S308  # escaped, piece by piece


def _render(value: Any, level: int) -> Iterator[str]:
    match value:
        case {} if value:
            yield from _wrap_details(
                _render_members(value, level), _count_of(len(value), "member"), value, level
            )
        case [_, *_]:
            columns = _find_columns(value)
            inner = _render_table(value, columns) if columns else _render_items(value, level)
            yield from _wrap_details(
                inner, _count_of(len(value), "row" if columns else "item"), value, level
            )
        case _:
            yield _render_scalar(value)


def _render_scalar(value: Any) -> str:
    """A value without members."""
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
            return f"<code>{visible(json.dumps(value))}</code>"


def _wrap_details(inner: Iterator[str], words: str, value: Any, level: int) -> Iterator[str]:
    # The outermost level can't be collapsed.
    if level == 0:
        yield from inner
        return
    is_open = level <= OPEN_LEVELS and len(value) <= OPEN_MEMBERS
    yield f'<details class="o-node"{" open" if is_open else ""}><summary>{words}</summary>'
    yield from inner
    yield "</details>"


def _render_members(value: dict[str, Any], level: int) -> Iterator[str]:
    yield '<dl class="o-fields">'
    for name in sorted(value):
        if is_budget_spent():
            break
        yield f"<div><dt>{visible(name)}</dt><dd>"
        yield from _render(value[name], level + 1)
        yield "</dd></div>"
    yield "</dl>"


def _render_items(value: Sequence[Any], level: int) -> Iterator[str]:
    yield "<ol>"
    for item in value:
        if is_budget_spent():
            break
        yield "<li>"
        yield from _render(item, level + 1)
        yield "</li>"
    yield "</ol>"


def _find_columns(value: Sequence[Any]) -> list[str]:
    """The columns of a list of similar flat objects; empty if the list is not a table."""
    if len(value) < 2 or not all(isinstance(item, dict) and item for item in value):
        return []
    names = list(dict.fromkeys(name for item in value for name in item))
    if len(names) > MOST_COLUMNS or not all(len(item) * 2 >= len(names) for item in value):
        return []
    plain = all(not isinstance(cell, dict | list) for item in value for cell in item.values())
    return names if plain else []


def _render_table(value: Sequence[dict[str, Any]], columns: list[str]) -> Iterator[str]:
    yield from _render_rows(value[:ROWS_SHOWN], columns)
    if others := value[ROWS_SHOWN:]:
        yield f'<details class="o-node"><summary>{_count_of(len(others), "row")} more</summary>'
        yield from _render_rows(others, columns)
        yield "</details>"


def _render_rows(value: Sequence[dict[str, Any]], columns: list[str]) -> Iterator[str]:
    # Focusable, so that the keyboard can scroll a wide table.
    yield '<div class="o-sideways" tabindex="0" role="group" aria-label="Table">'
    yield '<table class="o-grid">'
    heads = "".join(f'<th scope="col">{visible(name)}</th>' for name in columns)
    yield f"<thead><tr>{heads}</tr></thead><tbody>"
    for item in value:
        if is_budget_spent():
            break
        cells = (_render_scalar(item[name]) if name in item else "" for name in columns)
        yield f"<tr><td>{'</td><td>'.join(cells)}</td></tr>"
    yield "</tbody></table></div>"


def _count_of(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"
