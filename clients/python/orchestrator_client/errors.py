"""The errors of this package; where the server can't be reached, httpx's own errors are raised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from orchestrator_client.types import Task, Vote


class OrchestratorError(Exception):
    """The base of every error of this package."""


class Problem(OrchestratorError):
    """The server refused (RFC 9457). ``code`` is for programs, ``detail`` is for people."""

    def __init__(self, answer: httpx.Response) -> None:
        members = _members(answer)
        self.status: int = answer.status_code
        self.code: str = members.pop("code", "")
        self.title: str = members.pop("title", answer.reason_phrase)
        self.detail: str = members.pop("detail", "")
        self.errors: list[dict[str, str]] = members.pop("errors", [])
        """The invalid fields, if any: ``field``, ``detail`` and ``code`` of each."""
        self.trace_id: str | None = members.pop("trace_id", answer.headers.get("X-Trace-Id"))
        self.answered_at: str | None = answer.headers.get("Idempotent-Answered-At")
        """When the server gave this answer first, where it repeats it (RFC 3339, in UTC)."""
        self.members: dict[str, Any] = members
        """Further members, such as ``state`` and ``allowed`` of a conflict."""
        fields = "".join(f" {error['field']}: {error['detail']}" for error in self.errors)
        status = f"{self.status} {self.code}".rstrip()
        earlier = f", as answered at {self.answered_at}" if self.answered_at else ""
        text = f"{self.detail or self.title}{fields}"
        super().__init__(f"{text} ({status}, trace {self.trace_id}{earlier})")


class NotApproved(OrchestratorError):
    """The task was not approved; the text has the reviewers' comments."""

    def __init__(self, task: Task) -> None:
        from orchestrator_client.decisions import opposing_votes, outcome

        self.task = task
        self.outcome = outcome(task)
        """``rejected``, ``changes_requested``, ``expired`` or ``cancelled``."""
        self.votes: list[Vote] = opposing_votes(task)
        reasons = [f"{vote['voter']}: {vote['notes'] or '(no notes)'}" for vote in self.votes]
        if self.outcome == "rejected" and not reasons:
            reasons = [task["policy"]["why"]]
        text = "; ".join(reason for reason in reasons if reason)
        super().__init__(f"{self.outcome}{': ' if text else ''}{text}")


class StillWaiting(OrchestratorError, TimeoutError):
    """Nobody is known to have decided within the timeout; the task stays pending.

    If the server was unavailable at the end, that error is the ``__cause__``.
    """

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(f"As far as is known, nobody has decided on task {task_id} yet.")


def _members(answer: httpx.Response) -> dict[str, Any]:
    """The members of the problem in ``answer``; {} where it is not one."""
    # A proxy in between may have answered, in any format.
    try:
        body = answer.json()
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}
