"""The trail over HTTP."""

from typing import Any

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response

from audit_app.base import tracing
from audit_app.http.filters import EventFilter
from audit_app.http.representation import compile_serializer
from audit_app.http.serializers import AddEventSerializer, EventSerializer
from audit_app.http.viewsets import OperationViewSet
from audit_app.models import Event
from audit_app.trail import notes


class EventViewSet(OperationViewSet):
    queryset = Event.objects.all()
    serializer_class = EventSerializer
    filterset_class = EventFilter
    list_name = "events"
    cursor_only = True

    def list(self, request: Request) -> Response:
        """What happened, in the order it was committed: an auditor's all, others' own.

        A page may hold fewer events than asked for, or none, while there is a next_cursor.
        """
        return self.list_rows(self.get_queryset())  # the tail shows what the caller may know of

    @extend_schema(request=AddEventSerializer, responses={201: EventSerializer})
    def create(self, request: Request) -> HttpResponse:
        """Add an event of the caller's own, named under ``agent.``."""
        asked = self.body(AddEventSerializer)

        def present(event: Any) -> Response:
            return Response(compile_serializer(EventSerializer)(event), status=201)

        return self.answer(
            notes.add_event,
            asked["event_type"],
            present=present,
            metadata=asked.get("metadata", {}),
            trace_id=tracing.current.get(),
        )
