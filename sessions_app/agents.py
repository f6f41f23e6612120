"""Operations that create, change and revoke agents and their keys."""

import hashlib
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models import Q, QuerySet
from django.db.models.functions import Now

from audit_app.base.actors import Actor, may_administer
from audit_app.base.errors import NotFound
from audit_app.base.events import EventType
from audit_app.trail.operation import operation, violated_constraint
from audit_app.trail.recording import create, perform
from sessions_app.api_keys import NewKey
from sessions_app.errors import AdministratorsOnly, AgentRevoked, NameTaken, SubjectTaken
from sessions_app.gate import approval_gate
from sessions_app.models import Agent, AgentKey, Task


@operation("identity.create")
def create_agent(
    name: str,
    *,
    by: Actor,
    roles: list[str],
    owner_id: int | None = None,
    subject: str | None = None,
) -> tuple[Agent, NewKey]:
    """Create an agent and return it with its first key, which is not stored.

    Raises AdministratorsOnly, NameTaken.
    """
    _administrators_only(by)
    agent = Agent(name=name, roles=list(dict.fromkeys(roles)), owner_id=owner_id, subject=subject)
    try:
        create(agent, EventType.IDENTITY_CREATED, by=by)
    except IntegrityError as error:
        if violated_constraint(error) in ("agents_name_key", "agents_subject_key"):
            raise NameTaken(name=name) from error
        raise
    return agent, _issue_key(agent, by)


@operation("identity.provision")
def provision_agent(subject: str, *, by: Actor, name: str, roles: list[str], owner: str) -> Agent:
    """Return the agent of an OIDC subject; create it, without an API key, at its first token.

    Concurrent first requests get the same agent. If ``name`` is taken, a part of the subject's hash
    is appended. ``owner`` is a username or empty. Raises AdministratorsOnly, NotFound (no such
    owner, or the subject is a person's username), NameTaken.
    """
    _administrators_only(by)
    if User.objects.filter(username=subject).exists():
        raise NotFound(what="agent")
    owner_id = User.objects.filter(username=owner).values_list("pk", flat=True).first()
    if owner and owner_id is None:
        raise NotFound(what="user")
    suffix = hashlib.sha256(subject.encode()).hexdigest()
    for candidate in (name, f"{name[:141]}-{suffix[:8]}", f"agent-{suffix}"):
        agent = Agent(name=candidate, roles=roles, owner_id=owner_id, subject=subject)
        details = {"reason": "The first token of an unknown OIDC subject."}
        try:
            # A savepoint: the loop goes on after a violated constraint.
            with transaction.atomic():
                return create(agent, EventType.IDENTITY_CREATED, by=by, details=details)
        except IntegrityError as error:
            # Another first request created it; its transaction has committed by now.
            if violated_constraint(error) == "agents_subject_key":
                return Agent.objects.get(subject=subject)
            if violated_constraint(error) != "agents_name_key":
                raise
    raise NameTaken(name=name)


@operation("identity.change")
def change_agent(
    agent_id: UUID,
    *,
    by: Actor,
    roles: list[str],
    owner_id: int | None,
    subject: str | None,
) -> Agent:
    """Change an agent's roles, owner and OIDC subject.

    Raises NotFound, AdministratorsOnly, AgentRevoked, SubjectTaken.
    """
    _administrators_only(by)
    agent = _lock_active(agent_id)
    changes: dict[str, Any] = {
        "roles": list(dict.fromkeys(roles)),
        "owner_id": owner_id,
        "subject": subject,
    }
    try:
        perform(agent.change, by=by, details=changes, **changes)
    except IntegrityError as error:
        if violated_constraint(error) == "agents_subject_key":
            raise SubjectTaken(subject=subject) from error
        raise
    return agent


@operation("key.rotate")
def rotate_key(agent_id: UUID, *, by: Actor, overlap: timedelta = timedelta()) -> NewKey:
    """Issue a new key; the present ones still work for ``overlap``.

    Raises NotFound, AdministratorsOnly, AgentRevoked.
    """
    _administrators_only(by)
    agent = _lock_active(agent_id)
    _revoke_keys(agent, by, overlap)
    return _issue_key(agent, by)


@operation("identity.revoke")
def revoke_agent(agent_id: UUID, *, by: Actor, reason: str = "") -> Agent:
    """Revoke an agent and its keys for good, and cancel its tasks that nobody has claimed.

    ``reason`` is kept with the agent's event and with those of its tasks.
    Raises NotFound, AdministratorsOnly, AgentRevoked.
    """
    _administrators_only(by)
    agent = _lock_active(agent_id)
    # Under the agent's lock, so that no key is issued meanwhile.
    _revoke_keys(agent, by, timedelta())
    perform(agent.revoke, by=by, details={"reason": reason} if reason else {})
    why = f"Its agent was revoked: {reason}" if reason else "Its agent was revoked."
    tasks = _select_unclaimed(agent_id)
    # Ordered by id: two transactions that lock several tasks can't deadlock.
    for task in tasks.order_by("id").select_for_update(no_key=True, of=("self",)):
        perform(task.cancel, by=by, details={"reason": why})
        approval_gate().withdraw_approvals(task, by=by, why=why)
    return agent


@dataclass(frozen=True, slots=True)
class Revocation:
    """What ``revoke_agent`` would end: tasks that wait for approval, approved tasks that nobody
    has claimed, and keys that still work."""

    waiting: int
    approved: int
    keys: int


def preview_revocation(agent: Agent) -> Revocation:
    """Count what revoking ``agent`` would end now."""
    tasks = _select_unclaimed(agent.pk)
    return Revocation(
        waiting=tasks.filter(status=Task.Status.AWAITING_APPROVAL).count(),
        approved=tasks.filter(status=Task.Status.APPROVED).count(),
        keys=count_live_keys(agent),
    )


def count_live_keys(agent: Agent) -> int:
    """How many keys of ``agent`` work now."""
    return agent.keys.filter(Q(revoked_at__isnull=True) | Q(revoked_at__gt=Now())).count()


def _select_unclaimed(agent_id: UUID) -> "QuerySet[Task]":
    open_ = (Task.Status.AWAITING_APPROVAL, Task.Status.APPROVED)
    # What was approved and then claimed may have been executed: its claimant may still report.
    return Task.objects.filter(agent_id=agent_id, status__in=open_, consumed_by=None)


def _lock_active(agent_id: UUID) -> Agent:
    agent = Agent.objects.lock(agent_id)
    if agent.status != Agent.Status.ACTIVE:
        raise AgentRevoked(agent, name=agent.name)
    return agent


def _issue_key(agent: Agent, by: Actor) -> NewKey:
    key = NewKey.make()
    AgentKey.objects.create(agent=agent, prefix=key.prefix, hash=key.hash)
    perform(agent.issue_key, by=by, details={"prefix": key.prefix})
    return key


def _revoke_keys(agent: Agent, by: Actor, overlap: timedelta) -> None:
    # PostgreSQL's clock, since every web process compares with it.
    end = Now() + overlap
    live = agent.keys.filter(Q(revoked_at__isnull=True) | Q(revoked_at__gt=end))
    prefixes = list(live.values_list("prefix", flat=True))
    if prefixes:
        live.update(revoked_at=end)
        details = {"prefixes": prefixes, "overlap_seconds": int(overlap.total_seconds())}
        perform(agent.revoke_keys, by=by, details=details)


def _administrators_only(by: Actor) -> None:
    if not may_administer(by, "sessions_app.change_agent"):
        raise AdministratorsOnly
