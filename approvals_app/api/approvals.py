"""Approvals over HTTP."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from approvals_app.api.filters import ApprovalFilter
from approvals_app.api.reads import find_unanswered, read_approvals, read_votes, subscription_keys
from approvals_app.api.receipts import respond_receipt
from approvals_app.api.serializers import (
    ApproveSerializer,
    BreakGlassSerializer,
    BulkResultsSerializer,
    BulkSerializer,
    DecisionSerializer,
    DelegateSerializer,
    DelegationSerializer,
    EditSerializer,
    OverrideSerializer,
    RecallSerializer,
    RequestApprovalSerializer,
    RequestChangesSerializer,
    WithdrawVoteSerializer,
)
from approvals_app.api.task_serializers import ApprovalSerializer, TaskSerializer
from approvals_app.decisions import break_glass as overrides
from approvals_app.decisions import delegations, operations, receipts
from approvals_app.decisions.bulk import DECISIONS
from approvals_app.decisions.recall import Then, recall
from approvals_app.models import Approval, Delegation, Override
from approvals_app.policy.evaluation import evaluate_revision_ahead
from audit_app.http.representation import compile_serializer
from audit_app.http.viewsets import PREFER, OperationViewSet, describe_replay
from sessions_app.models import Task


class ApprovalViewSet(OperationViewSet):
    queryset = Approval.objects.select_related(*Approval.shown_with)
    serializer_class = ApprovalSerializer
    filterset_class = ApprovalFilter
    list_name = "approvals"

    def list(self, request: Request) -> Response:
        """The approvals that the caller may see, newest first."""
        return self.list_visible()

    @extend_schema(parameters=[PREFER])
    def retrieve(self, request: Request, pk: UUID) -> Response:
        """One approval; with Prefer: wait=N, as soon as it is decided."""
        approval = Approval.objects.get_visible(self.actor, pk)
        if "Prefer" not in request.headers:
            return self._present(approval)
        # All approvals of the task: a request for changes on one of them answers the others, too.
        task = Task.objects.get(pk=approval.task_id)
        read_approvals([task])
        # Shown as it was judged: a decision may have been committed since the first read.
        approval = next(each for each in task.approvals.all() if each.pk == pk)
        return self.hold_response(
            self._present(approval),
            subscription_keys(task),
            answered=approval not in find_unanswered(task),
        )

    @extend_schema(responses={(200, receipts.MEDIA_TYPE): str})
    @action(detail=True, methods=["get"], pagination_class=None, filterset_class=None)
    def receipt(self, request: Request, pk: UUID) -> HttpResponse:
        """The signed receipt of the decision on the approval's task: a JWS."""
        approval = self.visible().select_related("task__agent").one(pk)
        return respond_receipt(approval.task)

    @extend_schema(request=RequestApprovalSerializer, responses={201: ApprovalSerializer})
    def create(self, request: Request) -> HttpResponse:
        """Request one more approval of a task that waits for approval."""

        def present(approval: Approval) -> Response:
            headers = {"Location": f"/approvals/{approval.pk}"}
            return Response(
                compile_serializer(ApprovalSerializer)(approval), status=201, headers=headers
            )

        return self.answer(
            operations.request, present=present, **self.body(RequestApprovalSerializer)
        )

    @extend_schema(request=ApproveSerializer, responses=ApprovalSerializer)
    @action(detail=True, methods=["post"])
    def approve(self, request: Request, pk: UUID) -> HttpResponse:
        """Approve exactly the payload whose digest the caller saw; humans only."""
        return self._decide(operations.approve, pk, ApproveSerializer)

    @extend_schema(request=DecisionSerializer, responses=ApprovalSerializer)
    @action(detail=True, methods=["post"])
    def reject(self, request: Request, pk: UUID) -> HttpResponse:
        """Reject; humans only."""
        return self._decide(operations.reject, pk, DecisionSerializer)

    @extend_schema(request=RequestChangesSerializer, responses=ApprovalSerializer)
    @action(detail=True, methods=["post"])
    def request_changes(self, request: Request, pk: UUID) -> HttpResponse:
        """Ask the agent for a revision; nobody can approve until it comes. Humans only."""
        return self._decide(operations.request_changes, pk, RequestChangesSerializer)

    @extend_schema(request=WithdrawVoteSerializer, responses=ApprovalSerializer)
    @action(detail=True, methods=["post"])
    def withdraw_vote(self, request: Request, pk: UUID) -> HttpResponse:
        """Withdraw the caller's vote before the decision is made; humans only."""
        return self._decide(operations.withdraw_vote, pk, WithdrawVoteSerializer)

    @extend_schema(request=EditSerializer, responses=TaskSerializer)
    @action(detail=True, methods=["post"])
    def edit(self, request: Request, pk: UUID) -> HttpResponse:
        """Revise the payload; somebody else has to approve the revision. Humans only."""
        body = self.body(EditSerializer)
        edited = self.visible().filter(pk=pk).values("task")
        evaluate_revision_ahead(Task.objects.filter(pk__in=edited), body)
        return self.answer(operations.edit, pk, present=_present_task, **body)

    @extend_schema(request=DelegateSerializer, responses={201: DelegationSerializer})
    @action(detail=True, methods=["post"])
    def delegate(self, request: Request, pk: UUID) -> HttpResponse:
        """Let somebody else vote on this approval in the caller's seat; humans only."""

        def present(delegation: Delegation) -> Response:
            return Response(compile_serializer(DelegationSerializer)(delegation), status=201)

        body = self.body(DelegateSerializer)
        return self.answer(delegations.delegate, pk, present=present, **body)

    @extend_schema(request=BreakGlassSerializer, responses={201: OverrideSerializer})
    @action(detail=True, methods=["post"])
    def break_glass(self, request: Request, pk: UUID) -> HttpResponse:
        """Approve the whole task alone, with that permission; the others review it afterwards."""

        def present(override: Override) -> Response:
            return Response(compile_serializer(OverrideSerializer)(override), status=201)

        body = self.body(BreakGlassSerializer)
        return self.answer(overrides.break_glass, pk, present=present, **body)

    @extend_schema(request=RecallSerializer, responses=TaskSerializer)
    @action(detail=True, methods=["post"])
    def recall(self, request: Request, pk: UUID) -> HttpResponse:
        """Take back the approval of a task that nobody claimed yet: the task is cancelled or waits
        again, as its next revision. For those who voted or were asked; humans only."""
        body = self.body(RecallSerializer)
        then = Then(body.pop("then"))
        return self.answer(recall, pk, present=_present_task, then=then, **body)

    @extend_schema(request=BulkSerializer, responses=BulkResultsSerializer)
    @action(detail=False, methods=["post"], pagination_class=None, filterset_class=None)
    def bulk(self, request: Request) -> HttpResponse:
        """Several decisions, each an operation of its own: a refused one does not stop the others.

        With an Idempotency-Key, a repetition returns each decision's first answer again.
        """
        results, answers = [], []
        for number, item in enumerate(self.body(BulkSerializer)["decisions"]):
            operation, approval_id = DECISIONS[item.pop("decision")], item.pop("approval_id")
            answer = self.answer_one_of_many(
                number, operation, approval_id, present=self._present, **item
            )
            name = "approval" if answer.status < 400 else "problem"
            results.append({"approval_id": str(approval_id), name: json.loads(answer.body)})
            answers.append(answer)
        return Response({"results": results}, headers=describe_replay(answers))

    def read_beside(self, rows: Sequence[Approval]) -> None:
        read_votes(rows)

    def _present(self, approval: Approval) -> Response:
        self.read_beside([approval])
        return Response(self.shape(approval))

    def _decide(self, operation: Any, pk: UUID, serializer: Any) -> HttpResponse:
        return self.answer(operation, pk, present=self._present, **self.body(serializer))


def _present_task(task: Task) -> Response:
    read_approvals([task])
    return Response(compile_serializer(TaskSerializer)(task))
