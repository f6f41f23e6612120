"""Approvals, votes, delegations, overrides and policies: fields, transitions and constraints."""

import uuid
from datetime import datetime, timedelta
from typing import Any, ClassVar
from uuid import UUID

from django.conf import settings
from django.db import models
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Now
from django_fsm import FSMField, transition

from approvals_app.querysets import (
    TIER,
    URGENCY_IN_TIER,
    ApprovalQuerySet,
    CommentQuerySet,
    DelegationQuerySet,
    OverrideQuerySet,
    PasskeyQuerySet,
    PolicyQuerySet,
    VoteQuerySet,
)
from audit_app.base.events import EventType, recorded_as
from audit_app.models import Subject
from sessions_app.models import ROLE_LENGTH, Agent, Task

LONGEST_REVIEW = timedelta(days=90)


APPROVED_WITHOUT_VOTES = """
SELECT id FROM approvals AS approval
WHERE status = 'approved' AND decided_by_id IS NOT NULL
  AND NOT EXISTS (SELECT FROM overrides AS glass
      WHERE approval.override_id IS NULL AND glass.task_id = approval.task_id
        AND glass.revision = approval.revision AND glass.opened_by_id = approval.decided_by_id)
  AND NOT (SELECT count(*) >= approval.needed AND bool_or(voter_id = decided_by_id) FROM votes
      WHERE approval_id = approval.id AND votes.status = 'cast' AND choice = 'yes')
"""
REJECTED_WITHOUT_VOTES = """
SELECT id FROM approvals AS approval
WHERE status = 'rejected' AND NOT (
    SELECT count(*) >= approval.deny_threshold
       AND bool_or(vote.voter_id = approval.decided_by_id AND vote.approval_id = approval.id)
    FROM votes AS vote JOIN approvals AS other ON other.id = vote.approval_id
    WHERE other.task_id = approval.task_id AND other.revision = approval.revision
      AND other.override_id IS NOT DISTINCT FROM approval.override_id
      AND vote.status = 'cast' AND vote.choice = 'no')
"""
APPROVED_BY_NOBODY = """
SELECT id FROM approvals WHERE status = 'approved' AND decided_by_id IS NULL
  AND at_deadline ->> 'then' IS DISTINCT FROM 'approve_without_a_human'
"""
ANSWER_WITHOUT_EVENT = """
SELECT id FROM votes WHERE answer IS NOT NULL AND NOT EXISTS (SELECT FROM audit_events
    WHERE subject_type = 'vote' AND subject_id = votes.id AND jsonb_exists(metadata, 'answer'))
"""
UNSIGNED = """
SELECT vote.id FROM votes AS vote JOIN approvals AS asked ON asked.id = vote.approval_id
WHERE asked.signed = 'required' AND vote.assertion IS NULL
"""
SIGNED_WITHOUT_EVENT = """
SELECT id FROM votes WHERE assertion IS NOT NULL AND NOT EXISTS (SELECT FROM audit_events
    WHERE subject_type = 'vote' AND subject_id = votes.id AND seq = 1
      AND metadata ->> 'assertion_digest' = assertion_digest(votes.assertion))
"""
UNSIGNED_BUT_BY_EVENT = """
SELECT id FROM votes WHERE assertion IS NULL AND EXISTS (SELECT FROM audit_events
    WHERE subject_type = 'vote' AND subject_id = votes.id
      AND jsonb_exists(metadata, 'assertion_digest'))
"""


class Override(Subject):
    """A task that one person approved alone in an emergency, and the outcome of its review."""

    class Status(models.TextChoices):
        OPEN = "open"
        UPHELD = "upheld"
        CONDEMNED = "condemned"

    subject_type = "override"
    task_path = "task_id"
    created_as = EventType.OVERRIDE_OPENED
    must_state = ("payload_digest", "reason")
    author_column = "opened_by_id"
    purged_as = EventType.OVERRIDE_PURGED
    immutable_columns = (
        "task_id",
        "revision",
        "payload_digest",
        "opened_by_id",
        "reason",
        "review_due_at",
        "role",
        "trace_id",
    )
    role_column = "role"
    trace_column = "trace_id"

    task = models.ForeignKey(
        Task, on_delete=models.PROTECT, related_name="overrides", db_comment="What was approved."
    )
    revision = models.PositiveIntegerField(db_comment="Which revision of the task.")
    payload_digest = models.CharField(max_length=64, db_comment="SHA-256 of its payload.")
    opened_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="overrides",
        db_comment="Who broke the glass.",
    )
    reason = models.TextField(db_comment="Why, in their words.")
    review_due_at = models.DateTimeField(
        db_comment="Until when the others are to have reviewed it; after that, no other override."
    )
    status = FSMField(
        choices=Status,
        default=Status.OPEN,
        protected=True,
        db_comment="open (to be reviewed), upheld or condemned.",
    )
    role = models.CharField(max_length=ROLE_LENGTH, db_comment="The role that the task is for.")
    trace_id = models.UUIDField(editable=False, db_comment="The task's trace.")

    objects = OverrideQuerySet.as_manager()

    class Meta:
        db_table = "overrides"
        db_table_comment = "Break glass: tasks approved by one person alone, reviewed afterwards."
        ordering = ("-created_at", "-id")
        default_permissions = ("view",)
        permissions = (("break_glass", "Can approve a task alone, in an emergency"),)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(status__in=["open", "upheld", "condemned"]),
                name="overrides_known_status",
            ),
            # Two people who break the glass at once.
            models.UniqueConstraint(fields=["task", "revision"], name="overrides_once"),
            models.CheckConstraint(condition=~models.Q(reason=""), name="overrides_have_a_reason"),
            models.CheckConstraint(
                condition=models.Q(review_due_at__lte=models.F("created_at") + LONGEST_REVIEW),
                name="overrides_are_reviewed_soon",
            ),
        )
        indexes = (
            models.Index(
                fields=["review_due_at"],
                condition=models.Q(status="open"),
                name="overrides_open",
            ),
        )

    def __str__(self) -> str:
        return f"override of {self.task_id}"

    @recorded_as(EventType.OVERRIDE_UPHELD)
    @transition(field=status, source=Status.OPEN, target=Status.UPHELD)
    def uphold(self) -> None: ...

    @recorded_as(EventType.OVERRIDE_CONDEMNED)
    @transition(field=status, source=Status.OPEN, target=Status.CONDEMNED)
    def condemn(self) -> None: ...


class Approval(Subject):
    """A decision that a task needs of ``needed`` members of one group, each by a Vote.

    A task waits for all of its approvals, except those with an ``override``: they review it.
    """

    class Risk(models.TextChoices):
        HIGH = "high"
        NORMAL = "normal"
        LOW = "low"

    class Signed(models.TextChoices):
        REQUIRED = "required"
        WHEN_POSSIBLE = "when_possible"
        NO = "no"

    class Status(models.TextChoices):
        PENDING = "pending"
        APPROVED = "approved"
        REJECTED = "rejected"
        EXPIRED = "expired"
        WITHDRAWN = "withdrawn"

    DECIDED = (Status.APPROVED, Status.REJECTED)
    subject_type = "approval"
    shown_with = ("decided_by",)
    task_path = "task_id"
    created_as = EventType.APPROVAL_REQUESTED
    must_state = (
        "task_id",
        "payload_digest",
        "revision",
        "needed",
        "deny_threshold",
        "at_deadline",
        "expires_at",
        "reason",
        "signed",
    )
    contradictions: ClassVar = (
        ("it was approved without the votes for it", APPROVED_WITHOUT_VOTES),
        ("it was rejected without the votes for it", REJECTED_WITHOUT_VOTES),
        ("nobody approved it, and its policy does not let silence", APPROVED_BY_NOBODY),
    )
    purged_as = EventType.APPROVAL_PURGED
    immutable_columns = (
        "task_id",
        "approver_role",
        "needed",
        "deny_threshold",
        "revision",
        "reason",
        "payload_digest",
        "expires_at",
        "at_deadline",
        "reminders",
        "valid_for",
        "override_id",
        "requested_by_id",
        "trace_id",
        "risk",
        "look_for",
        "type_out",
        "instruction",
        "must_confirm",
        "signed",
    )
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
    needed = models.PositiveSmallIntegerField(
        default=1, db_comment="How many members of the group must say yes."
    )
    deny_threshold = models.PositiveSmallIntegerField(
        default=1, db_comment="How many noes, in all groups that are asked, reject the task."
    )
    revision = models.PositiveIntegerField(
        default=1, db_comment="The revision of the task that is decided on."
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
        db_index=False,
        db_comment="The agent that asked for one more human; empty where policy asked.",
    )
    payload_digest = models.CharField(
        max_length=64, db_comment="SHA-256 of the payload that is decided on; the task's own."
    )
    expires_at = models.DateTimeField(db_comment="After this nothing can be decided.")
    at_deadline = models.JSONField(
        default=dict,
        db_comment="What happens then: whom to escalate to, step by step, and the end of it.",
    )
    reminders = models.JSONField(
        default=list, db_comment="How many seconds before the deadline people are reminded."
    )
    remind_at = models.DateTimeField(null=True, db_comment="When they are reminded next.")
    valid_for = models.DurationField(
        null=True, db_comment="How long the task may be claimed once it is approved."
    )
    risk = models.CharField(
        max_length=6, choices=Risk, default=Risk.NORMAL, db_comment="high, normal or low."
    )
    look_for = models.DurationField(
        null=True, db_comment="How long its page must have been open before a yes."
    )
    type_out = models.TextField(
        blank=True, db_comment="The member of the payload whose value a yes types out, as a path."
    )
    instruction = models.TextField(
        blank=True,
        default="",
        db_default="",
        db_comment="What the policy tells its reviewers: its description when it asked.",
    )
    must_confirm = models.BooleanField(
        default=False,
        db_default=False,
        db_comment="Whether a yes must confirm that the instruction was followed.",
    )
    signed = models.CharField(
        max_length=13,
        choices=Signed,
        default=Signed.NO,
        db_default=Signed.NO,
        db_comment="Whether votes are signed with a passkey: required, when_possible or no.",
    )
    escalated_to = models.ForeignKey(
        "self",
        null=True,
        on_delete=models.PROTECT,
        related_name="escalated_from",
        db_index=False,
        db_comment="The approval that is waited for instead, since the deadline passed.",
    )
    override = models.ForeignKey(
        Override,
        null=True,
        on_delete=models.PROTECT,
        related_name="reviews",
        db_comment="The override that this one reviews; empty where the task waits for it.",
    )
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
                    models.Q(decision_at__lte=models.F("expires_at"))
                    | models.Q(override__isnull=False),
                    status__in=["approved", "rejected"],
                    decided_by__isnull=False,
                    decision_at__isnull=False,
                )
                | models.Q(
                    status="approved",
                    decided_by__isnull=True,
                    decision_at__isnull=False,
                    decision_at__gte=models.F("expires_at"),
                    at_deadline__then="approve_without_a_human",
                )
                | models.Q(
                    status__in=["pending", "expired", "withdrawn"],
                    decided_by__isnull=True,
                    decision_at__isnull=True,
                ),
                name="approvals_decided_by_someone_in_time",
            ),
            # approval.request and escalation may ask the same role at once.
            models.UniqueConstraint(
                fields=["task", "approver_role"],
                condition=models.Q(status="pending"),
                name="approvals_one_pending_per_role",
            ),
            models.CheckConstraint(
                condition=models.Q(needed__gte=1, deny_threshold__gte=1),
                name="approvals_need_somebody",
            ),
        )
        indexes = (
            models.Index(fields=["status", "-created_at"], name="approvals_status"),
            models.Index(fields=["approver_role", "-created_at"], name="approvals_role"),
            models.Index(fields=["-created_at", "-id"], name="approvals_created_at"),
            # The inbox and its badge.
            models.Index(
                fields=["approver_role", "expires_at"],
                condition=models.Q(status="pending"),
                name="approvals_inbox",
            ),
            # The list of the inbox: a tier is read in the order of its deadlines.
            models.Index(
                TIER,
                *URGENCY_IN_TIER,
                condition=models.Q(status="pending"),
                name="approvals_urgency",
            ),
            # expire_approvals.
            models.Index(
                fields=["expires_at"],
                condition=models.Q(status="pending"),
                name="approvals_deadlines",
            ),
            # remind_approvals.
            models.Index(
                fields=["remind_at"],
                condition=models.Q(status="pending", remind_at__isnull=False),
                name="approvals_reminders",
            ),
            # purge: for each approval removed, PostgreSQL looks for those that refer to it.
            models.Index(
                fields=["escalated_to"],
                condition=models.Q(escalated_to__isnull=False),
                name="approvals_escalated_to",
            ),
        )

    def __str__(self) -> str:
        return f"{self.task.task_type} for {self.approver_role}"

    @property
    def votes_cast(self) -> "list[Vote]":
        """The votes that were not withdrawn, oldest first; one query unless prefetched."""
        prefetched = "votes" in getattr(self, "_prefetched_objects_cache", {})
        votes = self.votes.all() if prefetched else self.votes.select_related("voter", "seat_of")
        return [vote for vote in votes if vote.status == Vote.Status.CAST]

    @recorded_as(EventType.APPROVAL_APPROVED)
    @transition(field=status, source=Status.PENDING, target=Status.APPROVED)
    def approve(self, *, decided_by_id: int, at: datetime, notes: str) -> None:
        self._decide(decided_by_id, at, notes)

    @recorded_as(EventType.APPROVAL_REJECTED)
    @transition(field=status, source=Status.PENDING, target=Status.REJECTED)
    def reject(self, *, decided_by_id: int, at: datetime, notes: str) -> None:
        self._decide(decided_by_id, at, notes)

    @recorded_as(EventType.APPROVAL_APPROVED_BY_DEADLINE)
    @transition(field=status, source=Status.PENDING, target=Status.APPROVED)
    def approve_at_deadline(self, *, at: datetime) -> None:
        """Approve without a human: the policy takes a passed deadline for a yes."""
        self.decision_at = at

    @recorded_as(EventType.APPROVAL_REMINDED)
    def remind(self, *, again_at: datetime | None) -> None:
        self.remind_at = again_at

    @recorded_as(EventType.APPROVAL_EXPIRED)
    @transition(field=status, source=Status.PENDING, target=Status.EXPIRED)
    def expire(self, *, escalated_to_id: UUID | None = None) -> None:
        self.escalated_to_id = escalated_to_id

    @recorded_as(EventType.APPROVAL_WITHDRAWN)
    @transition(field=status, source=Status.PENDING, target=Status.WITHDRAWN)
    def withdraw(self) -> None: ...

    def _decide(self, decided_by_id: int, at: datetime, notes: str) -> None:
        self.decided_by_id = decided_by_id
        self.decision_at = at
        self.notes = notes


class Vote(Subject):
    """One person's vote on an approval: yes, no, or a request for changes.

    It is cast in a seat: the voter's own, or that of a member of the group who delegated to them.
    Neither of them can vote again in the same decision.
    """

    class Status(models.TextChoices):
        CAST = "cast"
        WITHDRAWN = "withdrawn"

    class Choice(models.TextChoices):
        YES = "yes"
        NO = "no"
        CHANGES = "changes"

    subject_type = "vote"
    task_path = "approval__task_id"
    created_as = EventType.VOTE_CAST
    must_state = ("approval_id", "choice", "payload_digest", "notes", "seat_of")
    author_column = "voter_id"
    stated_as: ClassVar = {"seat_of": "seat_of_id"}
    contradictions: ClassVar = (
        ("its event gave no answer", ANSWER_WITHOUT_EVENT),
        ("its policy requires a signature, and it has none", UNSIGNED),
        ("its event names another signature", SIGNED_WITHOUT_EVENT),
        ("its event names a signature, and it has none", UNSIGNED_BUT_BY_EVENT),
    )
    purged_as = EventType.VOTE_PURGED
    purged_in = (Status.CAST, Status.WITHDRAWN)
    immutable_columns = (
        "approval_id",
        "voter_id",
        "seat_of_id",
        "choice",
        "payload_digest",
        "notes",
        "answer",
        "confirmed_instruction",
        "assertion",
        "signed_statement",
        "role",
        "trace_id",
    )
    role_column = "role"
    trace_column = "trace_id"

    approval = models.ForeignKey(
        Approval, on_delete=models.PROTECT, related_name="votes", db_comment="What it is about."
    )
    voter = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="votes",
        db_index=False,
        db_comment="Who says it.",
    )
    seat_of = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="seats",
        db_comment="The member of the group in whose place they say it; mostly themselves.",
    )
    choice = models.CharField(
        max_length=7, choices=Choice, db_comment="yes, no, or changes (they are asked for)."
    )
    payload_digest = models.CharField(
        max_length=64, db_comment="SHA-256 of the payload that they saw."
    )
    notes = models.TextField(blank=True, db_comment="What they said about it.")
    answer = models.JSONField(null=True, db_comment="Their answer, where the task is a question.")
    confirmed_instruction = models.TextField(
        blank=True,
        default="",
        db_default="",
        db_comment="The policy's instruction that they confirmed to have followed; empty: none.",
    )
    assertion = models.JSONField(
        null=True,
        db_comment="The voter's passkey's signature (WebAuthn assertion) and its public key.",
    )
    signed_statement = models.TextField(
        blank=True,
        default="",
        db_default="",
        db_comment="What was signed, as RFC 8785 text; empty: the vote is not signed.",
    )
    status = FSMField(
        choices=Status, default=Status.CAST, protected=True, db_comment="cast or withdrawn."
    )
    role = models.CharField(max_length=ROLE_LENGTH, db_comment="The group that was asked.")
    trace_id = models.UUIDField(editable=False, db_comment="The task's trace.")

    objects = VoteQuerySet.as_manager()

    class Meta:
        db_table = "votes"
        db_table_comment = "What people said of approvals, one row a voice."
        default_permissions = ("view",)
        ordering = ("created_at", "id")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(status__in=["cast", "withdrawn"]), name="votes_known_status"
            ),
            models.CheckConstraint(
                condition=models.Q(choice__in=["yes", "no", "changes"]), name="votes_known_choice"
            ),
            # One vote a person and a seat, also for two requests at once.
            models.UniqueConstraint(
                fields=["approval", "voter"],
                condition=models.Q(status="cast"),
                name="votes_one_each",
            ),
            models.UniqueConstraint(
                fields=["approval", "seat_of"],
                condition=models.Q(status="cast"),
                name="votes_one_a_seat",
            ),
            models.CheckConstraint(
                condition=models.Q(assertion__isnull=True, signed_statement="")
                | (models.Q(assertion__isnull=False) & ~models.Q(signed_statement="")),
                name="votes_signed_as_a_whole",
            ),
            # One signature is one vote, whoever sends it again.
            models.UniqueConstraint(
                KeyTextTransform("signature", "assertion"), name="votes_signature_once"
            ),
        )
        indexes = (models.Index(fields=["voter", "-created_at"], name="votes_of_one"),)

    def __str__(self) -> str:
        return f"{self.choice} by {self.voter}"

    @recorded_as(EventType.VOTE_WITHDRAWN)
    @transition(field=status, source=Status.CAST, target=Status.WITHDRAWN)
    def withdraw(self) -> None: ...


LONGEST_LABEL = 60


class Passkey(Subject):
    """A person's WebAuthn credential: they sign in with it and sign their votes.

    Its moving part is a PasskeyUse, since every change of a Subject is an event.
    """

    class Status(models.TextChoices):
        ACTIVE = "active"
        REVOKED = "revoked"

    subject_type = "passkey"
    created_as = EventType.PASSKEY_REGISTERED
    author_column = "user_id"
    must_state = ("user", "credential_id", "public_key", "transports", "label")
    stated_as: ClassVar = {"user": "user_id"}
    immutable_columns = ("user_id", "credential_id", "public_key", "transports")

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="passkeys",
        db_comment="Whose it is.",
    )
    credential_id = models.TextField(db_comment="The authenticator's name for it, in base64url.")
    public_key = models.TextField(db_comment="The public key, as COSE in base64url.")
    transports = models.JSONField(
        default=list, db_comment="How a browser reaches it: internal, usb, nfc, ble, hybrid."
    )
    label = models.CharField(max_length=LONGEST_LABEL, db_comment="What its owner calls it.")
    status = FSMField(
        choices=Status, default=Status.ACTIVE, protected=True, db_comment="active or revoked."
    )

    objects = PasskeyQuerySet.as_manager()

    class Meta:
        db_table = "passkeys"
        db_table_comment = "The keys by which people sign in and sign their votes (WebAuthn)."
        default_permissions = ("view",)
        ordering = ("created_at", "id")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(status__in=["active", "revoked"]), name="passkeys_known_status"
            ),
            # Also once it is revoked: its name is nobody else's.
            models.UniqueConstraint(fields=["credential_id"], name="passkeys_credential_once"),
        )

    def __str__(self) -> str:
        return self.label

    @recorded_as(EventType.PASSKEY_RENAMED)
    def rename(self, *, label: str) -> None:
        self.label = label

    @recorded_as(EventType.PASSKEY_REVOKED)
    @transition(field=status, source=Status.ACTIVE, target=Status.REVOKED)
    def revoke(self) -> None: ...


class PasskeyUse(models.Model):
    """How often an authenticator said that it used a passkey: a copy of it would count apart."""

    passkey = models.OneToOneField(
        Passkey,
        primary_key=True,
        on_delete=models.CASCADE,
        related_name="use",
        db_comment="The passkey.",
    )
    sign_count = models.BigIntegerField(
        db_comment="The authenticator's last count; 0 from those that do not count."
    )
    last_used_at = models.DateTimeField(null=True, db_comment="When it was used last.")

    class Meta:
        db_table = "passkey_uses"
        db_table_comment = "The last use of each passkey."
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.passkey_id}: {self.sign_count}"


class Comment(Subject):
    """A person's words on an approval, for everybody who sees it. They decide and block nothing."""

    class Status(models.TextChoices):
        ADDED = "added"

    subject_type = "comment"
    task_path = "approval__task_id"
    created_as = EventType.COMMENT_ADDED
    purged_as = EventType.COMMENT_PURGED
    purged_in = (Status.ADDED,)
    immutable_columns = ("approval_id", "author_id", "text", "status", "role", "trace_id")
    role_column = "role"
    trace_column = "trace_id"

    approval = models.ForeignKey(
        Approval, on_delete=models.PROTECT, related_name="comments", db_comment="What it is about."
    )
    author = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="comments",
        db_index=False,
        db_comment="Who wrote it.",
    )
    text = models.TextField(db_comment="Their words.")
    status = FSMField(
        choices=Status, default=Status.ADDED, protected=True, db_comment="added; never changed."
    )
    role = models.CharField(max_length=ROLE_LENGTH, db_comment="The group that was asked.")
    trace_id = models.UUIDField(editable=False, db_comment="The task's trace.")

    objects = CommentQuerySet.as_manager()

    class Meta:
        db_table = "comments"
        db_table_comment = "What people wrote on approvals without deciding."
        default_permissions = ("view",)
        ordering = ("created_at", "id")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(status="added"), name="comments_known_status"
            ),
            models.CheckConstraint(condition=~models.Q(text=""), name="comments_have_a_text"),
        )

    def __str__(self) -> str:
        return f"comment by {self.author}"


class Delegation(Subject):
    """Lets ``delegate`` vote in the delegator's seat: on one approval, or on all for a time."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        ENDED = "ended"

    subject_type = "delegation"
    task_path = "approval__task_id"
    created_as = EventType.DELEGATION_GRANTED
    must_state = ("approval_id", "starts_at", "ends_at", "reason")
    author_column = "delegator_id"
    purged_as = EventType.DELEGATION_PURGED
    purged_in = (Status.ACTIVE, Status.ENDED)
    immutable_columns = (
        "delegator_id",
        "delegate_id",
        "approval_id",
        "starts_at",
        "ends_at",
        "reason",
    )

    delegator = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="delegations",
        db_comment="Whose seat it is.",
    )
    delegate = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.PROTECT,
        related_name="stands_in",
        db_comment="Who may vote in it; may not pass it on.",
    )
    approval = models.ForeignKey(
        Approval,
        null=True,
        on_delete=models.PROTECT,
        related_name="delegations",
        db_comment="The one approval it is for; empty: all, from starts_at to ends_at.",
    )
    starts_at = models.DateTimeField(db_comment="From when it holds.")
    ends_at = models.DateTimeField(null=True, db_comment="Until when; empty: until it is ended.")
    reason = models.TextField(blank=True, db_comment="Why, in the delegator's words.")
    status = FSMField(
        choices=Status, default=Status.ACTIVE, protected=True, db_comment="active or ended."
    )

    objects = DelegationQuerySet.as_manager()

    class Meta:
        db_table = "delegations"
        db_table_comment = "Who may vote in whose seat."
        default_permissions = ("view",)
        ordering = ("-created_at", "-id")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(status__in=["active", "ended"]), name="delegations_known_status"
            ),
            models.CheckConstraint(
                condition=~models.Q(delegator=models.F("delegate")),
                name="delegations_to_somebody_else",
            ),
            models.CheckConstraint(
                condition=models.Q(ends_at__isnull=True)
                | models.Q(ends_at__gt=models.F("starts_at")),
                name="delegations_end_after_they_start",
            ),
            models.CheckConstraint(
                condition=models.Q(approval__isnull=False) | models.Q(ends_at__isnull=False),
                name="delegations_are_limited",
            ),
        )
        indexes = (
            models.Index(
                fields=["delegate"],
                condition=models.Q(status="active"),
                name="delegations_active",
            ),
        )

    def __str__(self) -> str:
        return f"{self.delegate} for {self.delegator}"

    @recorded_as(EventType.DELEGATION_ENDED)
    @transition(field=status, source=Status.ACTIVE, target=Status.ENDED)
    def end(self) -> None: ...


class ApprovalPolicy(Subject):
    """A stored policy: which tasks need whose approval. policy/language.py reads ``document``.

    Its version is the ``seq`` of its last audit event, whose metadata hold the whole policy.
    """

    class Status(models.TextChoices):
        ACTIVE = "active"
        RETIRED = "retired"

    subject_type = "policy"
    created_as = EventType.POLICY_CREATED
    must_state = ("name", "priority", "description", "rule")
    immutable_columns = ("name",)

    name = models.CharField(max_length=150, unique=True, db_comment="What people call it.")
    priority = models.IntegerField(db_comment="The smallest is asked first; ties by name.")
    description = models.TextField(blank=True, db_comment="What it is for.")
    rule = models.JSONField(db_comment="When it matches and what it says then, as in the file.")
    status = FSMField(
        choices=Status, default=Status.ACTIVE, protected=True, db_comment="active or retired."
    )

    objects = PolicyQuerySet.as_manager()

    class Meta:
        db_table = "approval_policies"
        db_table_comment = "Who must approve which tasks."
        verbose_name = "policy"
        verbose_name_plural = "policies"
        ordering = ("priority", "name")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(status__in=["active", "retired"]),
                name="approval_policies_known_status",
            ),
        )

    def __str__(self) -> str:
        return self.name

    @property
    def document(self) -> dict[str, Any]:
        """The policy as in a policy file."""
        columns = {"name": self.name, "priority": self.priority, "description": self.description}
        document: dict[str, Any] = columns | self.rule
        return document

    @recorded_as(EventType.POLICY_CHANGED)
    def change(self, *, priority: int, description: str, rule: dict[str, Any]) -> None:
        self.priority, self.description, self.rule = priority, description, rule

    @recorded_as(EventType.POLICY_RETIRED)
    @transition(field=status, source=Status.ACTIVE, target=Status.RETIRED)
    def retire(self) -> None: ...

    @recorded_as(EventType.POLICY_RESTORED)
    @transition(field=status, source=Status.RETIRED, target=Status.ACTIVE)
    def restore(self) -> None: ...


LONGEST_NAME = 60


LONGEST_QUERY = 2_000


class SavedView(models.Model):
    """A named filter of the inbox, visible only to its author."""

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, db_comment="Identity."
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="saved_views",
        db_index=False,
        db_comment="Whose it is; nobody else sees it.",
    )
    name = models.CharField(max_length=LONGEST_NAME, db_comment="What they call it.")
    query = models.CharField(
        max_length=LONGEST_QUERY, blank=True, db_comment="The filters, as in the page's address."
    )

    class Meta:
        db_table = "saved_views"
        db_table_comment = "Names that people gave to filters of their inbox."
        default_permissions = ()
        ordering = ("name",)
        constraints = (models.UniqueConstraint(fields=["user", "name"], name="saved_views_once"),)

    def __str__(self) -> str:
        return self.name


class Viewer(models.Model):
    """Somebody who has the page of an approval open, or had it open a moment ago."""

    id = models.BigAutoField(primary_key=True, db_comment="Identity.")
    approval = models.ForeignKey(
        "approvals_app.Approval",
        on_delete=models.CASCADE,
        related_name="viewers",
        db_index=False,
        db_constraint=False,
        db_comment="What they look at; it may be gone.",
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="+",
        db_index=False,
        db_constraint=False,
        db_comment="Who looks.",
    )
    seen_at = models.DateTimeField(db_comment="When their page last said so.")
    first_at = models.DateTimeField(db_comment="Since when, without a break of ten minutes.")

    class Meta:
        db_table = "viewers"
        db_table_comment = "Who looks at which approval now; unlogged, since it is soon over."
        default_permissions = ()
        constraints = (models.UniqueConstraint(fields=["approval", "user"], name="viewers_once"),)
        indexes = (models.Index(fields=["seen_at"], name="viewers_seen_at"),)

    def __str__(self) -> str:
        return f"{self.user_id} at {self.approval_id}"


class Snooze(models.Model):
    """An approval that a person does not want in their inbox until later."""

    id = models.BigAutoField(primary_key=True, db_comment="Identity.")
    approval = models.ForeignKey(
        Approval,
        on_delete=models.CASCADE,
        related_name="snoozes",
        db_index=False,
        db_comment="What they set aside.",
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="+",
        db_index=False,
        db_comment="Whose inbox it is hidden from; nobody else's.",
    )
    until = models.DateTimeField(db_comment="When it is back; before its deadline.")

    class Meta:
        db_table = "snoozes"
        db_table_comment = "What people set aside in their inbox until later."
        default_permissions = ()
        constraints = (models.UniqueConstraint(fields=["approval", "user"], name="snoozes_once"),)
        indexes = (models.Index(fields=["user", "until"], name="snoozes_of_one"),)

    def __str__(self) -> str:
        return f"{self.approval_id} for {self.user_id}"


class Claim(models.Model):
    """Says that a person takes care of an approval; it keeps nobody from deciding."""

    approval = models.OneToOneField(
        Approval,
        primary_key=True,
        on_delete=models.CASCADE,
        related_name="claim",
        db_comment="What they took.",
    )
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="+",
        db_comment="Who has it.",
    )
    claimed_at = models.DateTimeField(db_comment="Since when; it lapses after half an hour.")

    class Meta:
        db_table = "claims"
        db_table_comment = "Who said that they take care of which approval."
        default_permissions = ()

    def __str__(self) -> str:
        return f"{self.approval_id} by {self.user_id}"


class PersonAlias(models.Model):
    """A name or address that a person had before, or has at their issuer.

    Separation of duties compares ``on_behalf_of`` with these as well: a rename must not let
    somebody decide on what was asked for them.
    """

    id = models.BigAutoField(primary_key=True, db_comment="Identity.")
    user = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        on_delete=models.CASCADE,
        related_name="aliases",
        db_index=False,
        db_comment="Whose it is, or was.",
    )
    name = models.TextField(db_comment="The name or address, in capitals.")
    known_since = models.DateTimeField(db_default=Now(), db_comment="When it was recorded.")

    class Meta:
        db_table = "person_aliases"
        db_table_comment = "Former usernames and addresses, and those at the issuer."
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(fields=["user", "name"], name="person_aliases_once"),
        )
        indexes = (models.Index(fields=["name"], name="person_aliases_name"),)

    def __str__(self) -> str:
        return self.name
