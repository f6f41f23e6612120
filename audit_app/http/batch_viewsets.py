"""A viewset for batches: one request with many parts, each under its own idempotency key."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from rest_framework import serializers
from rest_framework.response import Response

from audit_app.base.errors import NotFound
from audit_app.base.metrics import OPERATIONS
from audit_app.http.representation import format_datetime
from audit_app.http.viewsets import OperationViewSet
from audit_app.models import Subject
from audit_app.trail.batch_idempotency import Outcome
from audit_app.trail.idempotency import Answer, Receipt
from audit_app.trail.operation import Operation

KEY = "idempotency_key"
Part = dict[str, Any] | serializers.ValidationError


class PartsField(serializers.ListField):
    """A list whose elements are validated one by one: an invalid element becomes a ValidationError
    in its place. Refuses two elements with the same key."""

    def run_validation(self, data: Any = serializers.empty) -> list[Part]:
        parts: list[Part] = super().run_validation(data)
        seen: set[str] = set()
        for number, part in enumerate(data):
            key = part.get(KEY) if isinstance(part, dict) else None
            if isinstance(key, str) and key in seen:
                refusal = {KEY: ["Another one has the same key."]}
                raise serializers.ValidationError([*[{}] * number, refusal], code="invalid")
            seen.add(str(key))
        return parts

    def run_child_validation(self, data: Any) -> list[Part]:
        return [self._validate_part(part) for part in data]

    def _validate_part(self, part: Any) -> Part:
        try:
            validated: dict[str, Any] = self.child.run_validation(part)
        except serializers.ValidationError as refusal:
            return refusal
        return validated


class BatchViewSet(OperationViewSet):
    """An OperationViewSet that also takes many requests of one kind in one."""

    throttle_cost = 1
    """How many requests this one counts as (orchestrator/web/throttling.py)."""

    def count_as_many(self, number: int) -> None:
        """Count this request, which was counted once already, as ``number``. Raises Throttled."""
        self.throttle_cost = number - 1
        if self.throttle_cost:
            self.check_throttles(self.request)

    def answer_each(
        self,
        operation: Operation[..., list[Outcome]],
        parts: Sequence[Any],
        raw: Sequence[Mapping[str, Any]],
        *,
        path: str,
        name: str,
        as_part_of: Operation[..., Any],
        present: Callable[[Any], Answer],
        **kwargs: Any,
    ) -> Response:
        """Run ``operation`` once for all ``parts``, and return for each what a POST of it to
        ``path`` under its key would have returned: a ``name``, or a problem.

        An invalid part is a ValidationError. ``raw`` are the parts as they were sent. They share
        their receipts with ``path``, whose operation is ``as_part_of``.
        """
        valid = [n for n, part in enumerate(parts) if not isinstance(part, Exception)]
        receipts = [self._receipt_of(raw[n], path, present) for n in valid]
        outcomes: list[Outcome] = operation(
            [parts[n] for n in valid], receipts, by=self.actor, **kwargs
        )
        for code, count in Counter(outcome.code for outcome in outcomes).items():
            OPERATIONS.labels(as_part_of.name, code).inc(count)
        hidden = self._find_hidden(
            [each.answer for each in outcomes if each.replayed and each.answer]
        )
        described = {
            n: self._describe_outcome(each, name, hidden)
            for n, each in zip(valid, outcomes, strict=True)
        }
        results = [
            described[n] if n in described else self._problem(part) for n, part in enumerate(parts)
        ]
        return Response({"results": results})

    def _receipt_of(
        self, raw: Mapping[str, Any], path: str, present: Callable[[Any], Answer]
    ) -> Receipt:
        return Receipt(
            caller=f"{self.actor.kind}:{self.actor.id}",
            endpoint=f"{self.request.method} {path}",
            key=raw[KEY],
            fingerprint=self._fingerprint({n: v for n, v in raw.items() if n != KEY}),
            present=present,
            present_refusal=lambda error: self._to_answer(
                self.handle_exception(error), error.subject
            ),
        )

    def _find_hidden(self, replayed: Sequence[Answer]) -> set[UUID]:
        """The ids of the rows in these answers that the caller may no longer see."""
        ids_by_kind: dict[str, set[UUID]] = {}
        for answer in replayed:
            if answer.subject_id is not None:
                ids_by_kind.setdefault(answer.subject_type, set()).add(answer.subject_id)
        hidden: set[UUID] = set()
        for kind, ids in ids_by_kind.items():
            rows = Subject.kinds()[kind].objects.visible_to(self.actor).filter(pk__in=ids)
            hidden |= ids - set(rows.values_list("pk", flat=True))
        return hidden

    def _describe_outcome(self, outcome: Outcome, name: str, hidden: set[UUID]) -> dict[str, Any]:
        answer = outcome.answer
        if answer is None:
            return self._problem(outcome.refusal)
        if outcome.replayed and answer.subject_id in hidden:
            return self._problem(NotFound(what=answer.subject_type))
        what = name if answer.status < 400 else "problem"
        described = {"status": answer.status, what: orjson.Fragment(answer.body)}
        if answer.answered_at is not None:
            described |= {"replayed": True, "answered_at": format_datetime(answer.answered_at)}
        return described

    def _problem(self, error: Any) -> dict[str, Any]:
        answer = self._to_answer(self.handle_exception(error))
        return {"status": answer.status, "problem": orjson.Fragment(answer.body)}
