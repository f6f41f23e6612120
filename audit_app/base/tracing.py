"""The trace id of the work in hand: set by each entry point, read by whatever records."""

from contextvars import ContextVar
from uuid import UUID

current: ContextVar[UUID] = ContextVar("trace_id")
"""Not set in a command or a shell, which belong to no trace: there, use ``current.get(None)``."""
