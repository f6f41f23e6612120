"""The trail in the admin."""

import json
from functools import reduce
from operator import or_
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.db.models import Q, QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from procrastinate.contrib.django.models import ProcrastinateJob

from audit_app.base.csv_export import show
from audit_app.base.events import EventType
from audit_app.base.text_safety import Link, moment, visible, who
from audit_app.models import Event
from audit_app.proof.proofs import find_leaf
from audit_app.proof.status import read_seal_status
from audit_app.ui.admin_base import (
    ExactFilter,
    ReadOnlyAdmin,
    RecentFilter,
    RoleFilter,
    may_read,
    subject_link,
    trace_link,
)

admin.site.unregister(ProcrastinateJob)  # jobs are shown with what they do


class EventTimeFilter(RecentFilter):
    field = "timestamp"


class EventTypeFilter(ExactFilter):
    title = parameter_name = "event"
    field = "event_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in EventType.values]


def _name_subject(subject_type: str, subject_id: UUID) -> str:
    return f"{subject_type} {str(subject_id)[:8]}"


def _join_states(before: str | None, after: str | None) -> str:
    return " → ".join(state for state in (before, after) if state)


def _proof_link(event: Event) -> Link | str:
    leaf = find_leaf(event.pk)
    if leaf is None:
        return "Not sealed yet"
    return Link(f"Proof of leaf {leaf.index}", reverse("event-proof", args=[event.pk]))


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    """The trail, newest first."""

    list_display = ("at", "what", "by", "subject", "change")
    exported_by = "timestamp"
    exported = (
        show("Time (UTC)", "timestamp"),
        show("Event", "event_type"),
        show("By", "actor"),
        show("Subject", "subject_type", "subject_id", format=_name_subject),
        show("From → to", "from_state", "to_state", format=_join_states),
        "subject_id",
        "seq",
        "position",
        "role",
        "id",
        "trace_id",
    )
    list_display_links = ("at", "what")
    list_filter = (EventTypeFilter, RoleFilter, EventTimeFilter)
    ordering = ("-position",)
    search_fields = ("actor",)  # only switches the search on: see get_search_results
    search_help_text = "A trace, a subject, a name"

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        # How many events there are is for those who may read all of them.
        sees_all = may_read(request) and request.user.has_perm("audit_app.read_everything")
        context = {"seal": read_seal_status() if sees_all else None}
        return super().changelist_view(request, context | (extra_context or {}))

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> tuple["QuerySet[Any]", bool]:
        """Match trace, subject, actor and type exactly, since each has an index."""
        term = search_term.strip()
        if not term:
            return queryset, False
        try:
            return queryset.filter(Q(trace_id=UUID(term)) | Q(subject_id=UUID(term))), False
        except ValueError:
            names = [Q(actor=name) for name in (term, f"human:{term}", f"agent:{term}")]
        latest = Event.objects.order_by("-position").values("pk")
        # If none of them matched, one query for all would make PostgreSQL read the whole trail.
        matching = [each for each in (*names, Q(event_type=term)) if latest.filter(each)[:1]]
        return (queryset.filter(reduce(or_, matching)) if matching else queryset.none()), False

    @admin.display(description="Time (UTC)")
    def at(self, event: Event) -> SafeString:
        return moment(event.timestamp)

    @admin.display(description="Event")
    def what(self, event: Event) -> SafeString:
        return visible(event.event_type)

    @admin.display(description="By")
    def by(self, event: Event) -> SafeString:
        return who(event.actor)

    @admin.display(description="Subject")
    def subject(self, event: Event) -> SafeString:
        link = subject_link(event)
        if link is None:
            return format_html("{}", _name_subject(event.subject_type, event.subject_id))
        return format_html('<a class="o-link" href="{}">{}</a>', link.href, link.text)

    @admin.display(description="From → to")
    def change(self, event: Event) -> str:
        return _join_states(event.from_state, event.to_state)

    def detail(self, request: HttpRequest, row: Event) -> dict[str, Any]:
        return {
            "title": row.event_type,
            "lead": f"by {row.actor}",
            "facts": [
                ("Time", row.timestamp),
                ("Subject", subject_link(row) or f"{row.subject_type} {row.subject_id}"),
                ("From", row.from_state),
                ("To", row.to_state),
                ("Role", row.role),
                ("Trace", trace_link(row.trace_id)),
                ("Number", f"{row.seq} of its subject, {row.position} of the trail"),
                ("Event", row.pk),
                ("Seal", _proof_link(row)),
            ],
            "author": "ours",
            "documents": [("Details", json.loads(row.entry)["metadata"])],
            "texts": [("Entry as written", row.entry)],
        }


from audit_app.webhooks import admin as webhook_admin  # noqa: E402, F401  # registers itself
