# mypy: ignore-errors
# Django's plug-in knows the models of one project, ours.
"""A task, and the approval that it waits for."""

import uuid

from django.conf import settings
from django.db import models


class Task(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, editable=False)
    task_type = models.CharField(max_length=150)
    target = models.CharField(max_length=150)
    data = models.JSONField(default=dict)
    status = models.CharField(max_length=50, default="awaiting_approval", editable=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-created_at",)

    def __str__(self):
        return self.task_type


class Approval(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    task = models.ForeignKey(Task, models.CASCADE, related_name="approvals")
    status = models.CharField(max_length=50, default="pending")
    decided_by = models.ForeignKey(settings.AUTH_USER_MODEL, models.PROTECT, null=True)
    decided_at = models.DateTimeField(null=True)

    def __str__(self):
        return self.status
