"""Tasks over HTTP."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.http import HttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.request import Request
from rest_framework.response import Response

from approvals_app.api.reads import (
    read_approvals,
    read_summary,
    subscription_keys,
    waits_for_people,
)
from approvals_app.api.receipts import respond_receipt
from approvals_app.api.task_serializers import (
    CancelSerializer,
    CompleteSerializer,
    DetailedTaskSerializer,
    EraseSerializer,
    FailSerializer,
    LeaseSerializer,
    ReviseTaskSerializer,
    RevisionSerializer,
    RevisionsSerializer,
    RouteBatchSerializer,
    RoutedBatchSerializer,
    RoutedTaskSerializer,
    RouteTaskSerializer,
    TaskSerializer,
)
from approvals_app.decisions import receipts
from approvals_app.decisions.erasure import erase_payload
from approvals_app.policy.evaluation import evaluate_ahead, evaluate_revision_ahead
from audit_app.base import tracing
from audit_app.base.errors import InvalidHeader
from audit_app.http.batch_viewsets import BatchViewSet
from audit_app.http.representation import compile_serializer
from audit_app.http.serializers import UUID_TEXT
from audit_app.http.viewsets import PREFER, OperationViewSet
from audit_app.trail.idempotency import Answer
from sessions_app.filters import TaskFilter
from sessions_app.models import AgentSession, Task
from sessions_app.tasks import operations as task_operations
from sessions_app.tasks.routing import NewTask, route_task, route_tasks

SESSION_HEADER = OpenApiParameter(
    "X-Session-Id", OpenApiTypes.UUID, OpenApiParameter.HEADER, description="The caller's session."
)
KEY_REQUIRED = OpenApiParameter(
    "Idempotency-Key", str, OpenApiParameter.HEADER, required=True, description="One task per key."
)


class TasksViewSet(OperationViewSet):
    queryset = Task.objects.select_related(*Task.shown_with)
    serializer_class = TaskSerializer
    filterset_class = TaskFilter
    list_name = "tasks"

    def read_beside(self, rows: Sequence[Task]) -> None:
        read_approvals(rows)


class TaskViewSet(TasksViewSet, BatchViewSet):
    def list(self, request: Request) -> Response:
        """The tasks that the caller routed or that are addressed to its roles, newest first."""
        return self.list_visible()

    @extend_schema(parameters=[PREFER], responses=DetailedTaskSerializer)
    def retrieve(self, request: Request, pk: UUID) -> Response:
        """One task, with its approvals and the digest of its payload; with Prefer: wait=N, as soon
        as it is decided or changes are requested."""
        task = Task.objects.get_visible(self.actor, pk)
        self.read_beside([task])
        read_summary(task)
        response = Response(compile_serializer(DetailedTaskSerializer)(task))
        if "Prefer" not in request.headers:
            return response
        return self.hold_response(
            response, subscription_keys(task), answered=not waits_for_people(task)
        )

    @extend_schema(
        request=RouteTaskSerializer,
        responses={202: RoutedTaskSerializer},
        parameters=[SESSION_HEADER, KEY_REQUIRED],
    )
    @action(detail=False, methods=["post"])
    def route(self, request: Request) -> HttpResponse:
        """Route a task to a role, once per Idempotency-Key however often it is sent."""
        body = self.body(RouteTaskSerializer)
        key = self.idempotency_key()
        if key is None:
            raise InvalidHeader(field="Idempotency-Key", reason="it is required here.")

        def present(task: Task) -> Response:
            headers = {"Location": f"/tasks/{task.pk}"}
            return Response(
                compile_serializer(RoutedTaskSerializer)(task), status=202, headers=headers
            )

        new = NewTask(**body, idempotency_key=key)
        self._evaluate_ahead([new])
        return self.answer(
            route_task,
            new,
            present=present,
            trace_id=tracing.current.get(),
            session_id=self._session_id(),
        )

    @extend_schema(
        request=RouteBatchSerializer, responses=RoutedBatchSerializer, parameters=[SESSION_HEADER]
    )
    @action(
        detail=False,
        methods=["post"],
        url_path="route:batch",
        pagination_class=None,
        filterset_class=None,
    )
    def route_batch(self, request: Request) -> Response:
        """Route up to 500 tasks, each as by POST /tasks/route under its own key: a refused one does
        not stop the others. The Idempotency-Key header is ignored."""
        parts = self.body(RouteBatchSerializer)["tasks"]
        self.idempotency_key()  # a malformed one is refused here, too
        self.count_as_many(len(parts))
        data: Any = request.data
        renderer: Any = request.accepted_renderer
        shape = RoutedTaskSerializer()

        def present(task: Task) -> Answer:
            body: bytes = renderer.render(shape.to_representation(task))
            headers = {"Content-Type": "application/json", "Location": f"/tasks/{task.pk}"}
            return Answer(202, body.decode(), headers, task.subject_type, task.pk)

        new = [part if isinstance(part, ValidationError) else NewTask(**part) for part in parts]
        self._evaluate_ahead([each for each in new if isinstance(each, NewTask)])
        return self.answer_each(
            route_tasks,
            new,
            data["tasks"],
            path=request.path.removesuffix(":batch"),
            name="task",
            as_part_of=route_task,
            present=present,
            trace_id=tracing.current.get(),
            session_id=self._session_id(),
        )

    def _evaluate_ahead(self, tasks: Sequence[NewTask]) -> None:
        actor = self.actor
        sender = {"agent": actor.name, "from_role": actor.roles[0] if actor.roles else ""}
        evaluate_ahead({**sender, **asdict(task)} for task in tasks)

    @extend_schema(request=ReviseTaskSerializer, responses=TaskSerializer)
    @action(detail=True, methods=["post"])
    def revise(self, request: Request, pk: UUID) -> HttpResponse:
        """Replace the payload while the task waits for approval; its votes become void."""
        body = self.body(ReviseTaskSerializer)
        evaluate_revision_ahead(self.visible().filter(pk=pk), body)
        return self._run(task_operations.revise_task, pk, **body)

    @extend_schema(responses=RevisionsSerializer)
    @action(detail=True, methods=["get"], pagination_class=None, filterset_class=None)
    def revisions(self, request: Request, pk: UUID) -> Response:
        """All revisions of the payload, oldest first; the last is the present one."""
        task: Task = self.visible().select_related("edited_by").one(pk)
        revisions = [compile_serializer(RevisionSerializer)(each) for each in task.all_revisions()]
        return Response({"revisions": revisions})

    @extend_schema(responses={(200, receipts.MEDIA_TYPE): str})
    @action(detail=True, methods=["get"], pagination_class=None, filterset_class=None)
    def receipt(self, request: Request, pk: UUID) -> HttpResponse:
        """The signed receipt of the decision on the task, for whoever executes it: a JWS."""
        return respond_receipt(self.visible().select_related("agent").one(pk))

    @extend_schema(request=LeaseSerializer, responses=TaskSerializer, parameters=[SESSION_HEADER])
    @action(detail=True, methods=["post"])
    def claim(self, request: Request, pk: UUID) -> HttpResponse:
        """Take an approved task of one of the caller's roles, until the lease runs out."""
        lease = self._lease()
        return self._run(task_operations.claim, pk, lease=lease, session_id=self._session_id())

    @extend_schema(request=LeaseSerializer, responses=TaskSerializer, parameters=[SESSION_HEADER])
    @action(detail=True, methods=["post"])
    def extend(self, request: Request, pk: UUID) -> HttpResponse:
        """Extend the lease of a task that the caller claimed: it counts from now."""
        lease = self._lease()
        return self._run(task_operations.extend, pk, lease=lease, session_id=self._session_id())

    @extend_schema(
        request=CompleteSerializer, responses=TaskSerializer, parameters=[SESSION_HEADER]
    )
    @action(detail=True, methods=["post"])
    def complete(self, request: Request, pk: UUID) -> HttpResponse:
        """Report a claimed task as done, or acknowledge a notification."""
        body = self.body(CompleteSerializer)
        return self._run(task_operations.complete, pk, session_id=self._session_id(), **body)

    @extend_schema(request=FailSerializer, responses=TaskSerializer, parameters=[SESSION_HEADER])
    @action(detail=True, methods=["post"])
    def fail(self, request: Request, pk: UUID) -> HttpResponse:
        """Report a claimed task as failed."""
        body = self.body(FailSerializer)
        return self._run(task_operations.fail, pk, session_id=self._session_id(), **body)

    @extend_schema(request=CancelSerializer, responses=TaskSerializer)
    @action(detail=True, methods=["post"])
    def cancel(self, request: Request, pk: UUID) -> HttpResponse:
        """Cancel a task that the caller routed; its pending approvals are withdrawn."""
        return self._run(task_operations.cancel, pk, **self.body(CancelSerializer))

    @extend_schema(request=EraseSerializer, responses=TaskSerializer)
    @action(detail=True, methods=["post"])
    def erase(self, request: Request, pk: UUID) -> HttpResponse:
        """Erase the payload of a task that has finished; its digest and its events stay. For people
        with the permission to."""
        return self._run(erase_payload, pk, **self.body(EraseSerializer))

    def _lease(self) -> timedelta:
        seconds = self.body(LeaseSerializer).get("lease_seconds")
        return timedelta(seconds=seconds) if seconds else settings.TASK_LEASE

    def _run(self, operation: Any, pk: UUID, **arguments: Any) -> HttpResponse:
        return self.answer(operation, pk, present=self._present, **arguments)

    def _present(self, task: Task) -> Response:
        self.read_beside([task])
        return Response(self.shape(task))

    def _session_id(self) -> UUID | None:
        header = self.request.headers.get("X-Session-Id")
        if header is None:
            return None
        # UUID() also accepts braces and urn:uuid:.
        if not UUID_TEXT.fullmatch(header):
            raise InvalidHeader(field="X-Session-Id", reason="it must be a UUID.")
        return UUID(header)


class SessionTaskViewSet(TasksViewSet):
    def list(self, request: Request, session_id: UUID) -> Response:
        """The tasks that a session routed or works on, one per idempotency key."""
        session = AgentSession.objects.get_visible(self.actor, session_id)
        return self.list_rows(self.visible().of_session(session))
