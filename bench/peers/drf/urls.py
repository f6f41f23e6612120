# mypy: ignore-errors
# Django's plug-in knows the models of one project, ours.
"""Serializers, view sets and their router."""

from django.db import transaction
from django.utils import timezone
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.exceptions import ValidationError
from rest_framework.response import Response
from rest_framework.routers import SimpleRouter

from bench.peers.drf.models import Approval, Task


class ApprovalSerializer(serializers.ModelSerializer):
    class Meta:
        model = Approval
        fields = ("id", "task", "status", "decided_by", "decided_at")


class TaskSerializer(serializers.ModelSerializer):
    approvals = ApprovalSerializer(many=True, read_only=True)

    class Meta:
        model = Task
        fields = ("id", "task_type", "target", "data", "status", "created_at", "approvals")


class TaskViewSet(viewsets.ModelViewSet):
    queryset = Task.objects.prefetch_related("approvals")
    serializer_class = TaskSerializer

    def get_queryset(self):
        return super().get_queryset().filter(owner=self.request.user)

    def perform_create(self, serializer):
        task = serializer.save(owner=self.request.user)
        Approval.objects.create(task=task)


class ApprovalViewSet(viewsets.ModelViewSet):
    queryset = Approval.objects.select_related("task")
    serializer_class = ApprovalSerializer

    @action(detail=True, methods=["post"])
    @transaction.atomic
    def approve(self, request, pk=None):
        approval = self.get_queryset().select_for_update(of=("self",)).get(pk=pk)
        if approval.status != "pending":
            raise ValidationError("It is decided already.")
        approval.status, approval.decided_by = "approved", request.user
        approval.decided_at = timezone.now()
        approval.save()
        approval.task.status = "approved"
        approval.task.save()
        return Response(self.get_serializer(approval).data)


router = SimpleRouter()
router.register("tasks", TaskViewSet)
router.register("approvals", ApprovalViewSet)
urlpatterns = router.urls
