"""Calls that wait, as tasks of MCP's Tasks extension: the id of a handle is our task's."""

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import mcp_types as types
from mcp.shared.exceptions import MCPError

from audit_app.base.errors import NotFound, OrchestratorError
from orchestrator.gateway import calls
from orchestrator.gateway.calls import ToolCall
from orchestrator.gateway.front import FindVisit, Guarded, Visit, in_thread
from orchestrator.mcp.tasks import Context, TaskState, UnknownTask
from sessions_app.models import Task
from sessions_app.tasks import operations


@dataclass(frozen=True, slots=True)
class Handles:
    """The calls of one upstream that were answered with a handle, as a TaskStore."""

    find_visit: FindVisit

    async def get(self, ctx: Context, task_id: str) -> TaskState:
        """How the call stands. One that was approved meanwhile is started by this."""
        guarded, task = await self._find(ctx, task_id)
        try:
            outcome = await guarded.look(task)
        except MCPError as error:
            return build_state(task, "failed", error=error.error)
        except OrchestratorError as refusal:
            return build_state(task, "completed", result=guarded.refuse(str(refusal)))
        if outcome is not None:
            return build_state(task, "completed", result=outcome)
        standing = await in_thread(calls.find_standing, task.pk, by=guarded.by)
        message = await guarded.describe_wait(standing.task, standing.has_started)
        return build_state(standing.task, "working", message=message)

    async def update(self, ctx: Context, task_id: str, responses: dict[str, Any]) -> None:
        await self._find(ctx, task_id)  # clients are asked for nothing

    async def cancel(self, ctx: Context, task_id: str) -> None:
        """Take the request back, if nobody has approved it yet."""
        guarded, task = await self._find(ctx, task_id)
        if task.status != Task.Status.AWAITING_APPROVAL:
            return
        reason = "The client cancelled the call."
        try:
            await in_thread(operations.cancel, task.pk, by=guarded.by, reason=reason)
        except OrchestratorError:
            return  # decided meanwhile: the result says so

    async def _find(self, ctx: Context, task_id: str) -> tuple[Guarded, Task]:
        visit = await self.find_visit(ctx)
        try:
            task = await in_thread(_load, visit, UUID(task_id))
            approved = calls.read_approved(task)
        except (ValueError, OrchestratorError):
            raise UnknownTask from None
        call = ToolCall(visit.upstream, approved.tool, approved.arguments, visit.trace_id)
        return Guarded(visit, ctx, call), task


def build_state(
    task: Task,
    status: Any,
    *,
    message: str = "",
    result: types.CallToolResult | None = None,
    error: types.ErrorData | None = None,
) -> TaskState:
    """What a client learns of the call of ``task``."""
    return TaskState(
        task_id=str(task.pk),
        status=status,
        created_at=task.created_at.isoformat(),
        updated_at=task.updated_at.isoformat(),
        message=message,
        result=result,
        error=error,
    )


def _load(visit: Visit, task_id: UUID) -> Task:
    """The task of a call of this agent to this upstream. Raises NotFound."""
    task = Task.objects.get_visible(visit.actor, task_id)
    is_theirs = str(task.agent_id) == visit.agent
    if not is_theirs or not task.task_type.startswith(f"mcp.{visit.upstream.name}."):
        raise NotFound(what="task")
    return task
