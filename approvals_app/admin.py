"""The reviewers' pages: what waits for them, and the page that a decision is made on."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from approvals_app import inbox
from approvals_app.bulk import DECISIONS
from approvals_app.errors import (
    AlreadyDecided,
    ApprovalExpired,
    NotEligible,
    OneVoiceEach,
    PayloadDigestMismatch,
    ReauthenticationRequired,
    SecondFactorRequired,
    SeparationOfDuties,
)
from approvals_app.models import Approval
from audit_app.admin import (
    ReadOnlyAdmin,
    RecentFilter,
    RoleFilter,
    actor_of,
    may_read,
)
from audit_app.errors import Conflict, NotFound, OrchestratorError
from audit_app.legible import badge, moment, visible
from sessions_app.admin import may_change_agents

LONGEST_NOTES = 20_000
LAST_PAGE = 10_000
PROOFS_MISSING = (ReauthenticationRequired, SecondFactorRequired)
NOTES_KEPT = "notes_kept"
PROVED = "Thank you, it is you. Nothing is decided yet: please choose once more."


READING = (
    ("Approvals", "approval_delegation", "approvals_app_approval"),
    ("Tasks", "task", "sessions_app_task"),
    ("Sessions", "manage_history", "sessions_app_agentsession"),
    ("Audit events", "receipt_long", "audit_app_event"),
)
AGENTS = (("Agents", "smart_toy", "sessions_app_agent"),)
PEOPLE = (("People", "person", "auth_user"), ("Groups", "group", "auth_group"))


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The admin's first page is the inbox (UNFOLD["DASHBOARD_CALLBACK"])."""
    actor = actor_of(request)
    page = inbox.page(actor, _page_number(request))
    return context | {"title": "Inbox", "page": page, "roles": actor.roles}


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The sidebar (UNFOLD["SIDEBAR"]): what waits, what can be read, and who there is."""
    if not request.user.is_authenticated:
        return []
    items = [_inbox_item(request)]
    if may_read(request):
        items += _items(READING)
    if may_read(request) or may_change_agents(request):
        items += _items(AGENTS)
    if request.user.has_perm("auth.view_user"):
        items += _items(PEOPLE)
    return [{"items": items}]


def _items(pages: tuple[tuple[str, str, str], ...]) -> list[dict[str, Any]]:
    return [
        {"title": title, "icon": icon, "link": reverse(f"admin:{name}_changelist")}
        for title, icon, name in pages
    ]


def _inbox_item(request: HttpRequest) -> dict[str, Any]:
    item = {"title": "Inbox", "icon": "inbox", "link": reverse("admin:index")}
    if count := inbox.waiting(actor_of(request)):
        number = str(count) if count <= inbox.COUNTED else f"{inbox.COUNTED}+"
        item |= {"badge": number, "badge_variant": "primary"}
    return item


def _page_number(request: HttpRequest) -> int:
    given = request.GET.get("page", "1")
    if not given.isascii() or not given.isdigit() or len(given) > len(str(LAST_PAGE)):
        return 1
    return min(max(int(given), 1), LAST_PAGE)


class DecisionForm(forms.Form):
    """What a reviewer sends: yes or no, to which payload, and what they say about it."""

    decision = forms.ChoiceField(
        choices=[(name, name) for name in DECISIONS],
        error_messages={"required": "Choose Approve or Reject."},
    )
    payload_digest = forms.RegexField(r"^[0-9a-f]{64}\Z")
    notes = forms.CharField(required=False, max_length=LONGEST_NOTES, strip=False)

    def clean_notes(self) -> str:
        """A browser sends every line break as two characters; people meant one."""
        notes: str = self.cleaned_data["notes"]
        return notes.replace("\r\n", "\n").strip()


class ApproverRoleFilter(RoleFilter):
    field = "approver_role"


@admin.register(Approval)
class ApprovalAdmin(ReadOnlyAdmin):
    """Every approval that the reader may know of; its page is where it is decided."""

    list_display = ("asked", "asks", "role", "state", "requested", "decided")
    list_filter = ("status", ApproverRoleFilter, RecentFilter)
    search_fields = ("task__description",)
    search_help_text = "Words of the description"

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).select_related("task__agent", "decided_by")

    @admin.display(description="Approval")
    def asked(self, approval: Approval) -> SafeString:
        return visible(approval.task.task_type)

    @admin.display(description="Asked by")
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

    def _decide(self, request: HttpRequest, approval_id: UUID) -> HttpResponse:
        form = DecisionForm(request.POST)
        if not form.is_valid():
            said = " ".join(str(error) for errors in form.errors.values() for error in errors)
            return self._page(request, approval_id, refused=said, status=400)
        decision = form.cleaned_data.pop("decision")
        try:
            DECISIONS[decision](approval_id, by=actor_of(request), **form.cleaned_data)
        except NotFound as error:
            raise Http404(str(error)) from error
        except PROOFS_MISSING:
            request.session[NOTES_KEPT] = {str(approval_id): form.cleaned_data["notes"]}
            return redirect(f"{reverse('signin:prove')}?{urlencode({'next': request.path})}")
        except OrchestratorError as error:
            status = 409 if isinstance(error, Conflict) else 403
            return self._page(request, approval_id, refused=explained(error), status=status)
        done = "approved" if decision == "approve" else "rejected"
        messages.success(request, f"You {done} it, and it is recorded.")
        return redirect("admin:index")

    def _page(
        self, request: HttpRequest, approval_id: UUID, *, refused: str = "", status: int = 200
    ) -> HttpResponse:
        try:
            dossier = inbox.dossier(approval_id, actor_of(request))
        except NotFound as error:
            raise Http404(str(error)) from error
        obstacle, kept = dossier.obstacle, ""
        if isinstance(obstacle, PROOFS_MISSING):
            obstacle = None  # whoever tries to decide is asked for the proof then
        elif str(approval_id) in request.session.get(NOTES_KEPT, {}):
            kept = request.session.pop(NOTES_KEPT)[str(approval_id)]
            if obstacle is None:
                messages.info(request, PROVED)
        context = {
            "title": dossier.task.task_type,
            "dossier": dossier,
            "approval": dossier.approval,
            "task": dossier.task,
            "refused": refused,
            "obstacle": obstacle and explained(obstacle),
            "notes": request.POST.get("notes", kept),
            "longest_notes": LONGEST_NOTES,
        }
        return self.page(request, "admin/approvals_app/decision.html", status=status, **context)


def explained(error: OrchestratorError) -> str:
    """Why a decision can't be made, to the person who wanted to make it."""
    match error:
        case AlreadyDecided():
            return _who_was_first(error.data)
        case ApprovalExpired():
            return "The deadline has passed: nothing can be decided on this any more."
        case PayloadDigestMismatch():
            return "Nothing was decided: the task is not what you were shown. Read it again, below."
        case NotEligible():
            return f"Only members of the group {error.data['role']} decide on this."
        case SeparationOfDuties():
            return f"Somebody else has to decide, not you: {error.data['why']}"
        case OneVoiceEach():
            return "You have said what you say of this already, and each person has one voice."
        case _:
            return str(error)


def _who_was_first(told: dict[str, Any]) -> str:
    at = timezone.localtime(datetime.fromisoformat(told["decision_at"]))
    when = f"on {at:%-d %B %Y at %H:%M %Z}"
    match told["state"]:
        case "approved" | "rejected" as done:
            return f"{told['decided_by']} {done} this {when}. There is nothing left to decide."
        case "expired":
            return f"The deadline passed before anybody decided; it expired {when}."
        case _:
            return f"Nobody is asked any more: this was withdrawn {when}."
