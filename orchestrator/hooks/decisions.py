"""The task of a tool call, and what it says about the call."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from django.db.models import Exists, OuterRef, Q

from approvals_app.api.reads import find_unanswered, read_approvals, waits_for_people
from approvals_app.models import Approval, Vote
from audit_app.base.actors import Actor
from audit_app.base.errors import Conflict
from audit_app.trail.operation import clock
from orchestrator.hooks.claude_code import Behavior, Call
from sessions_app.errors import RoleNotHeld
from sessions_app.models import Task, TaskRevision
from sessions_app.tasks import operations as task_operations
from sessions_app.tasks.routing import Sender, route_task

RECENT: Final = timedelta(days=7)
"""How long a call that is repeated finds its task again."""

LEASE: Final = timedelta(minutes=1)
"""Between the claim and the report of a call, which follow each other at once."""

MOST_TRIES: Final = 5


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is answered about a call, and the task it comes from."""

    task: Task
    behavior: Behavior
    reason: str
    updated_input: dict[str, Any] | None = None
    waits: bool = False
    """Whether people still have to decide."""


def decide(call: Call, *, by: Actor, trace_id: UUID) -> Verdict:
    """The verdict on ``call`` as it is now. It uses an approval up: the next equal call needs
    another.

    A repeated call finds the task that it waited for. Raises AgentsOnly, RoleNotHeld, what
    ``route_task`` raises, and Conflict where equal calls outran it again and again.
    """
    for _ in range(MOST_TRIES):
        task = _find_or_route(call, by, trace_id)
        try:
            return _judge(task, call, by)
        except Conflict as conflict:  # an equal call at the same time used the approval up
            lost = conflict
    raise lost


def _find_or_route(call: Call, by: Actor, trace_id: UUID) -> Task:
    sender = Sender.find(by, None, trace_id)
    if sender.role is None:
        raise RoleNotHeld(role=call.tool)
    # The agent executes the call itself, so the task is for its own role.
    new = call.as_task(sender.role, f"claude-code:{uuid4()}")
    asked = new.build(sender)
    asked.seal_payload()
    found = (
        Task.objects.filter(
            _asks_for(asked.payload_digest),
            _still_answers(now := clock()),
            agent_id=sender.agent_id,
            created_at__gt=now - RECENT,
            task_type=new.task_type,
        )
        .order_by("created_at", "id")
        .first()
    )
    return found or route_task(new, by=by, trace_id=trace_id)


def _asks_for(digest: str) -> Q:
    """Tasks of this payload, or that had it until a reviewer edited them."""
    earlier = TaskRevision.objects.filter(task=OuterRef("pk"), payload_digest=digest)
    return Q(payload_digest=digest) | Q(Exists(earlier))


def _still_answers(now: datetime) -> Q:
    """Tasks that wait, may be used, or were rejected: a call is not asked about twice for that."""
    usable = Q(approved_until=None) | Q(approved_until__gt=now)
    open_or_rejected = Q(status__in=(Task.Status.AWAITING_APPROVAL, Task.Status.REJECTED))
    return open_or_rejected | (Q(status=Task.Status.APPROVED) & usable)


def _judge(task: Task, call: Call, by: Actor) -> Verdict:
    read_approvals([task])
    if task.status == Task.Status.APPROVED:
        return _use(task, call, by)
    if task.status == Task.Status.REJECTED:
        return Verdict(task, Behavior.DENY, _name_rejection(task))
    if waits_for_people(task):
        asked = ", ".join(sorted({each.approver_role for each in find_unanswered(task)}))
        reason = (
            f"Nobody has decided yet: {asked or 'its reviewers'} must approve this call first "
            f"(task {task.pk}). Make exactly the same call again later to learn the decision."
        )
        return Verdict(task, Behavior.DENY, reason, waits=True)
    return Verdict(task, Behavior.DENY, _name_changes(task))


def _use(task: Task, call: Call, by: Actor) -> Verdict:
    """Let the call pass, once. Raises Conflict where its approval was used meanwhile."""
    claimed = task_operations.claim(task.pk, by=by, lease=LEASE)
    # Claimed alone it could be claimed again when the lease runs out.
    task_operations.complete(task.pk, by=by, result={"tool_use_id": call.use})
    approved = claimed.data.get("input")
    if not isinstance(approved, dict) or replace(call, input=approved).as_data() != claimed.data:
        reason = (
            f"A reviewer made something of this call that it cannot be (task {task.pk}): only its "
            "input can be edited, with the diff that follows from it."
        )
        return Verdict(task, Behavior.DENY, reason)
    names = {each.decided_by.username for each in task.approvals.all() if each.decided_by}
    who = " and ".join(sorted(names)) or "policy"
    edited = None if approved == call.input else approved
    return Verdict(task, Behavior.ALLOW, f"Approved by {who} (task {task.pk}).", edited)


def _name_rejection(task: Task) -> str:
    for each in task.approvals.all():
        if each.status == Approval.Status.REJECTED:
            who = each.decided_by.username if each.decided_by else each.approver_role
            return f"{who} rejected this call (task {task.pk}).{_quote(each.notes)}"
    return f"A policy refuses this call (task {task.pk}).{_quote(task.why)}"


def _name_changes(task: Task) -> str:
    for each in task.approvals.all():
        for vote in each.votes_cast:
            if vote.choice == Vote.Choice.CHANGES:
                return (
                    f"{vote.voter.username} asks for changes (task {task.pk})."
                    f"{_quote(vote.notes)} Make the changed call instead."
                )
    return f"This call cannot be decided now (task {task.pk}). Make it again."


def _quote(text: str) -> str:
    return f" They say: {text}" if text else ""
