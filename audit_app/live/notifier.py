"""The notifier signals in every process soon after any process has committed an operation.

A signal is only a hint: whoever waits for it looks at the rows, and looks once a second without it.
What was committed is read from the trail (event_log.py).

The same connection listens to channels that triggers notify with a commit, for the few who need
every notification (``listen``).
"""

import logging
import threading
from collections.abc import Callable
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection
from psycopg.conninfo import conninfo_to_dict

from audit_app.base.prepared import leads_to_one_process

logger = logging.getLogger(__name__)

CHANNEL = "orchestrator_trail"
# A hint may be lost with the machine, so it does not wait for the disk as every commit would.
NOTIFY = f"BEGIN; SET LOCAL synchronous_commit = off; NOTIFY {CHANNEL}; COMMIT"

COALESCE_SECONDS = 0.01
POLL_INTERVAL = 1.0
"""Seconds after which a waiter looks without a signal."""

RECONNECT_AFTER = 0.25
"""Seconds between two attempts to reach the database."""

Reader = Callable[["psycopg.Connection[Any]"], None]
DJANGO_ONLY = {"context", "cursor_factory", "prepare_threshold"}


class Notifier:
    """``publish()`` after a commit; ``wait()`` for anyone's commit. Thread-safe.

    Its two threads start when first needed, and again after one of them lost the database.
    """

    def __init__(self) -> None:
        self._signals = 0
        self._readers: list[Reader] = []
        self._channels: dict[str, Callable[[], None]] = {}
        self._listening: set[str] = set()
        self._changed = threading.Condition()
        self._unpublished = threading.Event()
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._threads: dict[str, threading.Thread] = {}

    def publish(self) -> None:
        """Signal in every process that something was committed. Returns at once."""
        self._unpublished.set()
        self._keep_running("publisher", self._publish_forever)

    def count_signals(self) -> int:
        """How many signals have arrived so far: what ``wait`` takes as ``since``."""
        self._keep_running("listener", self._listen_forever)
        return self._signals

    def attach(self, reader: Reader) -> None:
        """Call ``reader`` on every signal and once a second, in the listener's thread and on its
        connection. From now on the listener lives until ``stop``."""
        self._readers.append(reader)
        self._keep_running("listener", self._listen_forever)

    def listen(self, channel: str, on_notification: Callable[[], None]) -> None:
        """Call ``on_notification`` for each notification in ``channel``, and once when listening to
        it begins or ends, in the listener's thread. From now on the listener lives until ``stop``.
        """
        self._channels[channel] = on_notification
        self._keep_running("listener", self._listen_forever)

    def is_listening(self, channel: str) -> bool:
        """Whether every notification in ``channel`` arrives here.

        Never true behind a pooler that shares connections: PostgreSQL notifies the server
        connection that said LISTEN, and the pooler lends that one to others.
        """
        return channel in self._listening

    def wait(self, since: int, timeout: float) -> None:
        """Return after a signal later than ``since``, after a second, or after ``timeout`` seconds,
        whichever comes first."""
        with self._changed:
            self._changed.wait_for(lambda: self._signals != since, min(timeout, POLL_INTERVAL))

    def stop(self) -> None:
        """End both threads and close their connections."""
        self._stopping.set()
        self._unpublished.set()
        for thread in self._threads.values():
            thread.join()
        self._stopping.clear()

    def _keep_running(self, name: str, work: Reader) -> None:
        # Unlocked first: this runs after every commit.
        if name in self._threads and self._threads[name].is_alive():
            return
        with self._starting:
            if name not in self._threads or not self._threads[name].is_alive():
                thread = threading.Thread(
                    target=self._run_connected, args=(work,), name=name, daemon=True
                )
                self._threads[name] = thread
                thread.start()

    def _run_connected(self, work: Reader) -> None:
        last_error = ""
        while not self._stopping.is_set():
            try:
                with psycopg.connect(**connection_parameters(), autocommit=True) as own:
                    work(own)
            except psycopg.Error as error:  # the database is down or not migrated yet
                if last_error != (last_error := str(error).strip()):
                    logger.warning("the notifier lost the database: %s", last_error)
            if not (self._readers or self._channels):
                return  # the next call that needs the thread starts a new one
            self._stopping.wait(RECONNECT_AFTER)

    def _publish_forever(self, own: "psycopg.Connection[Any]") -> None:
        # NOTIFY takes a lock of the whole cluster at commit, on which concurrent writers would
        # queue. So no operation notifies in its own transaction: one thread does it for all.
        while not self._stopping.is_set():
            self._unpublished.wait()
            self._unpublished.clear()
            own.execute(NOTIFY)
            self._stopping.wait(COALESCE_SECONDS)

    def _listen_forever(self, own: "psycopg.Connection[Any]") -> None:
        own.execute(f"LISTEN {CHANNEL}")
        self._signal()  # for what was committed before LISTEN
        is_direct = leads_to_one_process(own.cursor())
        try:
            while not self._stopping.is_set():
                if is_direct:
                    self._listen_to_new_channels(own)
                for reader in tuple(self._readers):
                    reader(own)
                for notification in own.notifies(timeout=POLL_INTERVAL, stop_after=1):
                    self._channels.get(notification.channel, self._signal)()
        finally:
            ended, self._listening = self._listening, set()
            for channel in ended:
                self._channels[channel]()

    def _listen_to_new_channels(self, own: "psycopg.Connection[Any]") -> None:
        for channel in self._channels.keys() - self._listening:
            own.execute(f"LISTEN {channel}")
            self._listening.add(channel)
            self._channels[channel]()

    def _signal(self) -> None:
        with self._changed:
            self._signals += 1
            self._changed.notify_all()


def connection_parameters() -> dict[str, Any]:
    """Keyword arguments of ``psycopg.connect`` for a connection that may LISTEN.

    They lead past a pooler that shares connections (``DATABASE_DIRECT_URL``), since LISTEN does not
    work through one. Without that setting they are Django's own.
    """
    if settings.DATABASE_DIRECT_URL:
        # Never as ``conninfo``: a pool has an argument of that name and would pass it twice.
        direct = conninfo_to_dict(settings.DATABASE_DIRECT_URL)
        return direct | {"application_name": "orchestrator"}
    return {n: v for n, v in connection.get_connection_params().items() if n not in DJANGO_ONLY}


notifier = Notifier()
