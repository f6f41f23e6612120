"""Idempotency: the answer to a request is kept in the same transaction as its effect.

One row per caller, endpoint and key, inserted before anything else happens. A rival with the same
key waits on that row until we commit (then it reads our answer) or roll back (then it goes ahead),
so there is no in-flight state and nothing to mend after a crash.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import OperationalError
from psycopg.errors import LockNotAvailable

from audit_app.errors import IdempotencyKeyReused, OrchestratorError, RequestInProgress
from audit_app.models import RequestReceipt, Subject
from audit_app.prepared import planned_once


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


CLAIM = """
INSERT INTO request_receipts AS kept
    (caller, endpoint, key, fingerprint, headers, body, subject_type)
VALUES (%(caller)s, %(endpoint)s, %(key)s, %(fingerprint)s, '{}', '', '')
ON CONFLICT (caller, endpoint, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, created_at = clock_timestamp()
    WHERE kept.created_at < clock_timestamp() - make_interval(secs => %(ttl)s)
RETURNING id
"""
SETTLE = """
UPDATE request_receipts
SET status = %s, body = %s, headers = %s, subject_type = %s, subject_id = %s WHERE id = %s
"""


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
    _row: int = 0

    def claim(self) -> None:
        """Take the key for this transaction.

        Raises Replayed when the request was answered before, IdempotencyKeyReused when another
        request was, RequestInProgress when one is still running after ``lock_timeout``.
        """
        try:
            with planned_once() as cursor:
                cursor.execute(
                    CLAIM,
                    {
                        "caller": self.caller,
                        "endpoint": self.endpoint,
                        "key": self.key,
                        "fingerprint": self.fingerprint,
                        "ttl": settings.IDEMPOTENCY_TTL_SECONDS,
                    },
                )
                claimed = cursor.fetchone()
        except OperationalError as error:
            if isinstance(error.__cause__, LockNotAvailable):
                raise RequestInProgress from error
            raise
        if claimed is None:
            self._replay()
        else:
            self._row = claimed[0]

    def _replay(self) -> None:
        kept = RequestReceipt.objects.get(caller=self.caller, endpoint=self.endpoint, key=self.key)
        if kept.fingerprint != self.fingerprint:
            raise IdempotencyKeyReused
        assert kept.status is not None  # committed only with its answer
        raise Replayed(
            Answer(kept.status, kept.body, kept.headers, kept.subject_type, kept.subject_id)
        )

    def settle(self, result: Any) -> None:
        """Keep the answer to what the operation returned."""
        self._keep(self.present(result))

    def settle_refusal(self, error: OrchestratorError) -> None:
        """Keep the answer to what the operation raised."""
        self._keep(self.present_refusal(error))

    def _keep(self, answer: Answer) -> None:
        with planned_once() as cursor:
            cursor.execute(
                SETTLE,
                [
                    answer.status,
                    answer.body,
                    json.dumps(dict(answer.headers)),
                    answer.subject_type,
                    answer.subject_id,
                    self._row,
                ],
            )
        self.answer = answer


def subject_of(result: Any) -> tuple[str, UUID | None]:
    """What a kept answer tells of, so that the caller's right to it can be asked again."""
    return (result.subject_type, result.pk) if isinstance(result, Subject) else ("", None)
