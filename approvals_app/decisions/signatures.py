"""Votes that people sign with their passkeys: what is signed, and whether it was.

The challenge of a vote is the SHA-256 of its statement: RFC 8785 text of what is decided, how, by
which policy, in whose seat and on which site. ``ballot`` counts the voter's votes on the approval,
so that a signature is never one of a later vote, too.
"""

import json
from collections.abc import Iterator, Mapping
from hashlib import sha256
from typing import Any
from uuid import UUID

from approvals_app.decisions import passkeys, webauthn
from approvals_app.errors import SignatureInvalid, SignatureRequired
from approvals_app.models import Approval, Passkey, Vote
from audit_app.base.canonical import canonical, digest
from audit_app.base.errors import OrchestratorError
from audit_app.base.prepared import Prepared

CHUNK = 2_000


def needs_signature(approval: Approval, user_id: int) -> bool:
    """Whether the vote of ``user_id`` on ``approval`` must be signed."""
    if approval.signed == Approval.Signed.WHEN_POSSIBLE:
        return passkeys.has_active(user_id)
    return bool(approval.signed == Approval.Signed.REQUIRED)


def build_statement(vote: Vote, *, origin: str) -> str:
    """What the voter signs on the pages of ``origin`` to cast ``vote``, which need not be saved."""
    return canonical(
        {
            **_describe_vote(vote),
            "policy": {
                "name": vote.approval.task.policy,
                "version": vote.approval.task.policy_version,
            },
            "ballot": _count_ballots(vote),
            "origin": origin,
        }
    )


def build_challenge(statement: str) -> bytes:
    """The challenge that an authenticator signs for ``statement``."""
    return sha256(statement.encode()).digest()


def sign_vote(vote: Vote, assertion: Mapping[str, Any] | None) -> None:
    """Check the voter's signature of ``vote``, which is about to be cast, and keep it there.

    Part of the caller's transaction. Raises SignatureRequired and SignatureInvalid.
    """
    approval = vote.approval
    if not assertion:
        if needs_signature(approval, vote.voter_id):
            raise SignatureRequired(approval)
        return
    try:
        members = webauthn.read_members(assertion, webauthn.ASSERTION_MEMBERS)
        origin = webauthn.read_client(members["client_data_json"]).get("origin")
    except webauthn.NotVerified as error:
        raise SignatureInvalid(approval, why=str(error)) from None
    # Whether it is ours is checked with the signature.
    statement = build_statement(vote, origin=origin if isinstance(origin, str) else "")
    try:
        challenge = build_challenge(statement)
        passkey = passkeys.use_passkey(members, challenge, user_id=vote.voter_id)
    except OrchestratorError as error:
        raise SignatureInvalid(approval, why=error.data["why"]) from None
    count = webauthn.read_sign_count(members["authenticator_data"])
    vote.assertion = {**members, "public_key": passkey.public_key, "sign_count": count}
    vote.signed_statement = statement


def digest_assertion(assertion: Mapping[str, Any]) -> str:
    """The digest by which the event of a vote names its signature."""
    return digest(canonical(assertion))


def find_forged_votes() -> Iterator[tuple[UUID, str]]:
    """The signed votes whose signature is not one of this vote by a passkey of its voter."""
    keys = {
        (passkey.user_id, passkey.credential_id): passkey.public_key
        for passkey in Passkey.objects.order_by().iterator(CHUNK)
    }
    signed = Vote.objects.filter(assertion__isnull=False).select_related("approval")
    for vote in signed.order_by().iterator(CHUNK):
        if reason := _find_forgery(vote, keys):
            yield vote.pk, reason


def _find_forgery(vote: Vote, keys: Mapping[tuple[int, str], str]) -> str:
    """Why the signature of ``vote`` is none; "" if it is one. Needs no settings: they may differ
    from those of the day."""
    try:
        assertion = webauthn.read_members(
            vote.assertion, (*webauthn.ASSERTION_MEMBERS, "public_key")
        )
        statement = json.loads(vote.signed_statement)
        origin = webauthn.read_client(assertion["client_data_json"])["origin"]
        domain = webauthn.find_domain(origin, assertion["authenticator_data"])
        if keys.get((vote.voter_id, assertion["credential_id"])) != assertion["public_key"]:
            return "it is signed with no passkey of its voter"
        if {**statement, **_describe_vote(vote), "origin": origin} != statement:
            return "the signed statement is of another vote"
        webauthn.verify_assertion(
            assertion,
            build_challenge(vote.signed_statement),
            assertion["public_key"],
            sign_count=0,
            origins=[origin],
            domain=domain,
        )
    except (webauthn.NotVerified, ValueError, KeyError, TypeError, AttributeError):
        return "its signature does not verify"
    return ""


def _describe_vote(vote: Vote) -> dict[str, Any]:
    """The members of a statement that the vote's own row and its approval's hold."""
    return {
        "approval": str(vote.approval_id),
        "task": str(vote.approval.task_id),
        "revision": vote.approval.revision,
        "payload_digest": vote.payload_digest,
        "choice": str(vote.choice),
        "notes_digest": digest(vote.notes),
        "answer_digest": None if vote.answer is None else digest(canonical(vote.answer)),
        "seat": vote.seat_of_id,
    }


def _count_ballots(vote: Vote) -> int:
    """Which vote of the voter on the approval this is, from 1; those before were withdrawn."""
    return len(_ballots(approval=vote.approval_id, voter=vote.voter_id)) + 1


_ballots: Prepared[tuple[UUID]] = Prepared(
    lambda approval, voter: (
        Vote.objects.filter(approval=approval, voter=voter).order_by().values_list("pk")
    )
)
