"""Reading the trail in the order of its commits, without gaps, from wherever one stopped.

An event stands at its transaction's number and then its position. Readers stop below the oldest
transaction that still runs in this database: whatever commits later has a higher number, so a
cursor once passed is never written behind. ``position`` alone, which counts insertions, would skip
whoever inserted first and committed last.

Transaction numbers are a cluster's own. A dump that is restored into a younger cluster brings
events from its future; they are an era of their own, that ended with them (table ``trail_eras``).
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
from audit_app.querysets import SETTLED, EventQuerySet

BATCH = 500
FEW = 1_000
"""Things whose events are looked up by their ids: as many as cost no more than a long look."""

SLOWEST = timedelta(hours=1)
"""No transaction lasts as long: statements end after a minute, and so do idle transactions."""

BEGINNING = datetime.min.replace(tzinfo=UTC)

FAR = 10_000
"""Events that one look of a stream passes, most of which may not concern it."""

MOST = 2**63 - 1

STEPS = (100, 400, 1_500, 3_000)
"""How many events a page looks through, a little first: mostly that is enough."""

WRITTEN = re.compile(r"(\d{1,9})\.(\d{1,18})\.(\d{1,18})", re.ASCII)

BEGIN_ERA = """
INSERT INTO trail_eras (number, after_position)
SELECT coalesce((SELECT max(number) FROM trail_eras), 0) + 1, max(position) FROM audit_events
WHERE xid >= pg_snapshot_xmax(pg_current_snapshot())
  AND position > coalesce((SELECT max(after_position) FROM trail_eras), 0)
HAVING max(position) IS NOT NULL
ON CONFLICT DO NOTHING
"""
ERAS = "SELECT after_position FROM trail_eras ORDER BY number"
LAST = f"""
SELECT xid, position FROM audit_events
WHERE {SETTLED} AND position > %s
ORDER BY xid DESC, position DESC LIMIT 1
"""  # noqa: S608  # nothing but our own text
ON = """
SELECT xid, position FROM audit_events
WHERE (xid, position) > (%s::xid8, %s) AND position > %s AND position <= %s
ORDER BY xid, position OFFSET %s LIMIT 1
"""


@dataclass(frozen=True, slots=True, order=True)
class Cursor:
    """Behind one event of the trail; ``START`` is before all of them. Written ``era.xid.position``.

    Cursors compare as the events behind which they stand were committed.
    """

    era: int
    xid: int
    position: int

    def __str__(self) -> str:
        return f"{self.era}.{self.xid}.{self.position}"

    @classmethod
    def parse(cls, text: str) -> "Cursor":
        """The cursor that ``str`` wrote. Raises ValueError."""
        match = WRITTEN.fullmatch(text)
        if match is None:
            raise ValueError(f"{text[:80]!r} is not a cursor of the trail.")
        return cls(*map(int, match.groups()))


START = Cursor(0, 0, 0)


class _Cursor(Protocol):
    def execute(self, statement: Any, params: Any = None, /) -> Any: ...
    def fetchone(self) -> Any: ...
    def fetchall(self) -> list[Any]: ...


class Eras:
    """After which position each era but the first begins. Read when first needed, and again by
    ``refresh``, which whoever connects anew to the database calls."""

    def __init__(self) -> None:
        self._ends: Sequence[int] | None = None

    def refresh(self, database: _Cursor) -> None:
        """Ask ``database``, outside of a transaction that wrote something; begin an era where the
        trail holds events from the future of this cluster."""
        database.execute(BEGIN_ERA)
        database.execute(ERAS)
        self._ends = [position for (position,) in database.fetchall()]

    def forget(self) -> None:
        self._ends = None

    @property
    def ends(self) -> Sequence[int]:
        """The last position of each era that has ended."""
        if self._ends is None:
            with connection.cursor() as database:
                self.refresh(database)
        assert self._ends is not None
        return self._ends

    def of(self, position: int) -> int:
        """The era in which the event at ``position`` was written."""
        return sum(position > end for end in self.ends)

    def bounds(self, era: int) -> tuple[int, int]:
        """Behind which position ``era`` begins, and at which it ends."""
        begin = self.ends[era - 1] if era else 0
        return begin, self.ends[era] if era < self.present else MOST

    @property
    def present(self) -> int:
        return len(self.ends)

    @property
    def last_end(self) -> int:
        """The position behind which the present era begins."""
        return self.ends[-1] if self.ends else 0


eras = Eras()


def cursor_of(event: Event) -> Cursor:
    """The cursor behind ``event``."""
    return Cursor(eras.of(event.position), event.xid, event.position)


def end() -> Cursor:
    """Behind the last event that nobody can still be written before."""
    with connection.cursor() as database:
        return end_in(database)


def end_in(database: _Cursor) -> Cursor:
    """The same, asked on a connection of the caller's."""
    database.execute(LAST, [eras.last_end])
    xid, position = map(int, database.fetchone() or (0, 0))
    return Cursor(eras.present, xid, position)


def ahead(after: Cursor) -> tuple[Cursor, bool]:
    """Where a look that begins at ``after`` ends, which is the end or FAR events on, and whether
    there is more behind it."""
    last = end()
    if after >= last or (after.era == last.era and last.position - after.position <= FAR):
        return max(after, last), False
    with connection.cursor() as database:
        behind = (str(after.xid), after.position)
        database.execute(ON, [*behind, *eras.bounds(after.era), FAR - 1])
        row = database.fetchone()
    if row:
        until = min(Cursor(after.era, *map(int, row)), last)
        return until, until < last
    return (last, False) if after.era == last.era else (Cursor(after.era + 1, 0, 0), True)


def last_before(moment: datetime) -> Event | None:
    """The event that was recorded last before ``moment``; only where it stands is read."""
    earlier = Event.objects.filter(timestamp__lt=moment).order_by("-timestamp")
    return earlier.only("xid", "position").first()


def since(moment: datetime, among: "QuerySet[Event]") -> "QuerySet[Event]":
    """Of ``among``, what was recorded at ``moment`` or later, looked for from near there on.

    What is recorded SLOWEST after an event is of a transaction that got its number later, so that
    it stands behind that event.
    """
    rows = cast("EventQuerySet", among.filter(timestamp__gte=moment))
    long_before = moment - min(SLOWEST, moment - BEGINNING)
    place = last_before(long_before)
    if place is None or place.position <= eras.last_end:
        return rows
    return rows.behind(place.xid, place.position).filter(position__gt=eras.last_end)


def read(
    after: Cursor,
    limit: int = BATCH,
    *,
    among: "QuerySet[Event] | None" = None,
    until: Cursor | None = None,
) -> list[Event]:
    """Up to ``limit`` events behind ``after``, of those ``among``, in the order of their commits.

    What is read is final: nothing is committed before the last one any more. ``until`` is an end
    that was asked for already: what is settled stays so, but may not look so a moment later, while
    somebody commits in another database of the cluster. Raises CursorExpired where events behind
    ``after`` are no longer kept.
    """
    must_be_kept(after)
    rows = cast("EventQuerySet", Event.objects.all() if among is None else among)
    last_era = until.era if until else eras.present
    found: list[Event] = []
    while len(found) < limit and after.era <= last_era:
        here = rows.behind(after.xid, after.position)
        if after.era:
            here = here.filter(position__gt=eras.ends[after.era - 1])
        if after.era < last_era:
            here = here.filter(position__lte=eras.ends[after.era])
        else:
            here = here.up_to(until.xid, until.position) if until else here.settled()
        found += here.order_by("xid", "position")[: limit - len(found)]
        after = Cursor(after.era + 1, 0, 0)
    return found


def page(
    after: Cursor, limit: int, *, among: "QuerySet[Event]", by: Actor
) -> tuple[list[Event], Cursor | None]:
    """Up to ``limit`` events behind ``after``, of those ``among`` that ``by`` may know of, and the
    cursor to go on from; None at the end.

    Where ``by`` may know of few things, their events are looked up; of much, the trail is looked
    through, but never through more than STEPS allow: then there are fewer events than ``limit``,
    maybe none, and more may follow. At the end stands what is committed and not final yet as well,
    so that everybody reads what they just did: no cursor passes it. Raises CursorExpired.
    """
    rows = cast("EventQuerySet", among)
    until = end()
    found, following = _final_page(after, limit, rows, by, until)
    if following is None and len(found) < limit:
        last = max(after, until, *(cursor_of(event) for event in found[-1:]))
        fresh = rows.behind(last.xid, last.position).filter(position__gt=eras.last_end)
        found += fresh.visible_to(by).order_by("xid", "position")[: limit - len(found)]
    return found, following


def _final_page(
    after: Cursor, limit: int, rows: EventQuerySet, by: Actor, until: Cursor
) -> tuple[list[Event], Cursor | None]:
    if by.auditor:
        return _cut(read(after, limit + 1, among=rows, until=until), limit)
    theirs = rows.of_few(by, FEW)
    if theirs is not None:
        # What begins to be visible after we asked what is comes later than ``until``: were anything
        # as late shown now, the cursor would pass it over.
        return _cut(read(after, limit + 1, among=theirs, until=until), limit)
    found: list[Event] = []
    for step in STEPS:
        near = read(after, step, among=rows.only("position", "xid"), until=until)
        known = rows.visible_to(by).filter(pk__in=[event.pk for event in near])
        found += sorted(known, key=cursor_of)
        if len(found) > limit or len(near) < step:
            return _cut(found, limit)
        after = cursor_of(near[-1])
    return found, after


def _cut(found: list[Event], limit: int) -> tuple[list[Event], Cursor | None]:
    more = len(found) > limit
    return found[:limit], cursor_of(found[limit - 1]) if more else None


def unsettled(after: Cursor) -> bool:
    """Whether events behind ``after`` are committed that have to wait for older transactions."""
    after = max(after, Cursor(eras.present, 0, 0))  # eras that have ended are settled
    rows = Event.objects.behind(after.xid, after.position)
    return rows.filter(position__gt=eras.last_end).exists()


def must_be_kept(cursor: Cursor) -> None:
    """Raises CursorExpired where the event of ``cursor`` was removed from the trail, and so maybe
    others behind it."""
    if not cursor.position:
        return
    first = Event.objects.order_by("position").values_list("position", flat=True).first()
    if first is None or first > cursor.position:
        raise CursorExpired
