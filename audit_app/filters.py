"""What the trail can be searched by."""

from datetime import UTC, datetime
from typing import Any

import django_filters
from django import forms
from django_filters.fields import IsoDateTimeField

from audit_app.models import Event


class MomentField(IsoDateTimeField):  # type: ignore[misc]  # untyped library
    """A moment in UTC: PostgreSQL does not know every offset that RFC 3339 allows."""

    def clean(self, value: Any) -> datetime | None:
        moment: datetime | None = super().clean(value)
        try:
            return moment and moment.astimezone(UTC)
        except OverflowError:
            raise forms.ValidationError("This is beyond all time.", code="invalid") from None


class MomentFilter(django_filters.IsoDateTimeFilter):  # type: ignore[misc]  # untyped library
    field_class = MomentField


class EventFilter(django_filters.FilterSet):  # type: ignore[misc]  # untyped library
    event_type = django_filters.CharFilter()
    role = django_filters.CharFilter()
    actor = django_filters.CharFilter(help_text="As kind:name.")
    subject = django_filters.UUIDFilter(field_name="subject_id")
    trace_id = django_filters.UUIDFilter()

    class Meta:
        model = Event
        fields: tuple[str, ...] = ()


EventFilter.base_filters["from"] = MomentFilter(
    field_name="timestamp", lookup_expr="gte", help_text="Not before (RFC 3339)."
)
EventFilter.base_filters["to"] = MomentFilter(
    field_name="timestamp", lookup_expr="lt", help_text="Before (RFC 3339)."
)
