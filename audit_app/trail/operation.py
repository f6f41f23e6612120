"""``@operation``: one durable transaction, an actor, an idempotency receipt."""

import functools
import time
from collections.abc import Callable
from datetime import datetime
from typing import Generic, ParamSpec, TypeVar, cast

from django.db import IntegrityError, OperationalError, connection, transaction
from opentelemetry import trace
from psycopg.errors import (
    DeadlockDetected,
    InternalError,
    LockNotAvailable,
    SerializationFailure,
)

from audit_app.base.actors import Actor
from audit_app.base.errors import (
    Busy,
    Conflict,
    Forbidden,
    LostRace,
    NotFound,
    OrchestratorError,
    PreconditionFailed,
    RequestInProgress,
)
from audit_app.base.metrics import OPERATIONS
from audit_app.live.notifier import notifier
from audit_app.trail import recording
from audit_app.trail.idempotency import Receipt, StoredResponse

tracer = trace.get_tracer("orchestrator")

P = ParamSpec("P")
R = TypeVar("R")

RETRY_AFTER = (0.01, 0.05, 0.2)
"""Seconds before each retry of an operation that PostgreSQL aborted to end a deadlock."""

KEPT_REFUSALS = (Forbidden, NotFound, Conflict, PreconditionFailed)
"""Refusals by the rules, which are stored: a retry gets the same refusal."""

PASSING = (Busy, RequestInProgress)
"""Refusals for the moment, which are not stored: a retry may succeed."""


class Operation(Generic[P, R]):
    """A function that changes state: see ``operation``."""

    def __init__(self, name: str, function: Callable[P, R]) -> None:
        functools.update_wrapper(self, function)
        self.name = name
        self._function = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.run(None, *args, **kwargs)

    def run(self, receipt: Receipt | None, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run the function and store its answer under ``receipt`` in the same transaction, refusals
        by the rules included.

        Raises what the function raises, and StoredResponse, IdempotencyKeyReused and
        RequestInProgress.
        """
        outcome = "error"
        with tracer.start_as_current_span(self.name) as span:
            try:
                try:
                    result = self._with_retries(receipt, *args, **kwargs)
                except OrchestratorError as refusal:
                    if isinstance(refusal, KEPT_REFUSALS) and not isinstance(refusal, PASSING):
                        self._keep_refusal(receipt, refusal, by=cast("Actor", kwargs["by"]))
                    elif receipt:
                        receipt.replay()
                    raise
                outcome = "done"
            except OrchestratorError as refusal:
                outcome = refusal.code
                raise
            except StoredResponse:
                outcome = "replayed"
                raise
            finally:
                span.set_attribute("orchestrator.outcome", outcome)
                OPERATIONS.labels(self.name, outcome).inc()
        notifier.publish()
        return result

    def _with_retries(self, receipt: Receipt | None, *args: P.args, **kwargs: P.kwargs) -> R:
        for pause in (*RETRY_AFTER, None):
            try:
                with transaction.atomic(durable=True):
                    result = self._function(*args, **kwargs)
                    if receipt:
                        receipt.store(receipt.present(result))
                    return result
            except LostRace:
                if receipt:
                    receipt.replay()
            except OperationalError as error:
                if isinstance(error.__cause__, LockNotAvailable):
                    raise Busy from error
                victim = isinstance(error.__cause__, DeadlockDetected | SerializationFailure)
                if not victim or pause is None:
                    raise
                time.sleep(pause)
        raise Busy

    def _keep_refusal(
        self, receipt: Receipt | None, refusal: OrchestratorError, *, by: Actor
    ) -> None:
        """Store a refusal's answer and record its event, in a transaction of their own, since the
        operation was rolled back. Raises StoredResponse where there is an answer already."""
        if receipt is None and refusal.subject is None:
            return
        try:
            with transaction.atomic(durable=True):
                if receipt:
                    receipt.store(receipt.present_refusal(refusal))
                if refusal.subject is not None:
                    recording.record_refusal(self.name, refusal, refusal.subject, by=by)
        except LostRace:
            if receipt:
                receipt.replay()


def operation(name: str) -> Callable[[Callable[P, R]], Operation[P, R]]:
    """Make a function an operation called ``name`` (``approval.approve``).

    It runs in one durable transaction of its own (never inside another: operations compose
    ``trail.perform``, not operations) and takes the Actor as keyword-only ``by``.

    A refusal (Forbidden, Conflict, …) rolls everything back and is recorded in a transaction of its
    own. The whole function runs again, a few times, after a lost race, a deadlock or a
    serialization failure, and once for a repeated request before its stored answer is found: the
    function must do nothing that a rollback does not undo.

    Raises what the function raises, and Busy when a lock can't be had within ``lock_timeout``.
    """

    def decorate(function: Callable[P, R]) -> Operation[P, R]:
        return Operation(name, function)

    return decorate


def clock() -> datetime:
    """The database's present time, not the transaction's: call it once the lock is held."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def connection_lost(error: BaseException | None) -> bool:
    """Whether the server closed the connection while it answered."""
    # psycopg raises an InternalError of its own for it, without a SQLSTATE.
    cause = error and error.__cause__
    return isinstance(cause, InternalError) and cause.sqlstate is None


def violated_constraint(error: IntegrityError) -> str | None:
    """The name of the constraint that ``error`` violated; None where PostgreSQL names none."""
    diagnosis = getattr(error.__cause__, "diag", None)
    return diagnosis.constraint_name if diagnosis else None
