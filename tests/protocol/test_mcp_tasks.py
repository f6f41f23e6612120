"""MCP's Tasks extension (SEP-2663), spoken by the SDK's own client over HTTP and stdio."""

import sys
from contextlib import asynccontextmanager
from typing import Any, Literal
from uuid import uuid4

import anyio
import httpx2
import mcp_types as types
import pytest
from django.db import connections
from mcp import Client, StdioServerParameters
from mcp.client.extension import ClaimContext, ClientExtension, ResultClaim
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from approvals_app.decisions import operations as approval_operations
from audit_app.base.actors import Actor
from orchestrator.mcp.tasks import EXTENSION
from sessions_app.models import Task
from sessions_app.tasks.operations import revise_task
from tests.factories import AgentFactory, TaskFactory, approve_task, policy, the_approval
from tests.protocol.test_mcp import ROOT, WIRE, Caller, over_http, port  # noqa: F401
from tests.serving import client_of, on_the_tests_database


class Handle(types.Result):
    """What the extension calls CreateTaskResult."""

    result_type: Literal["task"]
    task_id: str
    status: str
    status_message: str = ""
    ttl_ms: int | None
    poll_interval_ms: int
    created_at: str
    last_updated_at: str


class Details(Handle):
    """A task as ``tasks/get`` describes it."""

    result_type: Literal["complete"]  # type: ignore[assignment]
    result: types.CallToolResult | None = None
    error: dict[str, Any] | None = None


class Get(types.Request[dict[str, Any], Literal["tasks/get"]]):
    method: Literal["tasks/get"] = "tasks/get"
    name_param = "taskId"


class Cancel(types.Request[dict[str, Any], Literal["tasks/cancel"]]):
    method: Literal["tasks/cancel"] = "tasks/cancel"
    name_param = "taskId"


class Update(types.Request[dict[str, Any], Literal["tasks/update"]]):
    method: Literal["tasks/update"] = "tasks/update"
    name_param = "taskId"


async def get(session: Any, task_id: str) -> Details:
    return await session.send_request(Get(params={"taskId": task_id}), Details)


async def poll(handle: Handle, ctx: ClaimContext) -> types.CallToolResult:
    """Ask until the call has its result, as a client's SDK would do for the model."""
    while True:
        details = await get(ctx.session, handle.task_id)
        if details.result is not None:
            return details.result
        assert details.status == "working"
        await anyio.sleep(0.05)


class Tasks(ClientExtension):
    identifier = EXTENSION

    def claims(self) -> Any:
        return [ResultClaim(result_type="task", model=Handle, resolve=poll)]


@asynccontextmanager
async def connect_http(port: int, key: str) -> Any:  # noqa: F811
    headers = {"Authorization": f"Bearer {key}"}
    async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
        transport = streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http)
        async with Client(transport, extensions=[Tasks()]) as client:
            yield client


@asynccontextmanager
async def connect_stdio(key: str) -> Any:
    parameters = StdioServerParameters(
        command=sys.executable,
        args=["manage.py", "mcp"],
        cwd=ROOT,
        env=on_the_tests_database(0, ORCHESTRATOR_KEY=key),
    )
    async with Client(parameters, extensions=[Tasks()]) as client:
        yield client


@pytest.fixture(params=["http", "stdio"])
def calling(request, port):  # noqa: F811
    """``calling(agent)``: its tools with handles, over each transport."""
    if request.param == "stdio":
        return lambda agent: Caller(lambda: connect_stdio(agent.key))
    return lambda agent: Caller(lambda: connect_http(port, agent.key))


@pytest.fixture
def bots(port, bot):  # noqa: F811
    return Caller(lambda: connect_http(port, bot.key))


async def aside(function: Any) -> Any:
    """Run ``function``, which asks the database, in a thread that keeps no connection."""

    def run() -> Any:
        try:
            return function()
        finally:
            connections.close_all()

    return await anyio.to_thread.run_sync(run)


async def start(client: Any, tool: str, **arguments: Any) -> Any:
    """The handle, or the result where there is none."""
    return await client.session.call_tool(tool, arguments, allow_claimed=True)


class TestSendTask:
    def test_the_client_gets_a_handle_and_then_the_decision(self, calling, bot, alice):
        async def work(client: Any) -> Any:
            handle = await start(client, "send_task", target="finance", task=WIRE)
            before = await get(client.session, handle.task_id)
            task = await aside(Task.objects.get)
            await aside(lambda: approve_task(task, by=alice))
            return handle, before, await get(client.session, handle.task_id)

        handle, before, after = calling(bot).run(work)
        task = Task.objects.get()
        assert isinstance(handle, Handle)
        assert (handle.status, before.status) == ("working", "working")
        assert "Waiting for finance." in handle.status_message
        assert (handle.ttl_ms, handle.poll_interval_ms) == (None, 5000)
        assert after.status == "completed"
        assert after.result.structured_content == {
            "task_id": str(task.pk),
            "status": "approved",
            "trace_id": str(task.trace_id),
            "eligible": None,
        }

    def test_a_model_calls_the_tool_once_and_learns_the_outcome(self, calling, bot, alice):
        async def work(client: Any) -> Any:
            async def approve() -> None:
                while not (task := await aside(Task.objects.first)):
                    await anyio.sleep(0.05)
                await aside(lambda: approve_task(task, by=alice))

            async with anyio.create_task_group() as group:
                group.start_soon(approve)
                return await client.call_tool("send_task", {"target": "finance", "task": WIRE})

        result = calling(bot).run(work)
        assert result.structured_content["status"] == "approved"

    def test_what_needs_nobody_has_no_handle(self, calling, bot):
        policy(then="approve")
        result = calling(bot).run(
            lambda client: start(client, "send_task", target="finance", task=WIRE)
        )
        assert result.structured_content["status"] == "approved"

    def test_a_refused_call_has_no_handle(self, calling, bot):
        result = calling(bot).run(lambda client: start(client, "send_task", target="finance"))
        assert result.is_error

    def test_to_cancel_the_call_is_to_cancel_the_task(self, calling, bot):
        async def work(client: Any) -> Any:
            handle = await start(client, "send_task", target="finance", task=WIRE)
            params = {"taskId": handle.task_id}
            for _ in range(2):  # the second changes nothing
                await client.session.send_request(Cancel(params=params), types.EmptyResult)
            return await get(client.session, handle.task_id)

        assert calling(bot).run(work).status == "cancelled"
        assert Task.objects.get().status == "cancelled"
        assert the_approval(Task.objects.get()).status == "withdrawn"

    def test_what_is_approved_is_not_cancelled(self, bots, alice):
        async def work(client: Any) -> Any:
            handle = await start(client, "send_task", target="finance", task=WIRE)
            task = await aside(Task.objects.get)
            await aside(lambda: approve_task(task, by=alice))
            cancel = Cancel(params={"taskId": handle.task_id})
            await client.session.send_request(cancel, types.EmptyResult)

        bots.run(work)
        assert Task.objects.get().status == "approved"


class TestWaitForDecision:
    def test_it_is_answered_at_once_with_a_handle(self, calling, bot, alice):
        task = TaskFactory(agent=bot)

        async def work(client: Any) -> Any:
            handle = await start(client, "wait_for_decision", task_id=str(task.pk))
            await aside(lambda: approve_task(task, by=alice))
            return handle, await get(client.session, handle.task_id)

        handle, after = calling(bot).run(work)
        assert handle.status == "working"
        decision = after.result.structured_content
        assert (decision["decided"], decision["task"]["status"]) == (True, "approved")

    def test_what_is_decided_has_no_handle(self, bots, bot, alice):
        task = approve_task(TaskFactory(agent=bot), by=alice)
        result = bots.run(lambda client: start(client, "wait_for_decision", task_id=str(task.pk)))
        assert result.structured_content["decided"] is True

    def test_to_cancel_it_leaves_the_task(self, calling, bot):
        task = TaskFactory(agent=bot)

        async def work(client: Any) -> Any:
            handle = await start(client, "wait_for_decision", task_id=str(task.pk))
            cancel = Cancel(params={"taskId": handle.task_id})
            return await client.session.send_request(cancel, types.EmptyResult)

        calling(bot).run(work)
        assert Task.objects.get(pk=task.pk).status == "awaiting_approval"

    def test_a_request_for_changes_completes_it_and_a_revision_is_another_question(
        self, bots, bot, alice
    ):
        task = TaskFactory(agent=bot)
        approval = the_approval(task)

        def ask_for_changes() -> None:
            approval_operations.request_changes(
                approval.pk,
                by=Actor.human(alice),
                payload_digest=approval.payload_digest,
                message="Half of it.",
            )

        def revise() -> None:
            revise_task(task.pk, by=bot.as_actor(), data={"amount": "450.00"})

        async def work(client: Any) -> Any:
            handle = await start(client, "wait_for_decision", task_id=str(task.pk))
            await aside(ask_for_changes)
            changes = await get(client.session, handle.task_id)
            await aside(revise)
            old = await get(client.session, handle.task_id)
            new = await start(client, "wait_for_decision", task_id=str(task.pk))
            return changes, old, new

        changes, old, new = bots.run(work)
        assert changes.status == "completed"
        assert changes.result.structured_content["changes_requested"] is True
        assert old.status == "completed"
        assert new.status == "working"


class TestWhoMayAsk:
    UNKNOWN = ["x", "", "wait_for_decision.{task}.2", "wait_for_decision.{other}.1", "{task}"]

    @pytest.mark.parametrize("request_type", [Get, Cancel, Update])
    @pytest.mark.parametrize("unknown", UNKNOWN)
    def test_an_id_that_there_is_not(self, bots, bot, request_type, unknown):
        task_id = unknown.format(task=TaskFactory(agent=bot).pk, other=uuid4())
        error = bots.run(lambda client: get_refusal(client, request_type, task_id))
        assert (error.code, error.message) == (types.INVALID_PARAMS, "You have no such task.")

    @pytest.mark.parametrize("request_type", [Get, Cancel, Update])
    def test_a_handle_of_somebody_else(self, calling, port, bot, request_type):  # noqa: F811
        theirs = TaskFactory(agent=AgentFactory(roles=["marketing"]))
        task_id = f"send_task.{theirs.pk}.1"
        error = calling(bot).run(lambda client: get_refusal(client, request_type, task_id))
        assert (error.code, error.message) == (types.INVALID_PARAMS, "You have no such task.")
        assert Task.objects.get(pk=theirs.pk).status == "awaiting_approval"

    def test_who_sees_a_task_but_did_not_send_it_does_not_cancel_it(self, bots, bot):
        task = TaskFactory(agent=AgentFactory(roles=["marketing"]), target=bot.roles[0])
        task_id = f"send_task.{task.pk}.1"
        error = bots.run(lambda client: get_refusal(client, Cancel, task_id))
        assert error.data["code"] == "not_router"
        assert Task.objects.get(pk=task.pk).status == "awaiting_approval"

    def test_answers_that_nobody_asked_for_are_ignored(self, bots, bot):
        task_id = f"wait_for_decision.{TaskFactory(agent=bot).pk}.1"
        update = Update(params={"taskId": task_id, "inputResponses": {"x": {}}})
        bots.run(lambda client: client.session.send_request(update, types.EmptyResult))


async def get_refusal(client: Any, request_type: Any, task_id: str) -> Any:
    params = {"taskId": task_id, **({"inputResponses": {}} if request_type is Update else {})}
    with pytest.raises(MCPError) as refusal:
        await client.session.send_request(request_type(params=params), types.EmptyResult)
    return refusal.value.error


class TestWithoutTheExtension:
    def test_nothing_changes(self, port, bot):  # noqa: F811
        for mode in ("auto", "legacy"):
            caller = over_http(port, bot.key, mode)
            sent = caller.expect_result("send_task", target="finance", task=WIRE)
            assert sent["status"] == "awaiting_approval"
            waited = caller.expect_result(
                "wait_for_decision", task_id=sent["task_id"], timeout_seconds=1
            )
            assert waited["decided"] is False

    def test_its_methods_name_what_is_missing(self, port, bot):  # noqa: F811
        task_id = f"send_task.{TaskFactory(agent=bot).pk}.1"
        caller = over_http(port, bot.key)
        error = caller.run(lambda client: get_refusal(client, Get, task_id))
        assert error.code == types.MISSING_REQUIRED_CLIENT_CAPABILITY
        assert error.data == {"requiredCapabilities": {"extensions": {EXTENSION: {}}}}

    def test_the_ways_of_2025_do_not_have_them(self, port, bot):  # noqa: F811
        caller = over_http(port, bot.key, "legacy")
        error = caller.run(lambda client: get_refusal(client, Get, "x"))
        assert error.code == types.METHOD_NOT_FOUND


class TestTheHeader:
    @pytest.mark.parametrize("name", [None, "another"])
    def test_it_must_name_the_task(self, port, bot, name):  # noqa: F811
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {"extensions": {EXTENSION: {}}},
        }
        body = {
            "jsonrpc": "2.0",
            "id": 1,
            "method": "tasks/get",
            "params": {"taskId": "x", "_meta": meta},
        }
        headers = {
            "Authorization": f"Bearer {bot.key}",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": "2026-07-28",
            "Mcp-Method": "tasks/get",
            **({"Mcp-Name": name} if name else {}),
        }
        with client_of(port, headers=headers) as client:
            response = client.post("/mcp", json=body)
        assert (response.status_code, response.json()["error"]["code"]) == (400, -32020)
