"""Sessions over HTTP."""

import re
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from audit_app.base import tracing
from audit_app.base.errors import InvalidHeader
from audit_app.http.representation import compile_serializer
from audit_app.http.viewsets import PREFER, OperationViewSet
from sessions_app import operations
from sessions_app.filters import SessionFilter
from sessions_app.models import AgentSession
from sessions_app.serializers import (
    OpenedSessionSerializer,
    OpenSessionSerializer,
    SessionSerializer,
    UpdateSessionSerializer,
)

VERSION = re.compile(r'"[0-9]{1,9}"')
ENTITY_TAG = re.compile(r'(?:W/)?"[!#-~\x80-\xff]*"')


class SessionViewSet(OperationViewSet):
    queryset = AgentSession.objects.all()
    serializer_class = SessionSerializer
    filterset_class = SessionFilter
    list_name = "sessions"

    def list(self, request: Request) -> Response:
        """The caller's sessions, newest first."""
        return self.list_visible()

    @extend_schema(request=OpenSessionSerializer, responses={201: OpenedSessionSerializer})
    def create(self, request: Request) -> HttpResponse:
        """Open a session in one of the caller's roles."""

        def present(session: AgentSession) -> Response:
            headers = {"Location": f"/sessions/{session.pk}", "ETag": etag(session)}
            opened = compile_serializer(OpenedSessionSerializer)(session)
            return Response(opened, status=201, headers=headers)

        return self.answer(
            operations.open_session,
            present=present,
            trace_id=tracing.current.get(),
            **self.body(OpenSessionSerializer),
        )

    @extend_schema(
        parameters=[OpenApiParameter("If-None-Match", str, OpenApiParameter.HEADER), PREFER],
        responses={200: SessionSerializer, 304: None},
    )
    def retrieve(self, request: Request, pk: UUID) -> HttpResponse:
        """One session; with If-None-Match, 304 when it has not changed. With Prefer: wait=N, as
        soon as it has ended; with both, as soon as it has changed."""
        session = AgentSession.objects.get_visible(self.actor, pk)
        tags = parse_tags(request.headers.get("If-None-Match", ""))
        # Compared weakly (RFC 9110, section 13.1.2); If-Match is compared strongly.
        if {"*", etag(session)} & {tag.removeprefix("W/") for tag in tags}:
            unchanged = HttpResponse(status=304, headers={"ETag": etag(session)})
            return self.hold_response(unchanged, [str(pk)], answered=False)
        answered = bool(tags) or session.status not in session.OPEN
        return self.hold_response(self._present(session), [str(pk)], answered=answered)

    @extend_schema(
        request=UpdateSessionSerializer,
        parameters=[OpenApiParameter("If-Match", str, OpenApiParameter.HEADER)],
    )
    def update(self, request: Request, pk: UUID) -> HttpResponse:
        """Update a part of a session: its state, its task_id; its metadata is merged (RFC 7396)."""
        return self.answer(
            operations.update_session,
            pk,
            present=self._present,
            expected_versions=self._expected_versions(),
            **self.body(UpdateSessionSerializer),
        )

    def _present(self, session: AgentSession) -> Response:
        return Response(self.shape(session), headers={"ETag": etag(session)})

    def _expected_versions(self) -> frozenset[int] | None:
        header = self.request.headers.get("If-Match")
        if header is None or header.strip() == "*":
            return None
        if ENTITY_TAG.sub("", header).strip(" \t,"):
            raise InvalidHeader(field="If-Match", reason="it must be * or a list of entity tags.")
        # Weak tags never match: If-Match compares strongly (RFC 9110, section 13.1.1).
        return frozenset(int(tag[1:-1]) for tag in parse_tags(header) if VERSION.fullmatch(tag))


def etag(session: AgentSession) -> str:
    """The session's version as a strong entity tag (RFC 9110, section 8.8.3)."""
    return f'"{session.version}"'


def parse_tags(header: str) -> set[str]:
    """The entity tags in an If-Match or If-None-Match header."""
    return {tag.strip() for tag in header.split(",")} - {""}
