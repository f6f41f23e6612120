"""The errors that operations on agents, sessions and tasks raise."""

from audit_app.base.errors import Conflict, Forbidden, Invalid


class RoleNotHeld(Forbidden):
    """The caller does not hold the role {role}."""


class NotClaimant(Forbidden):
    """This task is claimed by another agent or session."""


class NotRouter(Forbidden):
    """Only the agent that routed this task can cancel or revise it."""


class ApprovalConsumed(Conflict):
    """Another agent's claim used the approval of this task; it authorises one execution."""


class ApprovalLapsed(Conflict):
    """The approval of this task lapsed at {approved_until}."""


class NothingRevised(Conflict):
    """The revision changes nothing."""


class SessionClosed(Conflict):
    """The session is {state}; it can't route or claim tasks."""


class TaskTaken(Conflict):
    """Another agent is working on this task."""


class AlreadyClaimed(Conflict):
    """You hold this task until {lease_expires_at}: report on it, or extend the lease."""


class UnknownSession(Invalid):
    """X-Session-Id does not name a session of the caller."""


class AgentRevoked(Conflict):
    """The agent {name} is revoked."""


class NameTaken(Conflict):
    """An agent named {name} already exists."""


class SubjectTaken(Conflict):
    """Another agent already has the subject {subject}."""


class AdministratorsOnly(Forbidden):
    """Only an administrator can create, change or revoke agents."""


class Frozen(Conflict):
    """{target} is frozen, so nothing of it can be claimed until it is thawed: {reason}"""

    sqlstate = "OR001"


class AlreadyFrozen(Conflict):
    """{target} is frozen already."""


class NotFrozen(Conflict):
    """This freeze was lifted already."""


class NoRightToFreeze(Forbidden):
    """You don't have the right to freeze and thaw."""
