"""Route an agent's tasks, wait for people's decisions, and execute what was approved."""

from orchestrator_client.aclient import AsyncClient, AsyncEvents
from orchestrator_client.client import Client, Events
from orchestrator_client.decisions import is_waiting, outcome, require_approved, wants_changes
from orchestrator_client.decorator import needs_approval
from orchestrator_client.errors import NotApproved, OrchestratorError, Problem, StillWaiting

__all__ = [
    "AsyncClient",
    "AsyncEvents",
    "Client",
    "Events",
    "NotApproved",
    "OrchestratorError",
    "Problem",
    "StillWaiting",
    "is_waiting",
    "needs_approval",
    "outcome",
    "require_approved",
    "wants_changes",
]
