"""A viewset whose writes are operations, answered once per Idempotency-Key."""

import hashlib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, ClassVar, TypeVar

from django.db.models import QuerySet
from django.http import Http404, HttpResponse
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.viewsets import GenericViewSet

from audit_app.base.actors import Actor
from audit_app.base.canonical import canonical
from audit_app.base.errors import IdempotencyKeyReused, InvalidHeader, NotFound, OrchestratorError
from audit_app.http.representation import shaped
from audit_app.http.serializers import validated
from audit_app.live import long_poll
from audit_app.models import Subject
from audit_app.trail.idempotency import Answer, Receipt, Replayed, subject_of
from audit_app.trail.operation import Operation

PREFER = OpenApiParameter(
    "Prefer",
    str,
    OpenApiParameter.HEADER,
    description=f"wait=N (RFC 7240) holds the answer until there is news, "
    f"N ≤ {long_poll.MAX_WAIT}.",
)
H = TypeVar("H", HttpResponse, Response)
KEPT_HEADERS = ("Location", "ETag")
FINGERPRINTED_HEADERS = ("X-Session-Id", "If-Match")
KEY = re.compile(r'"((?:[ !#-\[\]-~]|\\["\\]){1,255})"|((?!")[!-~]{1,255})')


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

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Let the filter backends judge every request of a known caller, before it is read."""
        self.perform_authentication(request)
        self.check_permissions(request)
        for backend in self.filter_backends:
            backend().judge(request, self)  # type: ignore[attr-defined]  # ours, see settings
        super().initial(request, *args, **kwargs)

    @cached_property
    def actor(self) -> Actor:
        """Who calls, as they were when this request began."""
        user = self.request.user
        return user if isinstance(user, Actor) else Actor.human(user)

    def visible(self) -> Any:
        """The rows of this viewset that the caller may know of."""
        rows: Any = self.get_queryset()
        return rows.visible_to(self.actor)

    def get_object(self) -> Any:
        """For DRF's own machinery: OPTIONS asks whether a PUT of this row is possible."""
        row = self.visible().filter(pk=self.kwargs["pk"]).first()
        if row is None:
            raise Http404
        return row

    def listed_visible(self) -> Response:
        """One page, as the request asks for it, of what the caller may know of."""
        paginator: Any = self.paginator
        page = paginator.kept_page(self.request, self)
        if page is not None:
            return self._answered_page(page)
        rows: Any = self.get_queryset()
        return self.listed(rows.listed_to(self.actor))

    def listed(self, rows: "QuerySet[Any]") -> Response:
        """One page of ``rows``."""
        return self._answered_page(self.paginate_queryset(self.filter_queryset(rows)))

    def _answered_page(self, page: Any) -> Response:
        self.read_beside(page)
        return self.get_paginated_response([self.shape(row) for row in page])

    def read_beside(self, rows: "Sequence[Any]") -> None:
        """Read what the shape of ``rows`` needs beside them, for all at once."""

    def shape(self, row: Any) -> dict[str, Any]:
        """``row`` as this viewset's callers see it."""
        return shaped(self.serializer_class, row)

    def held(self, response: H, keys: Iterable[str], *, answered: bool) -> H:
        """``response``, which ``Prefer: wait=N`` holds unless it is what the caller waits for.

        ``keys`` are what it could change with: see subscriptions.py. Raises TooManyWaiting.
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
        return validated(serializer, self.request.data)

    def answer(
        self,
        operation: Operation[..., Any],
        *args: Any,
        present: Callable[[Any], Response],
        **kwargs: Any,
    ) -> HttpResponse:
        """Run ``operation`` as the caller and answer with what ``present`` makes of its result.

        With an Idempotency-Key, the answer is kept in the operation's own transaction, refusals by
        the rules included, and a repetition gets the same bytes and ``Idempotent-Replayed: true``.
        """
        return _spoken(self._answered(self._receipt(present), operation, *args, **kwargs))

    def answer_one_of_many(
        self,
        number: int,
        operation: Operation[..., Any],
        *args: Any,
        present: Callable[[Any], Response],
        **kwargs: Any,
    ) -> Answer:
        """The answer to the ``number``th part of a request that asks for several things, each an
        operation of its own; a refusal is an answer too.

        With an Idempotency-Key, each part is kept as if it had a key of its own, so that a
        repetition goes on where the first request broke off. Raises IdempotencyKeyReused.
        """
        receipt = self._receipt(present, part=f"\n{number}")
        try:
            return self._answered(receipt, operation, *args, **kwargs)
        except IdempotencyKeyReused:
            raise
        except OrchestratorError as refusal:
            return self._kept(self.handle_exception(refusal))

    def _answered(
        self, receipt: Receipt, operation: Operation[..., Any], *args: Any, **kwargs: Any
    ) -> Answer:
        kept = receipt if receipt.key else None
        try:
            result = operation.once(kept)(*args, by=self.actor, **kwargs)
        except Replayed as replayed:
            return self._replay(replayed.answer)
        except OrchestratorError:
            if receipt.answer:
                return receipt.answer
            raise
        return receipt.answer or receipt.present(result)

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

    def _receipt(self, present: Callable[[Any], Response], part: str = "") -> Receipt:
        """How this request, or a part of it, is answered; without a key nothing is kept of it."""
        request, key = self.request, self.idempotency_key()

        def kept(result: Any) -> Answer:
            return self._kept(present(result), *subject_of(result))

        def refusal(error: OrchestratorError) -> Answer:
            return self._kept(self.handle_exception(error), *subject_of(error.subject))

        return Receipt(
            caller=f"{self.actor.kind}:{self.actor.id}",
            endpoint=f"{request.method} {request.path}",
            key=key + part if key else "",
            fingerprint=self._fingerprint(request.data) if key else "",
            present=kept,
            present_refusal=refusal,
        )

    @cached_property
    def _fingerprinted_headers(self) -> dict[str, str]:
        return {name: self.request.headers.get(name, "") for name in FINGERPRINTED_HEADERS}

    def _fingerprint(self, body: Any) -> str:
        """What tells this request, with that body, from another one."""
        asked = canonical([body, self.request.META["QUERY_STRING"], self._fingerprinted_headers])
        return hashlib.sha256(asked.encode()).hexdigest()

    def _kept(
        self, response: HttpResponse | Response, subject_type: str = "", subject_id: Any = None
    ) -> Answer:
        if isinstance(response, Response):
            self.finalize_response(self.request, response).render()
        headers = {
            name: response.headers[name]
            for name in ("Content-Type", *KEPT_HEADERS)
            if name in response.headers
        }
        return Answer(
            response.status_code, response.content.decode(), headers, subject_type, subject_id
        )

    def _replay(self, answer: Answer) -> Answer:
        """The answer again, if the caller may still know of what it tells."""
        if answer.subject_id is not None:
            model = Subject.kinds()[answer.subject_type]
            if not model.objects.visible_to(self.actor).filter(pk=answer.subject_id).exists():
                raise NotFound(what=answer.subject_type)
        headers = {**answer.headers, "Idempotent-Replayed": "true"}
        return replace(answer, headers=headers)


def _spoken(answer: Answer) -> HttpResponse:
    return HttpResponse(answer.body, status=answer.status, headers=dict(answer.headers))
