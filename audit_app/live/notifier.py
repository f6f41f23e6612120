"""Hearing of what was committed: a bell that rings in every process soon after any of them
committed an operation.

A notice is only a hint: whoever hears the bell looks at the rows, and looks once a second without
it. So that writers never queue on NOTIFY's commit lock, nobody notifies inside a transaction: each
process tells after its commits, at most once in ``COALESCE`` seconds, on a connection of its own.
What was committed is then read from the trail (tail.py).

The same connection listens to what triggers notify with a commit, for the few who need every
notice (``listen``).
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
NOTICE = f"BEGIN; SET LOCAL synchronous_commit = off; NOTIFY {CHANNEL}; COMMIT"
"""A hint may be lost with the machine: it does not wait for the disk, as every commit would."""

COALESCE = 0.01
LOOK_ANYWAY = 1.0
RETRY_AFTER = 0.25
"""Seconds between two tries to reach the database again."""

Reader = Callable[["psycopg.Connection[Any]"], None]
DJANGOS_OWN = {"context", "cursor_factory", "prepare_threshold"}


class Bell:
    """``tell()`` after a commit; ``wait()`` for anybody's. Threads start when first needed, and
    again when one of them lost the database."""

    def __init__(self) -> None:
        self._heard = 0
        self._readers: list[Reader] = []
        self._channels: dict[str, Callable[[], None]] = {}
        self._listening: set[str] = set()
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

    def listen(self, channel: str, on_notice: Callable[[], None]) -> None:
        """Call ``on_notice`` for each notice in ``channel``, and once listening to it begins or
        ends, in the listener's thread; from now on the listener lives until ``stop``."""
        self._channels[channel] = on_notice
        self._keep_running("listener", self._keep_listening)

    def is_listening(self, channel: str) -> bool:
        """Whether every notice in ``channel`` comes here. Never through a pooler that shares
        connections: notices go to whichever connection said LISTEN, and that one is lent on."""
        return channel in self._listening

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
            if not (self._readers or self._channels):
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
        is_direct = leads_to_one_process(own.cursor())
        try:
            while not self._stopping.is_set():
                if is_direct:
                    self._begin_to_listen(own)
                for reader in tuple(self._readers):
                    reader(own)
                for notice in own.notifies(timeout=LOOK_ANYWAY, stop_after=1):
                    self._channels.get(notice.channel, self._ring)()
        finally:
            ended, self._listening = self._listening, set()
            for channel in ended:
                self._channels[channel]()

    def _begin_to_listen(self, own: "psycopg.Connection[Any]") -> None:
        for channel in self._channels.keys() - self._listening:
            own.execute(f"LISTEN {channel}")
            self._listening.add(channel)
            self._channels[channel]()

    def _ring(self) -> None:
        with self._changed:
            self._heard += 1
            self._changed.notify_all()


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
