"""Receipts: a decision as a signed file that whoever executes can check without asking here.

A receipt is a JWS (RFC 7515, compact) whose claims bind a task, the digest of its payload and its
revision to every vote, the policy, and the time until which it may be used. It is made anew at each
call and says the same each time, except that it has a ``log`` as soon as its events are sealed: the
events of the decision with their proofs and the checkpoint that they lead to.
docs/decisions/0039-receipts.md says why.
"""

import json
from base64 import b64encode
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import Q

from approvals_app.errors import NotDecided
from approvals_app.models import Approval, Override, Vote
from audit_app.base.errors import NotSealedYet
from audit_app.models import Event, Subject
from audit_app.proof import keys, proofs, witnesses
from sessions_app.models import Task

TYPE = "approval-receipt+jwt"
MEDIA_TYPE = "application/jose"
Json = dict[str, Any]


def sign_receipt(task: Task) -> str:
    """The receipt of the decision on ``task``.

    Raises NotDecided, also where no key is configured to sign with, and, with RECEIPTS_SEALED,
    NotSealedYet until the receipt has its proof.
    """
    from joserfc import jws
    from joserfc.jwk import OKPKey

    signing = keys.signing_keys()
    if not signing:
        raise NotDecided(reason="AUDIT_SIGNING_KEYS names no key to sign receipts with.")
    claims = state_decision(task)
    if settings.RECEIPTS_SEALED and claims["log"] is None:
        raise NotSealedYet
    algorithm: str = settings.RECEIPT_ALGORITHM
    header = {"alg": algorithm, "kid": signing[0].thumbprint, "typ": TYPE}
    key = OKPKey.import_key(signing[0].private)
    text = json.dumps(claims, separators=(",", ":"), ensure_ascii=False, sort_keys=True)
    return jws.serialize_compact(header, text.encode(), key, algorithms=[algorithm])


def state_decision(task: Task) -> Json:
    """The claims of the receipt of the decision on ``task``. Raises NotDecided."""
    event = _find_decision(task)
    approvals = _list_approvals(task)
    votes = [vote for approval in approvals for vote in approval.votes.all()]
    override = _describe_override(task)
    claims: Json = {
        "iss": settings.AUDIT_LOG_ORIGIN,
        "jti": str(event.pk),
        "iat": _seconds(event.timestamp),
        "decision": "rejected" if task.status == Task.Status.REJECTED else "approved",
        "single_use": True,
        "task": {
            "id": str(task.pk),
            "type": task.task_type,
            "agent": task.agent.name,
            "from_role": task.from_role,
            "to_role": task.to_role,
            "revision": task.revision,
            "trace_id": str(task.trace_id),
        },
        "payload_digest": task.payload_digest,
        "policy": {
            "name": task.policy,
            "version": task.policy_version,
            "verdict": task.verdict,
        },
        "approvals": [_describe_approval(approval, override) for approval in approvals],
        "override": override,
        "log": _prove([event.pk, *_find_created(Vote, votes), *_find_created(Approval, approvals)]),
    }
    if task.approved_until is not None:
        claims["exp"] = _seconds(task.approved_until)
    return claims


def _find_decision(task: Task) -> Any:
    """The event that decided the present revision of ``task``."""
    if task.status not in Task.WITH_RECEIPT:
        raise NotDecided(reason=f"The task is {task.get_status_display().lower()}.")
    # A lease that was released leads to approved, too, but decides nothing.
    decides = Q(from_state=None) | Q(from_state=Task.Status.AWAITING_APPROVAL)
    events = Event.objects.filter(decides, subject_type=Task.subject_type, subject_id=task.pk)
    wanted = Task.Status.REJECTED if task.status == Task.Status.REJECTED else Task.Status.APPROVED
    event = events.filter(to_state=wanted).order_by("-seq").first()
    if event is None:
        raise NotDecided(reason="The trail does not say who decided.")
    return event


def _list_approvals(task: Task) -> Sequence[Approval]:
    """The approvals that decided the present revision, oldest first, with their votes."""
    decided = task.approvals.filter(
        revision=task.revision, override=None, status__in=Approval.DECIDED
    )
    voters = ("votes__voter", "votes__seat_of")
    return list(decided.prefetch_related(*voters).order_by("created_at", "pk"))


def _describe_approval(approval: Approval, override: Json | None) -> Json:
    # A policy may let silence approve, and one person may in an emergency: then fewer voted.
    without = "override" if override else "silence"
    counted = approval.decided_by_id and not override
    votes = [vote for vote in approval.votes.all() if vote.status == Vote.Status.CAST]
    return {
        "id": str(approval.pk),
        "role": approval.approver_role,
        "status": approval.status,
        "needed": approval.needed,
        "deny_threshold": approval.deny_threshold,
        "decided_by": "votes" if counted else without,
        "votes": [_describe_vote(vote) for vote in sorted(votes, key=_age)],
    }


def _describe_vote(vote: Vote) -> Json:
    return {
        "id": str(vote.pk),
        "voter": {"id": str(vote.voter_id), "name": vote.voter.get_username()},
        "seat_of": {"id": str(vote.seat_of_id), "name": vote.seat_of.get_username()},
        "choice": vote.choice,
        "at": _seconds(vote.created_at),
        "payload_digest": vote.payload_digest,
        "signature": _describe_signature(vote),
    }


def _describe_signature(vote: Vote) -> Json | None:
    """The voter's passkey's signature, with what it is of; None for a vote that is not signed."""
    if vote.assertion is None:
        return None
    return {"assertion": vote.assertion, "statement": vote.signed_statement}


def _describe_override(task: Task) -> Json | None:
    override = (
        Override.objects.filter(task=task, revision=task.revision)
        .select_related("opened_by")
        .first()
    )
    if override is None:
        return None
    by = override.opened_by
    return {
        "id": str(override.pk),
        "by": {"id": str(by.pk), "name": by.get_username()},
        "reason": override.reason,
    }


def _find_created(model: type[Subject], rows: Iterable[Subject]) -> list[UUID]:
    """The first events of ``rows`` of ``model``, in the order of the rows."""
    ids = [row.pk for row in rows]
    events = Event.objects.filter(subject_type=model.subject_type, subject_id__in=ids, seq=1)
    found = dict(events.values_list("subject_id", "pk"))
    return [found[pk] for pk in ids if pk in found]


def _prove(event_ids: Sequence[UUID]) -> Json | None:
    """The events, with the proofs that they are in the log; None before all of them are, and the
    witnesses whom the operator's policy asks for have cosigned."""
    checkpoint = witnesses.newest_trusted_checkpoint()
    if checkpoint is None:
        return None
    entries = dict(Event.objects.filter(pk__in=event_ids).values_list("pk", "entry"))
    events = []
    for event_id in event_ids:
        proof = proofs.prove(event_id, checkpoint=checkpoint)
        if proof is None:
            return None
        hashes = [b64encode(each).decode() for each in proof.hashes]
        events.append({"entry": entries[event_id], "index": proof.index, "proof": hashes})
    return {
        "origin": checkpoint.epoch.origin,
        "checkpoint": witnesses.cosigned_note(checkpoint),
        "events": events,
    }


def _age(vote: Vote) -> tuple[datetime, str]:
    return vote.created_at, str(vote.pk)


def _seconds(moment: datetime) -> int:
    """RFC 7519's NumericDate, in whole seconds."""
    return int(moment.timestamp())
