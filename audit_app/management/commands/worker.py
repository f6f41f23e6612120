"""The worker: runs the consumers of the trail and the background jobs."""

import asyncio
import threading
from typing import Any

import psycopg
import structlog
from asgiref.sync import sync_to_async
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from procrastinate import App, PsycopgConnector
from procrastinate.contrib.django import DjangoApp, app
from procrastinate.exceptions import ConnectorException
from psycopg_pool import PoolTimeout

from audit_app.commands import SIGNALS, OperatorCommand
from audit_app.live.consumers import CONSUMERS, Consumer
from audit_app.live.notifier import POLL_INTERVAL, connection_parameters, notifier

log = structlog.get_logger("orchestrator.worker")

SOON = 0.05
"""Seconds until a consumer looks again that only waits for an older transaction to end."""
RETRY_AFTER = 1.0
STALLED = 30
"""Seconds without a heartbeat after which another worker takes over a worker's jobs."""
CONCURRENCY = 20
GRACE = 10
"""Seconds that running jobs have to finish when the worker stops."""


class Command(OperatorCommand):
    help = "Read the trail and send webhooks and notifications. Runs until it is stopped."

    def handle(self, *args: Any, **options: Any) -> None:
        stopping = threading.Event()
        consumers = threading.Thread(target=_run_consumers, args=(stopping,), name="consumers")
        consumers.start()
        try:
            asyncio.run(self._work())
        finally:
            stopping.set()
            notifier.stop()
            consumers.join()
        self.stdout.write("The worker has stopped.")

    async def _work(self) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        for number in SIGNALS:
            loop.add_signal_handler(number, ended.set)
        self.stdout.write("The worker runs; Ctrl-C stops it.")
        self.stdout.flush()
        while not ended.is_set():
            # Periodic jobs are deferred on Django's connection, which an outage leaves broken.
            await sync_to_async(close_old_connections)()
            try:
                await _do_jobs(ended)
            except (ConnectorException, psycopg.OperationalError, PoolTimeout, OSError) as error:
                log.warning("worker", failure=type(error).__name__)
                await asyncio.sleep(RETRY_AFTER)


def _run_consumers(stopping: threading.Event) -> None:
    while not stopping.is_set():
        # Counted before reading, so that a signal in between ends the wait at once.
        signals = notifier.count_signals()
        pause = POLL_INTERVAL
        for consumer in CONSUMERS.values():
            pause = min(pause, _catch_up(consumer, stopping))
        notifier.wait(signals, pause)
    connection.close()


def _catch_up(consumer: Consumer, stopping: threading.Event) -> float:
    """Let ``consumer`` handle all events; return in how many seconds it should look again."""
    try:
        close_old_connections()
        while not stopping.is_set() and consumer.advance():
            pass
        return SOON if consumer.waits_for_older_transactions() else POLL_INTERVAL
    except (DatabaseError, InterfaceError) as error:
        log.warning("relay", relay=consumer.name, failure=type(error).__name__)
    except Exception:
        # A consumer that fails must not hold up the others; it gets the same events again.
        log.exception("relay", relay=consumer.name)
    connection.close()
    return RETRY_AFTER


async def _do_jobs(ended: asyncio.Event) -> None:
    """Run jobs until ``ended``; those that run then have GRACE seconds.

    Raises ConnectorException, psycopg.OperationalError, PoolTimeout or OSError if the database goes
    away.
    """
    parameters = connection_parameters()
    # A pool would retry for half a minute and could not be stopped meanwhile, so try once first.
    async with await psycopg.AsyncConnection.connect(**parameters):
        pass
    # A second app with the same tasks: jobs that this process defers belong to Django's
    # transactions, not to the connections on which jobs are fetched.
    working = DjangoApp(connector=PsycopgConnector(kwargs=parameters, max_size=4))
    working.tasks, working.periodic_registry = app.tasks, app.periodic_registry
    async with working.open_async():
        jobs = asyncio.create_task(
            working.run_worker_async(
                concurrency=CONCURRENCY,
                fetch_job_polling_interval=POLL_INTERVAL,
                shutdown_graceful_timeout=GRACE,
                delete_jobs="successful",
                install_signal_handlers=False,
            )
        )
        rescue = asyncio.create_task(_rescue(working))
        stop = asyncio.create_task(ended.wait())
        try:
            await asyncio.wait({jobs, rescue, stop}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (jobs, rescue, stop):
                task.cancel()
            results = await asyncio.gather(jobs, rescue, stop, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result


async def _rescue(working: App) -> None:
    """Retry the jobs of workers that died."""
    while True:
        for job in await working.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED):
            await working.job_manager.retry_job(job)
        await asyncio.sleep(STALLED / 2)
