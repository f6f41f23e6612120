"""Rows on the wire, as the serializers declare them.

Django REST framework asks each field of each row anew how it is read and written, which costs more
than to read the row. Here a serializer is asked once, and becomes a function. It knows what ours
declare: attributes, of this row or of those that it leads to.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from functools import cache
from operator import attrgetter
from typing import Any, cast

from django.db.models.manager import BaseManager
from rest_framework import serializers
from rest_framework.fields import empty

Shape = Callable[[Any], Any]


def shaped(serializer: type[serializers.Serializer[Any]], row: Any) -> dict[str, Any]:
    """``row`` as ``serializer`` declares it: what its ``to_representation`` gives, of JSON's types
    alone."""
    shape: dict[str, Any] = _of_class(serializer)(row)
    return shape


@cache
def _of_class(serializer: type[serializers.Serializer[Any]]) -> Shape:
    return _of(serializer())


def _of(serializer: serializers.Serializer[Any]) -> Shape:
    fields = [
        (name, _read(field), _write(field))
        for name, field in serializer.fields.items()
        if not field.write_only
    ]

    def shape(row: Any) -> dict[str, Any]:
        told = {}
        for name, read, write in fields:
            value = read(row)
            told[name] = None if value is None else write(value)
        return told

    return shape


def _read(field: Any) -> Shape:
    """How to get at what ``field`` shows of a row; None where the way there ends."""
    if field.source == "*":
        return _itself
    first, *further = field.source_attrs
    if not further:
        return attrgetter(first)
    if field.default not in (empty, None):
        raise TypeError(f"a default of {field.field_name} would not be told")

    def read(row: Any) -> Any:
        for name in field.source_attrs:
            if row is None:
                return None
            row = getattr(row, name)
        return row

    return read


def _write(field: Any) -> Shape:
    """How what was read is said in JSON."""
    if isinstance(field, serializers.ListSerializer):
        each = _write(field.child)
        return lambda rows: [each(row) for row in _rows(rows)]
    if isinstance(field, serializers.Serializer):
        return _of(field)
    return WRITTEN.get(type(field)) or cast("Shape", field.to_representation)


def _rows(rows: Any) -> Any:
    """What a relation leads to, as prefetched where it is."""
    return rows.all() if isinstance(rows, BaseManager) else rows


def _itself(value: Any) -> Any:
    return value


def _moment(value: datetime) -> str:
    text = value.isoformat()
    if not text.endswith("+00:00"):
        text = value.astimezone(UTC).isoformat()
    return f"{text[:-6]}Z"


WRITTEN: dict[type, Shape] = {
    serializers.CharField: str,
    serializers.ChoiceField: str,
    serializers.UUIDField: str,
    serializers.IntegerField: int,
    serializers.DateTimeField: _moment,
}
"""Every other kind of field says itself how."""
