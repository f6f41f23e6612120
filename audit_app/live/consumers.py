"""Relays: what reads the trail and does something about it, every event once.

A relay's place in the trail is a row. It is moved in the transaction in which the relay works, so
that what a relay writes (rows, deferred jobs) is written exactly once for each event; what a job
then does outside of the database, it does at least once.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction

from audit_app.live import event_log
from audit_app.live.event_log import Cursor
from audit_app.models import Event, TailReader

Tell = Callable[[list[Event]], None]

BATCH = 200


@dataclass(frozen=True, slots=True)
class Relay:
    name: str
    tell: Tell

    def advance(self) -> int:
        """Tell the next events, in a transaction of its own; return how many there were.

        0 as well where another process is at it. A new relay begins at the end of the trail.
        """
        if not self._is_behind():
            return 0
        with transaction.atomic(durable=True):
            place = (
                TailReader.objects.select_for_update(skip_locked=True).filter(pk=self.name).first()
            )
            if place is None:
                return 0
            events = event_log.read(Cursor.parse(place.cursor), BATCH)
            if events:
                self.tell(events)
                place.cursor = str(event_log.cursor_of(events[-1]))
                place.save(update_fields=["cursor"])
            return len(events)

    def waits_for_others(self) -> bool:
        """Whether there are events that only wait for an older transaction to end."""
        place = TailReader.objects.filter(pk=self.name).first()
        return place is not None and event_log.unsettled(Cursor.parse(place.cursor))

    def _is_behind(self) -> bool:
        """Looked at before anything is locked: an open transaction holds up every reader."""
        place = TailReader.objects.filter(pk=self.name).first()
        if place is None:
            TailReader.objects.bulk_create(
                [TailReader(name=self.name, cursor=str(event_log.end()))], ignore_conflicts=True
            )
            return False
        return bool(event_log.read(Cursor.parse(place.cursor), 1))


RELAYS: dict[str, Relay] = {}


def relay(name: str) -> Callable[[Tell], Tell]:
    """Make a function that takes a list of events the relay called ``name``.

    It is called inside a transaction, by ``manage.py worker``; what it raises rolls that back, and
    it is called again with the same events.
    """

    def register(tell: Tell) -> Tell:
        RELAYS[name] = Relay(name, tell)
        return tell

    return register
