"""How flow.js asks for decision pages and sends votes: what its header means, and the answers.

Without the script no request has the header, and pages and forms work as any others do.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils import timezone
from django.utils.html import conditional_escape

from approvals_app.models import Approval, Vote
from approvals_app.payload import questions
from approvals_app.review.decision import DecisionContext
from audit_app.base.actors import Actor
from audit_app.ui.admin_base import actor_of

HEADER = "X-Flow"
"""``ahead``: the page is fetched before it is looked at; ``open``: it is looked at now; ``send``: a
vote."""

DECIDED = "X-Flow-Decided"
"""The ids of approvals whose votes are under way: they are no longer in the reader's queue."""

CHOICES = {"approve": Vote.Choice.YES, "reject": Vote.Choice.NO}
RECORDED = "Your vote is recorded."
WHOLE, ALONE = "admin/base_site.html", "admin/approvals_app/decision/alone.html"


def is_scripted(request: HttpRequest) -> bool:
    """Whether the script asks, which wants the article without its frame."""
    return HEADER in request.headers


def is_ahead(request: HttpRequest) -> bool:
    """Whether nobody looks at the page yet."""
    return request.headers.get(HEADER) == "ahead"


def frame_of(request: HttpRequest) -> str:
    """The template that the decision page is rendered in."""
    return ALONE if is_scripted(request) else WHOLE


def undo_seconds(decision: DecisionContext, *, is_signed: bool) -> int:
    """How long the browser holds a vote back so that it can be undone; 0: it is sent at once.

    Only what the server will most likely accept is held back: a refusal after eight seconds finds
    its reader at the next request. Nor is what is signed: its voter confirmed it to the passkey.
    """
    approval = decision.approval
    demanding = (
        is_signed
        or decision.obstacle is not None
        or approval.risk == Approval.Risk.HIGH
        or approval.override_id is not None
        or bool(approval.look_for or approval.type_out)
        or questions.is_question(approval.task.task_type)
        or bool(decision.change_requests)
    )
    return 0 if demanding else settings.UNDO_SECONDS


def verbs_to_confirm(approval: Approval, *, is_signed: bool) -> str:
    """The verbs that ask once more before they are sent, separated by blanks: those of high risk,
    but for an approval whose value has to be typed, and what the passkey asks for anyway."""
    if approval.risk != Approval.Risk.HIGH or is_signed:
        return ""
    return "reject" if approval.type_out else "approve reject"


def is_repeated(request: HttpRequest, approval_id: UUID, form: Mapping[str, str]) -> bool:
    """Whether the script sends a vote that is recorded already.

    A browser that was closed meanwhile can't know whether its vote arrived, and two tabs may send
    the same one: whoever is second is told of the first.
    """
    choice = CHOICES.get(form["decision"])
    if choice is None or not is_scripted(request):
        return False
    mine = Vote.objects.cast().filter(voter_id=int(actor_of(request).id), approval_id=approval_id)
    return mine.filter(choice=choice, payload_digest=form["payload_digest"]).exists()


def answer_recorded(message: str) -> HttpResponse:
    """The vote is recorded; ``message`` may hold a link of ours."""
    return JsonResponse({"message": conditional_escape(message)})


def answer_proof(url: str) -> HttpResponse:
    """Nothing was decided: the reader has to prove who they are first."""
    return JsonResponse({"proof": url}, status=401)


def load_news(approval: Approval, actor: Actor) -> dict[str, Any]:
    """What happened to ``approval`` while its page is open; empty while nothing stands in the way.

    ``news`` in words; ``closed``: ``actor`` can't vote any more; ``voted``: for they have.
    """
    if approval.status != Approval.Status.PENDING:
        by = approval.decided_by.get_username() if approval.decided_by else ""
        sentence = f"{by} {approval.status} this" if by else f"This is {approval.status}"
        return {"news": f"{sentence}, {_format_age(approval.updated_at)}.", "closed": True}
    votes = Vote.objects.in_one_decision(approval.task_id, approval.revision, approval.override_id)
    for vote in votes.select_related("voter"):
        age = _format_age(vote.created_at)
        if vote.voter_id == int(actor.id):
            return {"news": f"You voted on this, {age}.", "closed": True, "voted": True}
        if vote.choice == Vote.Choice.CHANGES:
            return {
                "news": f"{vote.voter.get_username()} requested changes, {age}.",
                "closed": False,
            }
    return {}


def _format_age(at: datetime) -> str:
    seconds = max(0, int((timezone.now() - at).total_seconds()))
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if seconds >= size:
            return f"{seconds // size} {unit} ago"
    return f"{seconds} s ago"
