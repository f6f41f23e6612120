"""What people have decided on a task, derived from the task as the server returns it."""

from __future__ import annotations

from orchestrator_client.errors import NotApproved
from orchestrator_client.types import Task, Vote

APPROVED_STATES = {"approved", "claimed", "completed", "failed"}


def outcome(task: Task) -> str:
    """The task's status, or ``changes_requested`` where it waits for its agent's revision."""
    return "changes_requested" if wants_changes(task) else task["status"]


def is_waiting(task: Task) -> bool:
    """Whether people still have to act: nobody has decided yet or requested changes."""
    return outcome(task) == "awaiting_approval"


def wants_changes(task: Task) -> bool:
    """Whether a reviewer requested changes to the present revision."""
    return task["status"] == "awaiting_approval" and any(
        vote["choice"] == "changes"
        for approval in task["approvals"]
        if approval["status"] == "pending" and approval["revision"] == task["revision"]
        for vote in approval["votes"]
    )


def require_approved(task: Task) -> None:
    """Raises NotApproved, with the reviewers' comments, unless people or a policy approved."""
    if task["status"] not in APPROVED_STATES:
        raise NotApproved(task)


def opposing_votes(task: Task) -> list[Vote]:
    """The votes on the present revision that reject it or request changes."""
    return [
        vote
        for approval in task["approvals"]
        if approval["revision"] == task["revision"]
        for vote in approval["votes"]
        if vote["choice"] != "yes"
    ]
