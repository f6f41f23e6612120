"""The current trace id: set by each entry point, read by whatever records or logs."""

from contextvars import ContextVar
from uuid import UUID, uuid4

_current: ContextVar[UUID | None] = ContextVar("trace_id", default=None)


def begin(trace_id: UUID | None = None) -> UUID:
    """Make ``trace_id``, or a new one, the current trace id and return it."""
    trace_id = trace_id or uuid4()
    _current.set(trace_id)
    return trace_id


def current() -> UUID | None:
    """The current trace id; None outside any entry point."""
    return _current.get()


def ensure() -> UUID:
    """The current trace id, or a new one where there is none (a command, a shell)."""
    return _current.get() or begin()
