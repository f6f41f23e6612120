"""Renders a JSON value as collapsible HTML that the page can search.

What the payload's facts warn of comes first and is never folded away; all else keeps its order.
"""

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from django.utils.safestring import SafeString, mark_safe

from approvals_app.payload.emphasis import NO_EMPHASIS, Emphasis
from approvals_app.payload.facts import Level, Path, count
from approvals_app.payload.tables import describe_total, find_columns, find_unusual_rows, is_number
from audit_app.base.text_safety import is_budget_spent, visible

OPEN_LEVELS = 2
OPEN_MEMBERS = 40
ROWS_SHOWN = 25
"""Rows, items and fields before the fold where there are more than are shown at once."""

Step = TypeVar("Step", str, int)
RenderText = Callable[[object], SafeString]


class Tail(list[Any]):
    """Items of a list whose other items are shown elsewhere; ``positions`` in the whole list."""

    def __init__(self, items: Iterable[Any], positions: Sequence[int]) -> None:
        super().__init__(items)
        self.positions = positions


def render_tree(
    value: Any, render_text: RenderText = visible, emphasis: Emphasis = NO_EMPHASIS
) -> SafeString:
    """All of ``value`` as HTML: nested objects and lists collapse, lists of similar objects become
    tables. ``render_text`` escapes every text: ``visible``, or ``reveal`` for what is not an
    agent's."""
    html = "".join(_Tree(render_text, emphasis).render(value, ()))
    return mark_safe(html)  # noqa: S308  # escaped, piece by piece


@dataclass(frozen=True, slots=True)
class _Tree:
    render_text: RenderText
    emphasis: Emphasis

    def render(self, value: Any, path: Path) -> Iterator[str]:
        match value:
            case {} if value:
                inner = self._render_members(value, path)
                yield from self._fold(inner, count(len(value), "field"), len(value), path)
            case [_, *_] if columns := find_columns(value):
                words = describe_total(value, columns) or count(len(value), "item")
                inner = self._render_table(value, columns, path)
                yield from self._fold(inner, words, min(len(value), ROWS_SHOWN), path)
            case [_, *_]:
                inner = self._render_items(value, path)
                yield from self._fold(inner, count(len(value), "item"), len(value), path)
            case _:
                yield self._render_scalar(value)

    def _fold(self, inner: Iterator[str], words: str, length: int, path: Path) -> Iterator[str]:
        """``inner``, whose ``words`` are read when it is folded, and ``length`` parts when not."""
        if not path:  # the outermost level can't be collapsed
            yield from inner
            return
        is_near = len(path) <= OPEN_LEVELS or path[:-1] in self.emphasis.levels
        is_open = self.emphasis.warns_within(path) or (is_near and length <= OPEN_MEMBERS)
        summary = self.render_text(words)
        yield f'<details class="o-node"{" open" if is_open else ""}><summary>{summary}</summary>'
        yield from inner
        yield "</details>"

    def _render_scalar(self, value: Any) -> str:
        """A value without members."""
        match value:
            case "":
                return '<span class="o-quiet">empty text</span>'
            case str() if "\n" in value:
                return f'<pre tabindex="0">{self.render_text(value)}</pre>'
            case str():
                return self.render_text(value)
            case {} | []:
                return '<span class="o-quiet">nothing</span>'
            case _:
                return f"<code>{self.render_text(json.dumps(value))}</code>"

    def _render_members(self, value: dict[str, Any], path: Path) -> Iterator[str]:
        names = self.emphasis.sort_members(value, path)
        shown, others = self._split(names, [(*path, name) for name in names], path)
        yield from self._render_fields(value, shown, path)
        if others:
            words = f"{count(len(others), 'other field')}"
            yield f'<details class="o-node"><summary>{words}</summary>'
            yield from self._render_fields(value, others, path)
            yield "</details>"

    def _render_fields(
        self, value: dict[str, Any], names: Sequence[str], path: Path
    ) -> Iterator[str]:
        yield '<dl class="o-fields">'
        for name in names:
            if is_budget_spent():
                break
            inside = (*path, name)
            yield f"<div><dt>{self._warn_of(inside)}{self.render_text(name)}</dt><dd>"
            yield from self.render(value[name], inside)
            yield "</dd></div>"
        yield "</dl>"

    def _render_items(self, value: Sequence[Any], path: Path) -> Iterator[str]:
        positions = _positions_of(value)
        order = self._sort_items(value, path)
        shown, others = self._split(order, [(*path, positions[at]) for at in order], path)
        is_numbered = order != list(range(len(value))) or isinstance(value, Tail)
        yield from self._render_list(value, shown, path, is_numbered=is_numbered)
        if others:
            yield f'<details class="o-node"><summary>{count(len(others), "other item")}</summary>'
            yield from self._render_list(value, others, path, is_numbered=True)
            yield "</details>"

    def _render_list(
        self, value: Sequence[Any], order: Sequence[int], path: Path, *, is_numbered: bool
    ) -> Iterator[str]:
        positions = _positions_of(value)
        yield "<ol>"
        for at in order:
            if is_budget_spent():
                break
            inside = (*path, positions[at])
            yield f'<li value="{positions[at] + 1}">' if is_numbered else "<li>"
            yield self._warn_of(inside)
            yield from self.render(value[at], inside)
            yield "</li>"
        yield "</ol>"

    def _render_table(
        self, value: Sequence[dict[str, Any]], columns: list[str], path: Path
    ) -> Iterator[str]:
        if not path and (total := describe_total(value, columns)):
            yield f'<p class="o-quiet o-total">{self.render_text(total)}</p>'
        order, reasons = self._sort_rows(value, columns, path)
        is_numbered = order != list(range(len(value))) or isinstance(value, Tail)
        numbers = _positions_of(value) if is_numbered else None
        yield from self._render_rows(value, columns, order[:ROWS_SHOWN], numbers, reasons)
        if others := order[ROWS_SHOWN:]:
            words = f"{count(len(others), 'item')} more"
            yield f'<details class="o-node"><summary>{words}</summary>'
            yield from self._render_rows(value, columns, others, numbers, reasons)
            yield "</details>"

    def _render_rows(
        self,
        value: Sequence[dict[str, Any]],
        columns: list[str],
        order: Sequence[int],
        numbers: Sequence[int] | None,
        reasons: dict[int, list[str]],
    ) -> Iterator[str]:
        # Focusable, so that the keyboard can scroll a wide table.
        yield '<div class="o-sideways" tabindex="0" role="group" aria-label="Table">'
        yield '<table class="o-grid">'
        heads = "".join(f'<th scope="col">{self.render_text(name)}</th>' for name in columns)
        first = '<th scope="col">Item</th>' if numbers else ""
        yield f"<thead><tr>{first}{heads}</tr></thead><tbody>"
        for at in order:
            if is_budget_spent():
                break
            item = value[at]
            cells = "".join(
                self._render_cell(item[name]) if name in item else "<td></td>" for name in columns
            )
            head = ""
            if numbers:
                why = f" {_render_reason(', '.join(reasons[at]))}" if at in reasons else ""
                head = f'<th scope="row">{numbers[at] + 1}{why}</th>'
            yield f"<tr>{head}{cells}</tr>"
        yield "</tbody></table></div>"

    def _render_cell(self, value: Any) -> str:
        html = self._render_scalar(value)
        # A number that is broken at the end of a line reads as two.
        return f'<td class="o-figure">{html}</td>' if is_number(value) else f"<td>{html}</td>"

    def _sort_items(self, value: Sequence[Any], path: Path) -> list[int]:
        """The indexes of ``value``: what facts warn of first, then as sent."""
        positions = _positions_of(value)
        return sorted(range(len(value)), key=lambda at: self.emphasis.rank((*path, positions[at])))

    def _sort_rows(
        self, value: Sequence[dict[str, Any]], columns: list[str], path: Path
    ) -> tuple[list[int], dict[int, list[str]]]:
        """The indexes of a table's rows, and why some come first. Where rows are folded, the
        largest and the unusual ones stand before the fold."""
        positions = _positions_of(value)
        order = self._sort_items(value, path)
        reasons: dict[int, list[str]] = defaultdict(list)
        for at in order:
            level = (
                self.emphasis.level_within((*path, positions[at])) if self.emphasis.warned else ""
            )
            if level in (Level.DANGER, Level.NOTICE):
                reasons[at].append(level)
        if len(value) > ROWS_SHOWN:
            for at, why in find_unusual_rows(value, columns):
                reasons[at].append(why)
            order.sort(
                key=lambda at: (self.emphasis.rank((*path, positions[at])), at not in reasons)
            )
        return order, reasons

    def _split(
        self, steps: list[Step], paths: Iterable[Path], path: Path
    ) -> tuple[list[Step], list[Step]]:
        """Those of ``steps``, at ``paths``, that stand before the fold, and those behind it.

        A long value is unfolded for what facts warn of in it; the rest of it stays folded.
        """
        if not path or len(steps) <= OPEN_MEMBERS or not self.emphasis.warns_within(path):
            return steps, []
        warned = sum(map(self.emphasis.warns_within, paths))
        end = max(warned, ROWS_SHOWN)
        return steps[:end], steps[end:]

    def _warn_of(self, path: Path) -> str:
        """What is said before a member that a fact of danger or notice comes from."""
        level = self.emphasis.levels.get(path)
        return f"{_render_reason(level)} " if level else ""


def _positions_of(value: Sequence[Any]) -> Sequence[int]:
    return value.positions if isinstance(value, Tail) else range(len(value))


def _render_reason(why: str) -> str:
    kind = Level.DANGER if why.startswith(Level.DANGER) else Level.NOTICE
    return f'<span class="o-fact-level o-fact-level-{kind}">{why.capitalize()}</span>'
