"""Related rows that tasks and approvals are shown with, and what long polls wait for."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.db.models import Exists, OuterRef, QuerySet

from approvals_app.models import Approval, Vote
from approvals_app.payload.summary import summarize_text
from audit_app.base.prepared import Prepared, attach
from sessions_app.models import Task


def read_approvals(tasks: Sequence[Task]) -> None:
    """Attach to ``tasks`` their approvals, oldest first, with votes, in two queries at most."""
    if not tasks:
        return
    ids = [task.pk for task in tasks]
    approvals = sorted(_approvals(tasks=ids), key=_age)
    attach(tasks, "approvals", approvals, "task_id")
    # On most waiting tasks nobody has voted: the second query is not sent then.
    voted = any(approval.has_votes for approval in approvals)
    attach(approvals, "votes", _votes_of_all(tasks=ids) if voted else (), "approval_id")


def read_summary(task: Task) -> None:
    """Attach to ``task`` the facts of its payload."""
    vars(task)["summary"] = summarize_text(task.payload).facts


def read_votes(approvals: Sequence[Approval]) -> None:
    """Attach to ``approvals`` their votes with voters, and who decided, in one query."""
    if not approvals:
        return
    votes = _votes(approvals=[each.pk for each in approvals])
    attach(approvals, "votes", votes, "approval_id")
    # Whoever decided voted, too: no second query for them.
    voters = {vote.voter_id: vote.voter for vote in votes}
    for each in approvals:
        if each.decided_by_id in voters:
            each.decided_by = voters[each.decided_by_id]


def find_unanswered(task: Task) -> list[Approval]:
    """The pending approvals of ``task`` without a request for changes: its agent can only wait."""
    pending = [each for each in task.approvals.all() if each.status == Approval.Status.PENDING]
    to_change = {
        each.revision
        for each in pending
        if any(vote.choice == Vote.Choice.CHANGES for vote in each.votes_cast)
    }
    return [each for each in pending if each.revision not in to_change]


def waits_for_people(task: Task) -> bool:
    """Whether ``task`` waits for a decision and nobody has requested changes yet."""
    if task.status != Task.Status.AWAITING_APPROVAL:
        return False
    if any(each.override_id is None for each in find_unanswered(task)):
        return True
    # Without a pending approval the task was decided after it was read: what is shown is outdated.
    return all(each.status != Approval.Status.PENDING for each in task.approvals.all())


def subscription_keys(task: Task) -> list[str]:
    """The keys under which decisions on ``task`` and requests for changes are published."""
    return [str(task.pk), *(str(each.pk) for each in task.approvals.all())]


def _age(approval: Approval) -> tuple[object, str]:
    return approval.created_at, str(approval.pk)


def _approvals_of(tasks: list[UUID]) -> "QuerySet[Approval]":
    votes = Vote.objects.filter(approval=OuterRef("pk")).order_by()
    approvals = Approval.objects.filter(task__in=tasks).select_related("decided_by").order_by()
    return approvals.annotate(has_votes=Exists(votes))


def _votes_of_tasks(tasks: list[UUID]) -> "QuerySet[Vote]":
    return Vote.objects.filter(approval__task__in=tasks).select_related("voter", "seat_of")


def _votes_on(approvals: list[UUID]) -> "QuerySet[Vote]":
    return Vote.objects.filter(approval__in=approvals).select_related("voter", "seat_of")


_approvals: Prepared[Any] = Prepared(_approvals_of)  # Any: has_votes is annotated
_votes_of_all: Prepared[Vote] = Prepared(_votes_of_tasks)
_votes: Prepared[Vote] = Prepared(_votes_on)
