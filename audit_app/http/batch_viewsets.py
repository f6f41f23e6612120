"""A viewset one of whose requests asks for many things, each once under a key of its own."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

import orjson
from rest_framework import serializers
from rest_framework.response import Response

from audit_app.base.errors import NotFound, OrchestratorError
from audit_app.base.metrics import OPERATIONS
from audit_app.http.viewsets import OperationViewSet
from audit_app.models import Subject
from audit_app.trail.batch_idempotency import Outcome
from audit_app.trail.idempotency import Answer, Receipt, subject_of
from audit_app.trail.operation import Operation

KEY = "idempotency_key"
Part = dict[str, Any] | serializers.ValidationError


class PartsField(serializers.ListField):
    """A list whose elements are judged each by itself: one that is not valid is told of in its
    place, as a ValidationError. Two with one key are refused."""

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
        return [self._judged(part) for part in data]

    def _judged(self, part: Any) -> Part:
        try:
            judged: dict[str, Any] = self.child.run_validation(part)
        except serializers.ValidationError as refusal:
            return refusal
        return judged


class BatchViewSet(OperationViewSet):
    """Beside what every OperationViewSet does: many requests of one kind in one."""

    throttle_cost = 1
    """How many requests this one counts for: see orchestrator/web/throttling.py."""

    def counted_as(self, number: int) -> None:
        """Count this request, which was counted once already, as so many. Raises Throttled."""
        self.throttle_cost = number - 1
        if self.throttle_cost:
            self.check_throttles(self.request)

    def answer_each(
        self,
        operation: Operation[..., list[Outcome]],
        parts: Sequence[Any],
        asked: Sequence[Mapping[str, Any]],
        *,
        path: str,
        name: str,
        as_part_of: Operation[..., Any],
        present: Callable[[Any], Answer],
        **kwargs: Any,
    ) -> Response:
        """Run ``operation`` once for all ``parts``, and say of each what a POST of it to ``path``,
        under its key, would have been answered: a ``name``, or a problem.

        A part that is not valid is its ValidationError. ``asked`` are the parts as they came. They
        share their receipts with ``path``, whose operation is ``as_part_of``.
        """
        valid = [n for n, part in enumerate(parts) if not isinstance(part, Exception)]
        receipts = [self._receipt_of(asked[n], path, present) for n in valid]
        outcomes: list[Outcome] = operation(
            [parts[n] for n in valid], receipts, by=self.actor, **kwargs
        )
        for code, count in Counter(outcome.code for outcome in outcomes).items():
            OPERATIONS.labels(as_part_of.name, code).inc(count)
        hidden = self._hidden([each.answer for each in outcomes if each.replayed and each.answer])
        said = {n: self._said(each, name, hidden) for n, each in zip(valid, outcomes, strict=True)}
        results = [said[n] if n in said else self._problem(part) for n, part in enumerate(parts)]
        return Response({"results": results})

    def _receipt_of(
        self, asked: Mapping[str, Any], path: str, present: Callable[[Any], Answer]
    ) -> Receipt:
        def refusal(error: OrchestratorError) -> Answer:
            return self._kept(self.handle_exception(error), *subject_of(error.subject))

        return Receipt(
            caller=f"{self.actor.kind}:{self.actor.id}",
            endpoint=f"{self.request.method} {path}",
            key=asked[KEY],
            fingerprint=self._fingerprint({n: v for n, v in asked.items() if n != KEY}),
            present=present,
            present_refusal=refusal,
        )

    def _hidden(self, replayed: Sequence[Answer]) -> set[UUID]:
        """Of what these answers tell, what the caller may not know of any more."""
        told: dict[str, set[UUID]] = {}
        for answer in replayed:
            if answer.subject_id is not None:
                told.setdefault(answer.subject_type, set()).add(answer.subject_id)
        hidden: set[UUID] = set()
        for kind, ids in told.items():
            rows = Subject.kinds()[kind].objects.visible_to(self.actor).filter(pk__in=ids)
            hidden |= ids - set(rows.values_list("pk", flat=True))
        return hidden

    def _said(self, outcome: Outcome, name: str, hidden: set[UUID]) -> dict[str, Any]:
        answer = outcome.answer
        if answer is None:
            return self._problem(outcome.refusal)
        if outcome.replayed and answer.subject_id in hidden:
            return self._problem(NotFound(what=answer.subject_type))
        what = name if answer.status < 400 else "problem"
        said = {"status": answer.status, what: orjson.Fragment(answer.body)}
        return said | {"replayed": True} if outcome.replayed else said

    def _problem(self, error: Any) -> dict[str, Any]:
        answer = self._kept(self.handle_exception(error))
        return {"status": answer.status, "problem": orjson.Fragment(answer.body)}
