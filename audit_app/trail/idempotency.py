"""Idempotency: the answer to a request is stored in the same transaction as its effect.

One row per caller, endpoint and key, inserted as the last statement of the transaction. A
concurrent duplicate waits at that INSERT: if we commit, it rolls back and returns our answer; if we
roll back, it goes on. So there is no in-flight state, nothing to repair after a crash, and nothing
to look up before a new request (docs/decisions/0028-receipts-last.md).
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import OperationalError
from django.db.models.functions import Now
from psycopg.errors import LockNotAvailable

from audit_app.base.errors import (
    IdempotencyKeyReused,
    LostRace,
    OrchestratorError,
    RequestInProgress,
)
from audit_app.base.prepared import prepared_cursor
from audit_app.models import RequestReceipt


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer that can be replayed byte for byte; ``body`` is its text. ``answered_at`` is
    when it was given first, None for one that is new."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)
    subject_type: str = ""
    subject_id: UUID | None = None
    answered_at: datetime | None = None


class StoredResponse(Exception):
    """This request was answered before, with ``answer``."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


UNLESS_ANSWERED = """
ON CONFLICT (caller, endpoint, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, status = excluded.status, headers = excluded.headers,
        body = excluded.body, subject_type = excluded.subject_type,
        subject_id = excluded.subject_id, created_at = clock_timestamp()
    WHERE kept.created_at < clock_timestamp() - make_interval(secs => %(ttl)s)
"""
"""An answer is replaced once it is older than ``ttl``; until then, no row is written."""

KEEP = f"""
INSERT INTO request_receipts AS kept
    (caller, endpoint, key, fingerprint, status, headers, body, subject_type, subject_id)
VALUES (%(caller)s, %(endpoint)s, %(key)s, %(fingerprint)s, %(status)s, %(headers)s, %(body)s,
    %(subject_type)s, %(subject_id)s)
{UNLESS_ANSWERED}
RETURNING id
"""  # noqa: S608  # nothing but our own text


@contextmanager
def wait_for_duplicates() -> Iterator[None]:
    """For statements that only a concurrent duplicate can block. Raises RequestInProgress where it
    still runs after ``lock_timeout``."""
    try:
        yield
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise RequestInProgress from error
        raise


@dataclass(slots=True)
class Receipt:
    """One request under one key.

    ``present`` turns what an operation returned, and ``present_refusal`` what it raised, into the
    Answer to store and to return. After the operation, ``answer`` is that Answer.
    """

    caller: str
    endpoint: str
    key: str
    fingerprint: str
    present: Callable[[Any], Answer]
    present_refusal: Callable[[OrchestratorError], Answer]
    answer: Answer | None = None

    def replay(self) -> None:
        """Raise StoredResponse where this request was answered before, and IdempotencyKeyReused
        where the key belongs to another request; else return."""
        ttl = timedelta(seconds=settings.IDEMPOTENCY_TTL_SECONDS)
        stored = RequestReceipt.objects.filter(
            caller=self.caller, endpoint=self.endpoint, key=self.key, created_at__gte=Now() - ttl
        ).first()
        if stored is None:
            return
        if stored.fingerprint != self.fingerprint:
            raise IdempotencyKeyReused
        assert stored.status is not None  # committed only with its answer
        raise StoredResponse(
            Answer(
                stored.status,
                stored.body,
                stored.headers,
                stored.subject_type,
                stored.subject_id,
                stored.created_at,
            )
        )

    def store(self, answer: Answer) -> None:
        """Store ``answer``, as the operation's last statement.

        Raises Outrun where the request has an answer already, and RequestInProgress.
        """
        values = {
            "caller": self.caller,
            "endpoint": self.endpoint,
            "key": self.key,
            "fingerprint": self.fingerprint,
            "status": answer.status,
            "headers": json.dumps(dict(answer.headers)),
            "body": answer.body,
            "subject_type": answer.subject_type,
            "subject_id": answer.subject_id,
            "ttl": settings.IDEMPOTENCY_TTL_SECONDS,
        }
        with wait_for_duplicates(), prepared_cursor() as cursor:
            cursor.execute(KEEP, values)
            if cursor.fetchone() is None:
                raise LostRace
        self.answer = answer
