"""``@operation``: one durable transaction, an actor, a receipt."""

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
from audit_app.trail.idempotency import Receipt, Replayed

tracer = trace.get_tracer("orchestrator")

P = ParamSpec("P")
R = TypeVar("R")

RETRY_AFTER = (0.01, 0.05, 0.2)
"""Seconds before each further try of an operation that PostgreSQL chose as a deadlock's victim."""

KEPT_REFUSALS = (Forbidden, NotFound, Conflict, PreconditionFailed)
"""Refusals by the rules: the same request gets the same refusal again."""

PASSING = (Busy, RequestInProgress)
"""Refusals that say nothing about the request: the next try may do."""


class Operation(Generic[P, R]):
    """One change of the world: see ``operation``."""

    def __init__(self, name: str, function: Callable[P, R]) -> None:
        functools.update_wrapper(self, function)
        self.name = name
        self._function = function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._run(None, *args, **kwargs)

    def once(self, receipt: Receipt | None) -> Callable[P, R]:
        """The same operation, whose answer is kept under ``receipt`` in the same transaction.

        Raises Replayed, IdempotencyKeyReused and RequestInProgress beside what the operation
        raises.
        """
        return cast("Callable[P, R]", functools.partial(self._run, receipt))

    def _run(self, receipt: Receipt | None, *args: P.args, **kwargs: P.kwargs) -> R:
        outcome = "error"
        with tracer.start_as_current_span(self.name) as span:
            try:
                result = self._kept(receipt, *args, **kwargs)
                outcome = "done"
            except OrchestratorError as refusal:
                outcome = refusal.code
                raise
            except Replayed:
                outcome = "replayed"
                raise
            finally:
                span.set_attribute("orchestrator.outcome", outcome)
                OPERATIONS.labels(self.name, outcome).inc()
        notifier.publish()
        return result

    def _kept(self, receipt: Receipt | None, *args: P.args, **kwargs: P.kwargs) -> R:
        """Run it, and keep what it refuses, unless the request was answered before."""
        try:
            return self._with_retries(receipt, *args, **kwargs)
        except OrchestratorError as refusal:
            if isinstance(refusal, KEPT_REFUSALS) and not isinstance(refusal, PASSING):
                self._keep_refusal(receipt, refusal, by=cast("Actor", kwargs["by"]))
            elif receipt:
                receipt.replay()
            raise

    def _with_retries(self, receipt: Receipt | None, *args: P.args, **kwargs: P.kwargs) -> R:
        for pause in (*RETRY_AFTER, None):
            try:
                with transaction.atomic(durable=True):
                    result = self._function(*args, **kwargs)
                    if receipt:
                        receipt.settle(result)
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
        """After the rollback, in a transaction of its own: the refusal's receipt and its event; the
        answer that was given before, or to a rival in between, is everybody's answer."""
        if receipt is None and refusal.subject is None:
            return
        try:
            with transaction.atomic(durable=True):
                if receipt:
                    receipt.settle_refusal(refusal)
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
    own. Outrun, deadlocks and serialization failures run the whole function again, a few times, and
    so does a request that came before, until it is seen to be one: the function does nothing that a
    rollback does not undo.

    Raises what the function raises, and Busy when a lock can't be had within ``lock_timeout``.
    """

    def decorate(function: Callable[P, R]) -> Operation[P, R]:
        return Operation(name, function)

    return decorate


def clock() -> datetime:
    """The database's time now, not the transaction's: call it after the lock is held."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def broke_off(error: BaseException | None) -> bool:
    """Whether an answer and the server's farewell came as one: psycopg calls that an InternalError,
    and it is its own, without a SQLSTATE."""
    cause = error and error.__cause__
    return isinstance(cause, InternalError) and cause.sqlstate is None


def violated(error: IntegrityError) -> str | None:
    """The name of the constraint that PostgreSQL says was violated."""
    diagnosis = getattr(error.__cause__, "diag", None)
    return diagnosis.constraint_name if diagnosis else None
