"""Lists as CSV (RFC 4180), streamed."""

import csv
import json
import re
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone

BATCH = 1_000
FORMULA = re.compile(
    r"[\t\r]"
    r"|[\s\"'`\u00ad\u200b-\u200f\u2060\ufeff]*[=+\-@\uff1d\uff0b\uff0d\uff20]"
)
"""How a cell starts that a spreadsheet may run. Some drop blanks, lines and quotes before a
formula, or take full-width signs for the usual ones."""


class _Echo:
    """A file for ``csv.writer`` that returns each line instead of writing it."""

    def write(self, line: str) -> str:
        return line


def download(
    rows: "QuerySet[Any]", columns: Sequence[str], *, time: str, name: str
) -> StreamingHttpResponse:
    """A response that streams ``lines`` as a file named after ``name`` and today's date."""
    answer = StreamingHttpResponse(lines(rows, columns, time), "text/csv; charset=utf-8")
    name = f"{name}-{timezone.now():%Y-%m-%d}.csv".replace(" ", "-")
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["Cache-Control"] = "no-store"
    return answer


def lines(rows: "QuerySet[Any]", columns: Sequence[str], time: str) -> Iterator[str]:
    """Yield ``rows`` as lines of CSV, oldest first by the column ``time``, after a header line.

    A row created meanwhile may be included; none is included twice.
    """
    # Read in batches by key: a cursor would hold a transaction open for a whole slow download, and
    # a transaction pooler would not keep the cursor.
    writer = csv.writer(_Echo())
    yield writer.writerow([name.replace("__", "_") for name in columns])
    rows = rows.order_by(time, "pk")
    last: tuple[Any, Any] | None = None
    while True:
        batch = rows
        if last:
            at, pk = last
            batch = rows.filter(Q(**{f"{time}__gt": at}) | Q(**{time: at, "pk__gt": pk}))
        page = list(batch.values_list(time, "pk", *columns)[:BATCH])
        for row in page:
            yield writer.writerow([_cell(value) for value in row[2:]])
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
