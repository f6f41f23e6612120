"""Idempotency of many requests at once: their receipts are read and stored together.

Receipts are stored in the order of their keys, so that two concurrent batches with the same keys do
not deadlock: the second waits for the first, then starts again and reads its answers.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from django.conf import settings
from django.db import connection

from audit_app.base.actors import Actor
from audit_app.base.errors import IdempotencyKeyReused, LostRace, OrchestratorError
from audit_app.trail.bulk import as_json, record_refusals
from audit_app.trail.idempotency import UNLESS_ANSWERED, Answer, Receipt, wait_for_duplicates
from audit_app.trail.operation import KEPT_REFUSALS, PASSING

READ_ALL = """
SELECT kept.caller, kept.endpoint, kept.key, fingerprint, status, body, headers::text, subject_type,
    subject_id, created_at
FROM json_to_recordset(%(asked)s::json) AS asked (caller text, endpoint text, key text)
JOIN request_receipts AS kept USING (caller, endpoint, key)
WHERE kept.created_at >= clock_timestamp() - make_interval(secs => %(ttl)s)
"""
KEEP_ALL = f"""
INSERT INTO request_receipts AS kept
    (caller, endpoint, key, fingerprint, status, headers, body, subject_type, subject_id)
SELECT caller, endpoint, key, fingerprint, status, headers, body, subject_type, subject_id
FROM json_to_recordset(%(said)s::json) AS said (caller text, endpoint text, key text,
    fingerprint text, status smallint, headers jsonb, body text, subject_type text, subject_id uuid)
ORDER BY caller, endpoint, key
{UNLESS_ANSWERED}
"""  # noqa: S608  # nothing but our own text
Key = tuple[str, str, str]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one request: a stored answer, new or replayed, or a refusal that is not
    stored."""

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
    """Answer each of ``receipts``, whose keys differ, once: part of an operation.

    ``run`` gets the indexes of those that were not answered before. It returns for each what the
    operation returned, or the OrchestratorError that refuses it, which then has no effect. Refusals
    by the rules are recorded as ``operation``'s and stored; others leave nothing. The number of
    statements does not depend on the number of receipts.

    Raises Outrun where one of them was answered in the meantime, and RequestInProgress where a
    concurrent request with one of the keys still runs after ``lock_timeout``.
    """
    outcomes = _answered_before(dict(enumerate(receipts)))
    ours = [number for number in range(len(receipts)) if number not in outcomes]
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
    _keep([(receipts[number], outcomes[number].answer) for number in ours])
    if _answered_before({n: receipts[n] for n in ours if outcomes[n].answer is None}):
        raise LostRace
    return [outcomes[number] for number in range(len(receipts))]


def _key(receipt: Receipt) -> Key:
    return receipt.caller, receipt.endpoint, receipt.key


def _answered_before(receipts: dict[int, Receipt]) -> dict[int, Outcome]:
    """Outcomes of those that have an answer: it, or a refusal where the key was reused."""
    if not receipts:
        return {}
    names = ("caller", "endpoint", "key")
    asked = as_json([{name: getattr(each, name) for name in names} for each in receipts.values()])
    with connection.cursor() as cursor:
        cursor.execute(READ_ALL, {"asked": asked, "ttl": settings.IDEMPOTENCY_TTL_SECONDS})
        found = {(row[0], row[1], row[2]): row[3:] for row in cursor.fetchall()}
    outcomes = {}
    for number, receipt in receipts.items():
        if _key(receipt) not in found:
            continue
        fingerprint, status, body, headers, kind, subject, at = found[_key(receipt)]
        if fingerprint != receipt.fingerprint:
            reused = IdempotencyKeyReused()
            outcomes[number] = Outcome(refusal=reused, code=reused.code)
            continue
        answer = Answer(status, body, orjson.loads(headers), kind, subject, at)
        outcomes[number] = Outcome(answer, replayed=True, code="replayed")
    return outcomes


def _keep(answered: Sequence[tuple[Receipt, Answer | None]]) -> None:
    """Raises Outrun, RequestInProgress."""
    of_receipt = ("caller", "endpoint", "key", "fingerprint")
    of_answer = ("status", "headers", "body", "subject_type", "subject_id")
    said = [
        {name: getattr(receipt, name) for name in of_receipt}
        | {name: getattr(answer, name) for name in of_answer}
        for receipt, answer in answered
        if answer
    ]
    if not said:
        return
    values: dict[str, Any] = {"said": as_json(said), "ttl": settings.IDEMPOTENCY_TTL_SECONDS}
    with wait_for_duplicates(), connection.cursor() as cursor:
        cursor.execute(KEEP_ALL, values)
        if cursor.rowcount < len(said):
            raise LostRace
