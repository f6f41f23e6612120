"""What the admin says of the seal: how far, since when, and when it was last checked."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db import connection
from django.utils import timezone

LATE = timedelta(minutes=2)
"""How long an event may wait to be sealed before the mark is no longer green."""

READ = """
SELECT newest.size, newest.created_at, first.created_at, run.succeeded_at, run.finished_at,
    (SELECT min("timestamp") FROM audit_events WHERE "timestamp" > newest.created_at)
FROM (SELECT size, created_at FROM audit_checkpoints ORDER BY number DESC LIMIT 1) AS newest
CROSS JOIN (SELECT created_at FROM audit_checkpoints ORDER BY number LIMIT 1) AS first
LEFT JOIN command_runs AS run ON run.command = 'verify_audit'
"""


@dataclass(frozen=True, slots=True)
class SealStatus:
    size: int
    sealed_at: datetime
    since: datetime
    verified_at: datetime | None
    """When ``verify_audit`` last found the trail whole."""

    checked_at: datetime | None
    """When it last ran, whatever it found."""

    waiting_since: datetime | None
    """When the oldest event was recorded that is younger than the last checkpoint."""

    @property
    def is_late(self) -> bool:
        """Whether an event waits to be sealed for longer than it should."""
        return self.waiting_since is not None and self.waiting_since < timezone.now() - LATE

    @property
    def has_failed(self) -> bool:
        """Whether the last check found something, or did not finish."""
        return bool(
            self.checked_at and not (self.verified_at and self.verified_at >= self.checked_at)
        )

    @property
    def is_good(self) -> bool:
        return bool(self.verified_at) and not (self.is_late or self.has_failed)


def read_seal_status() -> SealStatus | None:
    """The status of the log, in one query; None if nothing was ever sealed."""
    with connection.cursor() as cursor:
        cursor.execute(READ)
        row = cursor.fetchone()
    return SealStatus(*row) if row else None
