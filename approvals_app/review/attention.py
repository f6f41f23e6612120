"""What reviewers do with a request without deciding: set it aside, take it, comment on it.

Setting aside and taking are conveniences, kept as plain rows without events: they change nothing
about a decision, and keep nobody from it.
"""

from dataclasses import dataclass
from datetime import datetime, time, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.contrib import messages
from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Exists, OuterRef, QuerySet
from django.db.models.functions import JSONObject
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.urls import reverse
from django.utils import timezone

from approvals_app.decisions import comments
from approvals_app.models import Approval, Claim, Comment, Snooze
from approvals_app.notifications.time_zones import find_time_zone
from approvals_app.review import drafts
from approvals_app.review.forms import LONGEST_NOTES
from approvals_app.review.presence import CLAIM_LASTS, Person, require_id
from audit_app.base.actors import Actor
from audit_app.base.errors import NotFound
from audit_app.ui.admin_base import actor_of, may_read

EVENING, MORNING = time(18), time(9)


@dataclass(frozen=True, slots=True)
class SnoozeChoice:
    """Until when a request may be set aside; ``name`` is its value in the form."""

    name: str
    label: str
    until: datetime


@dataclass(frozen=True, slots=True)
class CommentLine:
    """One comment, as the page shows it."""

    author: str
    text: str
    at: datetime


def annotate_attention(approvals: "QuerySet[Approval]", actor: Actor) -> Any:
    """``approvals`` with their claims and comments, and whether ``actor`` snoozed them, all in the
    same query."""
    written = Comment.objects.filter(approval=OuterRef("pk")).order_by("created_at", "id")
    snoozes = Snooze.objects.filter(
        approval=OuterRef("pk"), user_id=int(actor.id), until__gt=timezone.now()
    )
    lines = JSONObject(author="author__username", text="text", at="created_at")
    return approvals.select_related("claim__user").annotate(
        is_snoozed=Exists(snoozes),
        comment_lines=ArraySubquery(written.values(line=lines)),
    )


def list_comments(approval: Any) -> list[CommentLine]:
    """The comments on an approval of ``annotate_attention``, oldest first."""
    return [
        CommentLine(line["author"], line["text"], datetime.fromisoformat(line["at"]))
        for line in approval.comment_lines
    ]


def list_snooze_choices(approval: Approval, time_zone: str, now: datetime) -> list[SnoozeChoice]:
    """The times until which ``approval`` may be set aside by somebody in ``time_zone``: all are
    before its deadline."""
    zone = ZoneInfo(time_zone)
    local = now.astimezone(zone)
    tonight = datetime.combine(local.date(), EVENING, zone)
    tomorrow = datetime.combine(local.date() + timedelta(days=1), MORNING, zone)
    choices = (
        SnoozeChoice("hour", "1 hour", now + timedelta(hours=1)),
        SnoozeChoice("tonight", f"Tonight, {EVENING:%-H:%M}", tonight),
        SnoozeChoice("tomorrow", f"Tomorrow, {MORNING:%-H:%M}", tomorrow),
    )
    return [each for each in choices if now < each.until < approval.expires_at]


def find_claim(approval: Approval) -> Claim | None:
    """Who has ``approval``, if their claim has not lapsed and there is something to decide."""
    claim: Claim | None = getattr(approval, "claim", None)
    if claim is None or approval.status != Approval.Status.PENDING:
        return None
    return claim if timezone.now() - claim.claimed_at < CLAIM_LASTS else None


def count_snoozed(user: Person) -> int:
    """How many pending requests ``user`` has set aside."""
    snoozes = Snooze.objects.filter(user_id=require_id(user), until__gt=timezone.now())
    return snoozes.filter(approval__status=Approval.Status.PENDING).count()


def snooze_view(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """Set a pending request aside until a time that is offered, or bring it back."""
    approval = _get_posted(request, approval_id)
    mine: dict[str, Any] = {"approval_id": approval.pk, "user_id": require_id(request.user)}
    if "wake" in request.POST:
        Snooze.objects.filter(**mine).delete()
        messages.success(request, "Back in your inbox.")
        return _return_to(request, approval)
    offered = list_snooze_choices(approval, find_time_zone(request), timezone.now())
    chosen = next((each for each in offered if each.name == request.POST.get("until")), None)
    if chosen is None or approval.status != Approval.Status.PENDING:
        messages.error(request, "Not snoozed: it is decided, or due before that.")
        return _return_to(request, approval)
    Snooze.objects.update_or_create(**mine, defaults={"until": chosen.until})
    messages.success(request, f"Snoozed: {chosen.label[0].lower()}{chosen.label[1:]}.")
    return redirect(_read_next(request))


def claim_view(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """Take a pending request, from somebody else too, or release it."""
    approval = _get_posted(request, approval_id)
    if "release" in request.POST:
        Claim.objects.filter(approval_id=approval.pk, user_id=require_id(request.user)).delete()
    elif approval.status == Approval.Status.PENDING:
        taken = {"user_id": require_id(request.user), "claimed_at": timezone.now()}
        Claim.objects.update_or_create(approval_id=approval.pk, defaults=taken)
    return _return_to(request, approval)


def comment_view(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """Add a comment to a request."""
    approval = _get_posted(request, approval_id)
    text = request.POST.get("text", "").replace("\r\n", "\n").strip()
    if len(text) > LONGEST_NOTES or "\x00" in text:
        raise BadRequest("The comment can't be saved.")
    if text:
        comments.add_comment(approval.pk, by=actor_of(request), text=text)
        drafts.forget_comment(request, approval.pk)
        messages.success(request, "Comment added.")
    return _return_to(request, approval, "#comments")


def _get_posted(request: HttpRequest, approval_id: UUID) -> Approval:
    """The approval that a form is about. Raises Http404 where the reader may not see it."""
    if request.method != "POST" or not may_read(request):
        raise PermissionDenied
    try:
        approval: Approval = Approval.objects.visible_to(actor_of(request)).one(approval_id)
    except NotFound as error:
        raise Http404(str(error)) from error
    return approval


def _return_to(request: HttpRequest, approval: Approval, fragment: str = "") -> HttpResponse:
    query = QueryDict(request.POST.get("query", "")).urlencode()
    page = reverse("admin:approvals_app_approval_change", args=[approval.pk])
    return redirect(f"{page}?{query}{fragment}" if query else f"{page}{fragment}")


def _read_next(request: HttpRequest) -> str:
    """The page that the form names as the next one, if it is one of ours; else the inbox."""
    url = request.POST.get("next", "")
    ours = reverse("admin:approvals_app_approval_changelist")
    return url if url.startswith(ours) else reverse("admin:index")
