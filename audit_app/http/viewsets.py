"""A viewset whose writes are operations, answered once per Idempotency-Key."""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, ClassVar, TypeVar

from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from audit_app.base.actors import Actor
from audit_app.base.canonical import canonical, digest
from audit_app.base.errors import IdempotencyKeyReused, InvalidHeader, NotFound, OrchestratorError
from audit_app.http.representation import compile_serializer, format_datetime
from audit_app.http.serializers import shared_instance
from audit_app.live import long_poll
from audit_app.models import Subject
from audit_app.trail.idempotency import Answer, Receipt, StoredResponse
from audit_app.trail.operation import Operation

PREFER = OpenApiParameter(
    "Prefer",
    str,
    OpenApiParameter.HEADER,
    description="wait=N (RFC 7240) holds the answer until there is news, "
    f"N ≤ {long_poll.MAX_WAIT}.",
)
H = TypeVar("H", HttpResponse, Response)
KEPT_HEADERS = ("Location", "ETag")
FINGERPRINTED_HEADERS = ("X-Session-Id", "If-Match")
KEY = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"|((?!")[!-~]{1,255})')


def describe_replay(answers: Sequence[Answer]) -> dict[str, str]:
    """The headers of a response that consists of ``answers`` given before: that they are replayed,
    and when the latest was given. None if one of them is new."""
    times = [answer.answered_at for answer in answers]
    if not times or None in times:
        return {}
    latest = max(at for at in times if at)
    return {"Idempotent-Replayed": "true", "Idempotent-Answered-At": format_datetime(latest)}


class OperationViewSet(GenericViewSet[Any]):
    """Reads are what the caller may see; writes run one operation each.

    A subclass names its lists (``list_name``), the key they are paged by (``cursor_key``) and the
    serializer of its objects.
    """

    list_name: ClassVar[str]
    cursor_key: ClassVar[tuple[str, ...]] = ("-created_at", "-id")
    cursor_only: ClassVar[bool] = False
    lookup_value_converter = "uuid"
    serializer_class: type[serializers.Serializer[Any]]
    request: Request
    actor: Actor
    """The caller, as they were when this request began."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Authenticate and authorise the caller, then check the query, whatever the action."""
        self.check_permissions(request)
        self.actor = request.user  # type: ignore[assignment]  # our authentication gives an Actor
        for backend in self.filter_backends:
            backend().check_request(request, self)  # type: ignore[attr-defined]  # ours, see settings
        super().initial(request, *args, **kwargs)

    def visible(self) -> Any:
        """The rows of this viewset that the caller may see."""
        rows: Any = self.get_queryset()
        return rows.visible_to(self.actor)

    def get_object(self) -> Any:
        """For DRF's own machinery: OPTIONS asks whether a PUT of this row is possible."""
        row = self.visible().filter(pk=self.kwargs["pk"]).first()
        if row is None:
            raise Http404
        return row

    def list_visible(self) -> Response:
        """The requested page of the rows that the caller may see."""
        paginator: Any = self.paginator
        page = paginator.kept_page(self.request, self)
        if page is not None:
            return self._render_page(page)
        rows: Any = self.get_queryset()
        return self.list_rows(rows.listed_to(self.actor))

    def list_rows(self, rows: "QuerySet[Any]") -> Response:
        """One page of ``rows``."""
        return self._render_page(self.paginate_queryset(self.filter_queryset(rows)))

    def _render_page(self, page: Any) -> Response:
        self.read_beside(page)
        return self.get_paginated_response([self.shape(row) for row in page])

    def read_beside(self, rows: "Sequence[Any]") -> None:
        """Load what representing ``rows`` needs beside them, for all rows at once."""

    def shape(self, row: Any) -> dict[str, Any]:
        """Return ``row`` as callers of this viewset see it."""
        return compile_serializer(self.serializer_class)(row)

    def hold_response(self, response: H, keys: Iterable[str], *, answered: bool) -> H:
        """Return ``response``, held for ``Prefer: wait=N`` unless it is what the caller waits for.

        ``keys`` name the events that can change it. Raises TooManyWaiting.
        """
        request = self.request._request
        seconds = long_poll.parse_wait(self.request.headers.get("Prefer", ""))
        if not seconds or not long_poll.is_supported(request):
            return response
        if not answered:
            held = long_poll.LongPoll(frozenset(keys), seconds)
            if not long_poll.hold(request, response, held, caller=str(self.actor)):
                return response
        response.headers["Preference-Applied"] = f"wait={seconds}"
        return response

    def body(self, serializer: type[serializers.Serializer[Any]]) -> dict[str, Any]:
        """The request's validated body. Raises ValidationError."""
        validated: dict[str, Any] = shared_instance(serializer).run_validation(self.request.data)
        return validated

    def answer(
        self,
        operation: Operation[..., Any],
        *args: Any,
        present: Callable[[Any], Response],
        **kwargs: Any,
    ) -> HttpResponse:
        """Run ``operation`` as the caller, and respond with what ``present`` makes of its result.

        With an Idempotency-Key, the answer is stored in the operation's own transaction, refusals
        by the rules included. A retry gets the same bytes, and headers say when they were given.
        """
        answer = self._run_once(operation, *args, present=present, **kwargs)
        return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))

    def answer_one_of_many(
        self,
        number: int,
        operation: Operation[..., Any],
        *args: Any,
        present: Callable[[Any], Response],
        **kwargs: Any,
    ) -> Answer:
        """Return the answer to the ``number``th part of a request with several parts, each an
        operation of its own; a refusal is an answer too.

        With an Idempotency-Key, each part is stored as if it had its own key, so that a retry
        continues where the first request stopped. Raises InvalidHeader and
        IdempotencyKeyReused, which refuse the whole request.
        """
        self.idempotency_key()
        try:
            return self._run_once(operation, *args, present=present, part=f"\n{number}", **kwargs)
        except IdempotencyKeyReused:
            raise
        except OrchestratorError as refusal:
            return self._to_answer(self.handle_exception(refusal))

    def idempotency_key(self) -> str | None:
        """The request's Idempotency-Key, bare or as a structured-field string (RFC 8941).

        Raises InvalidHeader.
        """
        given = self.request.headers.get("Idempotency-Key")
        if given is None:
            return None
        match = KEY.fullmatch(given)
        if match is None:
            reason = "it must be 1 to 255 visible ASCII characters."
            raise InvalidHeader(field="Idempotency-Key", reason=reason)
        return re.sub(r"\\(.)", r"\1", match[1]) if match[1] else match[2]

    def _run_once(
        self,
        operation: Operation[..., Any],
        *args: Any,
        present: Callable[[Any], Response],
        part: str = "",
        **kwargs: Any,
    ) -> Answer:
        """Answer this request, or one part of it. Without a key, the answer is not stored."""
        request, key = self.request, self.idempotency_key()
        receipt = Receipt(
            caller=f"{self.actor.kind}:{self.actor.id}",
            endpoint=f"{request.method} {request.path}",
            key=key + part if key else "",
            fingerprint=self._fingerprint(request.data) if key else "",
            present=lambda result: self._to_answer(present(result), result),
            present_refusal=lambda error: self._to_answer(
                self.handle_exception(error), error.subject
            ),
        )
        try:
            result = operation.run(receipt if key else None, *args, by=self.actor, **kwargs)
        except StoredResponse as replayed:
            return self._replay(replayed.answer)
        except OrchestratorError:
            if receipt.answer:
                return receipt.answer
            raise
        return receipt.answer or receipt.present(result)

    def _fingerprint(self, body: Any) -> str:
        """The digest that identifies this request with ``body``."""
        headers = {name: self.request.headers.get(name, "") for name in FINGERPRINTED_HEADERS}
        return digest(canonical([body, self.request.META["QUERY_STRING"], headers]))

    def _to_answer(self, response: HttpResponse | Response, subject: Any = None) -> Answer:
        """Return ``response`` as it is stored, with the row that it shows."""
        if isinstance(response, Response):
            self.finalize_response(self.request, response).render()
        headers = {
            name: response.headers[name]
            for name in ("Content-Type", *KEPT_HEADERS)
            if name in response.headers
        }
        # A replay is given only to a caller who may still see the row.
        answer = Answer(response.status_code, response.content.decode(), headers)
        if isinstance(subject, Subject):
            return replace(answer, subject_type=subject.subject_type, subject_id=subject.pk)
        return answer

    def _replay(self, answer: Answer) -> Answer:
        """Return the stored answer. Raises NotFound where the caller may no longer see its row."""
        if answer.subject_id is not None:
            model = Subject.kinds()[answer.subject_type]
            if not model.objects.visible_to(self.actor).filter(pk=answer.subject_id).exists():
                raise NotFound(what=answer.subject_type)
        return replace(answer, headers={**answer.headers, **describe_replay([answer])})
