"""Approvals: legal transitions and constraints, no I/O."""

from datetime import datetime

from django.conf import settings
from django.db import models
from django_fsm import FSMField, transition

from approvals_app.querysets import ApprovalQuerySet
from audit_app.events import EventType, recorded_as
from audit_app.models import Subject
from sessions_app.models import ROLE_LENGTH, Agent, Task


class Approval(Subject):
    """One human's yes that a task needs, and what became of it."""

    class Status(models.TextChoices):
        PENDING = "pending"
        APPROVED = "approved"
        REJECTED = "rejected"
        EXPIRED = "expired"
        WITHDRAWN = "withdrawn"

    DECIDED = (Status.APPROVED, Status.REJECTED)
    subject_type = "approval"
    further_guards = ("freeze", "voice")
    role_column = "approver_role"
    trace_column = "trace_id"

    task = models.ForeignKey(
        Task,
        on_delete=models.PROTECT,
        related_name="approvals",
        db_comment="The task that waits for it.",
    )
    approver_role = models.CharField(
        max_length=ROLE_LENGTH, db_comment="The group one of whose members must decide."
    )
    status = FSMField(
        choices=Status,
        default=Status.PENDING,
        protected=True,
        db_comment="pending, approved, rejected, expired or withdrawn.",
    )
    reason = models.TextField(blank=True, db_comment="Why it was asked for.")
    requested_by = models.ForeignKey(
        Agent,
        null=True,
        on_delete=models.PROTECT,
        related_name="requested_approvals",
        db_comment="The agent that asked for one more human; empty where policy asked.",
    )
    payload_digest = models.CharField(
        max_length=64, db_comment="SHA-256 of the payload that is decided on; the task's own."
    )
    expires_at = models.DateTimeField(db_comment="After this nothing can be decided.")
    decided_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.PROTECT,
        related_name="decisions",
        db_comment="The human who decided.",
    )
    decision_at = models.DateTimeField(null=True, db_comment="When they decided.")
    notes = models.TextField(blank=True, db_comment="What they said about it.")
    trace_id = models.UUIDField(editable=False, db_comment="The task's trace.")

    objects = ApprovalQuerySet.as_manager()

    class Meta:
        db_table = "approvals"
        db_table_comment = "Decisions that tasks need of humans."
        ordering = ("-created_at", "-id")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(
                    status__in=["pending", "approved", "rejected", "expired", "withdrawn"]
                ),
                name="approvals_known_status",
            ),
            models.CheckConstraint(
                condition=models.Q(
                    status__in=["approved", "rejected"],
                    decided_by__isnull=False,
                    decision_at__lte=models.F("expires_at"),
                )
                | models.Q(
                    status__in=["pending", "expired", "withdrawn"],
                    decided_by__isnull=True,
                    decision_at__isnull=True,
                ),
                name="approvals_decided_by_someone_in_time",
            ),
            models.UniqueConstraint(
                fields=["task", "approver_role"],
                condition=models.Q(status="pending"),
                name="approvals_one_pending_per_role",
            ),
            models.UniqueConstraint(
                fields=["task", "decided_by"],
                condition=models.Q(decided_by__isnull=False),
                name="approvals_one_voice_each",
            ),
        )
        indexes = (
            models.Index(fields=["status", "-created_at"], name="approvals_status"),
            models.Index(fields=["-created_at", "-id"], name="approvals_created_at"),
            models.Index(
                fields=["approver_role", "expires_at"],
                condition=models.Q(status="pending"),
                name="approvals_inbox",
            ),
            models.Index(
                fields=["expires_at"],
                condition=models.Q(status="pending"),
                name="approvals_deadlines",
            ),
        )

    def __str__(self) -> str:
        return f"{self.task.task_type} for {self.approver_role}"

    @recorded_as(EventType.APPROVAL_APPROVED)
    @transition(field=status, source=Status.PENDING, target=Status.APPROVED)
    def approve(self, *, decided_by_id: int, at: datetime, notes: str) -> None:
        self._decide(decided_by_id, at, notes)

    @recorded_as(EventType.APPROVAL_REJECTED)
    @transition(field=status, source=Status.PENDING, target=Status.REJECTED)
    def reject(self, *, decided_by_id: int, at: datetime, notes: str) -> None:
        self._decide(decided_by_id, at, notes)

    @recorded_as(EventType.APPROVAL_EXPIRED)
    @transition(field=status, source=Status.PENDING, target=Status.EXPIRED)
    def expire(self) -> None: ...

    @recorded_as(EventType.APPROVAL_WITHDRAWN)
    @transition(field=status, source=Status.PENDING, target=Status.WITHDRAWN)
    def withdraw(self) -> None: ...

    def _decide(self, decided_by_id: int, at: datetime, notes: str) -> None:
        self.decided_by_id = decided_by_id
        self.decision_at = at
        self.notes = notes
