"""Agents, API keys, sessions and tasks: their state machines and constraints, no I/O."""

import json
import uuid
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex
from django.db import models
from django.utils import timezone
from django_fsm import FSMField, can_proceed, transition

from audit_app.base.actors import Actor, ActorKind
from audit_app.base.canonical import canonical, digest
from audit_app.base.events import EventType, recorded_as
from audit_app.models import Subject
from sessions_app.gate import Outcome, PolicyDecision
from sessions_app.identifiers import find_identifiers
from sessions_app.querysets import AgentQuerySet, FreezeQuerySet, SessionQuerySet, TaskQuerySet

ROLE_LENGTH = 150
"""The length of a Django group's name, since humans hold roles as groups."""


KEY_WITHOUT_EVENT = """
SELECT agent_id FROM agent_keys GROUP BY agent_id, prefix
HAVING count(*) > (SELECT count(*) FROM audit_events
    WHERE subject_type = 'agent' AND subject_id = agent_id AND event_type = 'key.issued'
      AND metadata ->> 'prefix' = prefix)
"""
REVOKED_KEY_ACCEPTED = """
SELECT agent_id FROM agent_keys AS key
WHERE EXISTS (SELECT FROM audit_events AS event
    WHERE subject_type = 'agent' AND subject_id = agent_id AND event_type = 'key.revoked'
      AND jsonb_exists(metadata -> 'prefixes', prefix) AND event.timestamp > key.created_at
      AND coalesce(revoked_at, 'infinity') > event.timestamp
          + make_interval(secs => (metadata ->> 'overlap_seconds')::numeric + 60))
"""
EVENT_OF_ANOTHER_NAME = """
SELECT DISTINCT agents.id FROM agents JOIN audit_events ON actor_id = agents.id::text
WHERE starts_with(actor, 'agent:') AND actor <> 'agent:' || name
"""
APPROVED_WITHOUT_APPROVAL = """
SELECT id FROM tasks
WHERE verdict = 'require' AND status IN ('approved', 'claimed', 'completed', 'failed')
  AND NOT EXISTS (SELECT FROM approvals WHERE task_id = tasks.id
      AND revision = tasks.revision AND override_id IS NULL AND status = 'approved')
"""
CLAIMED_BY_ANOTHER = """
SELECT id FROM tasks WHERE claimed_by_id::text <> (SELECT actor_id FROM audit_events
    WHERE subject_type = 'task' AND subject_id = tasks.id AND event_type = 'task.claimed'
    ORDER BY seq DESC LIMIT 1)
"""
REVISION_WITHOUT_EVENT = """
SELECT task_id FROM task_revisions AS revision
WHERE NOT EXISTS (SELECT FROM audit_events WHERE subject_type = 'task' AND subject_id = task_id
    AND metadata ->> 'replaces' = revision.payload_digest)
"""


ERASED_AND_NOT_EMPTY = """
SELECT id FROM tasks WHERE erasure IS NOT NULL AND (
    description <> '' OR data <> '{}' OR context <> '{}' OR identifiers <> '{}'
    OR payload::jsonb <> jsonb_build_object('context', '{}'::jsonb, 'data', '{}'::jsonb,
        'description', '', 'from_role', from_role, 'task_type', task_type, 'to_role', to_role))
"""
REVISION_NOT_ERASED = """
SELECT task_id FROM task_revisions AS revision JOIN tasks ON tasks.id = task_id
WHERE CASE WHEN erasure IS NULL THEN erased_digest IS NOT NULL
    ELSE erased_digest IS NULL OR revision.payload <> tasks.payload END
"""


class Agent(Subject):
    """A program that acts under a name and in roles, and whose owner is responsible for it."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        REVOKED = "revoked"

    subject_type = "agent"
    created_as = EventType.IDENTITY_CREATED
    must_state = ("name", "roles", "owner_id", "subject")
    contradictions: ClassVar = (
        ("it has a key that no event issued", KEY_WITHOUT_EVENT),
        ("a key of it that was revoked is accepted", REVOKED_KEY_ACCEPTED),
        ("an event of its doing gives it another name", EVENT_OF_ANOTHER_NAME),
    )

    name = models.CharField(max_length=150, unique=True, db_comment="What people call it.")
    roles = ArrayField(
        models.CharField(max_length=ROLE_LENGTH),
        db_comment="The roles it works in; the first is the one it speaks as by default.",
    )
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="agents",
        db_comment="The person who answers for it, and so can't approve its tasks.",
    )
    subject = models.CharField(
        max_length=255,
        unique=True,
        null=True,
        blank=True,
        db_comment="The sub claim of its OIDC tokens, where it uses them.",
    )
    status = FSMField(
        choices=Status, default=Status.ACTIVE, protected=True, db_comment="active or revoked."
    )

    objects = AgentQuerySet.as_manager()

    class Meta:
        db_table = "agents"
        db_table_comment = "Programs that act here."
        ordering = ("name",)
        constraints = (
            # An agent without a role could route and claim nothing.
            models.CheckConstraint(condition=models.Q(roles__len__gt=0), name="agents_have_a_role"),
        )

    def __str__(self) -> str:
        return self.name

    def as_actor(self) -> Actor:
        """The agent as the Actor of an operation."""
        return Actor(ActorKind.AGENT, str(self.pk), self.name, tuple(self.roles))

    @recorded_as(EventType.IDENTITY_REVOKED)
    @transition(field=status, source=Status.ACTIVE, target=Status.REVOKED)
    def revoke(self) -> None: ...

    @recorded_as(EventType.IDENTITY_CHANGED)
    def change(self, *, roles: list[str], owner_id: int | None, subject: str | None) -> None:
        self.roles, self.owner_id, self.subject = roles, owner_id, subject

    @recorded_as(EventType.KEY_ISSUED)
    def issue_key(self) -> None: ...

    @recorded_as(EventType.KEY_REVOKED)
    def revoke_keys(self) -> None: ...


class AgentKey(models.Model):
    """An API key: its hash and its first characters; the key itself is not stored."""

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, db_comment="Identity."
    )
    agent = models.ForeignKey(
        Agent, on_delete=models.PROTECT, related_name="keys", db_comment="Whose key it is."
    )
    prefix = models.CharField(
        max_length=16, editable=False, db_comment="The first characters, to tell keys apart."
    )
    hash = models.CharField(
        max_length=64, unique=True, editable=False, db_comment="SHA-256 of the whole key."
    )
    created_at = models.DateTimeField(auto_now_add=True, db_comment="When it was issued.")
    last_used_at = models.DateTimeField(
        null=True, editable=False, db_comment="When it was last accepted, to the minute."
    )
    revoked_at = models.DateTimeField(
        null=True, editable=False, db_comment="From when it is refused; may lie ahead."
    )

    class Meta:
        db_table = "agent_keys"
        db_table_comment = "API keys of agents, hashed."
        verbose_name = "API key"
        ordering = ("-created_at",)

    def __str__(self) -> str:
        return f"{self.prefix}…"

    @property
    def has_ended(self) -> bool:
        return self.revoked_at is not None and self.revoked_at <= timezone.now()


class AgentSession(Subject):
    """One run of an agent's work."""

    class Status(models.TextChoices):
        PENDING = "pending"
        ACTIVE = "active"
        COMPLETED = "completed"
        FAILED = "failed"
        EXPIRED = "expired"

    OPEN = (Status.PENDING, Status.ACTIVE)
    subject_type = "session"
    created_as = EventType.SESSION_OPENED
    author_column = "agent_id"
    stated_as: ClassVar = {"metadata": ""}  # an update states what it merges in
    purged_as = EventType.SESSION_PURGED
    immutable_columns = ("agent_id", "role", "trace_id")
    role_column = "role"
    trace_column = "trace_id"

    agent = models.ForeignKey(
        Agent,
        on_delete=models.PROTECT,
        related_name="sessions",
        db_index=False,
        db_comment="Whose session it is.",
    )
    role = models.CharField(max_length=ROLE_LENGTH, db_comment="The role the agent works in.")
    task_id = models.CharField(
        max_length=255,
        null=True,
        blank=True,
        db_comment="What the session works on: a task of ours, or a reference of the agent's.",
    )
    status = FSMField(
        choices=Status,
        default=Status.PENDING,
        protected=True,
        db_comment="pending, active, completed, failed or expired.",
    )
    metadata = models.JSONField(
        default=dict, blank=True, db_comment="The agent's own notes, merged as RFC 7396 says."
    )
    trace_id = models.UUIDField(editable=False, db_comment="The trace it was opened in.")

    objects = SessionQuerySet.as_manager()

    class Meta:
        db_table = "sessions"
        db_table_comment = "Runs of agents' work."
        verbose_name = "session"
        ordering = ("-created_at", "-id")
        constraints = (
            models.CheckConstraint(
                condition=models.Q(
                    status__in=["pending", "active", "completed", "failed", "expired"]
                ),
                name="sessions_known_status",
            ),
        )
        indexes = (
            # GET /sessions?task_id=
            models.Index(fields=["task_id"], name="sessions_task_id"),
            # Auditors' lists by state.
            models.Index(fields=["status", "-created_at"], name="sessions_status"),
            # Lists page by this key.
            models.Index(fields=["-created_at", "-id"], name="sessions_created_at"),
            models.Index(fields=["agent", "-created_at"], name="sessions_agent_newest"),
            models.Index(fields=["agent", "status", "-created_at"], name="sessions_agent_status"),
            models.Index(fields=["role", "-created_at"], name="sessions_role"),
            models.Index(
                fields=["updated_at"],
                condition=models.Q(status__in=["pending", "active"]),
                name="sessions_open_by_age",
            ),
        )

    def __str__(self) -> str:
        return f"{self.role} {str(self.pk)[:8]}"

    @recorded_as(EventType.SESSION_ACTIVATED)
    @transition(field=status, source=Status.PENDING, target=Status.ACTIVE)
    def activate(self, **changes: Any) -> None:
        self.update(**changes)

    @recorded_as(EventType.SESSION_COMPLETED)
    @transition(field=status, source=Status.ACTIVE, target=Status.COMPLETED)
    def complete(self, **changes: Any) -> None:
        self.update(**changes)

    @recorded_as(EventType.SESSION_FAILED)
    @transition(field=status, source=Status.ACTIVE, target=Status.FAILED)
    def fail(self, **changes: Any) -> None:
        self.update(**changes)

    @recorded_as(EventType.SESSION_EXPIRED)
    @transition(field=status, source=OPEN, target=Status.EXPIRED)
    def expire(self, **changes: Any) -> None:
        self.update(**changes)

    @recorded_as(EventType.SESSION_UPDATED)
    def update(self, *, task_id: str | None = None, metadata: dict[str, Any] | None = None) -> None:
        """Set the given values; None keeps the present one."""
        if task_id is not None:
            self.task_id = task_id
        if metadata is not None:
            self.metadata = metadata

    def can_activate(self) -> bool:
        return can_proceed(self.activate)

    def can_complete(self) -> bool:
        return can_proceed(self.complete)

    def can_fail(self) -> bool:
        return can_proceed(self.fail)

    def can_expire(self) -> bool:
        return can_proceed(self.expire)


def _digest_of(erased: str, column: str) -> models.Func:
    """SHA-256 of the column payload, or else that of the payload that was erased."""
    return models.Func(
        models.F(column),
        models.F("payload"),
        template=f"coalesce({erased}, audit_sha256(payload))",
    )


def title_of(description: str, task_type: str) -> str:
    """The title of such a task in lists."""
    return description.strip() or task_type


@dataclass(frozen=True, slots=True)
class Erasure:
    """Who (a username) erased a payload, why and when."""

    by: str
    reason: str
    at: datetime


class Task(Subject):
    """Something that one agent asks of a role.

    ``payload`` is the RFC 8785 text of PAYLOAD_FIELDS, and humans approve its SHA-256. Only a
    revision changes it; the new digest needs new approvals.
    """

    class Status(models.TextChoices):
        AWAITING_APPROVAL = "awaiting_approval"
        APPROVED = "approved"
        REJECTED = "rejected"
        EXPIRED = "expired"
        CANCELLED = "cancelled"
        CLAIMED = "claimed"
        COMPLETED = "completed"
        FAILED = "failed"

    WITH_RECEIPT = (
        Status.APPROVED,
        Status.CLAIMED,
        Status.COMPLETED,
        Status.FAILED,
        Status.REJECTED,
    )
    """The states in which it was decided on."""

    NOTIFICATION = "notification"
    PAYLOAD_FIELDS = ("context", "data", "description", "from_role", "task_type", "to_role")
    EDITABLE = ("context", "data", "description")
    subject_type = "task"
    task_path = "pk"
    shown_with = ("claimed_by", "edited_by")
    created_as = EventType.TASK_ROUTED
    must_state = ("payload_digest", "on_behalf_of", "verdict", "policy", "policy_version", "why")
    author_column = "agent_id"
    stated_as: ClassVar = {"lease_expires_at": ""}  # a later claim states none
    contradictions: ClassVar = (
        ("it needed an approval and went on without one", APPROVED_WITHOUT_APPROVAL),
        ("another agent holds it than its events say", CLAIMED_BY_ANOTHER),
        ("a revision of it was replaced by no event", REVISION_WITHOUT_EVENT),
        ("its payload was erased, and it has one", ERASED_AND_NOT_EMPTY),
        ("a revision of it was erased without it, or was not erased", REVISION_NOT_ERASED),
    )
    first_states = (Status.AWAITING_APPROVAL, Status.APPROVED, Status.REJECTED)
    purged_as = EventType.TASK_PURGED
    immutable_columns = (
        "agent_id",
        "session_id",
        "task_type",
        "from_role",
        "to_role",
        "on_behalf_of",
        "trace_id",
        "idempotency_key",
    )
    role_column = "to_role"
    trace_column = "trace_id"

    agent = models.ForeignKey(
        Agent,
        on_delete=models.PROTECT,
        related_name="tasks",
        db_index=False,
        db_comment="Who routed it.",
    )
    session = models.ForeignKey(
        AgentSession,
        null=True,
        on_delete=models.PROTECT,
        related_name="tasks",
        db_comment="The session that it was routed from.",
    )
    task_type = models.CharField(max_length=150, db_comment="What kind of task it is.")
    description = models.TextField(blank=True, db_comment="The agent's own words.")
    from_role = models.CharField(max_length=ROLE_LENGTH, db_comment="The role that asks.")
    to_role = models.CharField(max_length=ROLE_LENGTH, db_comment="The role that is asked.")
    data = models.JSONField(db_comment="What is to be done, as JSON.")
    context = models.JSONField(db_comment="What surrounds it, as JSON.")
    payload = models.TextField(db_comment="The RFC 8785 text of what was asked.")
    payload_digest = models.GeneratedField(
        expression=_digest_of("erasure ->> 'payload_digest'", "erasure"),
        output_field=models.CharField(max_length=64),
        db_persist=True,
        db_comment="SHA-256 of payload: what a human approves. Stays when the payload is erased.",
    )
    identifiers = ArrayField(
        models.TextField(),
        default=list,
        db_default=[],
        db_comment="Orders, invoices, IBANs, resources in the data, as kind:value.",
    )
    revision = models.PositiveIntegerField(default=1, db_comment="Counts changes of the payload.")
    edited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.PROTECT,
        related_name="edits",
        db_index=False,
        db_comment="Who wrote the present revision, where a human did; they can't approve it.",
    )
    on_behalf_of = models.CharField(
        max_length=254,
        blank=True,
        db_comment="The person whom the agent asks for, by username or e-mail; can't approve it.",
    )
    verdict = models.CharField(
        max_length=7,
        blank=True,
        choices=[(kind.value, kind.value) for kind in Outcome],
        db_comment="What was said of the present revision: approve, require or refuse.",
    )
    policy = models.CharField(
        max_length=150, blank=True, db_comment="The policy that said so; empty where none matched."
    )
    policy_version = models.PositiveIntegerField(
        null=True, db_comment="Which version of it: the seq of its audit event."
    )
    why = models.TextField(blank=True, db_comment="Why the policy said so, in words.")
    trace_id = models.UUIDField(db_comment="The work that it is part of.")
    idempotency_key = models.CharField(
        max_length=255, db_comment="The caller's key: one task per key, however often it is sent."
    )
    status = FSMField(
        choices=Status,
        protected=True,
        db_comment="awaiting_approval, approved, rejected, expired, cancelled, claimed, "
        "completed or failed.",
    )
    claimed_by = models.ForeignKey(
        Agent,
        null=True,
        on_delete=models.PROTECT,
        related_name="claims",
        db_index=False,
        db_comment="The agent that claimed it last; it may report until another one claims.",
    )
    claimed_session = models.ForeignKey(
        AgentSession,
        null=True,
        on_delete=models.PROTECT,
        related_name="claims",
        db_comment="The session in which it was claimed last.",
    )
    lease_expires_at = models.DateTimeField(
        null=True, db_comment="Until when the claim holds; after that it can be claimed again."
    )
    approved_until = models.DateTimeField(
        null=True, db_comment="After this the humans' approval can't be used any more."
    )
    consumed_by = models.ForeignKey(
        Agent,
        null=True,
        on_delete=models.PROTECT,
        related_name="consumed",
        db_index=False,
        db_comment="The agent whose claim used up the humans' approval; nobody else can claim.",
    )
    result = models.JSONField(null=True, db_comment="What the executing agent reported.")
    error = models.JSONField(null=True, db_comment="Why it failed, in the executing agent's words.")
    erasure = models.JSONField(
        null=True,
        db_comment="Who erased the payload, why, and its SHA-256; null while it is there.",
    )

    eligible: int | None = None
    """Of a task just routed: how many people may decide on it now; None where nobody is asked."""

    objects = TaskQuerySet.as_manager()

    class Meta:
        db_table = "tasks"
        db_table_comment = "What agents ask of roles."
        ordering = ("-created_at", "-id")
        permissions = (("erase_payload", "Can erase the payload of a finished task"),)
        constraints = (
            # Two requests with one key can't create two tasks, even without the stored answer.
            models.UniqueConstraint(fields=["idempotency_key", "agent"], name="tasks_once_per_key"),
            models.CheckConstraint(
                condition=models.Q(
                    status__in=[
                        "awaiting_approval",
                        "approved",
                        "rejected",
                        "expired",
                        "cancelled",
                        "claimed",
                        "completed",
                        "failed",
                    ]
                ),
                name="tasks_known_status",
            ),
            models.CheckConstraint(
                # A claim without a lease would never be released.
                condition=~models.Q(status="claimed")
                | models.Q(claimed_by__isnull=False, lease_expires_at__isnull=False),
                name="tasks_claimed_with_a_lease",
            ),
            models.CheckConstraint(
                condition=models.Q(verdict__in=["approve", "require", "refuse", ""]),
                name="tasks_known_verdict",
            ),
        )
        indexes = (
            models.Index(fields=["trace_id"], name="tasks_trace_id"),
            models.Index(fields=["-created_at", "-id"], name="tasks_created_at"),
            models.Index(fields=["to_role", "status", "-created_at"], name="tasks_inbox"),
            models.Index(fields=["to_role", "-created_at"], name="tasks_to_role"),
            models.Index(fields=["from_role", "-created_at"], name="tasks_from_role"),
            models.Index(fields=["status", "-created_at"], name="tasks_status"),
            models.Index(fields=["task_type", "-created_at"], name="tasks_type"),
            models.Index(fields=["agent", "-created_at"], name="tasks_routed_by"),
            # A reviewer's page looks for other tasks about the same order, invoice, …
            GinIndex(
                fields=["identifiers"],
                condition=~models.Q(identifiers=[]),
                fastupdate=False,
                name="tasks_identifiers",
            ),
            models.Index(
                fields=["lease_expires_at"],
                condition=models.Q(status="claimed"),
                name="tasks_leases",
            ),
            models.Index(
                fields=["approved_until"],
                condition=models.Q(status="approved", approved_until__isnull=False),
                name="tasks_approved_until",
            ),
        )

    def __str__(self) -> str:
        return f"{self.task_type} {str(self.pk)[:8]}"

    @property
    def title(self) -> str:
        """Its title in lists: the agent's description or, without one, its type."""
        return title_of(self.description, self.task_type)

    def all_revisions(self) -> "list[TaskRevision]":
        """All its revisions, oldest first; the last is the present payload and has no row."""
        # Earlier revisions are rows; the present one lives in the task alone.
        now = TaskRevision(
            task=self,
            number=self.revision,
            payload=self.payload,
            edited_by=self.edited_by,
        )
        now.payload_digest = self.payload_digest
        now.erased_digest = self.payload_digest if self.erasure else None
        return [*self.revisions.select_related("edited_by"), now]

    def seal_payload(self) -> None:
        """Set ``payload`` from its fields, and the digest that PostgreSQL will generate from it."""
        # From now on the text is what people approve; the JSON columns serve queries.
        self.payload = canonical({name: getattr(self, name) for name in self.PAYLOAD_FIELDS})
        self.payload_digest = digest(self.payload)
        self.identifiers = find_identifiers(self.data)

    @property
    def receipt(self) -> str | None:
        """Where the receipt of the decision is; None while there is no decision."""
        return f"/tasks/{self.pk}/receipt" if self.status in self.WITH_RECEIPT else None

    @recorded_as(EventType.TASK_APPROVED)
    @transition(field=status, source=Status.AWAITING_APPROVAL, target=Status.APPROVED)
    def approve(self, *, until: datetime | None = None) -> None:
        self.approved_until = until

    @recorded_as(EventType.TASK_REVISED)
    def revise(self, *, edited_by_id: int | None, decision: PolicyDecision, **payload: Any) -> None:
        """Become the next revision: another payload with its own policy decision."""
        for name, value in payload.items():
            setattr(self, name, value)
        self.seal_payload()
        self.revision += 1
        self.edited_by_id = edited_by_id
        self.store_decision(decision)

    @property
    def payload_bytes(self) -> bytes:
        """The bytes whose SHA-256 is ``payload_digest``."""
        return self.payload.encode()

    def store_decision(self, decision: PolicyDecision) -> None:
        """Store the policy decision on the present revision."""
        self.verdict, self.why = decision.kind.value, decision.why
        self.policy, self.policy_version = decision.policy, decision.policy_version

    @recorded_as(EventType.TASK_REJECTED)
    @transition(field=status, source=Status.AWAITING_APPROVAL, target=Status.REJECTED)
    def reject(self) -> None: ...

    @recorded_as(EventType.TASK_EXPIRED)
    @transition(
        field=status, source=(Status.AWAITING_APPROVAL, Status.APPROVED), target=Status.EXPIRED
    )
    def expire(self) -> None: ...

    @recorded_as(EventType.TASK_CANCELLED)
    @transition(
        field=status,
        source=(Status.AWAITING_APPROVAL, Status.APPROVED, Status.CLAIMED),
        target=Status.CANCELLED,
    )
    def cancel(self) -> None:
        self.claimed_by = self.claimed_session = self.lease_expires_at = None

    @recorded_as(EventType.TASK_RECALLED)
    @transition(
        field=status, source=(Status.AWAITING_APPROVAL, Status.APPROVED), target=Status.CANCELLED
    )
    def recall(self) -> None:
        """Somebody takes an approval back before it is used, and ends the task."""

    @recorded_as(EventType.TASK_RECALLED)
    @transition(field=status, source=Status.APPROVED, target=Status.AWAITING_APPROVAL)
    def reopen(self) -> None:
        """Somebody takes an approval back: the same payload waits, as the next revision."""
        self.approved_until = None
        self.ask_again()

    @recorded_as(EventType.TASK_RECALLED)
    def ask_again(self) -> None:
        """Somebody takes an approval back while the task still waits for others."""
        # Votes and approvals belong to a revision: none of the earlier ones counts again.
        self.revision += 1

    @recorded_as(EventType.TASK_CLAIMED)
    @transition(field=status, source=Status.APPROVED, target=Status.CLAIMED)
    def claim(self, *, agent_id: uuid.UUID, session_id: uuid.UUID | None, until: datetime) -> None:
        self.claimed_by_id = agent_id
        # Humans approve one execution: their approval binds the task to this claimant for good.
        if self.approved_until is not None:
            self.consumed_by_id = agent_id
        self.claimed_session_id = session_id
        self.lease_expires_at = until

    @recorded_as(EventType.TASK_RELEASED)
    @transition(field=status, source=Status.CLAIMED, target=Status.APPROVED)
    def release(self) -> None:
        """The lease ran out: the task can be claimed again."""
        # The claimant stays: it may report until somebody else claims.
        self.lease_expires_at = None

    @recorded_as(EventType.TASK_LEASE_EXTENDED)
    def extend_lease(self, *, until: datetime) -> None:
        self.lease_expires_at = until

    @recorded_as(EventType.TASK_COMPLETED)
    @transition(field=status, source=Status.CLAIMED, target=Status.COMPLETED)
    def complete(self, *, result: Any) -> None:
        self.result = result
        self.lease_expires_at = None

    @recorded_as(EventType.TASK_FAILED)
    @transition(field=status, source=Status.CLAIMED, target=Status.FAILED)
    def fail(self, *, error: Any) -> None:
        self.error = error
        self.lease_expires_at = None

    @recorded_as(EventType.PAYLOAD_ERASED)
    def erase(self, *, erasure: dict[str, Any], keep_result: bool) -> None:
        """Lose the payload but not its digest, and what was reported of it."""
        self.erasure = erasure
        self.description, self.data, self.context, self.identifiers = "", {}, {}, []
        self.payload = canonical({name: getattr(self, name) for name in self.PAYLOAD_FIELDS})
        if not keep_result:
            self.result = self.error = None

    @property
    def erased(self) -> "Erasure | None":
        """Who erased the payload, when and why; None while it is there."""
        if self.erasure is None:
            return None
        # Nothing happens to an erased task after that, until it is purged.
        return Erasure(self.erasure["by"], self.erasure["reason"], self.updated_at)


class Freeze(Subject):
    """A stop: nothing that it covers is claimed, and nothing of it expires, until it is lifted.

    It covers the tasks that its agent routed or would execute, that its role routed or is to
    execute, or all.
    """

    class Scope(models.TextChoices):
        AGENT = "agent"
        ROLE = "role"
        EVERYTHING = "everything"

    class Status(models.TextChoices):
        ACTIVE = "active"
        LIFTED = "lifted"

    subject_type = "freeze"
    created_as = EventType.FREEZE_BEGAN
    must_state = ("scope", "agent_id", "role", "reason", "frozen_by")
    immutable_columns = ("scope", "agent_id", "role", "reason", "frozen_by")
    role_column = "role"

    scope = models.CharField(
        max_length=10, choices=Scope, db_comment="agent, role or everything: what it covers."
    )
    agent = models.ForeignKey(
        Agent,
        null=True,
        on_delete=models.PROTECT,
        related_name="freezes",
        db_comment="The agent that is frozen, where it is one.",
    )
    role = models.CharField(
        max_length=ROLE_LENGTH,
        null=True,
        db_comment="The role that is frozen, where it is one.",
    )
    reason = models.TextField(db_comment="Why, in words.")
    frozen_by = models.CharField(max_length=254, db_comment="Who froze it, as kind:name.")
    status = FSMField(
        choices=Status,
        default=Status.ACTIVE,
        protected=True,
        db_comment="active, or lifted (at updated_at).",
    )

    objects = FreezeQuerySet.as_manager()

    class Meta:
        db_table = "freezes"
        db_table_comment = "Stops of an agent, a role or everything: from created_at until lifted."
        ordering = ("-created_at", "-id")
        default_permissions = ()
        permissions = (("freeze", "Can freeze and thaw agents, roles or everything"),)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(scope="agent", agent__isnull=False, role__isnull=True)
                | models.Q(scope="role", agent__isnull=True, role__isnull=False)
                | models.Q(scope="everything", agent__isnull=True, role__isnull=True),
                name="freezes_have_one_target",
            ),
            models.CheckConstraint(
                condition=models.Q(status__in=["active", "lifted"]), name="freezes_known_status"
            ),
            models.CheckConstraint(condition=~models.Q(reason=""), name="freezes_have_a_reason"),
            # Two people who freeze the same at once.
            models.UniqueConstraint(
                fields=["scope", "agent", "role"],
                condition=models.Q(status="active"),
                nulls_distinct=False,
                name="freezes_once",
            ),
        )

    def __str__(self) -> str:
        return self.target

    @property
    def target(self) -> str:
        """What is frozen, to begin a sentence."""
        if self.agent is not None:
            return f"Agent {self.agent.name}"
        return f"Role {self.role}" if self.role else "Everything"

    def covers(self, task: "Task") -> bool:
        """Whether it covers ``task``, as freezes_covering() says."""
        return (
            self.scope == self.Scope.EVERYTHING
            or (self.agent_id is not None and self.agent_id in (task.agent_id, task.claimed_by_id))
            or (self.role is not None and self.role in (task.from_role, task.to_role))
        )

    @recorded_as(EventType.FREEZE_LIFTED)
    @transition(field=status, source=Status.ACTIVE, target=Status.LIFTED)
    def lift(self) -> None: ...


class TaskRevision(models.Model):
    """A payload that a task had before a revision; earlier votes refer to it."""

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, db_comment="Identity."
    )
    task = models.ForeignKey(
        Task, on_delete=models.PROTECT, related_name="revisions", db_comment="Whose payload it was."
    )
    number = models.PositiveIntegerField(db_comment="Which revision of the task.")
    payload = models.TextField(db_comment="The RFC 8785 text of what was asked.")
    payload_digest = models.GeneratedField(
        expression=_digest_of("erased_digest", "erased_digest"),
        output_field=models.CharField(max_length=64),
        db_persist=True,
        db_comment="SHA-256 of payload. Stays when the payload is erased.",
    )
    erased_digest = models.CharField(
        max_length=64, null=True, db_comment="SHA-256 of the payload that was erased."
    )
    edited_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        on_delete=models.PROTECT,
        related_name="+",
        db_comment="Who wrote it, where a human did.",
    )
    replaced_at = models.DateTimeField(auto_now_add=True, db_comment="When the next one came.")

    class Meta:
        db_table = "task_revisions"
        db_table_comment = "Payloads that tasks had before they were revised."
        default_permissions = ()
        ordering = ("number",)
        constraints = (
            models.UniqueConstraint(fields=["task", "number"], name="task_revisions_once"),
        )

    def __str__(self) -> str:
        return f"revision {self.number} of {self.task_id}"

    @property
    def read(self) -> dict[str, Any] | None:
        """The payload, parsed from the text whose digest people voted on; None if it is erased."""
        if self.erased_digest is not None:
            return None
        payload: dict[str, Any] = json.loads(self.payload)
        return payload
