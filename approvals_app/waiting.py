"""``Prefer: wait=N`` (RFC 7240): an agent's request is held until its approval is decided."""

import re
import threading
import time
from collections import Counter
from uuid import UUID

from django.conf import settings
from django.db import connection
from rest_framework.exceptions import Throttled

from approvals_app.models import Approval
from audit_app import bell
from audit_app.metrics import WAITING_REQUESTS

LONGEST = 60
"""Seconds: a longer wait is cut to this."""

_waiting: Counter[str] = Counter()
_places = threading.Lock()
"""Of ``_waiting``: how many requests of each caller wait in this process."""


class TooManyWaiting(Throttled):
    """This caller waits for too many decisions at once already."""

    default_detail = "Too many of your requests wait already; let some of them answer first."
    extra_detail_singular = extra_detail_plural = ""


def seconds_preferred(header: str) -> int:
    """The N of ``wait=N`` in a Prefer header, at most LONGEST; 0 where there is none."""
    match = re.search(
        r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?:$|[,;])", header, re.IGNORECASE
    )
    return min(int(match[1]), LONGEST) if match else 0


def until_decided(approval_id: UUID, seconds: int, *, caller: str) -> bool:
    """Return once the approval is no longer pending or changes are asked for, after ``seconds``, or
    when the process ends.

    Each waiter holds a thread but no database connection. False, at once, when MAX_WAITERS wait in
    this process already: a preference is not a right, and waiters must not shut others out. Raises
    TooManyWaiting where MAX_WAITERS_PER_CALLER of them are the caller's.
    """
    with _places:
        if _waiting.total() >= settings.MAX_WAITERS:
            return False
        if _waiting[caller] >= settings.MAX_WAITERS_PER_CALLER:
            raise TooManyWaiting(wait=1)
        _waiting[caller] += 1
    WAITING_REQUESTS.inc()
    try:
        deadline = time.monotonic() + seconds
        while True:
            heard = bell.bell.rung()  # before the look, so that no decision falls in between
            pending = Approval.objects.filter(pk=approval_id).unanswered().exists()
            connection.close()
            remaining = deadline - time.monotonic()
            if not pending or remaining <= 0 or bell.bell.closing:
                return True
            bell.bell.wait(heard, remaining)
    finally:
        WAITING_REQUESTS.dec()
        with _places:
            _waiting[caller] -= 1
            if not _waiting[caller]:
                del _waiting[caller]
