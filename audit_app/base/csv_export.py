"""Lists as CSV (RFC 4180), streamed: in UTF-8 with a byte order mark, without which Excel takes the
file for Windows-1252."""

import csv
import json
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone

BATCH = 1_000
BYTE_ORDER_MARK = "\ufeff"
FORMULA = re.compile(
    r"[\t\r]"
    r"|[\s\"'`\u00ad\u200b-\u200f\u2060\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]"
)
"""How a cell starts that a spreadsheet may run. Some drop blanks, lines and quotes before a
formula, or take full-width signs for the usual ones."""


@dataclass(frozen=True, slots=True)
class Column:
    """A column as the screen has it: its heading, and the values (lookups of the row) of which
    ``format`` makes what the cell says."""

    heading: str
    lookups: tuple[str, ...]
    format: Callable[..., Any]

    @classmethod
    def of(cls, given: "Column | str") -> "Column":
        """``given``; a lookup alone is a column of that name."""
        return given if isinstance(given, Column) else show(given.replace("__", "_"), given)


def show(heading: str, *lookups: str, format: Callable[..., Any] | None = None) -> Column:
    """A column; without ``format`` the value of its only lookup."""
    return Column(heading, lookups, format or _keep)


def show_state(heading: str, lookup: str) -> Column:
    """A column of states, in words."""
    return show(heading, lookup, format=lambda state: state.replace("_", " "))


def _keep(value: Any) -> Any:
    return value


class _Echo:
    """A file for ``csv.writer`` that returns each line instead of writing it."""

    def write(self, line: str) -> str:
        return line


def download(
    rows: "QuerySet[Any]", columns: Sequence[Column | str], *, time: str, name: str
) -> StreamingHttpResponse:
    """A response that streams ``lines`` as a file named after ``name`` and today's date."""
    text = lines(rows, [Column.of(each) for each in columns], time)
    answer = StreamingHttpResponse(text, "text/csv; charset=utf-8")
    name = f"{name}-{timezone.now():%Y-%m-%d}.csv".replace(" ", "-")
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["Cache-Control"] = "no-store"
    return answer


def lines(rows: "QuerySet[Any]", columns: Sequence[Column], time: str) -> Iterator[str]:
    """Yield ``rows`` as lines of CSV, oldest first by the column ``time``, after a header line.

    A row created meanwhile may be included; none is included twice.
    """
    # Read in batches by key: a cursor would hold a transaction open for a whole slow download, and
    # a transaction pooler would not keep the cursor.
    writer = csv.writer(_Echo())
    yield BYTE_ORDER_MARK + writer.writerow([column.heading for column in columns])
    lookups = list(dict.fromkeys(name for column in columns for name in column.lookups))
    rows = rows.order_by(time, "pk")
    last: tuple[Any, Any] | None = None
    while True:
        batch = rows
        if last:
            at, pk = last
            batch = rows.filter(Q(**{f"{time}__gt": at}) | Q(**{time: at, "pk__gt": pk}))
        page = list(batch.values_list(time, "pk", *lookups)[:BATCH])
        for row in page:
            values = dict(zip(lookups, row[2:], strict=True))
            yield writer.writerow(
                [_cell(column.format(*(values[n] for n in column.lookups))) for column in columns]
            )
        if len(page) < BATCH:
            return
        last = page[-1][:2]


def _cell(value: Any) -> str:
    """``value`` as text that no spreadsheet takes for a formula."""
    match value:
        case None:
            return ""
        case datetime():
            return value.isoformat()
        case dict():
            text = json.dumps(value, ensure_ascii=False)
        case list():
            text = ", ".join(map(str, value))
        case _:
            text = str(value)
    return f"'{text}" if FORMULA.match(text) else text
