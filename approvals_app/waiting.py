"""``Prefer: wait=N`` (RFC 7240): an agent's request is held until its approval is decided."""

import re
import threading
import time
from uuid import UUID

from django.conf import settings
from django.db import connection

from approvals_app.models import Approval
from audit_app import tail

LONGEST = 60
"""Seconds: a longer wait is cut to this."""

_places = threading.BoundedSemaphore(settings.MAX_WAITERS)


def seconds_preferred(header: str) -> int:
    """The N of ``wait=N`` in a Prefer header, at most LONGEST; 0 where there is none."""
    match = re.search(
        r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:$|[,;])", header, re.IGNORECASE
    )
    return min(int(match[1]), LONGEST) if match else 0


def until_decided(approval_id: UUID, seconds: int) -> bool:
    """Return once the approval is no longer pending, after ``seconds``, or when the process ends.

    Each waiter holds a thread but no database connection. False, at once, when MAX_WAITERS wait in
    this process already: a preference is not a right, and waiters must not shut others out.
    """
    if not _places.acquire(blocking=False):
        return False
    try:
        deadline = time.monotonic() + seconds
        while True:
            heard = tail.bell.rung()  # before the look, so that no decision falls in between
            pending = Approval.objects.filter(pk=approval_id).pending().exists()
            connection.close()
            remaining = deadline - time.monotonic()
            if not pending or remaining <= 0 or tail.bell.closing:
                return True
            tail.bell.wait(heard, remaining)
    finally:
        _places.release()
