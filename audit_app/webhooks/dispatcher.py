"""Sends the deliveries that are due, in threads of its own, so that no receiver delays another.

The rows are the queue. A worker leases those that it sends; what a worker that died had leased is
sent again, so delivery is at least once.
"""

import threading
from queue import SimpleQueue

import structlog
from django.db import DatabaseError, InterfaceError, connection

from audit_app.webhooks import sending

log = structlog.get_logger("orchestrator.webhooks")

THREADS = 12
"""Deliveries that a worker sends at a time; each has a database connection."""
MAX_IN_FLIGHT = 4
"""Live deliveries to one webhook at a time, by all workers, so that a slow receiver leaves room."""
MAX_REPLAYED_IN_FLIGHT = 1
"""Replayed deliveries to one webhook at a time, by all workers."""
LEASE = 30
"""Seconds: longer than an attempt takes (``sending.TIMEOUT``)."""
POLL_INTERVAL = 1.0
"""Seconds after which the dispatcher looks without being woken: retries become due by the clock."""

# Live deliveries before replayed ones, and first whoever has least in flight. The rows of a subject
# go one after the other, in the trail's order: a cursor is epoch.xid.position. Those behind a
# failed one are due with it (sending.py, planning.py see to it), so that few are looked at in vain.
CLAIM = """
WITH in_flight AS (
    SELECT webhook_id, replayed, count(*) AS number FROM webhook_deliveries
    WHERE status = 'waiting' AND leased_until > now() GROUP BY webhook_id, replayed
), chosen AS (
    SELECT due.id FROM webhooks
    CROSS JOIN (VALUES (false, %s), (true, %s)) AS kind (replayed, most)
    LEFT JOIN in_flight
        ON in_flight.webhook_id = webhooks.id AND in_flight.replayed = kind.replayed
    CROSS JOIN LATERAL (
        SELECT delivery.id, coalesce(next_attempt_at, created_at) AS at
        FROM webhook_deliveries AS delivery
        WHERE delivery.webhook_id = webhooks.id AND delivery.replayed = kind.replayed
            AND delivery.status = 'waiting' AND coalesce(next_attempt_at, created_at) <= now()
            AND coalesce(delivery.leased_until <= now(), true)
            AND NOT EXISTS (
                SELECT FROM webhook_deliveries AS earlier
                WHERE earlier.webhook_id = delivery.webhook_id
                    AND earlier.subject_id = delivery.subject_id AND earlier.status = 'waiting'
                    AND string_to_array(earlier.cursor, '.')::bigint[]
                        < string_to_array(delivery.cursor, '.')::bigint[])
        ORDER BY at, delivery.id LIMIT greatest(kind.most - coalesce(in_flight.number, 0), 0)
        FOR UPDATE OF delivery SKIP LOCKED
    ) AS due
    ORDER BY kind.replayed, coalesce(in_flight.number, 0), due.at, due.id LIMIT %s
)
UPDATE webhook_deliveries SET leased_until = now() + make_interval(secs => %s)
WHERE id IN (SELECT id FROM chosen) RETURNING id
"""


class Dispatcher:
    """Sends until it is stopped; ``wake`` it when rows were written. Thread-safe."""

    def __init__(self) -> None:
        self._woken = threading.Event()
        self._claimed: SimpleQueue[int | None] = SimpleQueue()
        self._in_flight = 0
        self._lock = threading.Lock()

    def wake(self) -> None:
        """Look at once for what is due."""
        self._woken.set()

    def run(self, stopping: threading.Event) -> None:
        """Send what is due until ``stopping``, then finish what is in flight."""
        threads = [threading.Thread(target=self._send_claimed) for _ in range(THREADS)]
        for thread in threads:
            thread.start()
        while not stopping.is_set():
            # Cleared before claiming, so that what is written in between wakes it again.
            self._woken.clear()
            self._claim_due()
            self._woken.wait(POLL_INTERVAL)
        connection.close()
        for _ in threads:
            self._claimed.put(None)
        for thread in threads:
            thread.join()

    def _claim_due(self) -> None:
        free = THREADS - self._in_flight
        try:
            claimed = claim_deliveries(free) if free else []
        except (DatabaseError, InterfaceError) as error:
            log.warning("webhooks", failure=type(error).__name__)
            connection.close()
            return
        with self._lock:
            self._in_flight += len(claimed)
        for delivery_id in claimed:
            self._claimed.put(delivery_id)

    def _send_claimed(self) -> None:
        while (delivery_id := self._claimed.get()) is not None:
            try:
                sending.deliver(delivery_id)
            except (DatabaseError, InterfaceError) as error:
                # Its lease ends, and then it is sent again.
                log.warning("webhooks", failure=type(error).__name__)
                connection.close()
            except Exception:
                log.exception("webhooks")
            with self._lock:
                self._in_flight -= 1
            self.wake()
        connection.close()


def claim_deliveries(number: int) -> list[int]:
    """Lease up to ``number`` deliveries that are due; return their ids."""
    with connection.cursor() as cursor:
        cursor.execute(CLAIM, [MAX_IN_FLIGHT, MAX_REPLAYED_IN_FLIGHT, number, LEASE])
        return [pk for (pk,) in cursor.fetchall()]
