"""The reviewers' pages: the list of approvals, the decision page, editing and bulk decisions."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, cast
from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString
from unfold.views import ChangeList

from approvals_app.decisions import break_glass, delegations, eligibility, operations, requirements
from approvals_app.decisions.bulk import DECISIONS, decide
from approvals_app.decisions.disclosure import MOST_NAMED, list_sensitive, show_sensitive
from approvals_app.decisions.recall import Then, recall
from approvals_app.errors import (
    AlreadyDecided,
    AlreadyDelegated,
    ApprovalExpired,
    DelegateExcluded,
    LookFirst,
    NotConfirmed,
    NotEligible,
    NotTyped,
    OneVoiceEach,
    OverrideOverdue,
    PayloadDigestMismatch,
    ReauthenticationRequired,
    RecallTooLate,
    SecondFactorRequired,
    SeparationOfDuties,
    SignatureInvalid,
    SignatureRequired,
    UnknownPerson,
)
from approvals_app.models import Approval, Vote
from approvals_app.notifications.time_zones import find_time_zone
from approvals_app.payload import questions
from approvals_app.payload.diffs import Line
from approvals_app.payload.sensitive import restore
from approvals_app.policy.evaluation import evaluate_revision_ahead
from approvals_app.review import (
    attention,
    drafts,
    editing,
    flow,
    inbox,
    navigation,
    outcomes,
    payload_files,
    presence,
    queue,
)
from approvals_app.review.bulk import Selection, describe_outcomes
from approvals_app.review.decision import DecisionContext, list_delegates, load_decision
from approvals_app.review.forms import (
    LONGEST_NOTES,
    REQUIRED_COMMENTS,
    BulkDecisionForm,
    DecisionForm,
    EditForm,
)
from approvals_app.review.inbox_views import inbox_url
from approvals_app.review.signing import answer_options, load_signing
from audit_app.base import text_safety
from audit_app.base.actors import Actor
from audit_app.base.connections import release_connection
from audit_app.base.csv_export import show, show_state
from audit_app.base.errors import Conflict, Invalid, NotFound, OrchestratorError
from audit_app.base.text_safety import badge, in_a_list, moment, visible
from audit_app.http.serializers import UUID_TEXT
from audit_app.ui.admin_base import RecentFilter, RoleFilter, WordsAdmin, actor_of
from sessions_app import freezes
from sessions_app.freeze_admin import may_freeze
from sessions_app.models import Task, title_of

MAX_BULK_DECISIONS = 50
TOO_MANY = f"Select at most {MAX_BULK_DECISIONS} requests."
MISSING_PROOFS = (ReauthenticationRequired, SecondFactorRequired)
IDENTITY_CONFIRMED = "Confirmed. Nothing was decided yet: choose again."
CONFIRMED_EDITOR = "Confirmed. Nothing was saved yet: save again."


COMMENTS = {
    "break_glass": "glass",
    "recall_cancel": "recall_reason",
    "recall_wait": "recall_reason",
}
"""The page's forms that have a comment of their own, by the decisions that they send."""

FIELDS_OF_REFUSALS: dict[type[OrchestratorError], str] = {
    NotTyped: "typed",
    NotConfirmed: "confirmed",
    UnknownPerson: "to",
    DelegateExcluded: "to",
    AlreadyDelegated: "to",
}
"""Beside which field of the form a refusal is shown; the others stand at the top of the page."""


class ApproverRoleFilter(RoleFilter):
    field = "approver_role"


class HistoryList(ChangeList):  # type: ignore[misc]  # untyped library
    """Its links say where they are, so that the decision page leads back."""

    def url_for_result(self, result: Approval) -> str:
        return f"{super().url_for_result(result)}?{navigation.FROM_HISTORY}=history"


@admin.register(Approval)
class ApprovalAdmin(WordsAdmin):
    """Every approval that the reader may see. Each is decided on its page."""

    list_display = ("task_name", "requester", "role", "state", "requested_at", "decider")
    list_filter = ("status", ApproverRoleFilter, RecentFilter)
    exported = (
        show("Approval", "task__description", "task__task_type", format=title_of),
        show("Requested by", "task__agent__name", "task__from_role", format="{} ({})".format),
        show("Of", "approver_role"),
        show_state("State", "status"),
        show("Requested", "created_at"),
        show("Decided by", "decided_by__username"),
        "decision_at",
        "expires_at",
        "needed",
        "task__task_type",
        "id",
        "task_id",
    )
    search_fields = ("task__description",)
    list_select_related = ("task__agent", "decided_by")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).select_related("task__agent", "decided_by")

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return HistoryList

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        tabs = {"title": "History", "tabs": navigation.list_history_tabs(request)}
        return super().changelist_view(request, tabs | (extra_context or {}))

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
        sign: Callable[..., HttpResponse] = self.admin_site.admin_view(self.sign_view)
        return [
            path("<uuid:approval_id>/edit/", edit, name="approvals_app_approval_edit"),
            path("<uuid:approval_id>/payload/", payload, name="approvals_app_approval_payload"),
            path("<uuid:approval_id>/sign/", sign, name="approvals_app_approval_sign"),
            path("bulk/", bulk, name="approvals_app_approval_bulk"),
            *super().get_urls(),
        ]

    def _decide(self, request: HttpRequest, approval_id: UUID) -> HttpResponse:
        form = DecisionForm(request.POST)
        if not form.is_valid():
            return self._page(request, approval_id, errors=_first_errors(form.errors), status=400)
        try:
            if flow.is_repeated(request, approval_id, form.cleaned_data):
                message = flow.RECORDED
            else:
                message = _run_decision(request, approval_id, form.cleaned_data)
        except NotFound as error:
            raise Http404(str(error)) from error
        except MISSING_PROOFS:
            return _ask_for_proof(request, request.path, request.get_full_path())
        except OrchestratorError as error:
            if not flow.is_repeated(request, approval_id, form.cleaned_data):
                errors = {FIELDS_OF_REFUSALS.get(type(error), ""): explain_refusal(error)}
                return self._page(request, approval_id, errors=errors, status=_http_status(error))
            message = flow.RECORDED
        drafts.forget_draft(request, request.path, approval_id)
        if flow.is_scripted(request):
            return flow.answer_recorded(message)
        messages.success(request, message)
        return redirect(inbox_url(request))

    def edit_view(self, request: HttpRequest, approval_id: UUID) -> HttpResponse:
        """Edit the payload. Somebody else then has to approve the revision."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        try:
            context = load_decision(approval_id, actor_of(request))
        except NotFound as error:
            raise Http404(str(error)) from error
        edit = Edit()
        if request.method == "POST":
            try:
                edit = _run_edit(request, context)
            except MISSING_PROOFS:
                return _ask_for_proof(request, request.path, request.get_full_path())
            if edit.is_saved:
                drafts.forget_draft(request, request.path, approval_id)
                number = context.task.revision + 1
                messages.success(request, f"Revision {number} saved. Someone else must approve it.")
                return redirect(inbox_url(request))
            if edit.refusal:
                # Somebody else may have been faster: show what waits now.
                context = load_decision(approval_id, actor_of(request))
        payload, written = context.payload, drafts.load_draft(request, request.path)
        originals = {name: text_safety.pretty_ascii(payload[name]) for name in ("data", "context")}
        values = {
            "description": written.get("description", payload["description"]),
            "data": written.get("data_json", originals["data"]),
            "context": written.get("context_json", originals["context"]),
            "notes": written.get("notes", ""),
        }
        # A form that could not be sent is not shown either: its page would have no bounds.
        is_too_large = len(urlencode(values)) > settings.MAX_BODY_BYTES
        obstacle = context.obstacle and not isinstance(context.obstacle, MISSING_PROOFS)
        if context.obstacle is None and drafts.confirm_draft(request, request.path):
            messages.info(request, CONFIRMED_EDITOR)
        return self.page(
            request,
            "admin/approvals_app/edit.html",
            status=edit.status,
            title=f"Edit {context.task.task_type}",
            decision=context,
            values=values,
            fields=editing.list_fields(payload["data"], written),
            json_changed=any(values[n].split() != originals[n].split() for n in originals),
            errors=edit.errors,
            wrong_field=edit.wrong_field,
            preview=edit.preview,
            stale=edit.stale,
            kept=bool(written) and not is_too_large,
            is_too_large=is_too_large,
            decision_url=_page_url(approval_id, request.GET),
            refusal=edit.refusal,
            obstacle=obstacle and explain_refusal(context.obstacle),  # type: ignore[arg-type]
            longest_notes=LONGEST_NOTES,
        )

    def payload_view(self, request: HttpRequest, approval_id: UUID) -> HttpResponse:
        """The whole payload: as JSON in ASCII, or with ``?exact`` the bytes whose digest is
        approved, as a file.

        Sensitive values are shown by a POST alone, which is recorded; a GET asks for it.
        """
        if not self.has_view_permission(request):
            raise PermissionDenied
        actor, is_exact = actor_of(request), "exact" in request.GET
        try:
            approval = Approval.objects.visible_to(actor).select_related("task").one(approval_id)
            if approval.task.erasure is not None:
                raise Http404("The payload was erased.")
            paths = list_sensitive(approval.task)
            if request.method == "POST" and paths:
                return payload_files.respond(show_sensitive(approval_id, by=actor), exact=is_exact)
        except NotFound as error:
            raise Http404(str(error)) from error
        if request.method not in ("GET", "HEAD"):
            raise PermissionDenied  # there is nothing to be recorded
        if not paths:
            return payload_files.respond(approval.task, exact=is_exact)
        if "masked" in request.GET:
            return payload_files.respond_masked(approval.task)
        return self.page(
            request,
            "admin/approvals_app/payload/sensitive.html",
            title="Sensitive values",
            approval=approval,
            task=approval.task,
            paths=paths[:MOST_NAMED],
            more=max(0, len(paths) - MOST_NAMED),
            decision_url=_page_url(approval_id),
        )

    def sign_view(self, request: HttpRequest, approval_id: UUID) -> HttpResponse:
        """What the browser asks a passkey to sign, for the decision that is posted."""
        if request.method != "POST" or not self.has_view_permission(request):
            raise PermissionDenied
        try:
            return answer_options(request, approval_id)
        except NotFound as error:
            raise Http404(str(error)) from error

    def bulk_view(self, request: HttpRequest) -> HttpResponse:
        """Decide on several approvals: first show each with its digest, then decide one by one."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        # Chosen by GET, so that the choice survives a reload and another sign-in.
        chosen = request.POST.getlist("approval") or request.GET.getlist("approval")
        ids = [UUID(text) for text in chosen if UUID_TEXT.fullmatch(text)]
        decision = request.POST.get("decision")
        if not ids or len(ids) > MAX_BULK_DECISIONS:
            words = "Select at least one request." if not ids else TOO_MANY
            messages.error(request, words)
            return redirect(inbox_url(request))
        page, by = _bulk_url(ids), actor_of(request)
        selection = Selection(inbox.load_rows(by, ids))
        outcomes: dict[UUID, str] = {}
        refusal = ""
        if decision == "approve" and selection.is_mixed and "mixed" not in request.POST:
            refusal = "Confirm that you approve several types. Nothing was approved."
        elif decision in DECISIONS:
            # What is held back is refused by its own reason, the others one by one.
            if decision == "approve":
                outcomes = selection.held_back
            requests = _build_bulk_requests(
                request, decision, [pk for pk in ids if pk not in outcomes]
            )
            for outcome in decide(requests, by=by):
                error = outcome.refusal
                if isinstance(error, MISSING_PROOFS):
                    # All need the same proof; what was decided before it was missing stays so.
                    undecided = _bulk_url([pk for pk in ids if outcomes.get(pk) != ""])
                    return _ask_for_proof(request, undecided, undecided)
                outcomes[outcome.approval_id] = explain_refusal(error) if error else ""
            drafts.forget_draft(request, page)
            # Loaded again, so that the page shows what became of them.
            selection = Selection(inbox.load_rows(by, ids))
        elif _has_proof(request) and drafts.confirm_draft(request, page):
            messages.info(request, IDENTITY_CONFIRMED)
        held_back = selection.held_back
        return self.page(
            request,
            "admin/approvals_app/bulk.html",
            title="Review requests",
            selection=selection,
            items=[
                {
                    "row": row,
                    "outcome": outcomes.get(row.approval.pk),
                    "why": held_back.get(row.approval.pk, ""),
                }
                for row in selection.rows
            ],
            decided=bool(outcomes),
            decision=decision,
            refusal=refusal,
            told=describe_outcomes(str(decision), outcomes, selection.rows),
            notes=drafts.load_draft(request, page).get("notes", ""),
            longest_notes=LONGEST_NOTES,
            inbox_url=inbox_url(request),
        )

    def _page(
        self,
        request: HttpRequest,
        approval_id: UUID,
        *,
        errors: dict[str, str] | None = None,
        status: int = 200,
    ) -> HttpResponse:
        """The page of one decision; ``errors`` by the field that each is about, "" for none."""
        try:
            decision = load_decision(approval_id, actor_of(request))
        except NotFound as error:
            raise Http404(str(error)) from error
        # A view counts only while there is something to decide: min_review_time is measured by it.
        view_time = timedelta()
        if decision.approval.status == Approval.Status.PENDING and not flow.is_ahead(request):
            view_time = presence.record_view(approval_id, request.user)
        obstacle, confirmed = decision.obstacle, False
        if isinstance(obstacle, MISSING_PROOFS):
            obstacle = None  # the proof is asked for when they decide
        elif drafts.confirm_draft(request, request.path) and obstacle is None:
            confirmed = True
            messages.info(request, IDENTITY_CONFIRMED)
        written, errors, actor = (
            drafts.load_draft(request, request.path),
            errors or {},
            actor_of(request),
        )
        own_vote = decision.vote_of(actor)
        signing = load_signing(decision.approval, actor, asks=obstacle is None)
        can_glass = (
            decision.approval.status == Approval.Status.PENDING
            and not decision.approval.override
            and eligibility.BREAK_GLASS in actor.rights
        )
        to_type = requirements.text_to_type(decision.approval)
        if "typed" in errors:
            errors["typed"] = f"Type {to_type} to approve. Nothing was approved."
        others = decision.other_seats(actor) if obstacle is None else []
        fields = questions.build_fields(decision.task, written)
        # Three forms of the page have a comment; a draft is of one of them.
        comment_of = COMMENTS.get(written.get("decision", ""), "notes")
        leave_out = queue.parse_ids(request.headers.get(flow.DECIDED, ""))
        context = {
            "title": decision.title.text,
            "frame": flow.frame_of(request),
            "done": "" if flow.is_scripted(request) else drafts.pop_sent(request),
            "queue": queue.load_queue(request, decision.approval, leave_out),
            "snooze_choices": attention.list_snooze_choices(
                decision.approval, find_time_zone(request), timezone.now()
            ),
            "claim": attention.find_claim(decision.approval),
            "comments": attention.list_comments(decision.approval),
            "undo_seconds": flow.undo_seconds(decision, is_signed=signing.is_needed),
            "changes_requested": bool(decision.change_requests),
            "verbs_to_confirm": flow.verbs_to_confirm(
                decision.approval, is_signed=signing.is_needed
            ),
            "signing": signing,
            "required_comments": " ".join(REQUIRED_COMMENTS),
            "budget": text_safety.budget.get(),
            "frozen": getattr(decision.approval, "something_is_frozen", False)
            and freezes.list_covering(decision.task),
            "can_thaw": may_freeze(request),
            "decision": decision,
            "approval": decision.approval,
            "task": decision.task,
            "refusal": errors.get("", ""),
            "errors": errors,
            "obstacle": obstacle and _explain_obstacle(obstacle, decision, actor),
            "other_seats": others,
            "verbs": _name_verbs(decision, is_question=bool(fields), chooses=bool(others)),
            "confirmed": confirmed,
            "too_late": isinstance(decision.recall_refusal, RecallTooLate)
            and explain_refusal(decision.recall_refusal),
            "inbox_url": inbox_url(request),
            **dict.fromkeys(("glass", "recall_reason", "notes"), ""),
            comment_of: written.get("notes", ""),
            "to": written.get("to", ""),
            "longest_notes": LONGEST_NOTES,
            "own_vote": own_vote,
            "own_verb": own_vote and _name_vote(own_vote, decision.approval),
            "can_withdraw": eligibility.can_withdraw_votes(decision.approval),
            "can_glass": can_glass,
            "delegates": list_delegates(actor) if not obstacle else [],
            "fields": fields,
            "to_type": to_type,
            "is_confirmed": written.get("confirmed") == "true",
            "typed": written.get("typed", ""),
            "seconds_left": requirements.seconds_left(decision.approval, view_time),
        }
        response: Any = self.page(
            request, "admin/approvals_app/decision.html", status=status, **context
        )
        # Drawn here, after the last query: a hostile payload takes a while.
        release_connection()
        return cast("HttpResponse", response.render())


@dataclass(frozen=True, slots=True)
class Edit:
    """What became of a posted edit: saved, previewed, or why not. ``stale`` are the numbers of the
    description that it would leave without data."""

    is_saved: bool = False
    preview: list[Line] | None = None
    stale: list[str] = field(default_factory=list)
    errors: dict[str, str] = field(default_factory=dict)
    wrong_field: str = ""
    refusal: str = ""
    status: int = 200


def _run_edit(request: HttpRequest, context: DecisionContext) -> Edit:
    """Preview or save what was posted. Raises what MISSING_PROOFS names."""
    form = EditForm(request.POST)
    if not form.is_valid():
        errors = {name: str(found[0]) for name, found in form.errors.items()}
        others = [text for name, text in errors.items() if not name.endswith("_json")]
        return Edit(errors=errors, refusal=" ".join(others), status=400)
    given, payload = form.cleaned_data, context.payload
    changes = {"description": given["description"], "context": given["context_json"]}
    try:
        changes["data"] = editing.apply_fields(
            given["data_json"], payload["data"], request.POST.dict()
        )
    except editing.FieldInvalid as error:
        return Edit(errors={"field": error.reason}, wrong_field=error.name, status=400)
    stale = editing.find_stale_numbers(payload, changes)
    # Whoever can't save is told so at once.
    is_open = context.obstacle is None or isinstance(context.obstacle, MISSING_PROOFS)
    if not is_open or given["payload_digest"] != context.payload_digest:
        stale = []
    if given["action"] == "preview" or (stale and given["warned"] != " ".join(stale)):
        return Edit(preview=editing.preview_changes(payload, changes), stale=stale)
    try:
        bound = {"payload_digest": given["payload_digest"], "notes": given["notes"]}
        _restore_sensitive(changes, context.task)
        evaluate_revision_ahead(Task.objects.filter(pk=context.task.pk), changes)
        operations.edit(context.approval.pk, by=actor_of(request), **bound, **changes)
    except MISSING_PROOFS:
        raise
    except OrchestratorError as error:
        return Edit(refusal=explain_refusal(error), status=_http_status(error))
    return Edit(is_saved=True)


def _restore_sensitive(changes: dict[str, Any], task: Task) -> None:
    """Put the values back that the editor only saw masked. Raises Invalid."""
    # The operation refuses any other payload than the one that these values are of.
    payload = json.loads(task.payload)
    for name in ("data", "context"):
        try:
            changes[name] = restore(changes[name], payload[name])
        except ValueError as error:
            raise Invalid(field=name, reason=str(error)) from None


def _run_decision(request: HttpRequest, approval_id: UUID, form: dict[str, Any]) -> str:
    """Run the operation that the form asks for; return the message for the reviewer.

    Raises OrchestratorError where the operation refuses.
    """
    by, notes, page = actor_of(request), form["notes"], _page_url(approval_id, request.GET)
    bound = {"by": by, "payload_digest": form["payload_digest"]}
    match form["decision"]:
        case "approve":
            task = Approval.objects.visible_to(by).select_related("task").one(approval_id).task
            answer = questions.parse_answer(task, request.POST)
            arguments = {name: form[name] for name in ("notes", "typed", "confirmed", "assertion")}
            approval = operations.approve(approval_id, answer=answer, **arguments, **bound)
            return outcomes.describe_yes(approval, by, page)
        case "reject":
            approval = operations.reject(
                approval_id, notes=notes, assertion=form["assertion"], **bound
            )
            return outcomes.describe_no(approval, by, page)
        case "request_changes":
            operations.request_changes(
                approval_id, message=notes, assertion=form["assertion"], **bound
            )
            return "Changes requested. Approval is blocked until the agent sends a revision."
        case "withdraw_vote":
            operations.withdraw_vote(approval_id, by=by, reason=notes)
            return "Vote withdrawn."
        case "delegate":
            delegations.delegate(approval_id, by=by, to=form["to"].strip(), reason=notes)
            return f"Delegated to {form['to'].strip()}, who can now decide for you."
        case "take_back":
            delegations.end_delegation(form["delegation"], by=by)
            return "Delegation taken back. You decide again."
        case "recall_cancel":
            recall(approval_id, by=by, reason=notes, then=Then.CANCEL)
            return "Recalled. The task is cancelled."
        case "recall_wait":
            recall(approval_id, by=by, reason=notes, then=Then.WAIT)
            return "Recalled. The task waits for approval again."
        case _:
            break_glass.break_glass(approval_id, reason=notes, **bound)
            return "Approved without the others. They were notified to review it."


def _ask_for_proof(request: HttpRequest, page: str, back: str) -> HttpResponse:
    """Redirect to the proof that is missing, and from there ``back`` to ``page`` by a GET."""
    drafts.keep_draft(request, page)
    url = f"{reverse('signin:prove')}?{urlencode({'next': back})}"
    return flow.answer_proof(url) if flow.is_scripted(request) else redirect(url)


def _build_bulk_requests(
    request: HttpRequest, decision: str, ids: list[UUID]
) -> list[dict[str, Any]]:
    """What ``decide`` is given: each approval with the digest that its line showed."""
    # Only the comment is validated here: each approval has a digest of its own.
    form = BulkDecisionForm(
        {"decision": decision, "payload_digest": "0" * 64}
        | {"notes": request.POST.get("notes", "")}
    )
    if not form.is_valid():
        raise BadRequest("The comment can't be saved.")
    return [
        {
            "approval_id": pk,
            "decision": decision,
            "payload_digest": request.POST.get(f"digest.{pk}", ""),
            "notes": form.cleaned_data["notes"],
        }
        for pk in ids
    ]


def _has_proof(request: HttpRequest) -> bool:
    """Whether the reader has given the proof of who they are that a decision needs."""
    try:
        eligibility.check_assurance(actor_of(request), timezone.now())
    except MISSING_PROOFS:
        return False
    return True


def _bulk_url(ids: list[UUID]) -> str:
    """The page of these approvals, which is also the name of its draft."""
    query = urlencode({"approval": sorted(map(str, ids))}, doseq=True)
    return f"{reverse('admin:approvals_app_approval_bulk')}?{query}"


def _first_errors(errors: Mapping[str, Any]) -> dict[str, str]:
    """The first error of each field; those of fields that nobody fills in are of none."""
    shown = ("notes", "typed", "to")
    return {name if name in shown else "": str(found[0]) for name, found in errors.items()}


def _explain_obstacle(refusal: OrchestratorError, decision: DecisionContext, actor: Actor) -> str:
    """Why ``actor`` can't decide, with what the page knows of their own vote."""
    if isinstance(refusal, OneVoiceEach) and (role := decision.voted_as(actor)):
        return f"You already voted on this task (as {role})."
    return explain_refusal(refusal)


def _name_verbs(decision: DecisionContext, *, is_question: bool, chooses: bool) -> dict[str, str]:
    """What the buttons say: whose vote it is, and whether something was done already."""
    approval = decision.approval
    yes, no = ("Uphold", "Object") if approval.override_id else ("Approve", "Reject")
    if is_question:
        yes = "Send answer"
    if decision.seat_of:
        whose = f" for {decision.seat_of}"
    else:
        whose = f" as {approval.approver_role}" if chooses else ""
    return {"approve": yes + whose, "reject": no + whose}


def _name_vote(vote: Vote, approval: Approval) -> str:
    """What the reader did: ``approved``, ``upheld``, ``requested changes``, …"""
    yes, no = ("upheld this", "objected") if approval.override_id else ("approved", "rejected")
    return {Vote.Choice.YES: yes, Vote.Choice.NO: no}.get(
        Vote.Choice(vote.choice), "requested changes"
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
            return "You already voted on this task, or somebody did for you."
        case LookFirst():
            return f"You can approve in {error.data['seconds_left']} s (required by policy)."
        case SignatureRequired():
            return "Nothing was decided: votes on this are signed with a passkey."
        case SignatureInvalid():
            return f"Nothing was decided: the signature is not accepted. {error.data['why']}"
        case UnknownPerson():
            return f'No user named "{error.data["name"]}".'
        case NotConfirmed():
            return "Tick this once you have done it. Nothing was approved."
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
