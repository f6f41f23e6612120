"""Many tasks routed at once: each as ``operations.route_task`` would, all in one transaction."""

from collections.abc import Sequence
from uuid import UUID

from audit_app.base.actors import Actor
from audit_app.base.errors import OrchestratorError
from audit_app.trail.batch_idempotency import Outcome, once_each
from audit_app.trail.idempotency import Receipt
from audit_app.trail.operation import operation
from sessions_app.models import Task
from sessions_app.tasks import operations as task_operations
from sessions_app.tasks.routing import NewTask, create_tasks


@operation("task.route_batch")
def route_tasks(
    asked: Sequence[NewTask],
    receipts: Sequence[Receipt],
    *,
    by: Actor,
    trace_id: UUID,
    session_id: UUID | None = None,
) -> list[Outcome]:
    """Route each of ``asked`` as ``route_task`` does, once under its receipt.

    What refuses one, or all of them, is their outcome and nobody else's. Of two batches with the
    same keys the second waits for the first, then gives its answers again. Raises Outrun,
    RequestInProgress.
    """

    def routed(numbers: Sequence[int]) -> Sequence[Task | OrchestratorError]:
        try:
            sender = task_operations.sender(by, session_id, trace_id)
        except OrchestratorError as refusal:
            return [refusal] * len(numbers)
        return create_tasks([asked[number] for number in numbers], sender, by=by)

    return once_each(task_operations.route_task.name, receipts, routed, by=by)
