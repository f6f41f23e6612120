"""What people have said of a task, read from the task as the server shows it."""

from __future__ import annotations

from orchestrator_client.errors import NotApproved
from orchestrator_client.types import Task, Vote

WERE_APPROVED = {"approved", "claimed", "completed", "failed"}


def outcome(task: Task) -> str:
    """The task's status; ``changes_requested`` where it waits for its own agent's revision."""
    return "changes_requested" if wants_changes(task) else task["status"]


def is_waiting(task: Task) -> bool:
    """Whether the next word is people's: nobody has decided yet, or asked for changes."""
    return outcome(task) == "awaiting_approval"


def wants_changes(task: Task) -> bool:
    """Whether a reviewer asked the agent for a revision."""
    return task["status"] == "awaiting_approval" and any(
        vote["choice"] == "changes"
        for approval in task["approvals"]
        if approval["status"] == "pending" and approval["revision"] == task["revision"]
        for vote in approval["votes"]
    )


def require_approved(task: Task) -> None:
    """Raises NotApproved, with the reviewers' words, unless people (or a policy) said yes."""
    if task["status"] not in WERE_APPROVED:
        raise NotApproved(task)


def voices_against(task: Task) -> list[Vote]:
    """Of the present revision: the noes, and the wishes for changes."""
    return [
        vote
        for approval in task["approvals"]
        if approval["revision"] == task["revision"]
        for vote in approval["votes"]
        if vote["choice"] != "yes"
    ]
