"""The errors that operations raise on purpose: a stable code, one sentence, and data. No HTTP.

The class name gives the code (``ApprovalExpired`` → ``approval_expired``), and the first paragraph
of the docstring gives the sentence, with the data filled in. The base class tells the kind of
refusal: forbidden, not found, not possible now. ``orchestrator/web/problems.py`` turns a kind into
an HTTP status.
"""

import inspect
import re
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from audit_app.models import Subject


class OrchestratorError(Exception):
    """Something that was asked for can't be done."""

    code: ClassVar[str] = "error"
    sentence: ClassVar[str] = "Something that was asked for can't be done."
    sqlstate: ClassVar[str] = ""
    """The SQLSTATE with which a trigger raises it; the DETAIL is its data, as JSON."""

    def __init_subclass__(cls) -> None:
        if "sqlstate" in vars(cls):
            RAISED_BY_TRIGGERS[cls.sqlstate] = cls
        cls.code = re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__).lower()
        paragraph = inspect.cleandoc(cls.__doc__ or cls.sentence).split("\n\n")[0]
        cls.sentence = " ".join(paragraph.split())

    def __init__(self, subject: "Subject | None" = None, /, **data: Any) -> None:
        self.subject = subject
        self.data = data
        super().__init__(self.sentence.format(**data))


RAISED_BY_TRIGGERS: dict[str, type[OrchestratorError]] = {}
"""The errors that triggers raise, by SQLSTATE."""


class LostRace(Exception):
    """A concurrent request was faster: the operation is rolled back and run again. Never seen by
    callers."""


class Invalid(OrchestratorError):
    """The value of {field} is not valid: {reason}"""


class Forbidden(OrchestratorError):
    """The caller may not do this."""


class AgentsOnly(Forbidden):
    """Only an agent can do this; the caller is a {kind}."""


class WebhookAdministratorsOnly(Forbidden):
    """Only an administrator can create or change webhooks."""


class NotFound(OrchestratorError):
    """No such {what}, or the caller may not see it."""


class Conflict(OrchestratorError):
    """This is not possible in the present state."""


class PreconditionFailed(OrchestratorError):
    """The caller's precondition does not hold."""


class Unprocessable(OrchestratorError):
    """The request contradicts an earlier one."""


class Gone(OrchestratorError):
    """This is no longer kept."""


class CursorExpired(Gone):
    """Events after this cursor are no longer kept; start again without a cursor."""


class WebhookNameTaken(Conflict):
    """A webhook named {name} already exists."""


class InvalidTransition(Conflict):
    """This {what} is {state}; {transition} is not possible."""

    # data: what, state, transition, allowed (the names of the transitions possible now)


class StaleVersion(PreconditionFailed):
    """If-Match does not name the present version of this {what}."""


class Busy(Conflict):
    """Somebody else is changing this; send the same request again."""


class NotSealedYet(Conflict):
    """The event is not in the transparency log yet; ask again in a moment."""


class RequestInProgress(Conflict):
    """A request with this Idempotency-Key is still running; try again in a moment."""


class IdempotencyKeyReused(Unprocessable):
    """This Idempotency-Key was used with another request."""


class UnknownEvent(Invalid):
    """Unknown event type {event_type}."""


class MetadataTooLarge(Invalid):
    """The metadata exceeds {limit} characters of JSON."""


class InvalidHeader(Invalid):
    """The header {field} is not valid: {reason}"""
