"""The commands that time needs, run by the worker: see the setting SCHEDULE."""

import io

import structlog
from django.conf import settings
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from procrastinate import JobContext
from procrastinate.contrib.django import app

log = structlog.get_logger("orchestrator.schedule")

QUEUE = "schedule"
# Every job that is at most ten minutes overdue is run when a worker starts.
CRONS = {
    "expire_approvals": "* * * * *",
    "remind_approvals": "* * * * *",
    "release_leases": "* * * * *",
    "expire_sessions": "*/10 * * * *",
    "purge": "17 3 * * *",
}
"""When each command runs, in UTC."""


@app.task(queue=QUEUE, name="schedule.run", pass_context=True)
def run_command(context: JobContext, timestamp: int, command: str) -> None:
    """Run ``command`` until nothing is due or the worker stops. A failure is logged and recorded as
    that of any other run; the next run takes up what this one left."""
    try:
        call_command(command, should_stop=context.should_abort, stdout=io.StringIO())
    except CommandError as error:
        log.error("schedule", command=command, failure=str(error))
    finally:
        # The thread belongs to the worker's pool; the next job in it may come much later.
        connection.close()


def register() -> None:
    """Have workers run the commands that SCHEDULE names."""
    for command in settings.SCHEDULE:
        # The queueing lock keeps jobs from piling up while no worker runs; by the lock, one of two
        # workers waits for the other.
        lock = f"schedule.{command}"
        app.periodic(
            cron=CRONS[command],
            periodic_id=command,
            task_kwargs={"command": command},
            queueing_lock=lock,
            lock=lock,
        )(run_command)
