"""The trail's tables: events, stored responses, consumers' offsets and webhooks, and Subject, the
base of every model whose changes are events."""

import uuid
from datetime import datetime
from fnmatch import fnmatchcase
from functools import cache
from typing import Any, ClassVar

from django.apps import apps
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Coalesce, Length, Now
from django.db.models.lookups import LessThanOrEqual
from django_fsm import FSMField, get_available_FIELD_transitions, transition

from audit_app.base.events import EventType, recorded_as
from audit_app.querysets import DeliveryQuerySet, EventQuerySet, WebhookQuerySet

MOMENTARY = ("id", "version", "status", "created_at", "updated_at")
"""Columns that events tell by members of their own."""


class Subject(models.Model):
    """A row whose every change is an event.

    ``version`` is the ``seq`` of its last event: a trigger compares the two at commit, and callers
    get it as an ETag. Only ``recording.create`` and ``recording.perform`` save rows. The
    triggers of the table are generated from the model (trail/guards.py).
    """

    subject_type: ClassVar[str]
    created_as: ClassVar[EventType]
    """The event that records the creation of a row."""

    first_states: ClassVar[tuple[str, ...]] = ()
    """The states in which a row may be created; if empty, only the default of ``status``."""

    purged_as: ClassVar[EventType | None] = None
    """The event that records the removal of a row; None if rows are never removed."""

    purged_in: ClassVar[tuple[str, ...]] = ()
    """The states in which a row may be removed; if empty, the terminal ones."""

    immutable_columns: ClassVar[tuple[str, ...]] = ()
    """The columns that no UPDATE may change, besides ``id`` and ``created_at``."""

    author_column: ClassVar[str | None] = None
    """The column that names who made the row: the actor of its first event."""

    stated_as: ClassVar[dict[str, str]] = {}
    """Members of events' metadata that state a column under another name; to "": they name a column
    and mean something else."""

    must_state: ClassVar[tuple[str, ...]] = ()
    """The members that the metadata of the first event have, and of each that changes one."""

    contradictions: ClassVar[tuple[tuple[str, str], ...]] = ()
    """What no row of the table can be, as (sentence, SQL query for the ids of such rows)."""

    task_path: ClassVar[str | None] = None
    """The lookup from a row to its task, if it has one."""

    shown_with: ClassVar[tuple[str, ...]] = ()
    """The relations that are shown with a row, for ``select_related``."""

    role_column: ClassVar[str | None] = None
    trace_column: ClassVar[str | None] = None
    status: Any  # the FSM field of each subclass

    id = models.UUIDField(
        primary_key=True, default=uuid.uuid4, editable=False, db_comment="Identity (UUID)."
    )
    version = models.PositiveIntegerField(
        default=0,
        editable=False,
        db_comment="The seq of this row's last audit event; rises by one with every change.",
    )
    created_at = models.DateTimeField(
        editable=False, db_comment="When the row's first event was recorded."
    )
    updated_at = models.DateTimeField(
        editable=False, db_comment="When the row's last event was recorded."
    )

    objects: Any  # each subclass has the manager of its SubjectQuerySet

    class Meta:
        abstract = True

    @classmethod
    @cache
    def stated_columns(cls) -> dict[str, str]:
        """The members of events' metadata that state a column, with their column."""
        columns = [str(field.column) for field in cls._meta.concrete_fields]
        own = {column: column for column in columns if column not in MOMENTARY}
        return {name: column for name, column in (own | cls.stated_as).items() if column}

    @property
    def audit_role(self) -> str | None:
        """The role that this subject's events are filed under."""
        return getattr(self, self.role_column) if self.role_column else None

    @property
    def audit_trace(self) -> uuid.UUID | None:
        """The trace that this subject's events belong to."""
        return getattr(self, self.trace_column) if self.trace_column else None

    def transitions_allowed(self) -> list[str]:
        """The names of the transitions that are possible now, sorted."""
        field: Any = self._meta.get_field("status")
        return sorted(t.name for t in get_available_FIELD_transitions(self, field))

    @staticmethod
    def kinds() -> dict[str, type["Subject"]]:
        """Every audited model by its ``subject_type``."""
        models_ = (model for model in apps.get_models() if issubclass(model, Subject))
        return {model.subject_type: model for model in models_}


class _FromEntry(models.Func):
    """One member of the JSON in ``entry``, extracted by PostgreSQL."""

    arity = 1

    def __init__(self, member: str, cast: str) -> None:
        super().__init__(models.F("entry"))
        self.template = cast.format(f"(%(expressions)s::jsonb ->> '{member}')")


def _entry_column(
    member: str, field: "models.Field[Any, Any]", comment: str, cast: str = "({})"
) -> models.GeneratedField:
    return models.GeneratedField(
        expression=_FromEntry(member, cast), output_field=field, db_persist=True, db_comment=comment
    )


class TransactionNumber(models.BigIntegerField):  # type: ignore[type-arg]  # not subscriptable
    """PostgreSQL's ``xid8`` as an int, to read and order by; querysets.py compares it in SQL."""

    def db_type(self, connection: Any) -> str:
        return "xid8"

    def from_db_value(self, value: Any, *_: Any) -> int | None:
        return None if value is None else int(value)


class Event(models.Model):
    """One thing that happened. Written by trail/recording.py; never changed, never removed.

    ``entry`` is the event as RFC 8785 text. PostgreSQL generates the other columns from it, and a
    constraint rebuilds the text from them, so that the two always agree. ``position`` counts
    insertions, ``xid`` is the transaction that wrote the event; live/event_log.py derives the
    commit order from both.
    """

    id = models.GeneratedField(
        expression=_FromEntry("event_id", "({}::uuid)"),
        output_field=models.UUIDField(),
        db_persist=True,
        primary_key=True,
        db_comment="Identity: the entry's event_id.",
    )
    position = models.BigIntegerField(
        editable=False, unique=True, db_comment="Order of insertion across all subjects."
    )
    xid = TransactionNumber(
        editable=False, db_comment="The transaction that wrote it: what the guard looks for."
    )
    entry = models.TextField(
        db_comment="The event as RFC 8785 text: what is hashed is what was written."
    )
    event_type = _entry_column("event_type", models.TextField(), "What happened.")
    actor = _entry_column("actor", models.TextField(), "Who did it, as kind:name.")
    actor_id = _entry_column("actor_id", models.TextField(), "The primary key of who did it.")
    role = _entry_column("role", models.TextField(null=True), "The role the subject belongs to.")
    subject_type = _entry_column("subject_type", models.TextField(), "session, task, approval, …")
    subject_id = _entry_column(
        "subject_id", models.UUIDField(), "The row it happened to.", "({}::uuid)"
    )
    seq = _entry_column(
        "seq", models.BigIntegerField(), "Gapless count of the subject's events.", "({}::bigint)"
    )
    from_state = _entry_column(
        "from_state", models.TextField(null=True), "The state before, where the state changed."
    )
    to_state = _entry_column(
        "to_state", models.TextField(null=True), "The state after, where the state changed."
    )
    timestamp = _entry_column(
        "timestamp", models.DateTimeField(), "When it was recorded.", "audit_instant({})"
    )
    trace_id = _entry_column(
        "trace_id", models.UUIDField(null=True), "The work that it was part of.", "({}::uuid)"
    )
    metadata = models.GeneratedField(
        expression=models.Func(
            models.F("entry"), template="((%(expressions)s)::jsonb -> 'metadata')"
        ),
        output_field=models.JSONField(),
        db_persist=True,
        db_comment="Details of this kind of event.",
    )

    objects = EventQuerySet.as_manager()

    class Meta:
        db_table = "audit_events"
        db_table_comment = "Append-only: everything that happened, one row an event."
        default_permissions = ("view",)
        permissions = (("read_everything", "Can read every session, task, approval and event"),)
        ordering = ("position",)
        constraints = (
            models.UniqueConstraint(
                fields=["subject_type", "subject_id", "seq"], name="audit_events_subject_seq"
            ),
            models.CheckConstraint(
                condition=models.Q(event_type__in=EventType.values)
                | models.Q(event_type__regex=r"^agent\.[a-z0-9_]+(\.[a-z0-9_]+)*$"),
                name="audit_events_known_event",
            ),
        )
        indexes = (
            models.Index(fields=["trace_id", "position"], name="audit_events_trace"),
            models.Index(fields=["event_type", "position"], name="audit_events_type"),
            models.Index(models.F("timestamp").desc(), name="audit_events_timestamp"),
            models.Index(fields=["actor", "position"], name="audit_events_actor"),
            models.Index(fields=["role", "position"], name="audit_events_role"),
            models.Index(fields=["subject_id", "position"], name="audit_events_subject"),
        )

    def __str__(self) -> str:
        return f"{self.event_type} by {self.actor}"


class Epoch(models.Model):
    """Where the events end that were restored from an older cluster: see live/event_log.py."""

    number = models.PositiveIntegerField(primary_key=True, db_comment="1 for the second era.")
    after_position = models.BigIntegerField(
        db_comment="The last position of the era before: where the restored events end."
    )
    began_at = models.DateTimeField(db_default=Now(), db_comment="When it was noticed.")

    class Meta:
        db_table = "trail_eras"
        db_table_comment = "Where the trail was restored into a younger cluster."
        default_permissions = ()

    def __str__(self) -> str:
        return f"after {self.after_position}"


class LogEpoch(models.Model):
    """One identity of the transparency log; a restored backup begins the next: see
    proof/sealing.py. Append-only."""

    number = models.PositiveIntegerField(primary_key=True, db_comment="1 for the first.")
    origin = models.TextField(db_comment="The origin line of its checkpoints.")
    first_size = models.BigIntegerField(
        db_comment="How many leaves of the epochs before it begins with."
    )
    identity = models.TextField(
        db_comment="The cluster, database, table and timeline in which it is written."
    )
    reason = models.TextField(db_comment="Why it began.")
    began_at = models.DateTimeField(db_default=Now(), db_comment="When it began.")

    class Meta:
        db_table = "audit_log_epochs"
        db_table_comment = "Append-only: under which names the trail was sealed."
        default_permissions = ()

    def __str__(self) -> str:
        return self.origin


class LogTile(models.Model):
    """Up to 256 consecutive hashes of one level of the Merkle tree, as C2SP's tlog-tiles serves
    them. A tile grows until it is full; a trigger refuses every other change."""

    pk = models.CompositePrimaryKey("level", "number")
    level = models.PositiveSmallIntegerField(
        db_comment="0 for hashes of leaves; each hash above is that of a full tile below."
    )
    number = models.BigIntegerField(db_comment="The tile's place in its level, from 0.")
    hashes = models.BinaryField(db_comment="SHA-256 hashes of 32 bytes each, at most 256.")

    class Meta:
        db_table = "audit_log_tiles"
        db_table_comment = "Append-only: the Merkle tree over the trail."
        default_permissions = ()
        constraints = (
            models.CheckConstraint(
                condition=LessThanOrEqual(Length("hashes"), 256 * 32),
                name="audit_log_tiles_width",
            ),
        )

    def __str__(self) -> str:
        return f"{self.level}/{self.number}"


class LogLeaves(models.Model):
    """Which events the leaves of one tile of level 0 are. It grows with its tile.

    ``epoch``, ``last_xid`` and ``last_position`` are the cursor behind the last of them.
    """

    number = models.BigIntegerField(primary_key=True, db_comment="The tile's number.")
    positions = ArrayField(
        models.BigIntegerField(), db_comment="The position of each leaf's event, in their order."
    )
    epoch = models.PositiveIntegerField(db_comment="The trail's era of the last event.")
    last_xid = models.BigIntegerField(db_comment="The transaction of the last event.")
    last_position = models.BigIntegerField(db_comment="The position of the last event.")

    class Meta:
        db_table = "audit_log_leaves"
        db_table_comment = "Append-only: the events in the order in which they were sealed."
        default_permissions = ()
        constraints = (
            # Finds the tile of an event.
            models.UniqueConstraint(
                fields=["epoch", "last_xid", "last_position"], name="audit_log_leaves_cursor"
            ),
        )

    def __str__(self) -> str:
        return str(self.number)


class Checkpoint(models.Model):
    """A signed root of the tree: everything in it was written by then. Append-only."""

    number = models.BigIntegerField(
        primary_key=True, db_comment="Gapless count of the checkpoints, from 1."
    )
    epoch = models.ForeignKey(
        LogEpoch,
        models.PROTECT,
        db_index=False,  # the unique key below begins with it
        db_comment="Whose origin the checkpoint names.",
    )
    size = models.BigIntegerField(db_comment="How many leaves the tree has.")
    root = models.BinaryField(db_comment="The Merkle tree's root, 32 bytes.")
    note = models.TextField(db_comment="The checkpoint as a C2SP signed note.")
    created_at = models.DateTimeField(db_default=Now(), db_comment="When it was signed.")

    class Meta:
        db_table = "audit_checkpoints"
        db_table_comment = "Append-only: the signed roots of the Merkle tree over the trail."
        default_permissions = ()
        ordering = ("number",)
        constraints = (
            models.UniqueConstraint(fields=["epoch", "size"], name="audit_checkpoints_size"),
        )

    def __str__(self) -> str:
        return f"{self.size} of {self.epoch_id}"


class Cosignature(models.Model):
    """A witness's signature of a checkpoint: see proof/witnesses.py. Append-only."""

    checkpoint = models.ForeignKey(
        Checkpoint,
        models.PROTECT,
        related_name="cosignatures",
        db_index=False,  # the unique key below begins with it
        db_comment="What it signed.",
    )
    witness = models.TextField(db_comment="The name of its key.")
    line = models.TextField(db_comment="The signature, as a line of the checkpoint's note.")
    received_at = models.DateTimeField(db_default=Now(), db_comment="When it came.")

    class Meta:
        db_table = "audit_cosignatures"
        db_table_comment = "Append-only: what witnesses said of checkpoints."
        default_permissions = ()
        constraints = (
            models.UniqueConstraint(
                fields=["checkpoint", "witness"], name="audit_cosignatures_once"
            ),
        )

    def __str__(self) -> str:
        return f"{self.witness} of {self.checkpoint_id}"


class ConsumerOffset(models.Model):
    """How far a consumer has read the trail: see live/consumers.py."""

    name = models.TextField(primary_key=True, db_comment="The relay.")
    cursor = models.TextField(db_comment="Behind the last event that it told.")

    class Meta:
        db_table = "tail_readers"
        db_table_comment = "How far each relay has read the trail."
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class SchemaObject(models.Model):
    """A function, view or trigger that schema_objects.py applied."""

    name = models.TextField(
        primary_key=True, db_comment="What it is, as DROP names it: TRIGGER tasks_quorum ON tasks."
    )
    checksum = models.CharField(
        max_length=64, db_comment="SHA-256 of its file; empty for what a migration made."
    )
    applied_at = models.DateTimeField(db_default=Now(), db_comment="When the file was last run.")

    class Meta:
        db_table = "schema_objects"
        db_table_comment = "Which file under */sql each function, view and trigger was made from."
        default_permissions = ()

    def __str__(self) -> str:
        return self.name


class RequestReceipt(models.Model):
    """The answer to a request with an Idempotency-Key, stored in the transaction of its effect."""

    id = models.BigAutoField(primary_key=True, db_comment="Identity.")
    caller = models.TextField(db_comment="Who asked, as kind:id; nobody else gets the answer.")
    endpoint = models.TextField(db_comment="Method and path.")
    key = models.TextField(db_comment="The Idempotency-Key.")
    fingerprint = models.CharField(
        max_length=64, db_comment="SHA-256 of the request; another request is refused."
    )
    status = models.PositiveSmallIntegerField(null=True, db_comment="The answer's HTTP status.")
    headers = models.JSONField(default=dict, db_comment="The answer's headers worth keeping.")
    body = models.TextField(default="", db_comment="The answer's body, byte for byte.")
    subject_type = models.TextField(default="", db_comment="What the answer tells of, if anything.")
    subject_id = models.UUIDField(null=True, db_comment="The row the answer tells of.")
    created_at = models.DateTimeField(
        db_default=Now(), db_comment="When the first of these requests was answered."
    )

    class Meta:
        db_table = "request_receipts"
        db_table_comment = "Idempotency: one row per caller, endpoint and key."
        default_permissions = ()
        constraints = (
            # Of two concurrent requests with one key, the second INSERT waits and then fails.
            models.UniqueConstraint(
                fields=["caller", "endpoint", "key"], name="request_receipts_once"
            ),
        )
        indexes = (models.Index(fields=["created_at"], name="request_receipts_age"),)

    def __str__(self) -> str:
        return f"{self.endpoint} by {self.caller}"


class CommandRun(models.Model):
    """The last run of a scheduled command, for monitoring."""

    command = models.TextField(primary_key=True, db_comment="Its name.")
    finished_at = models.DateTimeField(db_comment="When it last ended, well or not.")
    succeeded_at = models.DateTimeField(null=True, db_comment="When it last ended well.")
    seconds = models.FloatField(db_comment="How long the last run took.")
    runs = models.BigIntegerField(db_comment="How often it ran.")
    failures = models.BigIntegerField(db_comment="How often it did not end well.")
    done = models.JSONField(default=dict, db_comment="How many of each it did, in all runs.")

    class Meta:
        db_table = "command_runs"
        db_table_comment = "The last run of each operators' command; read by /metrics."
        default_permissions = ()

    def __str__(self) -> str:
        return self.command


class Webhook(Subject):
    """A URL that receives events. Its secrets are encrypted (base/encryption.py)."""

    class Status(models.TextChoices):
        ACTIVE = "active"
        PAUSED = "paused"
        DISABLED = "disabled"

    subject_type = "webhook"
    created_as = EventType.WEBHOOK_CREATED
    must_state = ("name", "url", "event_types", "roles")
    immutable_columns = ("name",)

    name = models.CharField(max_length=150, unique=True, db_comment="What people call it.")
    url = models.CharField(max_length=2000, db_comment="Where deliveries are sent.")
    event_types = ArrayField(
        models.CharField(max_length=150),
        default=list,
        blank=True,
        db_comment="Which events, as globs; empty for all.",
    )
    roles = ArrayField(
        models.CharField(max_length=150),
        default=list,
        blank=True,
        db_comment="Of which roles, as globs; empty for all.",
    )
    secret = models.TextField(db_comment="What deliveries are signed with, sealed.")
    old_secret = models.TextField(
        blank=True, default="", db_comment="The one before, sealed; it signs as well for a while."
    )
    old_secret_until = models.DateTimeField(
        null=True, db_comment="Until when the old secret signs as well."
    )
    status = FSMField(
        choices=Status,
        default=Status.ACTIVE,
        protected=True,
        db_comment="active, paused or disabled.",
    )

    objects = WebhookQuerySet.as_manager()

    class Meta:
        db_table = "webhooks"
        db_table_comment = "Addresses that are told of events."
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    def wants(self, event: Event) -> bool:
        """Whether its filters match ``event``."""
        return _matches(self.event_types, event.event_type) and (
            not self.roles or _matches(self.roles, event.role or "")
        )

    @recorded_as(EventType.WEBHOOK_CHANGED)
    def change(self, *, url: str, event_types: list[str], roles: list[str]) -> None:
        self.url, self.event_types, self.roles = url, event_types, roles

    @recorded_as(EventType.WEBHOOK_CHANGED)
    def reencrypt(self, *, secret: str, old_secret: str) -> None:
        self.secret, self.old_secret = secret, old_secret

    @recorded_as(EventType.WEBHOOK_SECRET_ROTATED)
    def rotate(self, *, secret: str, until: datetime) -> None:
        self.old_secret, self.old_secret_until, self.secret = self.secret, until, secret

    @recorded_as(EventType.WEBHOOK_PAUSED)
    @transition(field=status, source=Status.ACTIVE, target=Status.PAUSED)
    def pause(self) -> None: ...

    @recorded_as(EventType.WEBHOOK_RESUMED)
    @transition(field=status, source=(Status.PAUSED, Status.DISABLED), target=Status.ACTIVE)
    def resume(self) -> None: ...

    @recorded_as(EventType.WEBHOOK_DISABLED)
    @transition(field=status, source=(Status.ACTIVE, Status.PAUSED), target=Status.DISABLED)
    def disable(self) -> None: ...


class Delivery(models.Model):
    """One event for one webhook, and the outcome. No Subject: deliveries are work, not evidence."""

    class Status(models.TextChoices):
        WAITING = "waiting"
        DELIVERED = "delivered"
        FAILED = "failed"
        HELD = "held"

    id = models.BigAutoField(primary_key=True, db_comment="Identity.")
    webhook = models.ForeignKey(
        Webhook, on_delete=models.CASCADE, related_name="deliveries", db_comment="For whom."
    )
    event_id = models.UUIDField(db_comment="Of what; the webhook-id of every attempt.")
    event_type = models.TextField(db_comment="The event's type.")
    subject_id = models.UUIDField(db_comment="The event's subject, whose events go in order.")
    cursor = models.TextField(db_comment="Where in the trail the event stands.")
    status = models.CharField(
        max_length=20,
        choices=Status,
        default=Status.WAITING,
        db_comment="waiting, delivered, failed (given up), or held while its webhook rests.",
    )
    attempts = models.PositiveSmallIntegerField(default=0, db_comment="How often it was tried.")
    first_attempt_at = models.DateTimeField(null=True, db_comment="When it was first tried.")
    attempted_at = models.DateTimeField(null=True, db_comment="When it was last tried.")
    next_attempt_at = models.DateTimeField(null=True, db_comment="When it is tried again.")
    leased_until = models.DateTimeField(
        null=True, db_comment="Until when a worker has it for itself, to send it."
    )
    replayed = models.BooleanField(
        default=False, db_default=False, db_comment="Whether live deliveries go before it."
    )
    delivered_at = models.DateTimeField(null=True, db_comment="When it arrived.")
    response_status = models.PositiveSmallIntegerField(
        null=True, db_comment="The last answer's status."
    )
    response = models.TextField(
        blank=True, default="", db_comment="How the last answer began, or why there was none."
    )
    milliseconds = models.PositiveIntegerField(null=True, db_comment="How long it took.")
    created_at = models.DateTimeField(db_default=Now(), db_comment="When it was read in the trail.")

    objects = DeliveryQuerySet.as_manager()

    class Meta:
        db_table = "webhook_deliveries"
        db_table_comment = "What each webhook was told, and how it answered."
        default_permissions = ()
        ordering = ("-id",)
        constraints = (
            # A replay or a second worker plans no event twice.
            models.UniqueConstraint(fields=["webhook", "event_id"], name="webhook_deliveries_once"),
        )
        indexes = (
            models.Index(fields=["webhook", "-id"], name="webhook_deliveries_newest"),
            models.Index(
                fields=["webhook", "status"],
                condition=~models.Q(status="delivered"),
                name="webhook_deliveries_open",
            ),
            # What a worker sends next, and whether an earlier one of its subject waits.
            models.Index(
                "webhook",
                "replayed",
                Coalesce("next_attempt_at", "created_at"),
                "id",
                condition=models.Q(status="waiting"),
                name="webhook_deliveries_next",
            ),
            models.Index(
                fields=["leased_until"],
                condition=models.Q(status="waiting", leased_until__isnull=False),
                name="webhook_deliveries_leased",
            ),
            models.Index(
                fields=["webhook", "subject_id"],
                condition=models.Q(status="waiting"),
                name="webhook_deliveries_subject",
            ),
            # The last delivery of each webhook, for its list.
            models.Index(fields=["webhook", "-delivered_at"], name="webhook_deliveries_last"),
            models.Index(fields=["created_at"], name="webhook_deliveries_age"),
        )

    def __str__(self) -> str:
        return f"{self.event_type} for {self.webhook_id}"


def _matches(globs: list[str], name: str) -> bool:
    return not globs or any(fnmatchcase(name, glob) for glob in globs)
