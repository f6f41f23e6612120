"""The reviewers' pages: the list of approvals, the decision page, editing and bulk decisions."""

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from approvals_app.decisions import break_glass, delegations, eligibility, operations, requirements
from approvals_app.decisions.bulk import DECISIONS, decide
from approvals_app.decisions.recall import Then, recall
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
    RecallTooLate,
    SecondFactorRequired,
    SeparationOfDuties,
)
from approvals_app.models import Approval
from approvals_app.payload import questions
from approvals_app.review import inbox, presence
from approvals_app.review.decision import list_delegates, load_decision
from approvals_app.review.forms import LONGEST_NOTES, DecisionForm, EditForm
from approvals_app.review.inbox_views import inbox_url
from audit_app.base import text_safety
from audit_app.base.connections import release_connection
from audit_app.base.errors import Conflict, Invalid, NotFound, OrchestratorError
from audit_app.base.text_safety import badge, in_a_list, moment, visible
from audit_app.http.serializers import UUID_TEXT
from audit_app.ui.admin_base import RecentFilter, RoleFilter, WordsAdmin, actor_of
from sessions_app.models import Task

MAX_BULK_DECISIONS = 50
MISSING_PROOFS = (ReauthenticationRequired, SecondFactorRequired)
DRAFT_NOTES = "notes_kept"
IDENTITY_CONFIRMED = "Confirmed. Nothing was decided yet: choose again."


class ApproverRoleFilter(RoleFilter):
    field = "approver_role"


@admin.register(Approval)
class ApprovalAdmin(WordsAdmin):
    """Every approval that the reader may see. Each is decided on its page."""

    list_display = ("task_name", "requester", "role", "state", "requested_at", "decider")
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
    def task_name(self, approval: Approval) -> SafeString:
        return in_a_list(approval.task.title)

    @admin.display(description="Requested by")
    def requester(self, approval: Approval) -> SafeString:
        return visible(f"{approval.task.agent.name} ({approval.task.from_role})")

    @admin.display(description="Of")
    def role(self, approval: Approval) -> SafeString:
        return visible(approval.approver_role)

    @admin.display(description="State")
    def state(self, approval: Approval) -> SafeString:
        return badge(approval.status)

    @admin.display(description="Requested")
    def requested_at(self, approval: Approval) -> SafeString:
        return moment(approval.created_at)

    @admin.display(description="Decided by")
    def decider(self, approval: Approval) -> str:
        return approval.decided_by.get_username() if approval.decided_by else ""

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show everything about one approval; a POST runs the operation that decides on it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            approval_id = UUID(object_id)
        except ValueError:
            raise Http404("No approval has this id.") from None
        # Django's own change form is never used: it would save the row without an operation.
        if request.method == "POST":
            return self._decide(request, approval_id)
        return self._page(request, approval_id)

    def get_urls(self) -> list[URLPattern]:
        edit: Callable[..., HttpResponse] = self.admin_site.admin_view(self.edit_view)
        bulk: Callable[..., HttpResponse] = self.admin_site.admin_view(self.bulk_view)
        payload: Callable[..., HttpResponse] = self.admin_site.admin_view(self.payload_view)
        return [
            path("<uuid:approval_id>/edit/", edit, name="approvals_app_approval_edit"),
            path("<uuid:approval_id>/payload/", payload, name="approvals_app_approval_payload"),
            path("bulk/", bulk, name="approvals_app_approval_bulk"),
            *super().get_urls(),
        ]

    def _decide(self, request: HttpRequest, approval_id: UUID) -> HttpResponse:
        form = DecisionForm(request.POST)
        if not form.is_valid():
            problem = " ".join(str(error) for errors in form.errors.values() for error in errors)
            return self._page(request, approval_id, refusal=problem, status=400)
        try:
            message = _run_decision(request, approval_id, form.cleaned_data)
        except NotFound as error:
            raise Http404(str(error)) from error
        except MISSING_PROOFS:
            # Keep the comment: the reviewer returns from the proof by a GET.
            request.session[DRAFT_NOTES] = {str(approval_id): form.cleaned_data["notes"]}
            return redirect(
                f"{reverse('signin:prove')}?{urlencode({'next': request.get_full_path()})}"
            )
        except OrchestratorError as error:
            return self._page(
                request, approval_id, refusal=explain_refusal(error), status=_http_status(error)
            )
        messages.success(request, message)
        return redirect(inbox_url(request, done=approval_id))

    def edit_view(self, request: HttpRequest, approval_id: UUID) -> HttpResponse:
        """Edit the payload. Somebody else then has to approve the revision."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            context = load_decision(approval_id, actor_of(request))
        except NotFound as error:
            raise Http404(str(error)) from error
        refusal, status = "", 200
        if request.method == "POST":
            form = EditForm(request.POST)
            if form.is_valid():
                changes = form.cleaned_data
                changes["data"], changes["context"] = (
                    changes.pop("data_json"),
                    changes.pop("context_json"),
                )
                try:
                    operations.edit(approval_id, by=actor_of(request), **changes)
                except MISSING_PROOFS:
                    proof = urlencode({"next": request.get_full_path()})
                    return redirect(f"{reverse('signin:prove')}?{proof}")
                except OrchestratorError as error:
                    refusal, status = explain_refusal(error), _http_status(error)
                    # Somebody else may have been faster: show what waits now.
                    context = load_decision(approval_id, actor_of(request))
                else:
                    message = "Revision saved. Somebody else has to approve it."
                    messages.success(request, message)
                    return redirect(inbox_url(request, done=approval_id))
            else:
                refusal = " ".join(str(e) for errors in form.errors.values() for e in errors)
                status = 400
        values = {
            "description": request.POST.get("description", context.payload["description"]),
            "data": request.POST.get("data_json", text_safety.pretty(context.payload["data"])),
            "context": request.POST.get(
                "context_json", text_safety.pretty(context.payload["context"])
            ),
            "notes": request.POST.get("notes", ""),
        }
        obstacle = context.obstacle and not isinstance(context.obstacle, MISSING_PROOFS)
        return self.page(
            request,
            "admin/approvals_app/edit.html",
            status=status,
            title=f"Edit {context.task.task_type}",
            decision=context,
            values=values,
            kept=request.method == "POST",
            decision_url=_page_url(approval_id, request.GET),
            refusal=refusal,
            obstacle=obstacle and explain_refusal(context.obstacle),  # type: ignore[arg-type]
            longest_notes=LONGEST_NOTES,
        )

    def payload_view(self, request: HttpRequest, approval_id: UUID) -> HttpResponse:
        """The whole payload: as JSON in ASCII, or with ``?exact`` the bytes whose digest is
        approved, as a file."""
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied
        try:
            approval = Approval.objects.visible_to(actor_of(request)).one(approval_id)
        except NotFound as error:
            raise Http404(str(error)) from error
        if "exact" in request.GET:
            name = f'attachment; filename="{approval.payload_digest}.json"'
            headers = {"Content-Disposition": name}
            return HttpResponse(
                approval.task.payload_bytes, "application/octet-stream", headers=headers
            )
        # ASCII has no letters that look alike, and escapes show what is hidden.
        payload = json.loads(approval.task.payload)
        text = json.dumps(payload, indent=2, sort_keys=True).replace("\x7f", "\\u007f")
        return HttpResponse(text, "text/plain; charset=us-ascii")

    def bulk_view(self, request: HttpRequest) -> HttpResponse:
        """Decide on several approvals: first show each with its digest, then decide one by one."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        # Chosen by GET, so that the choice survives a reload and another sign-in.
        chosen = request.POST.getlist("approval") or request.GET.getlist("approval")
        ids = [UUID(text) for text in chosen if UUID_TEXT.fullmatch(text)]
        decision = request.POST.get("decision")
        if not ids or len(ids) > MAX_BULK_DECISIONS:
            messages.error(request, f"Select 1 to {MAX_BULK_DECISIONS} requests.")
            return redirect(inbox_url(request))
        outcomes: dict[UUID, str] = {}
        if decision in DECISIONS:
            # Only the comment is validated here: each approval has a digest of its own.
            form = DecisionForm(
                {"decision": decision, "payload_digest": "0" * 64}
                | {"notes": request.POST.get("notes", "")}
            )
            if not form.is_valid():
                raise BadRequest("The comment can't be saved.")
            requests = [
                {
                    "approval_id": pk,
                    "decision": decision,
                    "payload_digest": request.POST.get(f"digest.{pk}", ""),
                    "notes": form.cleaned_data["notes"],
                }
                for pk in ids
            ]
            for outcome in decide(requests, by=actor_of(request)):
                refusal = outcome.refusal
                outcomes[outcome.approval_id] = explain_refusal(refusal) if refusal else ""
        # Loaded after the decisions, so that the page shows their outcome.
        rows = inbox.load_rows(actor_of(request), ids)
        items = [{"row": row, "outcome": outcomes.get(row.approval.pk)} for row in rows]
        return self.page(
            request,
            "admin/approvals_app/bulk.html",
            title="Review requests",
            items=items,
            decided=bool(outcomes),
            decision=decision,
            refused=sum(bool(text) for text in outcomes.values()),
            done=sum(not text for text in outcomes.values()),
            notes=request.POST.get("notes", ""),
            longest_notes=LONGEST_NOTES,
            inbox_url=inbox_url(request),
        )

    def _page(
        self, request: HttpRequest, approval_id: UUID, *, refusal: str = "", status: int = 200
    ) -> HttpResponse:
        try:
            decision = load_decision(approval_id, actor_of(request))
        except NotFound as error:
            raise Http404(str(error)) from error
        # A view counts only while there is something to decide: min_review_time is measured by it.
        view_time = timedelta()
        if decision.approval.status == Approval.Status.PENDING:
            view_time = presence.record_view(approval_id, request.user)
        obstacle, draft, confirmed = decision.obstacle, "", False
        if isinstance(obstacle, MISSING_PROOFS):
            obstacle = None  # the proof is asked for when they decide
        elif str(approval_id) in request.session.get(DRAFT_NOTES, {}):
            # They come back from proving who they are: give them their comment back.
            draft = request.session.pop(DRAFT_NOTES)[str(approval_id)]
            confirmed = obstacle is None
            if confirmed:
                messages.info(request, IDENTITY_CONFIRMED)
        context = {
            "title": decision.task.task_type,
            "budget": text_safety.budget.get(),
            "decision": decision,
            "approval": decision.approval,
            "task": decision.task,
            "refusal": refusal,
            "obstacle": obstacle and explain_refusal(obstacle),
            "confirmed": confirmed,
            "too_late": isinstance(decision.recall_refusal, RecallTooLate)
            and explain_refusal(decision.recall_refusal),
            "inbox_url": inbox_url(request),
            "notes": request.POST.get("notes", draft),
            "longest_notes": LONGEST_NOTES,
            "own_vote": decision.vote_of(actor_of(request)),
            "can_withdraw": eligibility.can_withdraw_votes(decision.approval),
            "can_break_glass": eligibility.BREAK_GLASS in actor_of(request).rights,
            "delegates": list_delegates(actor_of(request)) if not obstacle else [],
            "fields": questions.build_fields(decision.task, request.POST),
            "to_type": requirements.text_to_type(decision.approval),
            "typed": request.POST.get("typed", ""),
            "seconds_left": requirements.seconds_left(decision.approval, view_time),
        }
        response: Any = self.page(
            request, "admin/approvals_app/decision.html", status=status, **context
        )
        # Drawn here, after the last query: a hostile payload takes a while.
        release_connection()
        return cast("HttpResponse", response.render())


def _run_decision(request: HttpRequest, approval_id: UUID, form: dict[str, Any]) -> str:
    """Run the operation that the form asks for; return the message for the reviewer.

    Raises OrchestratorError where the operation refuses.
    """
    by, notes = actor_of(request), form["notes"]
    bound = {"by": by, "payload_digest": form["payload_digest"]}
    match form["decision"]:
        case "approve":
            task = Approval.objects.visible_to(by).select_related("task").one(approval_id).task
            answer = questions.parse_answer(task, request.POST)
            arguments = {"notes": notes, "answer": answer, "typed": form["typed"]}
            approval = operations.approve(approval_id, **arguments, **bound)
            missing = approval.needed - sum(v.choice == "yes" for v in approval.votes_cast)
            if missing > 0:
                return f"Your approval is recorded. {missing} more needed."
            return _describe_approved(approval)
        case "reject":
            approval = operations.reject(approval_id, notes=notes, **bound)
            if approval.status == Approval.Status.PENDING:
                return "Your rejection is recorded. More are needed to reject the task."
            return "Request rejected."
        case "request_changes":
            operations.request_changes(approval_id, message=notes, **bound)
            return "Changes requested. Approval is blocked until the agent sends a revision."
        case "withdraw_vote":
            operations.withdraw_vote(approval_id, by=by, reason=notes)
            return "Vote withdrawn."
        case "delegate":
            delegations.delegate(approval_id, by=by, to=form["to"].strip(), reason=notes)
            return f"{form['to'].strip()} can now decide for you."
        case "recall_cancel":
            recall(approval_id, by=by, reason=notes, then=Then.CANCEL)
            return "Recalled. The task is cancelled."
        case "recall_wait":
            recall(approval_id, by=by, reason=notes, then=Then.WAIT)
            return "Recalled. The task waits for approval again."
        case _:
            break_glass.break_glass(approval_id, reason=notes, **bound)
            return "Approved without the others. They were notified to review it."


def _describe_approved(approval: Approval) -> str:
    if approval.task.status != Task.Status.APPROVED or approval.override_id:
        return "Request approved."
    return format_html(
        "Request approved. Until an agent claims the task, you can "
        '<a class="o-link" href="{}">recall it</a>.',
        f"{_page_url(approval.pk)}#recall",
    )


def _page_url(approval_id: UUID, query: QueryDict | None = None) -> str:
    """The page of one decision; ``query`` says where in the inbox it was opened."""
    path = reverse("admin:approvals_app_approval_change", args=[approval_id])
    return f"{path}?{query.urlencode()}" if query else path


def _http_status(error: OrchestratorError) -> int:
    return 409 if isinstance(error, Conflict) else 400 if isinstance(error, Invalid) else 403


def explain_refusal(error: OrchestratorError) -> str:
    """Say why a decision can't be made, to the person who tried to make it."""
    match error:
        case AlreadyDecided():
            return _describe_outcome(error.data)
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
        case RecallTooLate():
            return f"It is too late to recall this: {_describe_claim(error.data)}."
        case _:
            return str(error)


def _describe_outcome(data: dict[str, Any]) -> str:
    when, who = _format_moment(data["decision_at"]), data["decided_by"]
    match data["state"]:
        case "approved" | "rejected" as verb:
            return f"{who} {verb} this {when}."
        case "expired":
            return f"Expired {when}, before anybody decided."
        case _:
            # "nobody": a deadline or another rule of the system.
            by = f" by {who}" if who != "nobody" else ""
            return f"Withdrawn{by} {when}: {data.get('why') or 'nothing waits for it any more.'}"


def _describe_claim(data: dict[str, Any]) -> str:
    return f"{data['claimed_by']} claimed the task {_format_moment(data['claimed_at'])}"


def _format_moment(text: str) -> str:
    return f"on {timezone.localtime(datetime.fromisoformat(text)):%-d %B %Y at %H:%M %Z}"
