"""Upstreams and the calls that wait or run, no I/O."""

from typing import Self

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models.functions import Now
from django_fsm import FSMField, transition

from audit_app.base.actors import Actor
from audit_app.base.events import EventType, recorded_as
from audit_app.models import Subject
from audit_app.querysets import SubjectQuerySet
from sessions_app.models import ROLE_LENGTH

NAME_LENGTH = 40


class UpstreamQuerySet(SubjectQuerySet["Upstream"]):
    def visible_to(self, actor: Actor) -> Self:
        """Whoever may read everything sees where calls go."""
        return self if actor.auditor else self.none()


class Upstream(Subject):
    """An MCP server that agents reach through the gateway. Its secrets are encrypted."""

    class Kind(models.TextChoices):
        HTTP = "http"
        STDIO = "stdio"

    class Status(models.TextChoices):
        ENABLED = "enabled"
        DISABLED = "disabled"

    subject_type = "upstream"
    created_as = EventType.UPSTREAM_CREATED
    must_state = ("name", "kind", "url", "command", "secret_names", "role", "agent_roles")
    immutable_columns = ("name", "kind", "command")

    name = models.CharField(
        max_length=NAME_LENGTH,
        unique=True,
        db_comment="What its address and the types of its tasks call it.",
    )
    kind = models.CharField(
        max_length=5, choices=Kind, db_comment="http (streamable HTTP) or stdio (a child process)."
    )
    url = models.CharField(
        max_length=2000, blank=True, default="", db_comment="Where it is, if it speaks HTTP."
    )
    command = ArrayField(
        models.TextField(),
        default=list,
        blank=True,
        db_comment="The program and its arguments, if it speaks over stdio.",
    )
    secrets = models.TextField(
        blank=True,
        default="",
        db_comment="HTTP headers, or environment variables of the program, as JSON, encrypted.",
    )
    secret_names = ArrayField(
        models.CharField(max_length=200),
        default=list,
        blank=True,
        db_comment="The names of these headers or variables.",
    )
    role = models.CharField(
        max_length=ROLE_LENGTH,
        db_comment="The role that its tasks are addressed to: who is asked if no policy matches.",
    )
    agent_roles = ArrayField(
        models.CharField(max_length=ROLE_LENGTH),
        default=list,
        blank=True,
        db_comment="Agents with one of these roles may use it; empty for all agents.",
    )
    status = FSMField(
        choices=Status, default=Status.ENABLED, protected=True, db_comment="enabled or disabled."
    )

    objects = UpstreamQuerySet.as_manager()

    class Meta:
        db_table = "gateway_upstreams"
        db_table_comment = "MCP servers behind the gateway."
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(kind="http", command=[]) & ~models.Q(url="")
                | models.Q(kind="stdio", url="", command__len__gt=0),
                name="gateway_upstreams_address",
            ),
        )

    def __str__(self) -> str:
        return self.name

    def admits(self, actor: Actor) -> bool:
        """Whether ``actor`` is an agent that may use it."""
        roles = set(self.agent_roles)
        return actor.is_agent and (not roles or not roles.isdisjoint(actor.roles))

    @recorded_as(EventType.UPSTREAM_CHANGED)
    def change(self, *, url: str, role: str, agent_roles: list[str]) -> None:
        self.url, self.role, self.agent_roles = url, role, agent_roles

    @recorded_as(EventType.UPSTREAM_CHANGED)
    def move(self, *, url: str, role: str, agent_roles: list[str]) -> None:
        """Change as ``change`` does, to another host: the credentials are not for that one."""
        self.change(url=url, role=role, agent_roles=agent_roles)
        self.replace_secrets(secrets="", secret_names=[])

    @recorded_as(EventType.UPSTREAM_SECRETS_REPLACED)
    def replace_secrets(self, *, secrets: str, secret_names: list[str]) -> None:
        self.secrets, self.secret_names = secrets, secret_names

    @recorded_as(EventType.UPSTREAM_CHANGED)
    def reencrypt(self, *, secrets: str) -> None:
        self.secrets = secrets

    @recorded_as(EventType.UPSTREAM_ENABLED)
    @transition(field=status, source=Status.DISABLED, target=Status.ENABLED)
    def enable(self) -> None: ...

    @recorded_as(EventType.UPSTREAM_DISABLED)
    @transition(field=status, source=Status.ENABLED, target=Status.DISABLED)
    def disable(self) -> None: ...


class Call(models.Model):
    """A tool call that waits, runs, or whose outcome the agent may not have yet.

    No Subject: the task and its events are the evidence; this says which task the next identical
    call belongs to, and whether it began to run.
    """

    task_id = models.UUIDField(primary_key=True, db_comment="The task of the call.")
    agent_id = models.UUIDField(db_comment="Who calls.")
    upstream_id = models.UUIDField(db_comment="The upstream whose tool is called.")
    key = models.TextField(
        null=True,
        db_comment="What an identical call has as well; null for a call that passed at once.",
    )
    is_kept = models.BooleanField(
        default=False,
        db_default=False,
        db_comment="Whether the client chose the key: its outcome is kept for every repetition.",
    )
    started_at = models.DateTimeField(
        null=True, db_comment="When it was about to be sent to the upstream: it never is again."
    )
    ends_by = models.DateTimeField(
        null=True, db_comment="When its outcome is recorded at the latest, if nothing broke off."
    )
    created_at = models.DateTimeField(db_default=Now(), db_comment="When it was first made.")

    class Meta:
        db_table = "gateway_calls"
        db_table_comment = "Tool calls that wait or run, or whose outcome was not handed over."
        default_permissions = ()
        constraints = (
            # Of two identical concurrent calls, the second INSERT waits and then fails.
            models.UniqueConstraint(fields=["agent_id", "key"], name="gateway_calls_once_per_key"),
        )
        indexes = (
            models.Index(
                fields=["ends_by"],
                condition=models.Q(ends_by__isnull=False),
                name="gateway_calls_running",
            ),
            models.Index(fields=["created_at"], name="gateway_calls_age"),
        )

    def __str__(self) -> str:
        return f"call {self.task_id}"
