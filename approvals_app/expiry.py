"""Time's work on this floor, in bulk: approvals whose deadline passed."""

from collections.abc import Iterator

from django.db import connection

from approvals_app.models import Approval
from audit_app.actors import Actor
from audit_app.bulk import in_batches, perform_all
from sessions_app.models import Task

# Tasks are locked before approvals, as everywhere; with SKIP LOCKED nobody waits for anybody.
DUE = """
SELECT approval.id, task.id
FROM approvals AS approval JOIN tasks AS task ON task.id = approval.task_id
WHERE approval.status = 'pending' AND approval.expires_at <= clock_timestamp()
ORDER BY approval.expires_at LIMIT %s
FOR NO KEY UPDATE OF task, approval SKIP LOCKED
"""


def expire_approvals(*, by: Actor, batch_size: int) -> Iterator[int]:
    """Expire pending approvals past their deadline, and their tasks; yield each batch's size.

    The other approvals that such a task waits for are withdrawn: there is nothing left to decide.
    """

    def batch(limit: int) -> int:
        with connection.cursor() as cursor:
            cursor.execute(DUE, [limit])
            due = cursor.fetchall()
        if not due:
            return 0
        approvals = [approval for approval, _ in due]
        tasks = list({task for _, task in due})
        perform_all(
            Approval,
            Approval.expire,
            by=by,
            condition="row.id = ANY(%(approvals)s)",
            params={"approvals": approvals},
            details={"reason": "The deadline passed."},
        )
        perform_all(
            Task, Task.expire, by=by, condition="row.id = ANY(%(tasks)s)", params={"tasks": tasks}
        )
        perform_all(
            Approval,
            Approval.withdraw,
            by=by,
            condition="row.task_id = ANY(%(tasks)s)",
            params={"tasks": tasks},
            details={"reason": "Another approval of the task expired."},
        )
        return len(due)

    return in_batches(batch, batch_size)
