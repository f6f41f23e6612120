"""The reviewers' pages: what waits for them, and the page that a decision is made on."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from approvals_app.decisions import break_glass, delegations, eligibility, operations, requirements
from approvals_app.decisions.bulk import DECISIONS, decide
from approvals_app.errors import (
    AlreadyDecided,
    ApprovalExpired,
    LookFirst,
    NotEligible,
    NotTyped,
    OneVoiceEach,
    OverrideOverdue,
    PayloadDigestMismatch,
    ReauthenticationRequired,
    SecondFactorRequired,
    SeparationOfDuties,
)
from approvals_app.models import Approval
from approvals_app.payload import questions
from approvals_app.review import decision as dossier
from approvals_app.review import inbox, presence
from approvals_app.review.forms import LONGEST_NOTES, DecisionForm, EditForm
from audit_app.base import text_safety
from audit_app.base.errors import Conflict, Invalid, NotFound, OrchestratorError
from audit_app.base.text_safety import badge, in_a_list, moment, visible
from audit_app.http.serializers import UUID_TEXT
from audit_app.ui.admin_base import RecentFilter, RoleFilter, WordsAdmin, actor_of

MOST_AT_ONCE = 50
PROOFS_MISSING = (ReauthenticationRequired, SecondFactorRequired)
NOTES_KEPT = "notes_kept"
PROVED = "Confirmed. Nothing was decided yet: choose again."


class ApproverRoleFilter(RoleFilter):
    field = "approver_role"


@admin.register(Approval)
class ApprovalAdmin(WordsAdmin):
    """Every approval that the reader may know of; its page is where it is decided."""

    list_display = ("asked", "asks", "role", "state", "requested", "decided")
    list_filter = ("status", ApproverRoleFilter, RecentFilter)
    exported = (
        "id",
        "task_id",
        "task__task_type",
        "task__agent__name",
        "task__from_role",
        "approver_role",
        "needed",
        "status",
        "created_at",
        "expires_at",
        "decided_by__username",
        "decision_at",
    )
    search_fields = ("task__description",)
    list_select_related = ("task__agent", "decided_by")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).select_related("task__agent", "decided_by")

    @admin.display(description="Approval")
    def asked(self, approval: Approval) -> SafeString:
        return in_a_list(approval.task.named)

    @admin.display(description="Requested by")
    def asks(self, approval: Approval) -> SafeString:
        return visible(f"{approval.task.agent.name} ({approval.task.from_role})")

    @admin.display(description="Of")
    def role(self, approval: Approval) -> SafeString:
        return visible(approval.approver_role)

    @admin.display(description="State")
    def state(self, approval: Approval) -> SafeString:
        return badge(approval.status)

    @admin.display(description="Requested")
    def requested(self, approval: Approval) -> SafeString:
        return moment(approval.created_at)

    @admin.display(description="Decided by")
    def decided(self, approval: Approval) -> str:
        return approval.decided_by.get_username() if approval.decided_by else ""

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show everything about one approval; a POST decides on it, by the operation alone."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            approval_id = UUID(object_id)
        except ValueError:
            raise Http404("No approval has this id.") from None
        if request.method == "POST":
            return self._decide(request, approval_id)
        return self._page(request, approval_id)

    def get_urls(self) -> list[URLPattern]:
        edit: Callable[..., HttpResponse] = self.admin_site.admin_view(self.edit_view)
        bulk: Callable[..., HttpResponse] = self.admin_site.admin_view(self.bulk_view)
        return [
            path("<uuid:approval_id>/edit/", edit, name="approvals_app_approval_edit"),
            path("bulk/", bulk, name="approvals_app_approval_bulk"),
            *super().get_urls(),
        ]

    def _decide(self, request: HttpRequest, approval_id: UUID) -> HttpResponse:
        form = DecisionForm(request.POST)
        if not form.is_valid():
            said = " ".join(str(error) for errors in form.errors.values() for error in errors)
            return self._page(request, approval_id, refused=said, status=400)
        try:
            done = _do(request, approval_id, form.cleaned_data)
        except NotFound as error:
            raise Http404(str(error)) from error
        except PROOFS_MISSING:
            request.session[NOTES_KEPT] = {str(approval_id): form.cleaned_data["notes"]}
            return redirect(f"{reverse('signin:prove')}?{urlencode({'next': request.path})}")
        except OrchestratorError as error:
            return self._page(request, approval_id, refused=explained(error), status=_status(error))
        messages.success(request, done)
        return redirect("admin:index")

    def edit_view(self, request: HttpRequest, approval_id: UUID) -> HttpResponse:
        """Change what will be done; somebody else has to approve it then."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            found = dossier.read(approval_id, actor_of(request))
        except NotFound as error:
            raise Http404(str(error)) from error
        refused, status = "", 200
        if request.method == "POST":
            form = EditForm(request.POST)
            if form.is_valid():
                given = form.cleaned_data
                given["data"], given["context"] = given.pop("data_json"), given.pop("context_json")
                try:
                    operations.edit(approval_id, by=actor_of(request), **given)
                except PROOFS_MISSING:
                    proof = urlencode({"next": request.path})
                    return redirect(f"{reverse('signin:prove')}?{proof}")
                except OrchestratorError as error:
                    refused, status = explained(error), _status(error)
                else:
                    said = "Revision saved. Somebody else has to approve it."
                    messages.success(request, said)
                    return redirect("admin:index")
            else:
                refused = " ".join(str(e) for errors in form.errors.values() for e in errors)
                status = 400
        shown = {
            "description": request.POST.get("description", found.payload["description"]),
            "data": request.POST.get("data_json", text_safety.pretty(found.payload["data"])),
            "context": request.POST.get(
                "context_json", text_safety.pretty(found.payload["context"])
            ),
            "notes": request.POST.get("notes", ""),
        }
        obstacle = found.obstacle and not isinstance(found.obstacle, PROOFS_MISSING)
        return self.page(
            request,
            "admin/approvals_app/edit.html",
            status=status,
            title=f"Edit {found.task.task_type}",
            dossier=found,
            shown=shown,
            refused=refused,
            obstacle=obstacle and explained(found.obstacle),  # type: ignore[arg-type]
            longest_notes=LONGEST_NOTES,
        )

    def bulk_view(self, request: HttpRequest) -> HttpResponse:
        """Several decisions: first each is shown with its digest, then each is made by itself."""
        if request.method != "POST" or not self.has_view_permission(request):
            raise PermissionDenied
        ids = [UUID(text) for text in request.POST.getlist("approval") if UUID_TEXT.fullmatch(text)]
        decision = request.POST.get("decision")
        if not ids or len(ids) > MOST_AT_ONCE:
            messages.error(request, f"Select 1 to {MOST_AT_ONCE} requests.")
            return redirect("admin:index")
        outcomes: dict[UUID, str] = {}
        if decision in DECISIONS:
            form = DecisionForm(
                {"decision": decision, "payload_digest": "0" * 64}
                | {"notes": request.POST.get("notes", "")}
            )
            if not form.is_valid():
                raise BadRequest("The comment can't be saved.")
            wanted = [
                {
                    "approval_id": pk,
                    "decision": decision,
                    "payload_digest": request.POST.get(f"digest.{pk}", ""),
                    "notes": form.cleaned_data["notes"],
                }
                for pk in ids
            ]
            for outcome in decide(wanted, by=actor_of(request)):
                refusal = outcome.refusal
                outcomes[outcome.approval_id] = explained(refusal) if refusal else ""
        rows = inbox.several(actor_of(request), ids)
        items = [{"row": row, "outcome": outcomes.get(row.approval.pk)} for row in rows]
        return self.page(
            request,
            "admin/approvals_app/bulk.html",
            title="Review requests",
            items=items,
            decided=bool(outcomes),
            decision=decision,
            refused=sum(bool(said) for said in outcomes.values()),
            done=sum(not said for said in outcomes.values()),
            notes=request.POST.get("notes", ""),
            longest_notes=LONGEST_NOTES,
        )

    def _page(
        self, request: HttpRequest, approval_id: UUID, *, refused: str = "", status: int = 200
    ) -> HttpResponse:
        try:
            found = dossier.read(approval_id, actor_of(request))
        except NotFound as error:
            raise Http404(str(error)) from error
        looked = timedelta()
        if found.approval.status == Approval.Status.PENDING:
            looked = presence.looked(approval_id, request.user)
        obstacle, kept = found.obstacle, ""
        if isinstance(obstacle, PROOFS_MISSING):
            obstacle = None  # whoever tries to decide is asked for the proof then
        elif str(approval_id) in request.session.get(NOTES_KEPT, {}):
            kept = request.session.pop(NOTES_KEPT)[str(approval_id)]
            if obstacle is None:
                messages.info(request, PROVED)
        context = {
            "title": found.task.task_type,
            "dossier": found,
            "approval": found.approval,
            "task": found.task,
            "refused": refused,
            "obstacle": obstacle and explained(obstacle),
            "notes": request.POST.get("notes", kept),
            "longest_notes": LONGEST_NOTES,
            "own": found.voice_of(actor_of(request)),
            "can_take_back": eligibility.can_withdraw_votes(found.approval),
            "can_break_glass": eligibility.BREAK_GLASS in actor_of(request).rights,
            "delegates": dossier.delegates(actor_of(request)) if not obstacle else [],
            "fields": questions.build_fields(found.task, request.POST),
            "to_type": requirements.text_to_type(found.approval),
            "typed": request.POST.get("typed", ""),
            "look_left": requirements.seconds_left(found.approval, looked),
        }
        return self.page(request, "admin/approvals_app/decision.html", status=status, **context)


def _do(request: HttpRequest, approval_id: UUID, given: dict[str, Any]) -> str:
    """Run the one operation that the form asks for; what to say when it is done."""
    by, notes = actor_of(request), given["notes"]
    seen = {"by": by, "payload_digest": given["payload_digest"]}
    match given["decision"]:
        case "approve":
            task = Approval.objects.visible_to(by).select_related("task").one(approval_id).task
            answer = questions.parse_answer(task, request.POST)
            said = {"notes": notes, "answer": answer, "typed": given["typed"]}
            approval = operations.approve(approval_id, **said, **seen)
            missing = approval.needed - sum(v.choice == "yes" for v in approval.votes_cast)
            if missing > 0:
                return f"Your approval is recorded. {missing} more needed."
            return "Request approved."
        case "reject":
            approval = operations.reject(approval_id, notes=notes, **seen)
            if approval.status == Approval.Status.PENDING:
                return "Your rejection is recorded. More are needed to reject the task."
            return "Request rejected."
        case "request_changes":
            operations.request_changes(approval_id, message=notes, **seen)
            return "Changes requested. Approval is blocked until the agent sends a revision."
        case "withdraw_vote":
            operations.withdraw_vote(approval_id, by=by, reason=notes)
            return "Vote withdrawn."
        case "delegate":
            delegations.delegate(approval_id, by=by, to=given["to"].strip(), reason=notes)
            return f"{given['to'].strip()} can now decide for you."
        case _:
            break_glass.break_glass(approval_id, reason=notes, **seen)
            return "Approved without the others. They were notified to review it."


def _status(error: OrchestratorError) -> int:
    return 409 if isinstance(error, Conflict) else 400 if isinstance(error, Invalid) else 403


def explained(error: OrchestratorError) -> str:
    """Why a decision can't be made, to the person who wanted to make it."""
    match error:
        case AlreadyDecided():
            return _who_was_first(error.data)
        case ApprovalExpired():
            return "The deadline has passed; this can no longer be decided."
        case PayloadDigestMismatch():
            return "Nothing was decided: the task changed since you opened it. Read it again below."
        case NotEligible():
            return f"Only members of {error.data['role']} can decide this."
        case SeparationOfDuties():
            return f"Somebody else has to decide: {error.data['why']}"
        case OneVoiceEach():
            return "You already voted on this task. Each person votes once."
        case LookFirst():
            return f"You can approve in {error.data['seconds_left']} s (required by policy)."
        case NotTyped():
            return "What you typed does not match. Nothing was approved."
        case OverrideOverdue():
            return "The review of an earlier override is overdue; it comes first."
        case _:
            return str(error)


def _who_was_first(told: dict[str, Any]) -> str:
    at = timezone.localtime(datetime.fromisoformat(told["decision_at"]))
    when = f"on {at:%-d %B %Y at %H:%M %Z}"
    match told["state"]:
        case "approved" | "rejected" as done:
            return f"{told['decided_by']} {done} this {when}."
        case "expired":
            return f"Expired {when}, before anybody decided."
        case _:
            return f"Withdrawn {when}."
