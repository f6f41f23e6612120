"""Votes signed on the decision page: what it says of that, and what it asks the browser for."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpRequest, HttpResponse, JsonResponse

from approvals_app.decisions import eligibility, passkeys, requirements, signatures
from approvals_app.decisions.webauthn import build_request_options
from approvals_app.models import Approval, Vote
from approvals_app.payload import questions
from approvals_app.review.forms import DecisionForm
from audit_app.base.actors import Actor
from audit_app.base.errors import OrchestratorError
from audit_app.trail.operation import clock
from audit_app.ui.admin_base import actor_of

CHOICES = {
    "approve": Vote.Choice.YES,
    "reject": Vote.Choice.NO,
    "request_changes": Vote.Choice.CHANGES,
}


@dataclass(frozen=True, slots=True)
class Signing:
    """Whether the reader's vote must be signed, and whether they have a passkey for it."""

    is_needed: bool = False
    is_possible: bool = False

    @property
    def is_missing(self) -> bool:
        return self.is_needed and not self.is_possible

    @property
    def origins(self) -> list[str]:
        """Where passkeys work."""
        return settings.PASSKEY_ORIGINS


def load_signing(approval: Approval, actor: Actor, *, asks: bool) -> Signing:
    """What the page of ``approval`` says; ``asks``: it asks the reader to decide."""
    if not asks or approval.signed == Approval.Signed.NO:
        return Signing()
    has_passkey = passkeys.has_active(int(actor.id))
    required = approval.signed == Approval.Signed.REQUIRED
    return Signing(is_needed=required or has_passkey, is_possible=has_passkey)


def answer_options(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """``{options}``: what the browser gives to the reader's passkey for the decision that they
    posted; null where it would be refused anyway, which the decision itself then says.

    Raises NotFound.
    """
    by = actor_of(request)
    approval = Approval.objects.visible_to(by).select_related("task").one(approval_id)
    origin = request.headers.get("Origin", "")
    if origin not in settings.PASSKEY_ORIGINS:
        return JsonResponse({"problem": describe_origins()}, status=409)
    try:
        vote = _build_vote(request, approval, by)
    except OrchestratorError:
        vote = None
    known = passkeys.list_active(int(by.id))
    if vote is None or not known:
        return JsonResponse({"options": None})
    challenge = signatures.build_challenge(signatures.build_statement(vote, origin=origin))
    return JsonResponse({"options": build_request_options(challenge, known)})


def describe_origins() -> str:
    """Where passkeys work, in one sentence."""
    if not settings.PASSKEY_ORIGINS:
        return "Passkeys are not set up here. An administrator can set PUBLIC_URL."
    return f"Passkeys work at {settings.PASSKEY_ORIGINS[0]} only. Open the page there."


def _build_vote(request: HttpRequest, approval: Approval, by: Actor) -> Vote | None:
    """The vote that was posted, as the operation would cast it; None if the form is not complete.

    Raises what refuses the vote.
    """
    form = DecisionForm(request.POST)
    if not form.is_valid() or form.cleaned_data["decision"] not in CHOICES:
        return None
    given: dict[str, Any] = form.cleaned_data
    answer, now = None, clock()
    if given["decision"] == "approve":
        if approval.must_confirm and not given["confirmed"]:
            return None
        review_time = requirements.measure_review_time(approval, by, now)
        requirements.check_requirements(approval, review_time, given["typed"])
        if questions.is_question(approval.task.task_type):
            answer = questions.parse_answer(approval.task, request.POST)
            answer = questions.validate_answer(approval.task, answer)
    return Vote(
        approval=approval,
        voter_id=int(by.id),
        seat_of_id=eligibility.voting_seat(approval, by, now),
        choice=CHOICES[given["decision"]],
        payload_digest=given["payload_digest"],
        notes=given["notes"],
        answer=answer,
    )
