"""Idempotency: the answer to a request is kept in the same transaction as its effect.

One row per caller, endpoint and key, inserted once the effect and the answer are there, as the last
thing. A rival with the same key waits there until we commit, then takes its own effect back and
gives our answer, or until we roll back, and goes ahead. So there is no in-flight state, nothing to
mend after a crash, and nothing to ask before a request that comes for the first time
(docs/decisions/0028-receipts-last.md).
"""

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
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
from audit_app.base.prepared import planned_once
from audit_app.models import RequestReceipt, Subject


@dataclass(frozen=True, slots=True)
class Answer:
    """An HTTP answer as it can be given again: ``body`` is its very text."""

    status: int
    body: str
    headers: Mapping[str, str] = field(default_factory=dict)
    subject_type: str = ""
    subject_id: UUID | None = None


class Replayed(Exception):
    """This request was answered before; ``answer`` is what was said."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer


UNLESS_ANSWERED = """
ON CONFLICT (caller, endpoint, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, status = excluded.status, headers = excluded.headers,
        body = excluded.body, subject_type = excluded.subject_type,
        subject_id = excluded.subject_id, created_at = clock_timestamp()
    WHERE kept.created_at < clock_timestamp() - make_interval(secs => %(ttl)s)
"""
"""An answer stays until its time is over: of a key that has one, no row is written."""

KEEP = f"""
INSERT INTO request_receipts AS kept
    (caller, endpoint, key, fingerprint, status, headers, body, subject_type, subject_id)
VALUES (%(caller)s, %(endpoint)s, %(key)s, %(fingerprint)s, %(status)s, %(headers)s, %(body)s,
    %(subject_type)s, %(subject_id)s)
{UNLESS_ANSWERED}
RETURNING id
"""  # noqa: S608  # nothing but our own text


@contextmanager
def waiting_for_rivals() -> Iterator[None]:
    """For what nobody but a rival with the same key can hold up. Raises RequestInProgress where one
    is still running after ``lock_timeout``."""
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
    Answer to keep and to give. After the operation, ``answer`` is that Answer.
    """

    caller: str
    endpoint: str
    key: str
    fingerprint: str
    present: Callable[[Any], Answer]
    present_refusal: Callable[[OrchestratorError], Answer]
    answer: Answer | None = None

    def replay(self) -> None:
        """Raises Replayed when the request was answered before, and IdempotencyKeyReused when
        another request was."""
        ttl = timedelta(seconds=settings.IDEMPOTENCY_TTL_SECONDS)
        kept = RequestReceipt.objects.filter(
            caller=self.caller, endpoint=self.endpoint, key=self.key, created_at__gte=Now() - ttl
        ).first()
        if kept is None:
            return
        if kept.fingerprint != self.fingerprint:
            raise IdempotencyKeyReused
        assert kept.status is not None  # committed only with its answer
        raise Replayed(
            Answer(kept.status, kept.body, kept.headers, kept.subject_type, kept.subject_id)
        )

    def settle(self, result: Any) -> None:
        """Keep the answer to what the operation returned, as its last act.

        Raises Outrun when the request was answered in the meantime, or long ago, and
        RequestInProgress.
        """
        self._keep(self.present(result))

    def settle_refusal(self, error: OrchestratorError) -> None:
        """Keep the answer to what the operation raised. Raises as ``settle`` does."""
        self._keep(self.present_refusal(error))

    def _keep(self, answer: Answer) -> None:
        with waiting_for_rivals(), planned_once() as cursor:
            cursor.execute(
                KEEP,
                {
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
                },
            )
            if cursor.fetchone() is None:
                raise LostRace
        self.answer = answer


def subject_of(result: Any) -> tuple[str, UUID | None]:
    """What a kept answer tells of, so that the caller's right to it can be asked again."""
    return (result.subject_type, result.pk) if isinstance(result, Subject) else ("", None)
