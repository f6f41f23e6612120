"""Waiting for something to be recorded, without a thread and without a connection to the database.

Each process reads the trail once, on the bell's connection, and wakes whoever waits for what an
event is about. Who is woken looks for themselves: a wake is a hint, and may come too often. It is
given as soon as an event can be seen; to those who read in commit order, once it is settled
(tail.py), which is when they can read it.
"""

import asyncio
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Hashable, Iterable
from typing import Any

import psycopg

from audit_app.live.event_log import Cursor, end_in, eras
from audit_app.live.notifier import bell
from audit_app.querysets import SETTLED

EVERYTHING = "*"
"""The key of every event. The others, all of them texts, are its subject's id, those of the
approval and the task that it names, its trace, its role and its type."""

AT_ONCE = 2000
REMEMBERED = 50_000
"""Keys of which it is known when they were last told; who looked before that looks again."""

READ = f"""
SELECT xid::text::bigint, position, {SETTLED}, subject_id::text, trace_id::text, role, event_type,
    metadata ->> 'approval_id', metadata ->> 'task_id'
FROM audit_events
WHERE (xid, position) > (%s::xid8, %s) AND position > %s
ORDER BY xid, position LIMIT %s
"""  # noqa: S608  # nothing but our own text


def settled(key: Hashable) -> Hashable:
    """``key`` for those who read in commit order."""
    return "settled", key


class Watch:
    """``mark()``, then look, then ``news()``: what is recorded after the mark is never missed.

    Thread-safe; waiters may live in several event loops.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._mark = 0
        self._forgotten = 0
        self._told: OrderedDict[Hashable, int] = OrderedDict()
        self._waiting: defaultdict[Hashable, set[asyncio.Future[bool]]] = defaultdict(set)
        self._cursor: Cursor | None = None
        self._connection: Any = None
        self._early: set[int] = set()
        self._attached = False
        self.closing = False
        """Nobody is to wait any more, since the process ends."""

    def mark(self) -> int:
        """Where the watch stands: taken before one looks, and given to ``news`` afterwards."""
        if not self._attached:
            with self._lock:
                if not self._attached:
                    self._attached = True
                    bell.attach(self._read)
        return self._mark

    async def news(self, keys: Iterable[Hashable], *, since: int, timeout: float) -> bool:
        """Return True once something about one of ``keys`` was recorded after ``since`` or the
        process ends, False after ``timeout`` seconds."""
        keys = tuple(keys)
        loop = asyncio.get_running_loop()
        future: asyncio.Future[bool] = loop.create_future()
        with self._lock:
            if self._has_told(keys, since) or self.closing:
                return True
            for key in keys:
                self._waiting[key].add(future)
        over = loop.call_later(timeout, _resolve, (future,), False)
        try:
            return await future
        finally:
            over.cancel()
            with self._lock:
                for key in keys:
                    self._waiting[key].discard(future)
                    if not self._waiting[key]:
                        del self._waiting[key]

    def close(self) -> None:
        """Let everybody who waits answer now."""
        with self._lock:
            self.closing = True
            waiting = set().union(*self._waiting.values())
        _wake(waiting)

    def _has_told(self, keys: Iterable[Hashable], since: int) -> bool:
        return since < self._forgotten or any(self._told.get(key, 0) > since for key in keys)

    def _read(self, own: "psycopg.Connection[Any]") -> None:
        """In the bell's thread, on its connection."""
        with own.cursor() as cursor:
            if self._connection is not own:
                eras.refresh(cursor)
                self._connection = own
            if self._cursor is None:
                self._begin(cursor)
            while self._read_on(cursor):
                pass

    def _begin(self, cursor: "psycopg.Cursor[Any]") -> None:
        self._cursor = end_in(cursor)
        with self._lock:  # whoever marked before that may have missed something
            self._mark += 1
            self._forgotten = self._mark
            waiting = set().union(*self._waiting.values())
        _wake(waiting)

    def _read_on(self, cursor: "psycopg.Cursor[Any]") -> bool:
        """Tell what is new; return whether there may be more."""
        assert self._cursor is not None
        place = self._cursor
        if place.era < eras.present:  # restored meanwhile: what is before, nobody waits for
            place = Cursor(eras.present, 0, 0)
        cursor.execute(READ, [str(place.xid), place.position, eras.last_end, AT_ONCE])
        rows = cursor.fetchall()
        seen: set[Hashable] = set()
        final: set[Hashable] = set()
        early: set[int] = set()
        in_order = True
        for xid, position, is_settled, *about in rows:
            keys = {EVERYTHING, *filter(None, about)}
            in_order = in_order and is_settled
            if in_order:
                place = Cursor(eras.present, xid, position)
                final |= keys
            else:
                early.add(position)
            if position not in self._early:
                seen |= keys
        self._cursor, self._early = place, early
        if told := seen | set(map(settled, final)):
            self._tell(told)
        return len(rows) - len(early) >= AT_ONCE

    def _tell(self, keys: set[Hashable]) -> None:
        with self._lock:
            self._mark += 1
            woken: set[asyncio.Future[bool]] = set()
            for key in keys:
                self._told[key] = self._mark
                self._told.move_to_end(key)
                woken |= self._waiting.get(key, set())
            while len(self._told) > REMEMBERED:
                self._forgotten = self._told.popitem(last=False)[1]
        _wake(woken)


def _wake(futures: Iterable["asyncio.Future[bool]"]) -> None:
    by_loop: defaultdict[asyncio.AbstractEventLoop, list[asyncio.Future[bool]]] = defaultdict(list)
    for future in futures:
        by_loop[future.get_loop()].append(future)
    for loop, theirs in by_loop.items():
        if not loop.is_closed():
            loop.call_soon_threadsafe(_resolve, theirs)


def _resolve(futures: Iterable["asyncio.Future[bool]"], news: bool = True) -> None:
    for future in futures:
        if not future.done():
            future.set_result(news)


watch = Watch()
