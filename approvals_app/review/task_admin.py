"""The admin's pages of tasks: read-only, each with its approvals."""

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.safestring import SafeString

from audit_app.base.csv_export import show, show_state
from audit_app.base.text_safety import badge, in_a_list, moment, visible
from audit_app.ui.admin_base import (
    ExactFilter,
    RecentFilter,
    RoleFilter,
    WordsAdmin,
    actor_of,
    trace_link,
)
from audit_app.ui.state_diagram import build_state_diagram, list_past_states
from sessions_app.admin import link_to
from sessions_app.models import Task, title_of

RECENT_TASKS = 500


class TaskTypeFilter(ExactFilter):
    """Offers the types of the newest RECENT_TASKS tasks."""

    title = parameter_name = "type"
    field = "task_type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        # SELECT DISTINCT over all tasks would read the whole table.
        tasks = Task.objects.listed_to(actor_of(request)).order_by("-created_at", "-id")
        types = set(tasks.values_list("task_type", flat=True)[:RECENT_TASKS])
        return [(name, name) for name in sorted(types)]


class TaskRoleFilter(RoleFilter):
    field = "to_role"


@admin.register(Task)
class TaskAdmin(WordsAdmin):
    """The tasks that agents route to roles, newest first."""

    list_display = ("task_name", "requester", "target_role", "state", "routed_at")
    list_display_links = ("task_name",)
    list_filter = ("status", TaskTypeFilter, TaskRoleFilter, RecentFilter)
    exported = (
        show("Task", "description", "task_type", format=title_of),
        show("Requested by", "agent__name", "from_role", format="{} ({})".format),
        show("Of", "to_role"),
        show_state("State", "status"),
        show("Routed", "created_at"),
        "task_type",
        "verdict",
        "policy",
        "updated_at",
        "id",
        "payload_digest",
        "trace_id",
    )
    search_fields = ("description",)
    list_select_related = ("agent",)
    detail_template = "admin/sessions_app/task.html"

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        rows = super().get_queryset(request)
        return rows.select_related("agent", "session", "claimed_by", "claimed_session")

    @admin.display(description="Task")
    def task_name(self, task: Task) -> SafeString:
        return in_a_list(task.title)

    @admin.display(description="Requested by")
    def requester(self, task: Task) -> SafeString:
        return visible(f"{task.agent.name} ({task.from_role})")

    @admin.display(description="Of")
    def target_role(self, task: Task) -> SafeString:
        return visible(task.to_role)

    @admin.display(description="State")
    def state(self, task: Task) -> SafeString:
        return badge(task.status)

    @admin.display(description="Routed")
    def routed_at(self, task: Task) -> SafeString:
        return moment(task.created_at)

    def detail(self, request: HttpRequest, row: Task) -> dict[str, Any]:
        actor = actor_of(request)
        return {
            "title": row.task_type,
            "state": row.status,
            "lead": row.description,
            "facts": [
                ("Requested by", link_to(row.agent, actor)),
                ("Role", row.from_role),
                ("Target role", row.to_role),
                ("Session", link_to(row.session, actor)),
                ("Routed", row.created_at),
                ("Last change", row.updated_at),
                ("Claimed by", link_to(row.claimed_by, actor)),
                ("Lease until", row.lease_expires_at),
                ("Task", row.pk),
                ("Trace", trace_link(row.trace_id)),
            ],
            "documents": [
                ("Data", row.data),
                ("Context", row.context),
                *([("Result", row.result)] if row.result is not None else []),
                *([("Error", row.error)] if row.error is not None else []),
            ],
            "machine": build_state_diagram(row, list_past_states(row)),
            "timeline": ("task", row.pk),
            "payload_digest": row.payload_digest,
            "approvals": row.approvals.select_related("decided_by").order_by("created_at", "id"),
        }
