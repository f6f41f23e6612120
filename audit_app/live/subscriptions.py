"""Subscriptions wait for events without a thread and without a database connection.

Each process reads the trail once, on the notifier's connection, and wakes whoever waits for
something that an event is about. A wake is a hint and may come too often: whoever is woken looks at
the rows. It comes as soon as an event is visible; readers in commit order are woken once the event
is stable (event_log.py), which is when they can read it.
"""

import asyncio
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Iterable
from typing import Any

import psycopg

from audit_app.live.event_log import Cursor, epochs, find_end_on
from audit_app.live.notifier import notifier
from audit_app.querysets import STABLE

EVERYTHING = "*"
"""The key of every event. An event's other keys, all of them texts, are its subject's id, those of
the approval and the task that it names, its trace, its role and its type."""

BATCH = 2000
"""Events that one query reads."""

MAX_REMEMBERED_KEYS = 50_000
"""Keys whose last event is remembered; a position from before those is always behind."""

READ_NEW_EVENTS = f"""
SELECT xid::text::bigint, position, {STABLE}, subject_id::text, trace_id::text, role, event_type,
    metadata ->> 'approval_id', metadata ->> 'task_id'
FROM audit_events
WHERE (xid, position) > (%s::xid8, %s) AND position > %s
ORDER BY xid, position LIMIT %s
"""  # noqa: S608  # nothing but our own text


def stable_key(key: Hashable) -> Hashable:
    """The key to wait for instead of ``key`` where events are read in commit order."""
    return "stable", key


class Subscriptions:
    """Take ``position()``, look at the rows, then ``wait_for()``: nothing recorded in between is
    missed.

    Thread-safe; waiters may live in several event loops.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        # Counts what was published to waiters; has nothing to do with positions in the trail.
        self._position = 0
        self._oldest_known = 0
        self._last_published: OrderedDict[Hashable, int] = OrderedDict()
        self._waiting: defaultdict[Hashable, set[asyncio.Future[bool]]] = defaultdict(set)
        self._cursor: Cursor | None = None
        self._connection: Any = None
        self._unstable: set[int] = set()
        self._attached = False
        self.closing = False
        """Nobody waits any more, because the process ends."""

    def position(self) -> int:
        """The present position, to be taken before looking at the rows: ``wait_for``'s ``since``.

        The first call starts reading the trail.
        """
        if not self._attached:
            with self._lock:
                if not self._attached:
                    self._attached = True
                    notifier.attach(self._read_events)
        return self._position

    async def wait_for(self, keys: Iterable[Hashable], *, since: int, timeout: float) -> bool:
        """Return True once an event about one of ``keys`` was recorded after position ``since`` or
        the process ends, False after ``timeout`` seconds."""
        keys = tuple(keys)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        with self._lock:
            if self._has_published(keys, since) or self.closing:
                return True
            for key in keys:
                self._waiting[key].add(future)
        timer = loop.call_later(timeout, _resolve, (future,), False)
        try:
            return await future
        finally:
            timer.cancel()
            with self._lock:
                for key in keys:
                    self._waiting[key].discard(future)
                    if not self._waiting[key]:
                        del self._waiting[key]

    def close(self) -> None:
        """Wake everyone who waits, for good: the process ends."""
        with self._lock:
            self.closing = True
            waiting = set().union(*self._waiting.values())
        _wake(waiting)

    def _has_published(self, keys: Iterable[Hashable], since: int) -> bool:
        return since < self._oldest_known or any(
            self._last_published.get(key, 0) > since for key in keys
        )

    def _read_events(self, own: "psycopg.Connection[Any]") -> None:
        """Runs in the notifier's thread, on its connection ``own``."""
        with own.cursor() as cursor:
            # A new connection may lead to a database restored from a dump: see Epochs.
            if self._connection is not own:
                epochs.refresh(cursor)
                self._connection = own
            if self._cursor is None:
                self._begin_at_end(cursor)
            while self._read_batch(cursor):
                pass

    def _begin_at_end(self, cursor: "psycopg.Cursor[Any]") -> None:
        self._cursor = find_end_on(cursor)
        # Events between an earlier position and this end were never read: those waiters look again.
        with self._lock:
            self._position += 1
            self._oldest_known = self._position
            waiting = set().union(*self._waiting.values())
        _wake(waiting)

    def _read_batch(self, cursor: "psycopg.Cursor[Any]") -> bool:
        """Publish what is new; return whether there may be more."""
        assert self._cursor is not None
        last_stable = self._cursor
        # The trail was restored meanwhile: nobody waits for what lies in an earlier epoch.
        if last_stable.epoch < epochs.current:
            last_stable = Cursor(epochs.current, 0, 0)
        cursor.execute(
            READ_NEW_EVENTS,
            [str(last_stable.xid), last_stable.position, epochs.current_start, BATCH],
        )
        rows = cursor.fetchall()
        visible_keys: set[Hashable] = set()
        stable_keys: set[Hashable] = set()
        unstable: set[int] = set()
        in_order = True
        for xid, position, is_stable, *about in rows:
            keys = {EVERYTHING, *filter(None, about)}
            # Behind the first unstable event another one may still be inserted, so the cursor stays
            # before it and the events behind it are read again, though published once.
            in_order = in_order and is_stable
            if in_order:
                last_stable = Cursor(epochs.current, xid, position)
                stable_keys |= keys
            else:
                unstable.add(position)
            if position not in self._unstable:
                visible_keys |= keys
        self._cursor, self._unstable = last_stable, unstable
        if keys := visible_keys | set(map(stable_key, stable_keys)):
            self._publish(keys)
        return len(rows) - len(unstable) >= BATCH

    def _publish(self, keys: set[Hashable]) -> None:
        with self._lock:
            self._position += 1
            woken: set[asyncio.Future[bool]] = set()
            for key in keys:
                self._last_published[key] = self._position
                self._last_published.move_to_end(key)
                woken |= self._waiting.get(key, set())
            while len(self._last_published) > MAX_REMEMBERED_KEYS:
                self._oldest_known = self._last_published.popitem(last=False)[1]
        _wake(woken)


def _wake(futures: Iterable["asyncio.Future[bool]"]) -> None:
    # One call into each loop, however many futures it has: each call wakes the loop by a socket.
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[asyncio.Future[bool]]] = defaultdict(list)
    for future in futures:
        by_loop[future.get_loop()].append(future)
    for loop, its_futures in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, its_futures)


def _resolve(futures: Iterable["asyncio.Future[bool]"], result: bool = True) -> None:
    for future in futures:
        if not future.done():
            future.set_result(result)


subscriptions = Subscriptions()
