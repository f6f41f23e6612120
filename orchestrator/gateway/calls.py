"""Operations on tool calls: judged as a task, started once, finished with the recorded outcome.

Which calls are the same: those of one agent to one tool of one upstream with equal arguments (and
within the same session, if the request names one), or with the same key of the client's own. While
such a call waits, runs, or has an outcome that was not handed over yet, a repetition belongs to its
task. A call that passes at once is one of its own, unless the client gave a key.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import orjson
from django.conf import settings
from django.db import IntegrityError
from django.db.models.functions import Now

from approvals_app.models import Approval, Vote
from audit_app.base.actors import Actor
from audit_app.base.canonical import canonical, digest
from audit_app.base.errors import (
    IdempotencyKeyReused,
    InvalidTransition,
    LostRace,
    OrchestratorError,
)
from audit_app.base.prepared import Prepared, prepared_cursor
from audit_app.trail.operation import clock, operation, violated_constraint
from audit_app.trail.recording import perform
from orchestrator.gateway.errors import CallUnreadable, UpstreamDisabled
from orchestrator.gateway.models import Call, Upstream
from sessions_app.models import Task
from sessions_app.tasks.operations import _may_be_used, _take_up
from sessions_app.tasks.routing import NewTask, Sender, create_tasks

TOOL_NAME = re.compile(r"[A-Za-z0-9_./-]{1,100}")
"""The names that the protocol allows, as far as a task's type has room for them."""

MARGIN = timedelta(seconds=30)
"""How much longer than its timeout a call may take until its outcome is recorded."""

LEASE = timedelta(hours=1)
"""Longer than a call takes: only the gateway says what became of it."""

MAX_RECORDED_BYTES = 256 * 1024
"""Results up to this size are kept with the task; of larger ones, only the digest and the size."""

FORGET_PASSED = "DELETE FROM gateway_calls WHERE task_id = %s AND key IS NULL"
NOTE_END = "UPDATE gateway_calls SET ends_by = NULL WHERE task_id = %s"
INSERT = """
INSERT INTO gateway_calls (task_id, agent_id, upstream_id, key, is_kept, started_at, ends_by)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""

GATEWAY = Actor.system("gateway")
UNKNOWN_OUTCOME = "unknown_outcome"


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call as an agent makes it."""

    upstream: Upstream
    tool: str
    arguments: dict[str, Any]
    trace_id: UUID
    session_id: UUID | None = None
    own_key: str | None = None

    @property
    def task_type(self) -> str:
        """What policies match: ``mcp.UPSTREAM.TOOL``."""
        name = f"mcp.{self.upstream.name}.{self.tool}"
        # A type that ends so is a question to a person.
        return f"{name}()" if name.endswith("_question") else name

    @property
    def data(self) -> dict[str, Any]:
        return {"server": self.upstream.name, "tool": self.tool, "arguments": self.arguments}

    @property
    def key(self) -> str:
        """What the same call has as well."""
        if self.own_key is not None:
            return f"own {self.upstream.pk} {self.own_key}"
        session = str(self.session_id or "")
        return f"same {digest(canonical([str(self.upstream.pk), session, self.data]))}"


@dataclass(frozen=True, slots=True)
class Opened:
    """The task of a call, and whether the caller is to run it now."""

    task: Task
    runs_now: bool


@dataclass(frozen=True, slots=True)
class Standing:
    """How a call stands: its task, and whether it began to run."""

    task: Task
    has_started: bool


@dataclass(frozen=True, slots=True)
class Approved:
    """What was approved, to be run exactly so; ``is_edited``: a reviewer changed it before."""

    tool: str
    arguments: dict[str, Any]
    is_edited: bool


@operation("call.open")
def open_call(call: ToolCall, *, by: Actor) -> Opened:
    """Return the task of ``call``: that of the same call, or a new one, judged by the policies.

    A call that passes is started in the same transaction. Raises what ``route_task`` raises, and
    IdempotencyKeyReused where the client's key belongs to another call.
    """
    agent = by.require_agent()
    if (known := _find_open(agent, call)) is not None:
        return Opened(known, runs_now=False)
    sender = Sender.find(by, call.session_id, call.trace_id)
    new = NewTask(
        to_role=call.upstream.role,
        task_type=call.task_type,
        idempotency_key=f"mcp:{uuid4()}",
        data=call.data,
    )
    (task,) = create_tasks([new], sender, by=by)
    if isinstance(task, OrchestratorError):
        raise task
    passes = task.status == Task.Status.APPROVED
    is_own = call.own_key is not None
    row = Call(task_id=task.pk, agent_id=agent, upstream_id=call.upstream.pk, is_kept=is_own)
    if is_own or task.status == Task.Status.AWAITING_APPROVAL:
        row.key = call.key
    if passes:
        _start(task, row, by)
    if passes or row.key:
        _insert(row)
    return Opened(task, runs_now=passes)


@operation("call.start")
def start_call(task_id: UUID, *, by: Actor) -> Task | None:
    """Claim the approved task of a call, to run it now; None if it was started before.

    Of two concurrent repetitions, the second waits for the first's commit. Raises NotFound,
    UpstreamDisabled, CallUnreadable, ApprovalLapsed, ApprovalConsumed, InvalidTransition.
    """
    task = Task.objects.lock_visible(by, task_id)
    row = Call.objects.select_for_update().filter(pk=task_id).first()
    if row is None or row.started_at is not None:
        return None
    upstream = Upstream.objects.one(row.upstream_id)
    if upstream.status != Upstream.Status.ENABLED:
        raise UpstreamDisabled(task, name=upstream.name)
    read_approved(task)
    _start(task, row, by)
    row.save(update_fields=["started_at", "ends_by"])
    return task


@operation("call.finish")
def finish_call(
    task_id: UUID, *, by: Actor, result: Any = None, error: Any = None, result_digest: str = ""
) -> Task:
    """Record the outcome of a call that ran: ``result``, or ``error``.

    Raises NotFound, and InvalidTransition where the task was cancelled meanwhile.
    """
    task = Task.objects.lock_visible(by, task_id)
    _take_up(task, by, None)
    details = {"result_digest": result_digest} if result_digest else {}
    if error is None:
        perform(task.complete, by=by, details=details, result=result)
    else:
        perform(task.fail, by=by, details=details, error=error)
    with prepared_cursor() as cursor:
        cursor.execute(FORGET_PASSED, [task_id])
        if not cursor.rowcount:
            cursor.execute(NOTE_END, [task_id])
    return task


@operation("call.settle")
def settle_lost_call(task_id: UUID, *, by: Actor) -> None:
    """Record that nobody knows the outcome of a call: it was started, and whoever ran it is gone.

    It is never run again. Does nothing to a call that still may finish. Raises NotFound.
    """
    task = Task.objects.lock(task_id)
    row = Call.objects.select_for_update().filter(pk=task_id, ends_by__lt=Now()).first()
    if row is None:
        return
    if task.status in (Task.Status.CLAIMED, Task.Status.APPROVED):
        if task.status == Task.Status.APPROVED:  # its lease ran out
            perform(
                task.claim,
                by=by,
                agent_id=row.agent_id,
                session_id=task.claimed_session_id,
                until=clock(),
            )
        perform(task.fail, by=by, error=describe_unknown("The process that ran it ended."))
    if row.key is None:
        row.delete()
    else:
        Call.objects.filter(pk=task_id).update(ends_by=None)


def settle_lost_calls() -> int:
    """Settle all calls whose outcome should have been recorded by now; return how many."""
    lost = list(Call.objects.filter(ends_by__lt=Now()).values_list("pk", flat=True)[:500])
    for task_id in lost:
        settle_lost_call(task_id, by=GATEWAY)
    return len(lost)


def find_standing(task_id: UUID, *, by: Actor) -> Standing:
    """How the call of this task stands now. Raises NotFound."""
    task = Task.objects.get_visible(by, task_id)
    row = Call.objects.filter(pk=task_id).values_list("started_at", "ends_by").first()
    if row and row[1] and row[1] < clock():
        settle_lost_call(task_id, by=GATEWAY)
        task = Task.objects.get_visible(by, task_id)
    return Standing(task, bool(row and row[0]))


def hand_over(task_id: UUID) -> None:
    """Note that the agent has the outcome: the next identical call is a new one, unless the client
    chose the key."""
    Call.objects.filter(pk=task_id, is_kept=False).delete()


def purge_calls(older_than: timedelta) -> None:
    """Forget calls that are older: their outcomes stay with their tasks."""
    Call.objects.filter(created_at__lt=Now() - older_than, ends_by=None).delete()


def read_approved(task: Task) -> Approved:
    """The call in the payload whose digest was approved. Raises CallUnreadable, where a reviewer's
    edit left none."""
    # From the text that was hashed, not from the column beside it.
    data = orjson.loads(task.payload)["data"]
    tool, arguments = data.get("tool"), data.get("arguments")
    if not isinstance(tool, str) or not isinstance(arguments, dict):
        raise CallUnreadable(task, reason="data.tool or data.arguments is missing.")
    return Approved(tool, arguments, is_edited=task.edited_by_id is not None)


def record_result(result: dict[str, Any]) -> tuple[dict[str, Any], str]:
    """What is kept of a tool's ``result``, and its digest: SHA-256 of the RFC 8785 text, or of the
    JSON as it came where it has none."""
    text = orjson.dumps(result)
    try:
        known = digest(canonical(result))
    except ValueError:
        known = digest(text.decode())
    kept: dict[str, Any] = {"result_digest": known}
    if len(text) > MAX_RECORDED_BYTES:
        kept["left_out"] = f"The result has {len(text):,} bytes, too many to keep."
    elif b"\\u0000" in text:  # which PostgreSQL can't store
        kept["left_out"] = "The result holds the character NUL and can't be kept."
    else:
        kept["result"] = result
    return kept, known


def describe_unknown(why: str) -> dict[str, str]:
    """The error of a task whose call may have run or not."""
    message = f"The outcome is unknown: the call was started, and no result was recorded. {why}"
    return {"code": UNKNOWN_OUTCOME, "message": message}


def list_awaited_roles(task: Task) -> list[str]:
    """The roles that are asked about the present revision."""
    pending = Approval.objects.filter(
        task_id=task.pk, revision=task.revision, status=Approval.Status.PENDING
    )
    return sorted(set(pending.values_list("approver_role", flat=True)))


def list_pending(task: Task) -> list[str]:
    """The ids of the approvals that are asked for now."""
    pending = Approval.objects.filter(task_id=task.pk, status=Approval.Status.PENDING)
    return [str(pk) for pk in pending.values_list("pk", flat=True)]


def find_wanted_changes(task: Task) -> list[str]:
    """What reviewers of the present revision want to be changed, each with their name."""
    votes = Vote.objects.filter(
        approval__task_id=task.pk,
        approval__revision=task.revision,
        approval__status=Approval.Status.PENDING,
        choice=Vote.Choice.CHANGES,
    ).select_related("voter")
    return [f"{vote.voter.get_username()}: {vote.notes}" for vote in votes]


def find_notes(task: Task) -> Iterator[str]:
    """What people wrote with their rejections of the present revision."""
    rejected = Approval.objects.filter(
        task_id=task.pk, revision=task.revision, status=Approval.Status.REJECTED
    ).select_related("decided_by")
    for approval in rejected:
        who = approval.decided_by.get_username() if approval.decided_by else approval.approver_role
        yield f"{who}: {approval.notes}" if approval.notes else who


def _find_open(agent: UUID, call: ToolCall) -> Task | None:
    known = _open_calls(agent=agent, key=call.key)
    if not known:
        return None
    (row,) = known
    task = Task.objects.filter(pk=row.task_id).first()
    if task is None:  # purged
        row.delete()
        return None
    # A reviewer may have edited the present payload: the type tells of the call that was made.
    if call.own_key is not None and not _is_same(task, call):
        raise IdempotencyKeyReused
    return task


_open_calls: Prepared[Call] = Prepared(
    lambda agent, key: Call.objects.filter(agent_id=agent, key=key).order_by()
)


def _is_same(task: Task, call: ToolCall) -> bool:
    first = task.revisions.order_by("number").values_list("payload", flat=True).first()
    made: dict[str, Any] = orjson.loads(first or task.payload)["data"]
    return canonical(made) == canonical(call.data)


def _start(task: Task, row: Call, by: Actor) -> None:
    agent, now = by.require_agent(), clock()
    if task.status != Task.Status.APPROVED:
        allowed = task.transitions_allowed()
        raise InvalidTransition(
            task, what="task", state=task.status, transition="claim", allowed=allowed
        )
    _may_be_used(task, agent, now)
    row.started_at, row.ends_by = now, now + settings.GATEWAY_CALL_TIMEOUT + MARGIN
    perform(
        task.claim, by=by, agent_id=agent, session_id=task.session_id, until=row.ends_by + LEASE
    )


def _insert(row: Call) -> None:
    values = (row.task_id, row.agent_id, row.upstream_id, row.key, row.is_kept)
    try:
        with prepared_cursor() as cursor:
            cursor.execute(INSERT, [*values, row.started_at, row.ends_by])
    except IntegrityError as error:
        if violated_constraint(error) == "gateway_calls_once_per_key":
            raise LostRace from error  # run again, the other's task is found
        raise
