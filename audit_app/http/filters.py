"""What the trail can be searched by."""

import re
from datetime import UTC, datetime
from typing import Any

import django_filters
from django import forms
from django.db.models import QuerySet
from django_filters.fields import IsoDateTimeField

from audit_app.http.serializers import UUID_TEXT
from audit_app.live import event_log
from audit_app.models import Event

RFC_3339 = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?(Z|[+-]\d\d:\d\d)", re.ASCII | re.IGNORECASE
)


class MomentField(IsoDateTimeField):  # type: ignore[misc]  # untyped library
    """A moment that says its offset, in UTC: PostgreSQL does not know all that RFC 3339 allows."""

    def clean(self, value: Any) -> datetime | None:
        if value and not RFC_3339.fullmatch(value):
            said = "It must be a moment as RFC 3339 writes it, with its offset from UTC."
            raise forms.ValidationError(said, code="invalid")
        moment: datetime | None = super().clean(value)
        try:
            return moment and moment.astimezone(UTC)
        except OverflowError:
            raise forms.ValidationError("This is beyond all time.", code="invalid") from None


class MomentFilter(django_filters.IsoDateTimeFilter):  # type: ignore[misc]  # untyped library
    field_class = MomentField


class IdField(forms.UUIDField):
    def clean(self, value: Any) -> Any:
        if value and not UUID_TEXT.fullmatch(value):
            raise forms.ValidationError("It must be a UUID.", code="invalid")
        return super().clean(value)


class IdFilter(django_filters.UUIDFilter):  # type: ignore[misc]  # untyped library
    field_class = IdField


class EventFilter(django_filters.FilterSet):  # type: ignore[misc]  # untyped library
    event_type = django_filters.CharFilter()
    role = django_filters.CharFilter()
    actor = django_filters.CharFilter(help_text="As kind:name.")
    subject = IdFilter(field_name="subject_id")
    trace_id = IdFilter()

    class Meta:
        model = Event
        fields: tuple[str, ...] = ()


def _since(rows: "QuerySet[Event]", _: str, moment: datetime) -> "QuerySet[Event]":
    return event_log.recorded_since(moment, rows)


EventFilter.base_filters["from"] = MomentFilter(
    field_name="timestamp", method=_since, help_text="Not before (RFC 3339)."
)
EventFilter.base_filters["to"] = MomentFilter(
    field_name="timestamp", lookup_expr="lt", help_text="Before (RFC 3339)."
)
