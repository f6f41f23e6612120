"""What can be refused on this floor."""

from audit_app.base.errors import Busy, Conflict, Forbidden, Invalid, NotFound


class HumansOnly(Forbidden):
    """Only a human can decide; the caller is a {kind}."""


class NotEligible(Forbidden):
    """Only a member of the group {role} can decide on this."""


class SeparationOfDuties(Forbidden):
    """Nobody decides on what they ask for themselves: {why}"""


class OneVoiceEach(Forbidden):
    """One person has one voice in a decision, and the caller's, or that of the person in whose seat
    they would vote, was given already."""


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


class ChangesRequested(Conflict):
    """{by} asked for changes first: nobody can approve this until they withdraw that, or it is
    revised."""


class NoVote(Conflict):
    """The caller has no vote on this that could be withdrawn."""


class NotJudgedYet(Busy):
    """Judging the tasks before this one took too long; the same request can be sent again."""


class UnknownPerson(Invalid):
    """Nobody who works here is called {name}."""


class DelegateExcluded(Conflict):
    """{name} can't vote on this: {why}"""


class AlreadyDelegated(Conflict):
    """The caller has somebody to stand in for them already, at that time."""


class NotDelegator(Forbidden):
    """Only the two whom a delegation concerns, or an administrator, can end it."""


class NoRightToOverride(Forbidden):
    """Only a person who was given the right to break the glass can approve alone."""


class OverrideOverdue(Conflict):
    """An earlier override was to be reviewed until {due}, and nobody may use another before it
    is."""


class LookFirst(Conflict):
    """This has to be looked at before it is approved, on its page: {seconds_left} s more."""


class NotTyped(Invalid):
    """Whoever approves this types out {path}, exactly as it is."""


class AnswerRequired(Invalid):
    """This task is a question: whoever approves it gives an answer."""


class AnswerInvalid(Invalid):
    """The answer is not what the question asks for: {reason}"""


class QuestionInvalid(Invalid):
    """The form of the question can't be shown: {reason}"""


class PolicyAdministratorsOnly(Forbidden):
    """Only a person who may change policies can do this."""


class PolicyUnknown(NotFound):
    """There is no policy called {name}."""


class PolicyNameTaken(Conflict):
    """There is a policy called {name} already."""
