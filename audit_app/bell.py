"""Hearing of what was committed: a bell that rings in every process soon after any of them
committed an operation.

A notice is only a hint: whoever hears the bell looks at the rows, and looks once a second without
it. So that writers never queue on NOTIFY's commit lock, nobody notifies inside a transaction: each
process tells after its commits, at most once in ``COALESCE`` seconds, on a connection of its own.
What was committed is then read from the trail (tail.py).

The same connection listens to what PostgreSQL itself says with a commit, for the few who may not
miss it (``listen``).
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg
from django.conf import settings
from django.db import connection
from psycopg.conninfo import conninfo_to_dict

logger = logging.getLogger(__name__)

CHANNEL = "orchestrator_trail"
NOTICE = f"BEGIN; SET LOCAL synchronous_commit = off; NOTIFY {CHANNEL}; COMMIT"
"""A hint may be lost with the machine: it does not wait for the disk, as every commit would."""

COALESCE = 0.01
LOOK_ANYWAY = 1.0
RETRY_AFTER = 0.25
"""Seconds between two tries to reach the database again."""

CURRENT = 2.0
"""Seconds for which a connection that says nothing is believed to have nothing to say."""
NEVER = float("-inf")
Reader = Callable[["psycopg.Connection[Any]"], None]
DJANGOS_OWN = {"context", "cursor_factory", "prepare_threshold"}


class Bell:
    """``tell()`` after a commit; ``wait()`` for anybody's. Threads start when first needed, and
    again when one of them lost the database."""

    def __init__(self) -> None:
        self._heard = 0
        self._readers: list[Reader] = []
        self._ears: dict[str, Callable[[], None]] = {}
        self._caught_up = NEVER
        self._changed = threading.Condition()
        self._untold = threading.Event()
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._threads: dict[str, threading.Thread] = {}

    def tell(self) -> None:
        """Let every process know that something was committed. Returns at once."""
        self._untold.set()
        self._keep_running("teller", self._keep_telling)

    def rung(self) -> int:
        """How often the bell has rung: what ``wait`` takes as ``since``."""
        self._keep_running("listener", self._keep_listening)
        return self._heard

    def attach(self, reader: Reader) -> None:
        """Call ``reader`` whenever the bell rings and once a second, in the listener's thread and
        on its connection; from now on the listener lives until ``stop``."""
        self._readers.append(reader)
        self._keep_running("listener", self._keep_listening)

    def listen(self, channel: str, heard: Callable[[], None]) -> None:
        """Call ``heard`` for each notice in ``channel``, and whenever listening to it begins, in
        the listener's thread; from now on the listener lives until ``stop``."""
        self._ears[channel] = heard
        self._keep_running("listener", self._keep_listening)

    def is_current(self) -> bool:
        """Whether everything was heard that was said in those channels, but for what was said
        a moment ago: as long as it takes on a connection that works, and never more than
        ``CURRENT`` seconds."""
        return time.monotonic() - self._caught_up < CURRENT

    def wait(self, since: int, timeout: float) -> None:
        """Return when the bell has rung since, a second passed, or ``timeout`` seconds did."""
        with self._changed:
            self._changed.wait_for(lambda: self._heard != since, min(timeout, LOOK_ANYWAY))

    def stop(self) -> None:
        """End both threads, and with them their connections."""
        self._stopping.set()
        self._untold.set()
        for thread in self._threads.values():
            thread.join()
        self._stopping.clear()

    def _keep_running(self, name: str, work: Reader) -> None:
        if name in self._threads and self._threads[name].is_alive():
            return
        with self._starting:
            if name not in self._threads or not self._threads[name].is_alive():
                thread = threading.Thread(target=self._work, args=(work,), name=name, daemon=True)
                self._threads[name] = thread
                thread.start()

    def _work(self, work: Reader) -> None:
        said = ""
        while not self._stopping.is_set():
            try:
                with psycopg.connect(**connection_parameters(), autocommit=True) as own:
                    work(own)
            except psycopg.Error as error:  # it is away, or not migrated yet
                if said != (said := str(error).strip()):
                    logger.warning("the bell lost the database: %s", said)
            if not (self._readers or self._ears):
                return  # whoever needs it begins anew
            self._stopping.wait(RETRY_AFTER)

    def _keep_telling(self, own: "psycopg.Connection[Any]") -> None:
        while not self._stopping.is_set():
            self._untold.wait()
            self._untold.clear()
            own.execute(NOTICE)
            self._stopping.wait(COALESCE)

    def _keep_listening(self, own: "psycopg.Connection[Any]") -> None:
        own.execute(f"LISTEN {CHANNEL}")
        self._ring()  # for what was committed before we listened
        listened: set[str] = set()
        hears_all = leads_to_one_process(own.cursor())
        try:
            while not self._stopping.is_set():
                for channel in self._ears.keys() - listened:
                    own.execute(f"LISTEN {channel}")
                    listened.add(channel)
                    self._ears[channel]()
                for reader in tuple(self._readers):
                    reader(own)
                if listened and hears_all:
                    self._catch_up(own)
                for notice in own.notifies(timeout=LOOK_ANYWAY, stop_after=1):
                    self._hear(notice)
        finally:
            self._caught_up = NEVER

    def _catch_up(self, own: "psycopg.Connection[Any]") -> None:
        """Hear what was said until now: PostgreSQL tells it before it answers."""
        now = time.monotonic()
        if now - self._caught_up < LOOK_ANYWAY / 2:
            return
        own.execute("SELECT")
        for notice in own.notifies(timeout=0):
            self._hear(notice)
        self._caught_up = now

    def _hear(self, notice: psycopg.Notify) -> None:
        if notice.channel in self._ears:
            self._ears[notice.channel]()
        else:
            self._ring()

    def _ring(self) -> None:
        with self._changed:
            self._heard += 1
            self._changed.notify_all()


def leads_to_one_process(cursor: Any) -> bool:
    """Whether the connection of ``cursor`` is not a pooler's: that tells of another process than
    the one that answers."""
    cursor.execute("SELECT pg_backend_pid()")
    return bool(cursor.fetchone()[0] == cursor.connection.info.backend_pid)


def connection_parameters() -> dict[str, Any]:
    """Where to LISTEN: past a pooler that shares connections, since a notice reaches one alone.

    Keyword arguments of ``psycopg.connect``, one for each parameter. Without such an address it is
    how Django would connect, without what is Django's own.
    """
    if settings.DATABASE_DIRECT_URL:
        # Never as ``conninfo``: a pool has an argument of that name, and would pass it twice.
        direct = conninfo_to_dict(settings.DATABASE_DIRECT_URL)
        return direct | {"application_name": "orchestrator"}
    return {n: v for n, v in connection.get_connection_params().items() if n not in DJANGOS_OWN}


bell = Bell()
