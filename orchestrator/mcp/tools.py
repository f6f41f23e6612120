"""The five tools and the server that offers them."""

import re
import time
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import mcp_types as types
from mcp.server import Server
from mcp.shared.exceptions import MCPError
from rest_framework.exceptions import APIException

from audit_app.base import tracing
from audit_app.live.long_poll import waiter_limits
from audit_app.live.subscriptions import subscriptions
from orchestrator import __version__
from orchestrator.mcp import schemas, tasks
from orchestrator.mcp.decisions import (
    Decisions,
    as_result,
    build_handle,
    describe_decision,
    in_thread,
    list_awaited_roles,
    waits,
)
from orchestrator.mcp.messages import get_refusal
from orchestrator.mcp.rest import Refused, Rest
from orchestrator.mcp.tasks import Context
from sessions_app.models import Task

Json = dict[str, Any]
ReportProgress = Callable[[float, float, str], Awaitable[None]]

PROGRESS_SECONDS = 2
"""Seconds between two progress reports of a wait."""
MAX_TASKS = 100
ARGUMENT_OF_HEADER = {"Idempotency-Key": "idempotency_key", "X-Session-Id": "session_id"}
INSTRUCTIONS = (
    "Route tasks to roles with send_task. Where a task's status is awaiting_approval, people have "
    "to say yes first: call wait_for_decision, and do not act before it says that the task is "
    "approved. A refused call names its reason in code and detail."
)


async def send_task(rest: Rest, given: Json, report_progress: ReportProgress) -> Json:
    """Ask a role to do something. People may have to approve it first: then its status is
    awaiting_approval, and eligible is how many people may decide now; at 0, tell your user that
    nobody can. With an idempotency_key, a repetition gets the same task."""
    return await in_thread(rest.post, "/tasks/route", given, _pop_headers(given))


async def request_approval(rest: Rest, given: Json, report_progress: ReportProgress) -> Json:
    """Ask one more group of people about a task that waits for approval already."""
    return await in_thread(rest.post, "/approvals", given, {})


async def notify(rest: Rest, given: Json, report_progress: ReportProgress) -> Json:
    """Tell a role something that needs nobody's approval and no work."""
    task = {
        "task_type": Task.NOTIFICATION,
        "description": given["message"],
        "data": {"priority": given["priority"]} if "priority" in given else {},
    }
    body = {"target": given["target"], "task": task}
    return await in_thread(rest.post, "/tasks/route", body, _pop_headers(given))


async def fetch_status(rest: Rest, given: Json, report_progress: ReportProgress) -> Json:
    """The state of a task, or of a session with its tasks (one per idempotency key, the newest
    100), and all their approvals."""
    if "task_id" in given:
        task = await in_thread(rest.get, f"/tasks/{given['task_id']}")
        return _status(task["status"], None, [task], 1)
    path = f"/sessions/{given['session_id']}"
    session = await in_thread(rest.get, path)
    page = await in_thread(rest.get, f"{path}/tasks", page_size=MAX_TASKS)
    return _status(session["state"], session, page["tasks"], page["total"])


async def wait_for_decision(rest: Rest, given: Json, report_progress: ReportProgress) -> Json:
    """Wait until people have decided on a task or asked for changes, or until timeout_seconds (50,
    at most 300) are over: then decided is false, and the call can be repeated."""
    task_id, seconds = given["task_id"], given.get("timeout_seconds", schemas.DEFAULT_WAIT)
    position = subscriptions.position()  # before reading the task, so that no decision is missed
    task = await in_thread(rest.get, f"/tasks/{task_id}")
    # Without room for another waiter, the answer comes at once, as with Prefer: wait.
    if seconds and waits(task) and waiter_limits.acquire(rest.caller):
        try:
            await _wait_until_decided(rest, task, seconds, position, report_progress)
        finally:
            waiter_limits.release(rest.caller)
        # Read again, because the caller may have lost the right to see it.
        task = await in_thread(rest.get, f"/tasks/{task_id}")
    return describe_decision(task)


TOOLS = {
    tool.__name__: tool
    for tool in (send_task, request_approval, notify, fetch_status, wait_for_decision)
}
READ_ONLY = {"fetch_status", "wait_for_decision"}
WAITING = {"send_task", "wait_for_decision"}
"""Answered with a handle where the client speaks the Tasks extension and people have to decide."""


def build_server(*, default: Rest | None = None) -> Server[Any]:
    """Build the server. The caller is ``rest`` in the HTTP request's scope, else ``default``."""

    def find_rest(ctx: Context) -> Rest:
        rest: Rest | None = ctx.request.scope["rest"] if ctx.request else default
        assert rest is not None
        tracing.current.set(rest.trace_id or uuid4())
        return rest

    async def call(ctx: Context, params: types.CallToolRequestParams) -> Any:
        return await _call_tool(find_rest(ctx), ctx, params)

    server: Server[Any] = Server(
        "orchestrator",
        version=__version__,
        title="Orchestrator",
        instructions=INSTRUCTIONS,
        on_list_tools=_list_tools,
        on_call_tool=call,
        get_tool_input_schema=schemas.input_schema,
    )
    tasks.offer_tasks(server, Decisions(find_rest))
    return server


async def _list_tools(
    ctx: Context, params: types.PaginatedRequestParams | None
) -> types.ListToolsResult:
    return types.ListToolsResult(tools=await in_thread(_descriptions))


def _descriptions() -> list[types.Tool]:
    return [
        types.Tool(
            name=name,
            title=name.replace("_", " ").capitalize(),
            description=" ".join((tool.__doc__ or "").split()),
            input_schema=schemas.input_schema(name) or {},
            output_schema=schemas.output_schema(name),
            annotations=types.ToolAnnotations(
                read_only_hint=name in READ_ONLY,
                destructive_hint=False,
                idempotent_hint=name in READ_ONLY,
                open_world_hint=False,
            ),
        )
        for name, tool in TOOLS.items()
    ]


async def _call_tool(
    rest: Rest, ctx: Context, params: types.CallToolRequestParams
) -> types.CallToolResult | Json:
    if params.name not in TOOLS:
        names = ", ".join(TOOLS)
        raise MCPError(types.INVALID_PARAMS, f"There is no such tool; there are {names}.")
    try:
        if refusal := get_refusal(ctx.params):
            raise refusal
        given = await in_thread(_check_arguments, params.name, params.arguments or {})
        if tasks.are_offered(ctx) and params.name in WAITING:
            return await _call_waiting_tool(rest, ctx, params.name, given)
        result = await TOOLS[params.name](rest, given, ctx.session.report_progress)
    except APIException as error:
        return as_result(Refused.from_error(error).problem, is_error=True)
    except Refused as refused:
        problem = as_result(_rename_headers(refused.problem), is_error=True)
        if refused.answered_at:
            # The structured content stays the same; a model does not see headers.
            note = f"This is the answer of {refused.answered_at}: the call was not run again."
            problem.content.append(types.TextContent(type="text", text=note))
        return problem
    return as_result(result)


async def _call_waiting_tool(
    rest: Rest, ctx: Context, name: str, given: Json
) -> types.CallToolResult | Json:
    """Call a tool, and answer with a handle as long as people have to decide."""
    if name == "wait_for_decision":
        given = {**given, "timeout_seconds": 0}  # the client waits, for as long as it likes
    result = await TOOLS[name](rest, given, ctx.session.report_progress)
    task = result.get("task") or await _read_awaiting(rest, result)
    if task is None or not waits(task):
        return as_result(result)
    note = "Nobody can decide now." if result.get("eligible") == 0 else ""
    return build_handle(name, task, note=note).as_handle()


async def _read_awaiting(rest: Rest, routed: Json) -> Json | None:
    """The task that was routed, if people have to approve it."""
    if routed["status"] != Task.Status.AWAITING_APPROVAL:
        return None
    try:
        return await in_thread(rest.get, f"/tasks/{routed['task_id']}")
    except Refused:
        return None  # it is routed all the same, and the client must learn its id


def _check_arguments(tool: str, arguments: Json) -> Json:
    """Validate the arguments and return them without nulls. Raises ValidationError."""
    # Not the validated values: the API must receive exactly what the caller sent.
    schemas.ARGUMENTS[tool](data=arguments).is_valid(raise_exception=True)
    return {name: value for name, value in arguments.items() if value is not None}


def _rename_headers(problem: Json) -> Json:
    """Name arguments instead of the headers that they became."""
    for each in problem.get("errors", ()):
        each["field"] = ARGUMENT_OF_HEADER.get(each["field"], each["field"])
    return problem


def _pop_headers(given: Json) -> dict[str, str]:
    """Remove from ``given`` what REST takes as headers, and return these headers."""
    # Without a key, each call is a new one.
    key = given.pop("idempotency_key", None) or str(uuid4())
    headers = {"Idempotency-Key": '"' + re.sub(r'(["\\])', r"\\\1", key) + '"'}
    if session_id := given.pop("session_id", None):
        headers["X-Session-Id"] = session_id
    return headers


def _status(state: str, session: Json | None, tasks: list[Json], total: int) -> Json:
    approvals = [approval for task in tasks for approval in task["approvals"]]
    return {
        "state": state,
        "session": session,
        "tasks": tasks,
        "total": total,
        "approvals": approvals,
    }


async def _wait_until_decided(
    rest: Rest, task: Json, seconds: float, position: int, report_progress: ReportProgress
) -> None:
    """Return when ``task`` waits for nobody any more, or after ``seconds``."""
    began = time.monotonic()
    while waits(task) and not subscriptions.closing:
        passed = time.monotonic() - began
        if passed >= seconds:
            return
        # Clients may extend their timeouts on progress; a silent wait would be given up.
        await report_progress(passed, seconds, f"Waiting for {list_awaited_roles(task)}.")
        about = [task["task_id"], *(approval["approval_id"] for approval in task["approvals"])]
        pause = min(PROGRESS_SECONDS, seconds - passed)
        if await subscriptions.wait_for(about, since=position, timeout=pause):
            position = subscriptions.position()
            task = await in_thread(rest.get, f"/tasks/{task['task_id']}")
