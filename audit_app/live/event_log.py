"""The event log reads the trail in commit order, without gaps, from any cursor.

Events are ordered by their transaction's number, then by position. An event is *stable* once no
event can be committed before it any more: readers stop below the oldest transaction that still runs
in this database, since whatever commits later has a higher number. A cursor is never overtaken from
behind; ``position`` alone, which counts insertions, would skip whoever inserted first and committed
last.

Transaction numbers belong to one cluster. A dump restored into a younger cluster brings events from
that cluster's future; they form an *epoch* of their own, which ended with them (table
``trail_eras``).
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol, cast

from django.db import connection
from django.db.models import QuerySet

from audit_app.base.actors import Actor
from audit_app.base.errors import CursorExpired
from audit_app.models import Event
from audit_app.querysets import STABLE, EventQuerySet

BATCH = 500
MAX_LOOKUPS = 1_000
"""Subjects whose events are looked up by their ids: more would cost more than a long scan."""

LONGEST_TRANSACTION = timedelta(hours=1)
"""No transaction lasts longer: statements and idle transactions time out after a minute."""

MIN_DATETIME = datetime.min.replace(tzinfo=UTC)

MAX_SCAN = 10_000
"""Events that a stream scans at once; most of them may not concern it."""

MAX_POSITION = 2**63 - 1

SCAN_STEPS = (100, 400, 1_500, 3_000)
"""Events that a page scans, few first: mostly these are enough."""

CURSOR_FORMAT = re.compile(r"(\d{1,9})\.(\d{1,18})\.(\d{1,18})", re.ASCII)

BEGIN_EPOCH = """
INSERT INTO trail_eras (number, after_position)
SELECT coalesce((SELECT max(number) FROM trail_eras), 0) + 1, max(position) FROM audit_events
WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())
  AND position > coalesce((SELECT max(after_position) FROM trail_eras), 0)
HAVING max(position) IS NOT NULL
ON CONFLICT DO NOTHING
"""
READ_EPOCHS = "SELECT after_position FROM trail_eras ORDER BY number"
READ_LAST_STABLE = f"""
SELECT xid, position FROM audit_events
WHERE {STABLE} AND position > %s
ORDER BY xid DESC, position DESC LIMIT 1
"""  # noqa: S608  # nothing but our own text
READ_SCAN_END = """
SELECT xid, position FROM audit_events
WHERE (xid, position) > (%s::xid8, %s) AND position > %s AND position <= %s
ORDER BY xid, position OFFSET %s LIMIT 1
"""


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """A place behind one event; ``START`` is before all of them. Written ``epoch.xid.position``.

    Cursors compare in the commit order of their events.
    """

    epoch: int
    xid: int
    position: int

    def __str__(self) -> str:
        return f"{self.epoch}.{self.xid}.{self.position}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """Parse what ``str`` wrote. Raises ValueError."""
        match = CURSOR_FORMAT.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:80]!r} is not a cursor of the trail.")
        return cls(*map(int, match.groups()))


START = Cursor(0, 0, 0)


class _Cursor(Protocol):
    def execute(self, statement: Any, params: Any = None, /) -> Any: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Epochs:
    """The epochs of the trail, numbered from 0: each ends at the last event that was restored.

    They are cached for the process and read again by ``refresh`` after each new connection.
    """

    def __init__(self) -> None:
        self._end_positions: Sequence[int] | None = None

    def refresh(self, database: _Cursor) -> None:
        """Read the epochs through ``database``, outside a transaction that wrote anything. Begin an
        epoch if the trail holds events from the future of this cluster."""
        database.execute(BEGIN_EPOCH)
        database.execute(READ_EPOCHS)
        self._end_positions = [position for (position,) in database.fetchall()]

    def forget(self) -> None:
        """Empty the cache."""
        self._end_positions = None

    @property
    def end_positions(self) -> Sequence[int]:
        """The last position of each epoch that has ended."""
        if self._end_positions is None:
            with connection.cursor() as database:
                self.refresh(database)
        assert self._end_positions is not None
        return self._end_positions

    def epoch_of(self, position: int) -> int:
        """The epoch in which the event at ``position`` was written."""
        return sum(position > end for end in self.end_positions)

    def bounds(self, epoch: int) -> tuple[int, int]:
        """The position behind which ``epoch`` begins, and the one at which it ends."""
        begin = self.end_positions[epoch - 1] if epoch else 0
        return begin, self.end_positions[epoch] if epoch < self.current else MAX_POSITION

    @property
    def current(self) -> int:
        """The number of the epoch in which events are written now."""
        return len(self.end_positions)

    @property
    def current_start(self) -> int:
        """The position behind which the current epoch begins."""
        return self.end_positions[-1] if self.end_positions else 0


epochs = Epochs()


def cursor_of(event: Event) -> Cursor:
    """The cursor behind ``event``."""
    return Cursor(epochs.epoch_of(event.position), event.xid, event.position)


def find_end() -> Cursor:
    """The cursor behind the last stable event."""
    with connection.cursor() as database:
        return find_end_on(database)


def find_end_on(database: _Cursor) -> Cursor:
    """Like ``find_end``, through the caller's own connection."""
    database.execute(READ_LAST_STABLE, [epochs.current_start])
    xid, position = map(int, database.fetchone() or (0, 0))
    return Cursor(epochs.current, xid, position)


def find_scan_end(after: Cursor) -> tuple[Cursor, bool]:
    """Where a scan from ``after`` ends, and whether more follows.

    It ends at the last stable event, or after MAX_SCAN events, or with its epoch.
    """
    last = find_end()
    if after >= last or (after.epoch == last.epoch and last.position - after.position <= MAX_SCAN):
        return max(after, last), False
    with connection.cursor() as database:
        behind = (str(after.xid), after.position)
        database.execute(READ_SCAN_END, [*behind, *epochs.bounds(after.epoch), MAX_SCAN - 1])
        row = database.fetchone()
    if row:
        until = min(Cursor(after.epoch, *map(int, row)), last)
        return until, until < last
    return (last, False) if after.epoch == last.epoch else (Cursor(after.epoch + 1, 0, 0), True)


def find_last_before(moment: datetime) -> Event | None:
    """The last event recorded before ``moment``, with only its xid and position; None if none."""
    earlier = Event.objects.filter(timestamp__lt=moment).order_by("-timestamp")
    return earlier.only("xid", "position").first()


def recorded_since(moment: datetime, among: "QuerySet[Event]") -> "QuerySet[Event]":
    """Narrow ``among`` to events recorded at ``moment`` or later, starting the scan near there."""
    # Timestamps are not in commit order. But an event recorded LONGEST_TRANSACTION after another
    # one belongs to a transaction that got its number later, so it stands behind that one.
    rows = cast("EventQuerySet", among.filter(timestamp__gte=moment))
    long_before = moment - min(LONGEST_TRANSACTION, moment - MIN_DATETIME)
    event = find_last_before(long_before)
    if event is None or event.position <= epochs.current_start:
        return rows
    return rows.behind(event.xid, event.position).filter(position__gt=epochs.current_start)


def read(
    after: Cursor,
    limit: int = BATCH,
    *,
    among: "QuerySet[Event] | None" = None,
    until: Cursor | None = None,
) -> list[Event]:
    """Read up to ``limit`` stable events behind ``after``, of those ``among``, in commit order.

    ``until`` is an end from ``find_end``; without it the end is looked up. Raises CursorExpired if
    events behind ``after`` are no longer kept.
    """
    require_retained(after)
    return read_kept(after, limit, among=among, until=until)


def read_kept(
    after: Cursor,
    limit: int,
    *,
    among: "QuerySet[Event] | None" = None,
    until: Cursor | None = None,
) -> list[Event]:
    """Like ``read``, whether or not all events behind ``after`` are still kept."""
    # ``until`` exists because a stable event stays stable but may not look so a moment later, while
    # somebody commits in another database of the cluster.
    rows = cast("EventQuerySet", Event.objects.all() if among is None else among)
    last_epoch = until.epoch if until else epochs.current
    events: list[Event] = []
    while len(events) < limit and after.epoch <= last_epoch:
        here = rows.behind(after.xid, after.position)
        if after.epoch:
            here = here.filter(position__gt=epochs.end_positions[after.epoch - 1])
        if after.epoch < last_epoch:
            here = here.filter(position__lte=epochs.end_positions[after.epoch])
        else:
            here = here.up_to(until.xid, until.position) if until else here.stable()
        events += here.order_by("xid", "position")[: limit - len(events)]
        after = Cursor(after.epoch + 1, 0, 0)
    return events


def read_page(
    after: Cursor, limit: int, *, among: "QuerySet[Event]", by: Actor
) -> tuple[list[Event], Cursor | None]:
    """Read up to ``limit`` events behind ``after``, of those ``among`` that ``by`` may see.

    Returns them with the cursor to continue from; None at the end. If the scan ended first
    (SCAN_STEPS), there are fewer events than ``limit``, maybe none, and more may follow. Raises
    CursorExpired.
    """
    rows = cast("EventQuerySet", among)
    until = find_end()
    events, following = _read_stable_page(after, limit, rows, by, until)
    if following is None and len(events) < limit:
        last = max(after, until, *(cursor_of(event) for event in events[-1:]))
        # Committed but not stable yet: shown, so that people read what they just did, but no cursor
        # passes it.
        fresh = rows.behind(last.xid, last.position).filter(position__gt=epochs.current_start)
        events += fresh.visible_to(by).order_by("xid", "position")[: limit - len(events)]
    return events, following


def _read_stable_page(
    after: Cursor, limit: int, rows: EventQuerySet, by: Actor, until: Cursor
) -> tuple[list[Event], Cursor | None]:
    if by.auditor:
        return _cut(read(after, limit + 1, among=rows, until=until), limit)
    visible = rows.of_few(by, MAX_LOOKUPS)
    if visible is not None:
        # Events that become visible after that query are later than ``until``. Reading as far as
        # them now would move the cursor past them.
        return _cut(read(after, limit + 1, among=visible, until=until), limit)
    events: list[Event] = []
    # ``by`` may see too many subjects to look up, so the trail is scanned and filtered.
    for step in SCAN_STEPS:
        near = read(after, step, among=rows.only("position", "xid"), until=until)
        visible = rows.visible_to(by).filter(pk__in=[event.pk for event in near])
        events += sorted(visible, key=cursor_of)
        if len(events) > limit or len(near) < step:
            return _cut(events, limit)
        after = cursor_of(near[-1])
    return events, after


def _cut(events: list[Event], limit: int) -> tuple[list[Event], Cursor | None]:
    more = len(events) > limit
    return events[:limit], cursor_of(events[limit - 1]) if more else None


def has_unstable_events(after: Cursor) -> bool:
    """Whether committed events behind ``after`` still wait for older transactions to end."""
    after = max(after, Cursor(epochs.current, 0, 0))  # ended epochs are stable
    rows = Event.objects.behind(after.xid, after.position)
    return rows.filter(position__gt=epochs.current_start).exists()


def count_behind(after: Cursor) -> int:
    """How many events there are behind ``after``, stable or not."""
    count = 0
    for epoch in range(after.epoch, epochs.current + 1):
        begin, end = epochs.bounds(epoch)
        events = Event.objects.filter(position__gt=begin, position__lte=end)
        if epoch == after.epoch:
            events = events.behind(after.xid, after.position)
        count += events.count()
    return count


def require_retained(cursor: Cursor) -> None:
    """Raise CursorExpired if the event at ``cursor`` is no longer kept: others behind it may be
    gone too."""
    if not cursor.position:
        return
    first = Event.objects.order_by("position").values_list("position", flat=True).first()
    if first is None or first > cursor.position:
        raise CursorExpired
