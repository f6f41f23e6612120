"""Idempotency of many requests at once: the receipts of receipts.py, claimed and kept together.

Rivals claim their keys in one order, so that two batches with the same keys do not wait in a
circle: the second one waits for the first, and then reads its answers.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.conf import settings
from django.db import OperationalError, connection
from psycopg.errors import LockNotAvailable

from audit_app.actors import Actor
from audit_app.bulk import as_json, record_refusals
from audit_app.errors import IdempotencyKeyReused, OrchestratorError, RequestInProgress
from audit_app.models import RequestReceipt
from audit_app.operation import KEPT_REFUSALS, PASSING
from audit_app.receipts import Answer, Receipt

CLAIM_ALL = """
INSERT INTO request_receipts AS kept
    (caller, endpoint, key, fingerprint, headers, body, subject_type)
SELECT caller, endpoint, key, fingerprint, '{}', '', ''
FROM json_to_recordset(%(asked)s::json)
    AS asked (caller text, endpoint text, key text, fingerprint text)
ORDER BY caller, endpoint, key
ON CONFLICT (caller, endpoint, key) DO UPDATE
    SET fingerprint = excluded.fingerprint, created_at = clock_timestamp()
    WHERE kept.created_at < clock_timestamp() - make_interval(secs => %(ttl)s)
RETURNING caller, endpoint, key, id
"""
READ_ALL = """
SELECT kept.caller, kept.endpoint, kept.key, fingerprint, status, body, headers::text, subject_type,
    subject_id
FROM json_to_recordset(%(asked)s::json) AS asked (caller text, endpoint text, key text)
JOIN request_receipts AS kept USING (caller, endpoint, key)
"""
KEEP_ALL = """
UPDATE request_receipts AS kept
SET status = said.status, body = said.body, headers = said.headers,
    subject_type = said.subject_type, subject_id = said.subject_id
FROM json_to_recordset(%(said)s::json) AS said (id bigint, status smallint, body text,
    headers jsonb, subject_type text, subject_id uuid)
WHERE kept.id = said.id
"""
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one of them: an answer that is kept, given anew or again, or a refusal that
    is not kept."""

    answer: Answer | None = None
    replayed: bool = False
    refusal: OrchestratorError | None = None
    code: str = "done"


def once_each(
    operation: str,
    receipts: Sequence[Receipt],
    run: Callable[[Sequence[int]], Sequence[Any]],
    *,
    by: Actor,
) -> list[Outcome]:
    """What becomes of each of ``receipts``, whose keys differ: part of an operation.

    ``run`` is given the numbers of those that were not answered before, and returns for each what
    the operation returned, or the OrchestratorError that refuses it; then it has no effect.
    Refusals by the rules are recorded as ``operation``'s and kept, others leave nothing. The
    number of statements does not depend on that of the receipts.

    Raises RequestInProgress when a rival with one of the keys is still running after
    ``lock_timeout``.
    """
    claimed = _claim(receipts)
    ours = [number for number, receipt in enumerate(receipts) if _key(receipt) in claimed]
    outcomes = _answered_before(
        {number: receipt for number, receipt in enumerate(receipts) if number not in set(ours)}
    )
    refused = []
    for number, result in zip(ours, run(ours) if ours else (), strict=True):
        receipt = receipts[number]
        if not isinstance(result, OrchestratorError):
            outcomes[number] = Outcome(receipt.present(result))
        elif isinstance(result, KEPT_REFUSALS) and not isinstance(result, PASSING):
            outcomes[number] = Outcome(receipt.present_refusal(result), code=result.code)
            refused.append(result)
        else:
            outcomes[number] = Outcome(refusal=result, code=result.code)
    record_refusals(operation, refused, by=by)
    answers = {claimed[_key(receipts[number])]: outcomes[number].answer for number in ours}
    _keep({row: answer for row, answer in answers.items() if answer})
    _let_go([row for row, answer in answers.items() if not answer])
    return [outcomes[number] for number in range(len(receipts))]


def _key(receipt: Receipt) -> Key:
    return receipt.caller, receipt.endpoint, receipt.key


def _asked(receipts: Iterable[Receipt]) -> str:
    names = ("caller", "endpoint", "key", "fingerprint")
    return as_json([{name: getattr(receipt, name) for name in names} for receipt in receipts])


def _claim(receipts: Sequence[Receipt]) -> dict[Key, int]:
    """The rows of the keys that are this transaction's now."""
    values: dict[str, Any] = {"asked": _asked(receipts), "ttl": settings.IDEMPOTENCY_TTL_SECONDS}
    try:
        with connection.cursor() as cursor:
            cursor.execute(CLAIM_ALL, values)
            return {(caller, end, key): row for caller, end, key, row in cursor.fetchall()}
    except OperationalError as error:
        if isinstance(error.__cause__, LockNotAvailable):
            raise RequestInProgress from error
        raise


def _answered_before(receipts: dict[int, Receipt]) -> dict[int, Outcome]:
    """Their answers again, or that their keys were used for something else."""
    if not receipts:
        return {}
    with connection.cursor() as cursor:
        cursor.execute(READ_ALL, {"asked": _asked(receipts.values())})
        found = {(row[0], row[1], row[2]): row[3:] for row in cursor.fetchall()}
    outcomes = {}
    for number, receipt in receipts.items():
        fingerprint, status, body, headers, kind, subject = found[_key(receipt)]
        if fingerprint != receipt.fingerprint:
            reused = IdempotencyKeyReused()
            outcomes[number] = Outcome(refusal=reused, code=reused.code)
            continue
        answer = Answer(status, body, orjson.loads(headers), kind, subject)
        outcomes[number] = Outcome(answer, replayed=True, code="replayed")
    return outcomes


def _keep(answers: dict[int, Answer]) -> None:
    if not answers:
        return
    names = ("status", "body", "headers", "subject_type", "subject_id")
    said = [
        {"id": row} | {name: getattr(answer, name) for name in names}
        for row, answer in answers.items()
    ]
    with connection.cursor() as cursor:
        cursor.execute(KEEP_ALL, {"said": as_json(said)})


def _let_go(rows: list[int]) -> None:
    """Their keys were not used: nothing came of them."""
    if rows:
        RequestReceipt.objects.filter(pk__in=rows).delete()
