"""What can go wrong; where the server can't be reached at all, httpx's own errors say so."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import httpx

if TYPE_CHECKING:
    from orchestrator_client.types import Task, Vote


class OrchestratorError(Exception):
    """The base of every error of this package."""


class Problem(OrchestratorError):
    """The server refused (RFC 9457). Program against ``code``; ``detail`` is for people."""

    def __init__(self, answer: httpx.Response) -> None:
        told = _members(answer)
        self.status: int = answer.status_code
        self.code: str = told.pop("code", "")
        self.title: str = told.pop("title", answer.reason_phrase)
        self.detail: str = told.pop("detail", "")
        self.errors: list[dict[str, str]] = told.pop("errors", [])
        """Which fields are to blame, where some are: ``field``, ``detail`` and ``code`` of each."""
        self.trace_id: str | None = told.pop("trace_id", answer.headers.get("X-Trace-Id"))
        self.members: dict[str, Any] = told
        """What else came along, as ``state`` and ``allowed`` of a conflict."""
        fields = "".join(f" {error['field']}: {error['detail']}" for error in self.errors)
        named = f"{self.status} {self.code}".rstrip()
        super().__init__(f"{self.detail or self.title}{fields} ({named}, trace {self.trace_id})")


class NotApproved(OrchestratorError):
    """People did not say yes; the text is what they said."""

    def __init__(self, task: Task) -> None:
        from orchestrator_client.decisions import outcome, voices_against

        self.task = task
        self.outcome = outcome(task)
        """``rejected``, ``changes_requested``, ``expired`` or ``cancelled``."""
        self.votes: list[Vote] = voices_against(task)
        words = [f"{vote['voter']}: {vote['notes'] or '(no notes)'}" for vote in self.votes]
        if self.outcome == "rejected" and not words:
            words = [task["policy"]["why"]]
        said = "; ".join(word for word in words if word)
        super().__init__(f"{self.outcome}{': ' if said else ''}{said}")


class StillWaiting(OrchestratorError, TimeoutError):
    """As far as is known nobody decided in the time that the caller gave; the task goes on waiting.

    The server may have been away just then: the error that says so is the ``__cause__``.
    """

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(f"As far as is known, nobody has decided on task {task_id} yet.")


def _members(answer: httpx.Response) -> dict[str, Any]:
    """Of the problem in ``answer``; none where something in between answered instead."""
    try:
        told = answer.json()
    except ValueError:
        return {}
    return told if isinstance(told, dict) else {}
