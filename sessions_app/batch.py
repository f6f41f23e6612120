"""Many tasks routed at once: each as ``operations.route_task`` would, all in one transaction."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from audit_app.actors import Actor
from audit_app.batches import Outcome, once_each
from audit_app.bulk import create_all
from audit_app.errors import IdempotencyKeyReused, OrchestratorError
from audit_app.events import EventType
from audit_app.operation import operation
from audit_app.receipts import Receipt, waiting_for_rivals
from sessions_app import operations
from sessions_app.gate import approval_gate
from sessions_app.models import Task
from sessions_app.routing import Router, begin, said_of

ONCE = ("agent_id", "idempotency_key")
"""The columns of the constraint tasks_once_per_key."""


@operation("task.route_batch")
def route_tasks(
    asked: Sequence[dict[str, Any]],
    receipts: Sequence[Receipt],
    *,
    by: Actor,
    trace_id: UUID,
    session_id: UUID | None = None,
) -> list[Outcome]:
    """Route each of ``asked``, which are what ``route_task`` takes, once under its receipt.

    What refuses one, or all of them, is their outcome and nobody else's. Of two batches with the
    same keys the second waits for the first, then gives its answers again. Raises Outrun,
    RequestInProgress.
    """

    def routed(numbers: Sequence[int]) -> Sequence[Task | OrchestratorError]:
        try:
            router = operations.router(by, session_id, trace_id)
        except OrchestratorError as refusal:
            return [refusal] * len(numbers)
        return _routed(router, [asked[number] for number in numbers], by=by)

    return once_each(operations.route_task.name, receipts, routed, by=by)


def _routed(
    router: Router, asked: Sequence[dict[str, Any]], *, by: Actor
) -> list[Task | OrchestratorError]:
    found: dict[int, Task | OrchestratorError] = {}
    tasks: dict[int, Task] = {}
    for number, given in enumerate(asked):
        try:
            tasks[number] = router.asks(**given)
        except OrchestratorError as refusal:
            found[number] = refusal
    judged = []
    verdicts = approval_gate().evaluate(list(tasks.values()))
    for (number, task), verdict in zip(tasks.items(), verdicts, strict=True):
        if isinstance(verdict, OrchestratorError):
            found[number] = verdict
            continue
        begin(task, verdict)
        found[number] = task
        judged.append((task, verdict))
    with waiting_for_rivals():
        created = create_all(
            [task for task, _ in judged],
            EventType.TASK_ROUTED,
            by=by,
            details=[said_of(*each) for each in judged],
            once=ONCE,
        )
    # A key whose receipt is forgotten may have its task still, and a rival's is there by now.
    there = {task.pk for task in created}
    for number, result in found.items():
        if isinstance(result, Task) and result.pk not in there:
            found[number] = IdempotencyKeyReused()
    judged = [each for each in judged if each[0].pk in there]
    approval_gate().request_approvals(judged, by=by)
    return [found[number] for number in range(len(asked))]
