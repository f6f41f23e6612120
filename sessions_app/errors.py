"""What can be refused on this floor."""

from audit_app.base.errors import Conflict, Forbidden, Invalid


class RoleNotHeld(Forbidden):
    """The caller does not hold the role {role}."""


class NotClaimant(Forbidden):
    """This task is claimed by another agent or session."""


class NotRouter(Forbidden):
    """Only the agent that routed this task can cancel or revise it."""


class ApprovalConsumed(Conflict):
    """The approval of this task was used by another agent's claim; it authorises one execution."""


class ApprovalLapsed(Conflict):
    """The approval of this task could be used until {approved_until}."""


class NothingRevised(Conflict):
    """The revision asks for exactly what the task asks for already."""


class SessionClosed(Conflict):
    """The session is {state}; no more work can be routed from it or claimed in it."""


class TaskTaken(Conflict):
    """Another agent is working on this task."""


class LeaseExpired(Conflict):
    """The lease on this task ran out at {expired_at}; claim it again to go on."""


class UnknownSession(Invalid):
    """The header X-Session-Id names no session of the caller's."""


class AgentRevoked(Conflict):
    """The agent {name} is revoked."""


class NameTaken(Conflict):
    """There is an agent called {name} already."""


class SubjectTaken(Conflict):
    """Another agent is known by the tokens of {subject} already."""


class AdministratorsOnly(Forbidden):
    """Only an administrator can create, change or revoke agents."""
