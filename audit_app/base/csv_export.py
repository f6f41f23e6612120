"""A list as CSV (RFC 4180), streamed: what its filters and its search show, and nothing else."""

import csv
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from django.db.models import Q, QuerySet
from django.http import StreamingHttpResponse
from django.utils import timezone

BATCH = 1_000
FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that a spreadsheet would run."""


class _Line:
    """What csv writes to: the line itself."""

    def write(self, line: str) -> str:
        return line


def download(
    rows: "QuerySet[Any]", columns: Sequence[str], *, time: str, name: str
) -> StreamingHttpResponse:
    """``lines`` as a file called ``name`` and today's date."""
    answer = StreamingHttpResponse(lines(rows, columns, time), "text/csv; charset=utf-8")
    name = f"{name}-{timezone.now():%Y-%m-%d}.csv".replace(" ", "-")
    answer["Content-Disposition"] = f'attachment; filename="{name}"'
    answer["Cache-Control"] = "no-store"
    return answer


def lines(rows: "QuerySet[Any]", columns: Sequence[str], time: str) -> Iterator[str]:
    """``rows`` as lines of CSV, the earliest first by ``time`` and key, a name for each column.

    Batch by batch by key, so that no cursor is held open through a pooler and no transaction
    through a slow download; a row that comes meanwhile may be there, and none is there twice.
    """
    writer = csv.writer(_Line())
    yield writer.writerow([name.replace("__", "_") for name in columns])
    rows = rows.order_by(time, "pk")
    last: tuple[Any, Any] | None = None
    while True:
        batch = rows
        if last:
            at, pk = last
            batch = rows.filter(Q(**{f"{time}__gt": at}) | Q(**{time: at, "pk__gt": pk}))
        found = list(batch.values_list(time, "pk", *columns)[:BATCH])
        for row in found:
            yield writer.writerow([_cell(value) for value in row[2:]])
        if len(found) < BATCH:
            return
        last = found[-1][:2]


def _cell(value: Any) -> str:
    """``value`` as a text that no spreadsheet takes for a formula."""
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
    return f"'{text}" if text.startswith(FORMULA) else text
