"""The errors of approvals_app. The class name is the error code, the docstring the message."""

from audit_app.base.errors import Busy, Conflict, Forbidden, Invalid, NotFound


class HumansOnly(Forbidden):
    """Only a human can decide; no {kind} can."""


class NotEligible(Forbidden):
    """Only members of the group {role} can decide this."""


class SeparationOfDuties(Forbidden):
    """Nobody decides on their own request: {why}"""


class OneVoiceEach(Forbidden):
    """Each person votes once in a decision; the caller, or the person they vote for, has voted
    already."""


class AlreadyDecided(Conflict):
    """This approval is already {state}, by {decided_by} at {decision_at}."""


class ApprovalExpired(Conflict):
    """The deadline of this approval passed at {expires_at}."""


class PayloadDigestMismatch(Conflict):
    """The digest is not that of the task's payload, which may have changed."""


class ApprovalPending(Conflict):
    """This task already waits for the role {role}."""


class TaskNotWaiting(Conflict):
    """This task is {state}; it does not wait for approval."""


class ReauthenticationRequired(Forbidden):
    """This decision requires a more recent sign-in."""


class SecondFactorRequired(Forbidden):
    """This decision requires a second factor."""


class SignatureRequired(Forbidden):
    """This decision must be signed with a passkey of the voter."""


class SignatureInvalid(Forbidden):
    """The signature is not accepted: {why}"""


class PasskeyInvalid(Invalid):
    """The passkey can't be registered: {why}"""


class PasskeyKnown(Conflict):
    """This passkey is registered already."""


class NotYourPasskey(Forbidden):
    """Only its owner or an administrator can remove a passkey."""


class ChangesRequested(Conflict):
    """{by} requested changes; approval is blocked until they withdraw or the task is revised."""


class NoVote(Conflict):
    """The caller has no vote to withdraw."""


class NotDecided(Conflict):
    """There is no receipt of this decision: {reason}"""


class NotJudgedYet(Busy):
    """Evaluating the tasks before this one took too long; send the same request again."""


class UnknownRole(Invalid):
    """No group, policy or agent knows the role {role}, so nobody could decide."""


class UnknownPerson(Invalid):
    """No user named {name}."""


class DelegateExcluded(Conflict):
    """{name} can't vote on this: {why}"""


class AlreadyDelegated(Conflict):
    """The caller already has a delegate for that time."""


class NotDelegator(Forbidden):
    """Only the delegator, the delegate or an administrator can end a delegation."""


class NoRightToOverride(Forbidden):
    """Approving alone requires the permission to break the glass."""


class OverrideOverdue(Conflict):
    """The review of an earlier override was due at {due}; nobody can break the glass before it."""


class NoRightToRecall(Forbidden):
    """Only people who voted on this, or were asked to, can recall it."""


class RecallTooLate(Conflict):
    """{claimed_by} claimed this task at {claimed_at}; it is too late to recall it."""


class ReviewPending(Conflict):
    """This was approved alone; its review is pending: it can be cancelled, but not wait again."""


class NoRightToErase(Forbidden):
    """Only people with the permission to erase payloads can do this."""


class AlreadyErased(Conflict):
    """The payload of this task is already erased."""


class ReviewStillPending(Conflict):
    """This was approved alone; its payload stays until the review is decided."""


class LookFirst(Conflict):
    """Approving requires {seconds_left} s more on the page of the request."""


class NotTyped(Invalid):
    """Type {expected} to approve. Nothing was approved."""


class NotConfirmed(Invalid):
    """To approve, confirm that you followed the policy's instruction: {instruction}"""


class AnswerRequired(Invalid):
    """This task is a question; approving it requires an answer."""


class AnswerInvalid(Invalid):
    """The answer is not valid: {reason}"""


class QuestionInvalid(Invalid):
    """The schema of the question is not supported: {reason}"""


class PolicyAdministratorsOnly(Forbidden):
    """Only people who may change policies can do this."""


class PolicyUnknown(NotFound):
    """No policy named {name}."""


class PolicyNotSimulated(Conflict):
    """Simulate exactly this policy before you activate it."""


class SimulationOutdated(Conflict):
    """The policies in force have changed since the simulation; simulate again."""


class PolicyNameTaken(Conflict):
    """A policy named {name} already exists."""
