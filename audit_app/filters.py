"""What the trail can be searched by."""

import django_filters

from audit_app.models import Event


class EventFilter(django_filters.FilterSet):  # type: ignore[misc]  # untyped library
    event_type = django_filters.CharFilter()
    role = django_filters.CharFilter()
    actor = django_filters.CharFilter(help_text="As kind:name.")
    subject = django_filters.UUIDFilter(field_name="subject_id")
    trace_id = django_filters.UUIDFilter()

    class Meta:
        model = Event
        fields: tuple[str, ...] = ()


EventFilter.base_filters["from"] = django_filters.IsoDateTimeFilter(
    field_name="timestamp", lookup_expr="gte", help_text="Not before (RFC 3339)."
)
EventFilter.base_filters["to"] = django_filters.IsoDateTimeFilter(
    field_name="timestamp", lookup_expr="lt", help_text="Before (RFC 3339)."
)
