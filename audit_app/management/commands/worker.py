"""The worker: runs the consumers of the trail, seals it, sends webhooks, does background jobs."""

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import psycopg
import structlog
from asgiref.sync import sync_to_async
from django.core.management.base import CommandError
from django.db import DatabaseError, InterfaceError, close_old_connections, connection
from procrastinate import App, PsycopgConnector
from procrastinate.contrib.django import DjangoApp, app
from procrastinate.exceptions import ConnectorException
from procrastinate.jobs import Job
from procrastinate.manager import JobManager
from psycopg_pool import PoolTimeout

from audit_app.commands import SIGNALS, OperatorCommand
from audit_app.live.consumers import CONSUMERS, Consumer
from audit_app.live.notifier import POLL_INTERVAL, connection_parameters, notifier
from audit_app.proof import sealing, witnesses
from audit_app.webhooks.dispatcher import Dispatcher

log = structlog.get_logger("orchestrator.worker")

SOON = 0.05
"""Seconds until a consumer looks again that only waits for an older transaction to end."""
RETRY_AFTER = 1.0
SEAL_EVERY = 1.0
"""Seconds that lie at least between two checkpoints."""
STALLED = 30
"""Seconds without a heartbeat after which another worker takes over a worker's jobs."""
CONCURRENCY = 8
"""Jobs of one queue at a time. Queues share no places, so that none delays another's jobs."""
BUILTIN = "builtin"
"""procrastinate's own queue, which nothing uses."""
MAX_FAILURES = 3
"""Failures in a row, while the database answers, after which the worker ends."""
GRACE = 10
"""Seconds that running jobs have to finish when the worker stops."""


WITNESS_EVERY = 10
"""Seconds between two looks for a checkpoint that witnesses have not seen."""


class DatabaseAway(Exception):
    """The database can't be reached, or can't be written to."""


class Command(OperatorCommand):
    help = "Read and seal the trail, send webhooks and notifications. Runs until it is stopped."

    def handle(self, *args: Any, **options: Any) -> None:
        stopping, dispatcher = threading.Event(), Dispatcher()
        # A thread each: planning thousands of deliveries must not delay people's notices.
        threads = [
            threading.Thread(target=_run_consumer, args=(consumer, stopping, dispatcher.wake))
            for consumer in CONSUMERS.values()
        ]
        threads.append(threading.Thread(target=dispatcher.run, args=(stopping,)))
        if sealing.is_sealing_configured():
            threads.append(threading.Thread(target=_run_sealer, args=(stopping,)))
            if witnesses.load_policy().witnesses:
                threads.append(threading.Thread(target=_run_witnesses, args=(stopping,)))
        for thread in threads:
            thread.start()
        try:
            asyncio.run(self._work())
        finally:
            stopping.set()
            dispatcher.wake()
            notifier.stop()
            for thread in threads:
                thread.join()
        self.stdout.write("The worker has stopped.")

    async def _work(self) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()
        for number in SIGNALS:
            loop.add_signal_handler(number, ended.set)
        loop.set_default_executor(ThreadPoolExecutor(CONCURRENCY * len(_list_queues()), "jobs"))
        self.stdout.write("The worker runs; Ctrl-C stops it.")
        self.stdout.flush()
        failures = 0
        while not ended.is_set():
            # Periodic jobs are deferred on Django's connection, which an outage leaves broken.
            await sync_to_async(close_old_connections)()
            manager = _Jobs(PsycopgConnector(kwargs=connection_parameters(), max_size=4))
            try:
                await _require_database()
                await _do_jobs(manager, ended)
            except DatabaseAway as error:
                failures = 0
                log.warning("worker", failure=str(error))
                await asyncio.sleep(RETRY_AFTER)
            except (ConnectorException, psycopg.Error, PoolTimeout, OSError) as error:
                failures = 1 if manager.has_fetched else failures + 1
                cause = error.__cause__ or error
                log.warning("worker", failure=type(cause).__name__)
                # The database answers, so a missing table or right will not mend itself.
                if failures == MAX_FAILURES or isinstance(cause, psycopg.ProgrammingError):
                    raise CommandError(f"The worker can't fetch jobs: {cause}") from error
                await asyncio.sleep(RETRY_AFTER)


def _list_queues() -> list[str]:
    """The queues that the code's tasks name."""
    return sorted({task.queue for task in app.tasks.values()} - {BUILTIN})


def _run_consumer(
    consumer: Consumer, stopping: threading.Event, wake_dispatcher: Callable[[], None]
) -> None:
    while not stopping.is_set():
        # Counted before reading, so that a signal in between ends the wait at once.
        signals = notifier.count_signals()
        pause = _catch_up(consumer, stopping)
        wake_dispatcher()
        notifier.wait(signals, pause)
    connection.close()


def _catch_up(consumer: Consumer, stopping: threading.Event) -> float:
    """Let ``consumer`` handle all events; return in how many seconds it should look again."""
    try:
        while not stopping.is_set() and consumer.advance():
            pass
        return SOON if consumer.waits_for_older_transactions() else POLL_INTERVAL
    except (DatabaseError, InterfaceError) as error:
        log.warning("relay", relay=consumer.name, failure=type(error).__name__)
    except Exception:
        # A consumer that fails gets the same events again.
        log.exception("relay", relay=consumer.name)
    connection.close()
    return RETRY_AFTER


def _run_sealer(stopping: threading.Event) -> None:
    while not stopping.is_set():
        signals = notifier.count_signals()
        pause = _seal(stopping)
        notifier.wait(signals, pause)
        # What is committed within this time shares a checkpoint.
        stopping.wait(SEAL_EVERY)
    connection.close()


def _seal(stopping: threading.Event) -> float:
    """Seal all events that can be; return in how many seconds to look again."""
    try:
        while not stopping.is_set() and sealing.seal_batch():
            pass
        return POLL_INTERVAL
    except (DatabaseError, InterfaceError) as error:
        log.warning("sealing", failure=type(error).__name__)
    except Exception:
        log.exception("sealing")
    connection.close()
    return RETRY_AFTER


def _run_witnesses(stopping: threading.Event) -> None:
    """Ask the witnesses about the newest checkpoint, apart from sealing, which waits for nobody."""
    while not stopping.is_set():
        try:
            witnesses.collect_cosignatures()
        except (DatabaseError, InterfaceError) as error:
            log.warning("witnesses", failure=type(error).__name__)
            connection.close()
        except Exception:
            log.exception("witnesses")
            connection.close()
        stopping.wait(WITNESS_EVERY)
    connection.close()


class _Jobs(JobManager):
    """Knows whether a request for a job was ever answered."""

    has_fetched = False

    async def fetch_job(self, *args: Any, **kwargs: Any) -> Job | None:
        job = await super().fetch_job(*args, **kwargs)
        self.has_fetched = True
        return job


async def _require_database() -> None:
    """Raise DatabaseAway unless the database answers and takes writes."""
    # A pool would retry for half a minute and could not be stopped meanwhile, so try once first.
    try:
        async with await psycopg.AsyncConnection.connect(**connection_parameters()) as own:
            cursor = await own.execute("SELECT pg_is_in_recovery()")
            standby = (await cursor.fetchone() or (False,))[0]
    except (psycopg.OperationalError, OSError) as error:
        raise DatabaseAway(type(error).__name__) from error
    if standby:
        raise DatabaseAway("a standby, which takes no writes")


async def _do_jobs(manager: _Jobs, ended: asyncio.Event) -> None:
    """Run jobs until ``ended``; those that run then have GRACE seconds.

    Raises ConnectorException, psycopg.Error, PoolTimeout or OSError if jobs can't be fetched.
    """
    # A second app with the same tasks: jobs that this process defers belong to Django's
    # transactions, not to the connections on which jobs are fetched.
    working = DjangoApp(connector=manager.connector)
    working.job_manager = manager
    working.tasks, working.periodic_registry = app.tasks, app.periodic_registry
    async with working.open_async():
        work = [asyncio.create_task(_work_queue(working, queue)) for queue in _list_queues()]
        work.append(asyncio.create_task(_rescue(working)))
        stop = asyncio.create_task(ended.wait())
        try:
            await asyncio.wait([*work, stop], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (*work, stop):
                task.cancel()
            results = await asyncio.gather(*work, stop, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result
    if not ended.is_set():
        raise ConnectorException("A worker of procrastinate ended; it logged why.")


async def _work_queue(working: App, queue: str) -> None:
    await working.run_worker_async(
        queues=[queue],
        concurrency=CONCURRENCY,
        fetch_job_polling_interval=POLL_INTERVAL,
        shutdown_graceful_timeout=GRACE,
        delete_jobs="successful",
        install_signal_handlers=False,
        task_middleware=[_close_broken_connection],
    )


def _close_broken_connection(call_next: Callable[[], Any], *_: Any) -> Any:
    """Let a job's thread connect again for the next job, if this one lost the database."""
    try:
        return call_next()
    except (DatabaseError, InterfaceError):
        connection.close()
        raise


async def _rescue(working: App) -> None:
    """Retry the jobs of workers that died."""
    while True:
        for job in await working.job_manager.get_stalled_jobs(seconds_since_heartbeat=STALLED):
            await working.job_manager.retry_job(job)
        await asyncio.sleep(STALLED / 2)
