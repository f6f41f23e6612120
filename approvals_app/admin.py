"""What a reviewer sees and does: the inbox, and one page to decide on."""

from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.core.paginator import Paginator
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import reverse

from approvals_app import inbox, operations
from approvals_app.models import Approval
from audit_app.admin import ReadOnlyAdmin, actor_of
from audit_app.errors import Conflict, OrchestratorError

ROWS = 20
DECISIONS = {
    "approve": (operations.approve, "Approved: {}"),
    "reject": (operations.reject, "Rejected: {}"),
}


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The admin's first page is the inbox (UNFOLD["DASHBOARD_CALLBACK"])."""
    waiting = inbox.waiting_for(actor_of(request))
    page = Paginator(waiting, ROWS).get_page(request.GET.get("page"))
    rows = [
        {
            "approval": approval,
            "sentence": inbox.sentence(approval.task),
            "amount": inbox.amount(approval.task),
        }
        for approval in page
    ]
    title = f"{page.paginator.count} waiting for you" if rows else "Nothing waits for you"
    return context | {"title": title, "page": page, "rows": rows, "roles": actor_of(request).roles}


def badge(request: HttpRequest) -> int | None:
    """How many wait, for the sidebar; nothing where none do."""
    return inbox.waiting_for(actor_of(request)).count() or None


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "what", "approver_role", "status", "decided_by", "decision_at")
    list_filter = ("status", "approver_role", "created_at")
    list_select_related = ("task", "decided_by")
    search_fields = ("id", "task__id", "task__description")
    search_help_text = "An approval's or a task's id, or words of the task's description"

    @admin.display(description="What")
    def what(self, approval: Approval) -> str:
        return inbox.sentence(approval.task)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The decision page. A POST is a click on approve or reject, and goes through the
        operation; whoever may not decide is refused there, whatever they post."""
        approval = self._visible(request, object_id)
        if request.method == "POST":
            return self._decide(request, approval)
        return self._page(request, approval)

    def _visible(self, request: HttpRequest, object_id: str) -> Approval:
        try:
            pk = UUID(object_id)
        except ValueError:
            raise Http404 from None
        rows = self.get_queryset(request).select_related("task__agent__owner", "task__session")
        approval: Approval | None = rows.select_related("decided_by").filter(pk=pk).first()
        if approval is None:
            raise Http404
        return approval

    def _decide(self, request: HttpRequest, approval: Approval) -> HttpResponse:
        decision = DECISIONS.get(request.POST.get("decision", ""))
        notes = request.POST.get("notes", "").replace("\r\n", "\n")
        if decision is None:
            return self._page(request, approval, "Choose approve or reject.", notes, status=400)
        operation, told = decision
        try:
            operation(
                approval.pk,
                by=actor_of(request),
                payload_digest=request.POST.get("payload_digest", ""),
                notes=notes,
            )
        except OrchestratorError as error:
            status = 409 if isinstance(error, Conflict) else 403
            fresh = self._visible(request, str(approval.pk))
            return self._page(request, fresh, str(error), notes, status=status)
        messages.success(request, told.format(inbox.sentence(approval.task)))
        return redirect(reverse("admin:index"))

    def _page(
        self,
        request: HttpRequest,
        approval: Approval,
        problem: str = "",
        notes: str = "",
        *,
        status: int = 200,
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": approval.task.task_type,
            "opts": self.opts,
            "decision": inbox.decision(approval, actor_of(request)),
            "problem": problem,
            "notes": notes,
        }
        return TemplateResponse(
            request, "admin/approvals_app/decision.html", context, status=status
        )
