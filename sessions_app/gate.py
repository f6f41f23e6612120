"""The approval gate: how tasks ask the app above who must approve them.

This app declares the protocol and knows nothing of approvals. The app above implements it and
registers its implementation when Django starts.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol

from django.core.checks import Error
from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING:  # the server asks for the gate before models can be imported
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from audit_app.base.actors import Actor
    from audit_app.base.errors import OrchestratorError
    from sessions_app.models import Task

MISSING = "No approval gate is registered: an app must call sessions_app.gate.register in ready()."


class Outcome(StrEnum):
    APPROVE = "approve"
    REQUIRE = "require"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class PolicyDecision:
    """What happens to a task, why in words, and which version of which policy decided it.

    ``policy`` is empty where none matched. ``plan`` belongs to the gate: who must approve, and
    until when.
    """

    kind: Outcome
    why: str
    policy: str = ""
    policy_version: int | None = None
    plan: Any = None

    def as_details(self) -> "dict[str, Any]":
        """For the metadata of an event."""
        return {
            "verdict": self.kind.value,
            "policy": self.policy,
            "policy_version": self.policy_version,
            "why": self.why,
        }


class ApprovalGate(Protocol):
    """Who must approve a task before it is executed. Each call is part of the caller's
    transaction."""

    def evaluate(self, tasks: "Sequence[Task]") -> "Sequence[PolicyDecision | OrchestratorError]":
        """Decide on each of ``tasks``, which need not be saved: a decision, or the error that
        refuses the task."""

    def check_revisable(self, task: "Task") -> None:
        """Raise the error that keeps ``task``, locked and waiting, from being revised."""

    def request_approvals(
        self, decisions: "Sequence[tuple[Task, PolicyDecision]]", *, by: "Actor"
    ) -> "Sequence[Any]":
        """Request the approvals that each task, just created or revised, needs by its decision from
        ``evaluate``, and return them."""

    def count_eligible(self, approvals: "Sequence[Any]") -> "Mapping[UUID, int]":
        """How many people may decide now on each task that one agent just routed, by the task's
        id; ``approvals`` are those that ``request_approvals`` returned."""

    def withdraw_approvals(self, task: "Task", *, by: "Actor", why: str) -> None:
        """Withdraw the pending approvals of ``task``, which is locked."""

    def approvals_asking(self, actor: "Actor") -> Any:
        """The approvals on which ``actor`` may be asked to vote, as a queryset of rows with a
        ``task``."""

    def approvals_asking_by_way(self, actor: "Actor") -> "Sequence[Any]":
        """The same approvals as one queryset per way to be asked, each of which has an index."""


_registered: list[ApprovalGate] = []


def register(gate: ApprovalGate) -> None:
    """Make ``gate`` the one that ``approval_gate`` returns. Raises ImproperlyConfigured if there is
    one already."""
    if _registered:
        raise ImproperlyConfigured("An approval gate is registered already; there is exactly one.")
    _registered.append(gate)


def approval_gate() -> ApprovalGate:
    """The registered gate. Raises ImproperlyConfigured if there is none."""
    if not _registered:
        raise ImproperlyConfigured(MISSING)
    return _registered[0]


def check_registered(**_: Any) -> list[Error]:
    """A system check, so that management commands refuse to start without a gate."""
    return [] if _registered else [Error(MISSING, id="sessions_app.E001")]
