"""Pages by number (``page``, ``page_size``, ``total``) and, for deep or moving lists, by key
(``cursor``, ``next_cursor``)."""

import base64
import json
from collections.abc import Sequence
from functools import lru_cache
from hashlib import sha256
from typing import Any
from uuid import UUID

from django.core.cache import cache
from django.core.exceptions import ValidationError as DjangoValidationError
from django.core.signing import BadSignature, Signer
from django.db.models import DateTimeField, IntegerField, Model, Q, QuerySet, Subquery
from rest_framework.exceptions import ValidationError
from rest_framework.pagination import BasePagination
from rest_framework.request import Request
from rest_framework.response import Response

from audit_app.base.actors import Actor
from audit_app.base.prepared import Prepared
from audit_app.live import event_log
from audit_app.models import Event
from audit_app.querysets import seen_in_one_way

DEFAULT_SIZE = 20
MAX_SIZE = 100
KEPT_SIZES = {str(size) for size in range(1, MAX_SIZE + 1)}
LARGEST = 999_999_999
COUNTED = 10_000
"""Rows that are counted, and that pages by number reach; of more, the total is an estimate."""

LONG_FOR = 60
"""Seconds for which a list with more rows is taken to have them still, and is not counted."""


class Pages(BasePagination):
    """Lists are wrapped under the view's ``list_name``.

    A view with ``cursor_only`` is of the trail, and has no page numbers: it is paged in the order
    of its commits (audit_app/live/event_log.py). Elsewhere the key is the view's ``cursor_key``:
    the fields that the list is ordered by, ``-`` for descending, all in one direction and ending
    in a unique one.
    """

    def paginate_queryset(self, queryset: Any, request: Request, view: Any = None) -> list[Any]:
        self.view = view
        self.path = request.path
        self.size = min(_whole_number(request, "page_size", DEFAULT_SIZE), MAX_SIZE)
        if not view.cursor_only:
            self.page = _whole_number(request, "page", 1)
        self.by_key = view.cursor_only or "cursor" in request.query_params
        if self.by_key:
            return self._page_by_key(queryset, request.query_params.get("cursor", ""))
        queryset = queryset.order_by(*view.cursor_key)
        self.total, self.estimated = _count_rows(queryset, _name_of(request, view.actor))
        start = (self.page - 1) * self.size
        if self.estimated and start >= COUNTED:
            said = f"Pages by number end at row {COUNTED:,}. Go on with ?cursor= instead."
            raise ValidationError({"page": said})
        return list(queryset[start : start + self.size]) if start < self.total else []

    def kept_page(self, request: Request, view: Any) -> list[Any] | None:
        """The first page by number, with its total, in one statement whose SQL is kept, for whoever
        polls it: agents, and whoever may read everything. None where the page is another one, or
        its parameters are not as they should be; ``paginate_queryset`` says what is wrong."""
        params = request.query_params
        filters = view.filterset_class.base_filters
        size = params.get("page_size", str(DEFAULT_SIZE))
        if not seen_in_one_way(view.actor):
            return None
        if not params.keys() <= filters.keys() | {"page", "page_size"}:
            return None
        if params.get("page", "1") != "1" or size not in KEPT_SIZES:
            return None
        try:
            given = {n: filters[n].field.clean(v) for n, v in params.items() if n in filters}
        except DjangoValidationError:
            return None
        if not all(isinstance(value, str | UUID) and value for value in given.values()):
            return None
        self.view, self.by_key = view, False
        self.page, self.size = 1, int(size)
        kind: Any = type(view)
        name = _name_of(request, view.actor)
        is_long = cache.get(name, False)
        rows: list[Any] = _first_page(kind, self.size, counted=not is_long)(view.actor, **given)
        if is_long:
            self.total = COUNTED + 1 if len(rows) == self.size else len(rows)
        else:
            self.total = rows[0].total if rows else 0
        self.estimated = self.total > COUNTED
        if self.estimated:
            cache.set(name, True, LONG_FOR)
            self.total = _estimate_count(view.filter_queryset(view.visible()), self.total)
        return rows

    def _page_by_key(self, queryset: "QuerySet[Any]", cursor: str) -> list[Any]:
        if self.view.cursor_only:
            return self._page_of_the_trail(queryset, cursor)
        queryset = queryset.order_by(*self.view.cursor_key)
        if cursor:
            queryset = queryset.filter(_after(self.view.cursor_key, self._key(queryset, cursor)))
        rows = list(queryset[: self.size + 1])
        more = len(rows) > self.size
        rows = rows[: self.size]
        self.next_cursor = (
            sign_cursor(cursor_values(rows[-1], self.view.cursor_key), self.path) if more else None
        )
        return rows

    def _page_of_the_trail(self, events: Any, cursor: str) -> list[Event]:
        try:
            place = event_log.Cursor.parse(cursor) if cursor else event_log.START
        except ValueError as error:
            raise ValidationError({"cursor": "This cursor is not one of the trail's."}) from error
        rows, following = event_log.read_page(place, self.size, among=events, by=self.view.actor)
        self.next_cursor = str(following) if following else None
        return rows

    def _key(self, queryset: "QuerySet[Any]", cursor: str) -> list[Any]:
        """The values that ``cursor`` was made of. Raises ValidationError."""
        names = _fields(self.view.cursor_key)
        fields = [queryset.model._meta.get_field(name) for name in names]
        try:
            values = read_cursor(cursor, self.path)
            return [_value(field, text) for field, text in zip(fields, values, strict=True)]
        except (BadSignature, ValueError, DjangoValidationError) as error:
            raise ValidationError({"cursor": "This cursor is not one of this list's."}) from error

    def get_paginated_response(self, data: Any) -> Response:
        wrapped = {self.view.list_name: data}
        if self.by_key:
            return Response(wrapped | {"next_cursor": self.next_cursor})
        numbers = {"page": self.page, "page_size": self.size}
        counted = {"total": self.total, "total_is_estimate": self.estimated}
        return Response(wrapped | counted | numbers)

    def get_schema_operation_parameters(self, view: Any) -> list[dict[str, Any]]:
        def parameter(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
            return {
                "name": name,
                "in": "query",
                "required": False,
                "schema": schema,
                "description": description,
            }

        size = {"type": "integer", "minimum": 1, "maximum": LARGEST, "default": DEFAULT_SIZE}
        parameters = [
            parameter("page_size", size, f"Rows a page; more than {MAX_SIZE} is {MAX_SIZE}."),
            parameter("cursor", {"type": "string"}, "Pages by key: empty, then next_cursor."),
        ]
        if not view.cursor_only:
            number = {"type": "integer", "minimum": 1, "maximum": LARGEST, "default": 1}
            said = f"The number of the page. Rows behind the first {COUNTED:,} have a cursor alone."
            parameters.append(parameter("page", number, said))
        return parameters

    def get_paginated_response_schema(self, schema: dict[str, Any]) -> dict[str, Any]:
        rows = {"type": "array", "items": schema.get("items", schema)}
        whole = {"type": "integer", "minimum": 0}
        name = self.list_name
        by_key = {
            "type": "object",
            "required": [name, "next_cursor"],
            "properties": {name: rows, "next_cursor": {"type": ["string", "null"]}},
        }
        estimate = f"Whether there are more than {COUNTED:,}, and total is the planner's guess."
        by_number = {
            "type": "object",
            "required": [name, "total", "total_is_estimate", "page", "page_size"],
            "properties": {
                name: rows,
                "total": whole,
                "total_is_estimate": {"type": "boolean", "description": estimate},
                "page": whole,
                "page_size": whole,
            },
        }
        return by_key if self.cursor_only else {"oneOf": [by_number, by_key]}

    list_name = "results"
    cursor_only = False


class _Total(Subquery):
    """How many rows ``Subquery`` would find."""

    template = "(SELECT count(*) FROM (%(subquery)s) AS counted)"
    output_field = IntegerField()


@lru_cache(16)  # a caller may ask for each size, searched in each way
def _first_page(view: Any, size: int, *, counted: bool) -> Prepared[Any]:
    """The rows of a first page of ``view``'s list, each with the list's ``total`` if it is to be
    ``counted``."""
    filters = view.filterset_class.base_filters

    def build(actor: Actor, **given: Any) -> Any:
        rows = view.queryset.all().visible_to(actor)
        for name, value in given.items():
            rows = filters[name].filter(rows, value)
        rows = rows.order_by(*view.cursor_key)
        if counted:
            rows = rows.annotate(total=_Total(rows.values("pk")[: COUNTED + 1]))
        return rows[:size]

    # Planned for whoever asks: a plan for everybody is wrong for those who see little.
    return Prepared(build, planned_anew=True)


def _name_of(request: Request, actor: Actor) -> str:
    """What a list is remembered by: who asks for what, whichever of its pages."""
    pages = ("page", "page_size")
    asked = sorted((n, v) for n, v in request.query_params.items() if n not in pages)
    named = repr((request.path, actor.kind, actor.id, actor.roles, actor.auditor, asked))
    return f"long-list:{sha256(named.encode()).hexdigest()}"


def _count_rows(rows: "QuerySet[Any]", name: str) -> tuple[int, bool]:
    """How many there are, and whether that is an estimate: the time of a count has a bound.

    Counted are the first in the list's order, so that the index is entered that the page is read
    by: without one, PostgreSQL would look for them from the beginning of the table.
    """
    if cache.get(name, False):
        return _estimate_count(rows, COUNTED + 1), True
    counted = rows[: COUNTED + 1].count()
    if counted <= COUNTED:
        return counted, False
    cache.set(name, True, LONG_FOR)
    return _estimate_count(rows, counted), True


def _estimate_count(rows: "QuerySet[Any]", counted: int) -> int:
    """What the planner thinks that there are; at least those that were ``counted``."""
    [plan] = json.loads(rows.order_by().values("pk").explain(format="json"))
    return max(counted, int(plan["Plan"]["Plan Rows"]))


def _whole_number(request: Request, name: str, default: int) -> int:
    given = request.query_params.get(name, str(default))
    if not (given.isascii() and given.isdigit()) or len(given) > 9 or int(given) < 1:
        raise ValidationError({name: f"A whole number from 1 to {LARGEST} is needed."})
    return int(given)


def _fields(key: Sequence[Any]) -> list[str]:
    return [field.removeprefix("-") for field in key]


def sign_cursor(values: list[str], path: str) -> str:
    """A cursor behind the row of ``values`` in the list at ``path``, that no other list takes."""
    text = base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")
    return _signer(path).sign(text)


def read_cursor(cursor: str, path: str) -> list[str]:
    """What ``sealed`` was given. Raises BadSignature for what it did not make."""
    text = _signer(path).unsign(cursor)
    values: list[str] = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    return values


def _signer(path: str) -> Signer:
    return Signer(salt=f"cursor {path}", sep=".")


def cursor_values(row: Model, key: tuple[str, ...]) -> list[str]:
    """The values of ``row`` that a cursor behind it is made of."""
    fields: list[Any] = [row._meta.get_field(name) for name in _fields(key)]
    return [field.value_to_string(row) for field in fields]


def _value(field: Any, text: str) -> Any:
    """What ``value_to_string`` wrote; it writes moments in UTC and no others."""
    if isinstance(field, DateTimeField) and not text.endswith("+00:00"):
        raise ValueError(text)
    return field.to_python(text)


def _after(key: tuple[str, ...], values: list[Any]) -> Q:
    """Rows strictly behind ``values`` in the order of ``key``: a row comparison, spelled out."""
    compare = "lt" if key[0].startswith("-") else "gt"
    names = _fields(key)
    behind = Q()
    equal: dict[str, Any] = {}
    for name, value in zip(names, values, strict=True):
        behind |= Q(**equal, **{f"{name}__{compare}": value})
        equal[name] = value
    # The first field alone as well: that is what an index can be entered with.
    return behind & Q(**{f"{names[0]}__{compare}e": values[0]})
