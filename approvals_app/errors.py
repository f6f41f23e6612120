"""What can be refused on this floor."""

from audit_app.errors import Conflict, Forbidden


class HumansOnly(Forbidden):
    """Only a human can decide; the caller is a {kind}."""


class NotEligible(Forbidden):
    """Only a member of the group {role} can decide on this."""


class SeparationOfDuties(Forbidden):
    """Nobody decides on a task of an agent that they own."""


class OneVoiceEach(Forbidden):
    """One person has one voice on a task, and the caller has decided on this one already."""


class AlreadyDecided(Conflict):
    """This approval is {state} already, by {decided_by} at {decision_at}."""


class ApprovalExpired(Conflict):
    """The deadline of this approval passed at {expires_at}; nothing can be decided on it."""


class PayloadDigestMismatch(Conflict):
    """The digest given is not that of the task's payload: what was seen would not happen."""


class ApprovalPending(Conflict):
    """This task is waiting for the role {role} already."""


class TaskNotWaiting(Conflict):
    """This task is {state}: it waits for nobody's approval."""


class ReauthenticationRequired(Forbidden):
    """Whoever decides must have proved who they are more recently than the caller did."""


class SecondFactorRequired(Forbidden):
    """Whoever decides must have given a second factor, and the caller did not."""
