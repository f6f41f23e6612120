"""Rows as JSON, as the serializers declare them.

Django REST framework works out for each field of each row how to read and write it, which costs
more than reading the row. Here each serializer is compiled to a function once. It supports what our
serializers declare: attributes of the row, or of related rows.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from typing import Any, cast

import orjson
from django.db.models.manager import BaseManager
from rest_framework import serializers
from rest_framework.fields import empty
from rest_framework.renderers import BaseRenderer

Shape = Callable[[Any], Any]


@cache
def compile_serializer(
    serializer: type[serializers.Serializer[Any]],
) -> Callable[[Any], dict[str, Any]]:
    """Return a function from a row to what ``serializer.to_representation`` gives, as JSON's types.

    Raises TypeError for a default on a related row's attribute.
    """
    return _compile(serializer())


def _compile(serializer: serializers.Serializer[Any]) -> Shape:
    fields = [
        (name, _compile_reader(field), _compile_writer(field))
        for name, field in serializer.fields.items()
        if not field.write_only
    ]

    def shape(row: Any) -> dict[str, Any]:
        represented = {}
        for name, read, write in fields:
            value = read(row)
            represented[name] = None if value is None else write(value)
        return represented

    return shape


def _compile_reader(field: Any) -> Shape:
    """Return how to read the value of ``field`` from a row: None where a relation on the way is."""
    if field.source == "*":
        return _itself
    first, *further = field.source_attrs
    if not further:
        return attrgetter(first)
    if field.default not in (empty, None):
        raise TypeError(f"a default of {field.field_name} would not be shown")

    def read(row: Any) -> Any:
        for name in field.source_attrs:
            if row is None:
                return None
            row = getattr(row, name)
        return row

    return read


def _compile_writer(field: Any) -> Shape:
    """Return how to turn a value of ``field`` into JSON's types."""
    if isinstance(field, serializers.ListSerializer):
        each = _compile_writer(field.child)
        return lambda rows: [
            # all() of a relation uses what was prefetched.
            each(row)
            for row in (rows.all() if isinstance(rows, BaseManager) else rows)
        ]
    if isinstance(field, serializers.Serializer):
        return _compile(field)
    return WRITTEN.get(type(field)) or cast("Shape", field.to_representation)


def _itself(value: Any) -> Any:
    return value


def format_datetime(value: datetime) -> str:
    """``value`` as answers write it: RFC 3339, in UTC."""
    text = value.isoformat()
    if not text.endswith("+00:00"):
        text = value.astimezone(UTC).isoformat()
    return f"{text[:-6]}Z"


WRITTEN: dict[type, Shape] = {
    serializers.CharField: str,
    serializers.ChoiceField: str,
    serializers.UUIDField: str,
    serializers.IntegerField: int,
    serializers.DateTimeField: format_datetime,
}
"""Other fields use their own ``to_representation``."""


class JSONRenderer(BaseRenderer):
    """Renders JSON answers with orjson."""

    media_type = "application/json"
    format = "json"
    charset = None
    render_style = "binary"

    def render(
        self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None
    ) -> bytes:
        return b"" if data is None else orjson.dumps(data, default=_to_plain)


def _to_plain(value: Any) -> Any:
    """DRF's lazy strings and its subclasses of list and dict, as plain values."""
    if isinstance(value, list):
        return list(value)
    if isinstance(value, dict):
        return dict(value)
    return str(value)
