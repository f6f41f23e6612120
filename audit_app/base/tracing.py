"""The trace id of the work in hand: set by whoever opened the door, read by whoever records."""

from contextvars import ContextVar
from uuid import UUID, uuid4

_current: ContextVar[UUID | None] = ContextVar("trace_id", default=None)


def begin(trace_id: UUID | None = None) -> UUID:
    """Start following ``trace_id``, or a new one, and return it."""
    trace_id = trace_id or uuid4()
    _current.set(trace_id)
    return trace_id


def current() -> UUID | None:
    return _current.get()


def ensure() -> UUID:
    """The current trace id; a new one where no door was passed (a command, a shell)."""
    return _current.get() or begin()
