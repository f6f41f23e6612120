"""Waiting for people: what a task's JSON says about it, and the handles of calls that wait."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, ParamSpec, TypeVar

import anyio.to_thread
import mcp_types as types
import orjson
from mcp.shared.exceptions import MCPError

from orchestrator.mcp.rest import Refused, Rest
from orchestrator.mcp.tasks import Context, TaskState, UnknownTask
from sessions_app.models import Task

P = ParamSpec("P")
R = TypeVar("R")
Json = dict[str, Any]

HANDLE: Final = re.compile(
    r"(send_task|wait_for_decision)\.([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\.([1-9][0-9]{0,8})"
)
"""A handle's id: the tool, the task and its revision. Whoever asks must be allowed to see the task,
so that nothing hangs on the id's secrecy."""


def waits(task: Json) -> bool:
    """Whether people have to do something about ``task``."""
    return bool(task["status"] == Task.Status.AWAITING_APPROVAL and not changes_requested(task))


def changes_requested(task: Json) -> bool:
    """Whether a reviewer wants another revision."""
    return any(
        vote["choice"] == "changes" for approval in _pending(task) for vote in approval["votes"]
    )


def list_awaited_roles(task: Json) -> str:
    """The groups that have not decided yet, as text."""
    return ", ".join(sorted({approval["approver_role"] for approval in _pending(task)}))


def _pending(task: Json) -> list[Json]:
    return [
        approval
        for approval in task["approvals"]
        if approval["status"] == "pending" and approval["revision"] == task["revision"]
    ]


def describe_decision(task: Json) -> Json:
    """What ``wait_for_decision`` gives."""
    return {
        "decided": task["status"] != Task.Status.AWAITING_APPROVAL,
        "changes_requested": changes_requested(task),
        "task": task,
    }


def as_result(content: Json, *, is_error: bool = False) -> types.CallToolResult:
    """A tool's answer, as structure and as text."""
    text = types.TextContent(type="text", text=orjson.dumps(content).decode())
    return types.CallToolResult(content=[text], structured_content=content, is_error=is_error)


def build_handle(tool: str, task: Json, *, note: str = "") -> TaskState:
    """The state of a call of ``tool`` that waits for the present revision of ``task``."""
    return _build_state(tool, task, task["revision"], note)


def _build_state(tool: str, task: Json, revision: int, note: str = "") -> TaskState:
    shared: Json = {
        "task_id": f"{tool}.{task['task_id']}.{revision}",
        "created_at": task["created_at"],
        "updated_at": task["updated_at"],
    }
    # Another revision is another question: a new call waits for its answer.
    if task["revision"] == revision and waits(task):
        message = f"Waiting for {list_awaited_roles(task)}.{note and ' ' + note}"
        return TaskState(status="working", message=message, **shared)
    if tool == "send_task" and task["status"] == Task.Status.CANCELLED:
        return TaskState(status="cancelled", message="The task was cancelled.", **shared)
    routed = {name: task[name] for name in ("task_id", "status", "trace_id")}
    content = {**routed, "eligible": None} if tool == "send_task" else describe_decision(task)
    return TaskState(status="completed", result=as_result(content), **shared)


@dataclass(frozen=True, slots=True)
class Decisions:
    """The calls that wait for people, as a TaskStore. ``find_rest`` says as whom to call the API.

    A handle of send_task stands for the task itself: to cancel it is to cancel the task, as long as
    people have not decided. One of wait_for_decision only stands for the wait, and the task goes on
    without it.
    """

    find_rest: Callable[[Context], Rest]

    async def get(self, ctx: Context, task_id: str) -> TaskState:
        return (await self._read(ctx, task_id))[1]

    async def update(self, ctx: Context, task_id: str, responses: Json) -> None:
        await self._read(ctx, task_id)  # asks clients for nothing, so there is nothing to answer

    async def cancel(self, ctx: Context, task_id: str) -> None:
        rest, state = await self._read(ctx, task_id)
        tool, task, _ = _parse(task_id)
        if tool != "send_task" or state.status != "working":
            return
        body = {"reason": "The client cancelled the call that sent it."}
        try:
            await in_thread(rest.post, f"/tasks/{task}/cancel", body, {})
        except Refused as refused:
            if refused.problem["status"] != 409:  # decided meanwhile: the result says so
                raise _translate(refused) from None

    async def _read(self, ctx: Context, task_id: str) -> tuple[Rest, TaskState]:
        tool, task, revision = _parse(task_id)
        rest = self.find_rest(ctx)
        try:
            found = await in_thread(rest.get, f"/tasks/{task}")
        except Refused as refused:
            raise _translate(refused) from None
        if revision > found["revision"]:
            raise UnknownTask
        return rest, _build_state(tool, found, revision)


def _parse(task_id: str) -> tuple[str, str, int]:
    match = HANDLE.fullmatch(task_id)
    if match is None:
        raise UnknownTask
    return match[1], match[2], int(match[3])


def _translate(refused: Refused) -> Exception:
    if refused.problem["status"] == 404:
        return UnknownTask()
    return MCPError(types.INTERNAL_ERROR, refused.problem["detail"], refused.problem)


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run ``function`` in a thread, as everything that asks the API must."""
    return await anyio.to_thread.run_sync(partial(function, *args, **kwargs))
