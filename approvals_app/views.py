"""Approvals over HTTP: parse, call, render."""

from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from approvals_app import operations, waiting
from approvals_app.filters import ApprovalFilter
from approvals_app.models import Approval
from approvals_app.serializers import DecisionSerializer, RequestApprovalSerializer
from audit_app.viewsets import OperationViewSet
from sessions_app.serializers import ApprovalSerializer

PREFER = OpenApiParameter(
    "Prefer",
    str,
    OpenApiParameter.HEADER,
    description=f"wait=N (RFC 7240) holds the answer until the decision, N ≤ {waiting.LONGEST}.",
)


class ApprovalViewSet(OperationViewSet):
    queryset = Approval.objects.select_related("decided_by")
    serializer_class = ApprovalSerializer
    filterset_class = ApprovalFilter
    list_name = "approvals"

    def list(self, request: Request) -> Response:
        """The approvals that the caller may know of, newest first."""
        return self.listed(self.visible())

    @extend_schema(parameters=[PREFER])
    def retrieve(self, request: Request, pk: UUID) -> Response:
        """One approval; with Prefer: wait=N, as soon as it is decided."""
        approval: Approval = self.visible().one(pk)
        headers = {}
        seconds = waiting.seconds_preferred(request.headers.get("Prefer", ""))
        if seconds and waiting.until_decided(approval.pk, seconds, caller=str(self.actor)):
            headers["Preference-Applied"] = f"wait={seconds}"
            approval = self.visible().one(pk)
        return Response(ApprovalSerializer(approval).data, headers=headers)

    @extend_schema(request=RequestApprovalSerializer, responses={201: ApprovalSerializer})
    def create(self, request: Request) -> HttpResponse:
        """Ask one more human about a task that waits already."""

        def present(approval: Approval) -> Response:
            headers = {"Location": f"/approvals/{approval.pk}"}
            return Response(ApprovalSerializer(approval).data, status=201, headers=headers)

        return self.answer(
            operations.request, present=present, **self.body(RequestApprovalSerializer)
        )

    @extend_schema(request=DecisionSerializer, responses=ApprovalSerializer)
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: UUID) -> HttpResponse:
        """A human says yes to exactly the payload whose digest they saw."""
        return self._decide(operations.approve, pk)

    @extend_schema(request=DecisionSerializer, responses=ApprovalSerializer)
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, pk: UUID) -> HttpResponse:
        """A human says no."""
        return self._decide(operations.reject, pk)

    def _decide(self, operation: Any, pk: UUID) -> HttpResponse:
        def present(approval: Approval) -> Response:
            return Response(ApprovalSerializer(approval).data)

        return self.answer(operation, pk, present=present, **self.body(DecisionSerializer))
