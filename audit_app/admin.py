"""The trail in the admin, and what every read-only page of ours is made of."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from audit_app.actors import Actor
from audit_app.models import Event


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in person as an Actor, asked of the database once a request."""
    known: Actor | None = getattr(request, "actor", None)
    if known is None:
        known = Actor.human(request.user)
        request.actor = known  # type: ignore[attr-defined]
    return known


class ReadOnlyAdmin(ModelAdmin):  # type: ignore[misc]  # untyped library
    """Rows that people may read, each their own, and nobody changes here: state changes are
    operations, for superusers too."""

    actions = None
    show_full_result_count = False
    list_per_page = 50

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Reviewers, that is staff in a group, and auditors; which rows is visible_to's to say."""
        user = request.user
        if not (user.is_active and user.is_staff):
            return False
        actor = actor_of(request)
        return bool(actor.roles) or actor.auditor

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        rows: Any = super().get_queryset(request)
        visible: QuerySet[Any] = rows.visible_to(actor_of(request))
        return visible


@admin.register(Event)
class EventAdmin(ReadOnlyAdmin):
    list_display = (
        "timestamp", "event_type", "actor", "subject_type", "from_state", "to_state", "trace_id",
    )  # fmt: skip
    list_filter = ("event_type", "subject_type", "role", "timestamp")
    search_fields = ("trace_id", "subject_id", "actor")
    search_help_text = "A trace id, a subject's id, or an actor such as human:alice"
    ordering = ("-position",)
    fields = (
        "timestamp", "event_type", "actor", "role", "subject_type", "subject_id", "seq",
        "from_state", "to_state", "trace_id", "metadata", "entry",
    )  # fmt: skip
