"""The MCP server that agents see: what the upstream offers, and a gate before each tool."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, ParamSpec, TypeVar
from uuid import UUID

import anyio
import anyio.to_thread
import mcp_types as types
import orjson
import structlog
from django.conf import settings
from django.db import DatabaseError, connections
from mcp import Client
from mcp.server import Server, ServerRequestContext
from mcp.shared.exceptions import MCPError
from rest_framework.exceptions import APIException

from audit_app.base import tracing
from audit_app.base.actors import Actor
from audit_app.base.errors import OrchestratorError
from audit_app.live.long_poll import waiter_limits
from audit_app.live.subscriptions import subscriptions
from orchestrator import __version__
from orchestrator.gateway import calls, pool
from orchestrator.gateway.calls import ToolCall
from orchestrator.gateway.models import Upstream
from orchestrator.mcp import tasks
from orchestrator.mcp.messages import get_refusal
from sessions_app.models import Task
from sessions_app.tasks import operations

log = structlog.get_logger("orchestrator.gateway")

P = ParamSpec("P")
R = TypeVar("R")
Context = ServerRequestContext[Any, Any]

OWN_KEY = "orchestrator/idempotency-key"
"""The member of ``_meta`` by which a client says which calls are the same."""

TASK = "orchestrator/task"
"""The member of a result's ``_meta`` that names the task and its digests."""

PROGRESS_SECONDS = 2.0
RUN_GRACE_SECONDS = 5.0
"""How much longer than GATEWAY_HOLD a call is held that was approved and is running."""

ENDED = {
    Task.Status.REJECTED: "was rejected",
    Task.Status.EXPIRED: "expired before it was approved and run",
    Task.Status.CANCELLED: "was cancelled",
}


@dataclass(frozen=True, slots=True)
class Visit:
    """One request of an agent to one upstream."""

    upstream: Upstream
    actor: Actor
    trace_id: UUID
    session_id: UUID | None = None
    renew: "Callable[[], Visit] | None" = None
    """Checks again who calls, where one visit makes many requests (stdio)."""

    @property
    def agent(self) -> str:
        return self.actor.id


Find = Callable[[Context], Visit]
FindVisit = Callable[[Context], Awaitable[Visit]]
_running: set["asyncio.Task[Any]"] = set()
"""Calls that run, whether their caller still waits or not."""


async def build_server(visit: Visit, find: Find) -> Server[Any]:
    """Build a server that offers what the upstream of ``visit`` offers. ``find`` says whose request
    a context is. Raises UpstreamAway."""

    async def answer(client: Client) -> types.InitializeResult:
        return types.InitializeResult(
            protocol_version=client.protocol_version,
            capabilities=client.server_capabilities,
            server_info=client.server_info
            or types.Implementation(name=visit.upstream.name, version=""),
            instructions=client.instructions,
        )

    offer = await pool.ask(visit.upstream, visit.agent, answer)
    offered, handlers = offer.capabilities, _Handlers(find)
    given: dict[str, Any] = {}
    if offered.tools:
        given |= {"on_list_tools": handlers.list_tools, "on_call_tool": handlers.call_tool}
    if offered.resources:
        given |= {
            "on_list_resources": handlers.list_resources,
            "on_list_resource_templates": handlers.list_resource_templates,
            "on_read_resource": handlers.read_resource,
        }
    if offered.prompts:
        given |= {"on_list_prompts": handlers.list_prompts, "on_get_prompt": handlers.get_prompt}
    if offered.completions:
        given["on_completion"] = handlers.complete
    server: Server[Any] = Server(
        offer.server_info.name,
        version=offer.server_info.version or __version__,
        title=offer.server_info.title,
        instructions=offer.instructions,
        get_tool_input_schema=lambda tool: None,  # the upstream validates
        **given,
    )
    if offered.tools:
        from orchestrator.gateway.handles import Handles  # which stands on this module

        tasks.offer_tasks(server, Handles(handlers.find_visit))
    return server


class _Handlers:
    """What passes through as it is, and ``call_tool``."""

    def __init__(self, find: Find) -> None:
        self._find = find

    async def find_visit(self, ctx: Context) -> Visit:
        """Raises MCPError where who called may no longer."""
        visit = self._find(ctx)
        if visit.renew is None:
            return visit
        try:
            return await in_thread(visit.renew)
        except (OrchestratorError, APIException) as error:
            raise MCPError(types.INVALID_REQUEST, str(error)) from error

    async def _ask(self, ctx: Context, answer: Callable[[Client], Awaitable[Any]]) -> Any:
        visit = await self.find_visit(ctx)
        try:
            return await pool.ask(visit.upstream, visit.agent, answer)
        except pool.UpstreamAway as away:
            raise MCPError(types.INTERNAL_ERROR, _describe_away(visit.upstream, away)) from away

    async def list_tools(self, ctx: Context, params: Any) -> Any:
        return await self._ask(ctx, lambda client: client.session.list_tools(params=_page(params)))

    async def list_resources(self, ctx: Context, params: Any) -> Any:
        return await self._ask(
            ctx, lambda client: client.session.list_resources(params=_page(params))
        )

    async def list_resource_templates(self, ctx: Context, params: Any) -> Any:
        return await self._ask(
            ctx, lambda client: client.session.list_resource_templates(params=_page(params))
        )

    async def read_resource(self, ctx: Context, params: types.ReadResourceRequestParams) -> Any:
        return await self._ask(ctx, lambda client: client.session.read_resource(params.uri))

    async def list_prompts(self, ctx: Context, params: Any) -> Any:
        return await self._ask(
            ctx, lambda client: client.session.list_prompts(params=_page(params))
        )

    async def get_prompt(self, ctx: Context, params: types.GetPromptRequestParams) -> Any:
        return await self._ask(
            ctx, lambda client: client.session.get_prompt(params.name, params.arguments)
        )

    async def complete(self, ctx: Context, params: types.CompleteRequestParams) -> Any:
        given = params.context.arguments if params.context else None
        argument = {"name": params.argument.name, "value": params.argument.value}
        return await self._ask(
            ctx, lambda client: client.session.complete(params.ref, argument, given)
        )

    async def call_tool(self, ctx: Context, params: types.CallToolRequestParams) -> Any:
        visit = await self.find_visit(ctx)
        tracing.current.set(visit.trace_id)
        try:
            if refusal := get_refusal(ctx.params):
                raise refusal
            return await Guarded(visit, ctx, _read_call(visit, params)).answer()
        except (OrchestratorError, APIException) as error:
            return _refuse(str(getattr(error, "detail", error)))


def find_http_visit(ctx: Context) -> Visit:
    """The visit of a request over HTTP."""
    assert ctx.request is not None
    visit: Visit = ctx.request.scope["visit"]
    return visit


CALLS = _Handlers(find_http_visit).call_tool
"""Answers tool calls over HTTP, of whichever upstream."""


def _page(params: types.PaginatedRequestParams | None) -> types.PaginatedRequestParams | None:
    """Only the cursor: the rest of the request was meant for us."""
    return types.PaginatedRequestParams(cursor=params.cursor) if params else None


def _read_call(visit: Visit, params: types.CallToolRequestParams) -> ToolCall:
    """Raises MCPError."""
    if not calls.TOOL_NAME.fullmatch(params.name):
        reason = "A tool's name has 1 to 100 letters, digits, or _ . / - of ASCII."
        raise MCPError(types.INVALID_PARAMS, reason)
    own_key = (params.meta or {}).get(OWN_KEY)
    if own_key is not None and not (isinstance(own_key, str) and 0 < len(own_key) <= 255):
        raise MCPError(types.INVALID_PARAMS, f"{OWN_KEY} must be a text of 1 to 255 characters.")
    return ToolCall(
        upstream=visit.upstream,
        tool=params.name,
        arguments=params.arguments or {},
        trace_id=visit.trace_id,
        session_id=visit.session_id,
        own_key=own_key,
    )


class Guarded:
    """One tool call: judged, held while people decide, run once, answered."""

    def __init__(self, visit: Visit, ctx: Context, call: ToolCall) -> None:
        self.visit, self.ctx, self.call = visit, ctx, call
        self.by = visit.actor
        self.began = time.monotonic()
        self.hold = settings.GATEWAY_HOLD.total_seconds()
        # Without a token nobody hears of progress, and nobody needs to be woken for it.
        self.has_token = "progressToken" in (ctx.meta or {}) or "progress_token" in (ctx.meta or {})
        self.told = 0.0
        """The progress that was reported last: it never goes back."""

    async def answer(self) -> types.CallToolResult | dict[str, Any]:
        """The tool's result, a refusal, a handle (where the client speaks the Tasks extension), or
        how to come back.

        Raises OrchestratorError, and MCPError where the upstream answers with an error.
        """
        opened = await in_thread(calls.open_call, self.call, by=self.by)
        if opened.runs_now:
            return await self._run(opened.task)
        if tasks.are_offered(self.ctx):
            return await self._give_handle(opened.task)
        return await self._wait(opened.task)

    async def _give_handle(self, task: Task) -> types.CallToolResult | dict[str, Any]:
        from orchestrator.gateway.handles import build_state  # which stands on this module

        if (outcome := await self.look(task)) is not None:
            return outcome
        message = await self.describe_wait(task, False)
        return build_state(task, "working", message=message).as_handle()

    async def look(self, task: Task) -> types.CallToolResult | None:
        """The outcome of the call, if there is one. One that was approved is started.

        Raises OrchestratorError, and MCPError where the upstream answered with an error.
        """
        standing = await in_thread(calls.find_standing, task.pk, by=self.by)
        task = standing.task
        if task.status in (Task.Status.COMPLETED, Task.Status.FAILED):
            return await self._repeat_outcome(task)
        if task.status in ENDED:
            return await self._refuse_ended(task)
        if task.status == Task.Status.APPROVED and not standing.has_started:
            return await self._start(task, is_polled=True)
        return await self._refuse_unchanged(task)

    def refuse(self, sentence: str) -> types.CallToolResult:
        """An error that says why nothing ran."""
        return _refuse(sentence)

    async def _wait(self, task: Task) -> types.CallToolResult:
        is_counted = False
        try:
            while True:
                position = subscriptions.position()  # before the rows, so that no event is missed
                standing = await in_thread(calls.find_standing, task.pk, by=self.by)
                task = standing.task
                if task.status in (Task.Status.COMPLETED, Task.Status.FAILED):
                    return await self._repeat_outcome(task)
                if task.status in ENDED:
                    return await self._refuse_ended(task)
                if (refusal := await self._refuse_unchanged(task)) is not None:
                    return refusal
                if task.status == Task.Status.APPROVED and not standing.has_started:
                    if (result := await self._start(task)) is not None:
                        return result
                    continue
                # Without room for another waiter, the answer comes at once.
                is_counted = is_counted or waiter_limits.acquire(str(self.by))
                left = self._seconds_left(standing.has_started)
                if not is_counted or left <= 0 or subscriptions.closing:
                    return await self._come_back(task, standing.has_started)
                await self._sleep(task, position, left, standing.has_started)
        finally:
            if is_counted:
                waiter_limits.release(str(self.by))

    def _seconds_left(self, has_started: bool) -> float:
        grace = RUN_GRACE_SECONDS if has_started else 0
        return self.hold + grace - (time.monotonic() - self.began)

    async def _sleep(self, task: Task, position: int, left: float, has_started: bool) -> None:
        """Return after the next event of ``task``, or when ``left`` seconds are over."""
        about = [str(task.pk)]
        if not has_started:
            about += await in_thread(calls.list_pending, task)  # for requests to change it
        if not self.has_token:
            await subscriptions.wait_for(about, since=position, timeout=left)
            return
        if has_started:
            message = "Running."
        else:
            roles = await in_thread(calls.list_awaited_roles, task)
            message = f"Waiting for {', '.join(roles)}." if roles else "Waiting for approval."
        until = time.monotonic() + left
        while (left := until - time.monotonic()) > 0:
            self.told = time.monotonic() - self.began
            await self.ctx.session.report_progress(self.told, None, message)
            pause = min(PROGRESS_SECONDS, left)
            if await subscriptions.wait_for(about, since=position, timeout=pause):
                return

    async def _start(self, task: Task, *, is_polled: bool = False) -> types.CallToolResult | None:
        """Run the approved call; None if another request runs it, or this one ``is_polled`` and
        the next will tell its outcome."""
        try:
            session = await pool.get_pool().acquire(self.visit.upstream, self.visit.agent)
        except pool.UpstreamAway as away:
            sentence = _describe_away(self.visit.upstream, away)
            return _refuse(f"{sentence} The approval is kept: call again with the same arguments.")
        try:
            started = await in_thread(calls.start_call, task.pk, by=self.by)
        except BaseException:
            session.release()
            raise
        if started is None:
            session.release()
            return None
        work = _detach(self._execute(started, session))
        return None if is_polled else await self._hold_running(started, work)

    async def _hold_running(
        self, task: Task, work: "asyncio.Task[types.CallToolResult]"
    ) -> types.CallToolResult:
        done, _ = await asyncio.wait({work}, timeout=max(0.0, self._seconds_left(True)))
        if not done:
            return await self._come_back(task, True)
        await in_thread(calls.hand_over, task.pk)
        return work.result()

    async def _run(self, task: Task) -> types.CallToolResult:
        """Run a call that passed: it is started already."""
        try:
            session = await pool.get_pool().acquire(self.visit.upstream, self.visit.agent)
        except pool.UpstreamAway as away:
            sentence = _describe_away(self.visit.upstream, away)
            error = {"code": "not_sent", "message": sentence}
            await in_thread(calls.finish_call, task.pk, by=self.by, error=error)
            return _refuse(sentence)
        return await asyncio.shield(_detach(self._execute(task, session)))

    async def _execute(self, task: Task, session: pool.Session) -> types.CallToolResult:
        """Call the upstream, record the outcome and release ``session``. Runs to its end whoever
        waits for it."""
        try:
            approved = calls.read_approved(task)
            result = await pool.call_tool(
                session, approved.tool, approved.arguments, self._pass_progress
            )
        except pool.OutcomeUnknown as unknown:
            error: dict[str, Any] = calls.describe_unknown(str(unknown))
            await self._record(task, error=error)
            return _describe(task, _refuse(error["message"]), "")
        except MCPError as error_:
            error = {"code": "upstream_error", "error": error_.error.model_dump(mode="json")}
            await self._record(task, error=error)
            raise
        finally:
            session.release()
        kept, digest = calls.record_result(result)
        if result.get("isError"):
            await self._record(task, error={"code": "tool_error", **kept}, result_digest=digest)
        else:
            await self._record(task, result=kept, result_digest=digest)
        return _describe(task, _tell_edit(approved, result), digest)

    async def _record(self, task: Task, **outcome: Any) -> None:
        try:
            await in_thread(calls.finish_call, task.pk, by=self.by, **outcome)
        except (OrchestratorError, DatabaseError) as failure:
            # It was cancelled while it ran, or the database is away and the outcome will be called
            # unknown. The agent gets the result nevertheless: the tool did run.
            log.warning("gateway", task=str(task.pk), failure=str(failure))

    async def _pass_progress(
        self, progress: float, total: float | None, message: str | None
    ) -> None:
        base = self.told
        # Whoever called may have gone.
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self.ctx.session.report_progress(
                base + progress, base + total if total is not None else None, message
            )

    async def _hand_over(self, task: Task, result: types.CallToolResult) -> types.CallToolResult:
        await in_thread(calls.hand_over, task.pk)
        return result

    async def _repeat_outcome(self, task: Task) -> types.CallToolResult:
        """The recorded outcome of a call that ran. Raises MCPError where it was one."""
        recorded = task.result if task.status == Task.Status.COMPLETED else task.error
        recorded = recorded if isinstance(recorded, dict) else {}
        await in_thread(calls.hand_over, task.pk)
        if isinstance(recorded.get("error"), dict):
            raise MCPError.from_error_data(types.ErrorData.model_validate(recorded["error"]))
        if isinstance(recorded.get("result"), dict):
            approved = calls.read_approved(task)
            result = _tell_edit(approved, recorded["result"])
            return _describe(task, result, recorded.get("result_digest", ""))
        told = recorded.get("message") or recorded.get("left_out") or "The agent reported on it."
        return _describe(task, _refuse(f"This call ran once already. {told}"), "")

    async def _refuse_ended(self, task: Task) -> types.CallToolResult:
        sentence = f"Not run: the call of {self.call.tool} {ENDED[Task.Status(task.status)]}."
        notes = await in_thread(lambda: list(calls.find_notes(task)))
        if task.verdict == "refuse":
            sentence = f"Not run: a policy refuses {self.call.tool}. {task.why}"
        elif notes:
            sentence = f"{sentence} {'; '.join(notes)}"
        return await self._hand_over(task, _describe(task, _refuse(sentence), ""))

    async def _refuse_unchanged(self, task: Task) -> types.CallToolResult | None:
        """Where a reviewer wants another call instead: what they wrote. The request is taken back,
        since only its agent could revise it, and does so by that other call."""
        if task.status != Task.Status.AWAITING_APPROVAL:
            return None
        wanted = await in_thread(calls.find_wanted_changes, task)
        if not wanted:
            return None
        reason = "The agent was told of the changes that a reviewer wants."
        await in_thread(operations.cancel, task.pk, by=self.by, reason=reason)
        sentence = f"Not run: changes are wanted. {'; '.join(wanted)}"
        return await self._hand_over(task, _describe(task, _refuse(sentence), ""))

    async def describe_wait(self, task: Task, has_started: bool) -> str:
        """What a call waits for, in a sentence."""
        if has_started:
            return f"{self.call.tool} is running and has no result yet."
        roles = await in_thread(calls.list_awaited_roles, task)
        who = f" by {', '.join(roles)}" if roles else ""
        return f"{self.call.tool} has not run: it waits for approval{who}."

    async def _come_back(self, task: Task, has_started: bool) -> types.CallToolResult:
        tool, state = self.call.tool, await self.describe_wait(task, has_started)
        again = (
            f"Call {tool} again with exactly the same arguments to go on waiting: it is the same "
            f"request (task {task.pk}), and it runs once."
        )
        return _describe(task, _refuse(f"{state} {again}"), "")


def _tell_edit(approved: calls.Approved, result: dict[str, Any]) -> types.CallToolResult:
    """``result``; with a note, where a reviewer changed the call before it was approved."""
    told = types.CallToolResult.model_validate(result)
    if approved.is_edited:
        arguments = orjson.dumps(approved.arguments).decode()
        note = (
            "A reviewer changed this call before approving it. What ran is "
            f"{approved.tool} with {arguments}"
        )
        told.content = [*told.content, types.TextContent(type="text", text=note)]
    return told


def _describe(task: Task, result: types.CallToolResult, result_digest: str) -> types.CallToolResult:
    """``result`` with its task in ``_meta``."""
    about = {"task_id": str(task.pk), "status": task.status, "payload_digest": task.payload_digest}
    if result_digest:
        about["result_digest"] = result_digest
    result.meta = {**(result.meta or {}), TASK: about}
    return result


def _refuse(sentence: str) -> types.CallToolResult:
    # An error, since clients hold other results against the tool's output schema, and a model must
    # not take it for the tool's own.
    text = types.TextContent(type="text", text=sentence)
    return types.CallToolResult(content=[text], is_error=True)


def _describe_away(upstream: Upstream, away: pool.UpstreamAway) -> str:
    return f"{upstream.name} can't be reached: {away}"


def _detach(work: Any) -> "asyncio.Task[Any]":
    task: asyncio.Task[Any] = asyncio.get_running_loop().create_task(work)
    _running.add(task)
    task.add_done_callback(_forget)
    return task


def _forget(task: "asyncio.Task[Any]") -> None:
    _running.discard(task)
    if not task.cancelled():
        task.exception()  # recorded with the task; nobody may be waiting any more


async def wait_for_running() -> None:
    """Return once no call runs any more."""
    while _running:
        await asyncio.wait(_running)


async def in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Call ``function`` in a thread, which then holds no database connection."""
    return await anyio.to_thread.run_sync(partial(_release_after, function, *args, **kwargs))


def _release_after(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    try:
        return function(*args, **kwargs)
    finally:
        # The thread belongs to a pool that other calls share; it must not keep a connection.
        connections.close_all()
