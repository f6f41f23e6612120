"""Consumers read the trail and react to each event exactly once.

A consumer's offset is a row, saved in the transaction in which the consumer works. Rows it writes
and jobs it defers therefore exist exactly once per event; what such a job then does outside the
database happens at least once.
"""

from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction

from audit_app.live import event_log
from audit_app.live.event_log import Cursor
from audit_app.models import ConsumerOffset, Event

Handler = Callable[[list[Event]], None]

BATCH = 200
"""Events that one transaction handles."""


@dataclass(frozen=True, slots=True)
class Consumer:
    """A ``handle`` function and the name under which its offset is stored."""

    name: str
    handle: Handler

    def advance(self) -> int:
        """Handle the next events in a transaction of their own and return how many there were.

        Also 0 while another process works for this consumer. A new consumer starts at the end of
        the trail.
        """
        if not self._is_behind():
            return 0
        with transaction.atomic(durable=True):
            # SKIP LOCKED: two workers never handle the same batch, and neither waits for the other.
            offset = (
                ConsumerOffset.objects.select_for_update(skip_locked=True)
                .filter(pk=self.name)
                .first()
            )
            if offset is None:
                return 0
            events = event_log.read(Cursor.parse(offset.cursor), BATCH)
            if events:
                self.handle(events)
                offset.cursor = str(event_log.cursor_of(events[-1]))
                offset.save(update_fields=["cursor"])
            return len(events)

    def waits_for_older_transactions(self) -> bool:
        """Whether committed events become readable only when an older transaction ends."""
        offset = ConsumerOffset.objects.filter(pk=self.name).first()
        return offset is not None and event_log.has_unstable_events(Cursor.parse(offset.cursor))

    def _is_behind(self) -> bool:
        # Checked without a lock and outside a transaction: an open transaction with a number would
        # hold up every reader of the trail.
        offset = ConsumerOffset.objects.filter(pk=self.name).first()
        if offset is None:
            ConsumerOffset.objects.bulk_create(
                [ConsumerOffset(name=self.name, cursor=str(event_log.find_end()))],
                ignore_conflicts=True,
            )
            return False
        return bool(event_log.read(Cursor.parse(offset.cursor), 1))


CONSUMERS: dict[str, Consumer] = {}


def consumer(name: str) -> Callable[[Handler], Handler]:
    """Register a function that takes a list of events as the consumer called ``name``.

    ``manage.py worker`` calls it inside a transaction. If it raises, the transaction is rolled back
    and the function is called again with the same events.
    """

    def register(handle: Handler) -> Handler:
        CONSUMERS[name] = Consumer(name, handle)
        return handle

    return register
