"""The admin's pages of tasks: read-only, each with its approvals."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Prefetch, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from approvals_app.decisions.erasure import erase_payload, may_erase
from approvals_app.models import Approval, Vote
from approvals_app.payload.sensitive import mask
from approvals_app.review.navigation import list_history_tabs
from audit_app.base.csv_export import show, show_state
from audit_app.base.errors import NotFound, OrchestratorError
from audit_app.base.text_safety import badge, in_a_list, moment, visible
from audit_app.models import Event
from audit_app.trail.bulk import ended_states
from audit_app.ui.admin_base import (
    ExactFilter,
    RecentFilter,
    RoleFilter,
    WordsAdmin,
    actor_of,
    change_url,
    trace_link,
)
from audit_app.ui.state_diagram import build_state_diagram, list_past_states
from sessions_app.admin import link_to
from sessions_app.models import Task, title_of

RECENT_TASKS = 500
MAX_REASON = 2_000


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

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        tabs = {"title": "Tasks", "tabs": list_history_tabs(request)}
        return super().changelist_view(request, tabs | (extra_context or {}))

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

    def get_urls(self) -> list[URLPattern]:
        erase: Callable[..., HttpResponse] = self.admin_site.admin_view(self.erase_view)
        erase_path = path("<uuid:task_id>/erase/", erase, name="sessions_app_task_erase")
        return [erase_path, *super().get_urls()]

    def erase_view(self, request: HttpRequest, task_id: UUID) -> HttpResponse:
        """Erase the payload of a task, as its page asked."""
        if request.method != "POST" or not may_erase(actor_of(request)):
            raise PermissionDenied
        reason = request.POST.get("reason", "").strip()[:MAX_REASON]
        keep_result = "keep_result" in request.POST
        if not reason:
            messages.error(request, "Say why you erase the payload.")
            return redirect(change_url(Task, task_id))
        try:
            erase_payload(task_id, by=actor_of(request), reason=reason, keep_result=keep_result)
        except NotFound as error:
            raise Http404(str(error)) from error
        except OrchestratorError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, "The payload is erased.")
        return redirect(change_url(Task, task_id))

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
                *_describe_cancellation(row),
                ("Claimed by", link_to(row.claimed_by, actor)),
                ("Lease until", row.lease_expires_at),
                ("Task", row.pk),
                ("Trace", trace_link(row.trace_id)),
            ],
            "erased": row.erased,
            "can_erase": may_erase(actor) and not row.erased and row.status in ended_states(Task),
            "has_result": row.result is not None or row.error is not None,
            "erase_url": reverse("admin:sessions_app_task_erase", args=[row.pk]),
            "documents": [
                # Sensitive values are shown where it can be recorded: on the page of an approval.
                *([] if row.erased else [("Data", mask(row.data)), ("Context", mask(row.context))]),
                *([("Result", mask(row.result))] if row.result is not None else []),
                *([("Error", mask(row.error))] if row.error is not None else []),
            ],
            "machine": build_state_diagram(row, list_past_states(row)),
            "timeline": ("task", row.pk),
            "payload_digest": row.payload_digest,
            "approvals": _select_approvals(row),
        }


def _select_approvals(task: Task) -> "QuerySet[Approval]":
    votes = Prefetch("votes", Vote.objects.select_related("voter", "seat_of"))
    approvals = Approval.objects.filter(task=task).select_related("decided_by")
    return approvals.prefetch_related(votes).order_by("created_at", "id")


def _describe_cancellation(task: Task) -> list[tuple[str, str]]:
    """Who cancelled ``task``, and why, as a fact of its page; [] where nobody did."""
    if task.status != Task.Status.CANCELLED:
        return []
    events = Event.objects.filter(subject_type=task.subject_type, subject_id=task.pk)
    event = events.filter(to_state=task.status).order_by("-seq").first()
    if event is None:
        return []
    _, _, name = event.actor.partition(":")
    reason = event.metadata.get("reason", "")
    return [("Cancelled", f"by {name}: {reason}" if reason else f"by {name}")]
