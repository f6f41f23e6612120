"""Calls through the gateway of clients that speak MCP's Tasks extension."""

from contextlib import asynccontextmanager
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp_types import EmptyResult

from approvals_app.decisions import operations as decisions
from audit_app.base.actors import Actor
from sessions_app.models import Task
from tests.factories import AgentFactory, approve_task, policy, the_approval
from tests.gateway.conftest import Caller
from tests.protocol.test_mcp_tasks import Cancel, Handle, Tasks, aside, get, start


@pytest.fixture
def connect(port, upstream):
    def connect_as(agent) -> Caller:
        @asynccontextmanager
        async def connect() -> Any:
            headers = {"Authorization": f"Bearer {agent.key}"}
            async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
                url = f"http://127.0.0.1:{port}/gateway/notebook/mcp"
                transport = streamable_http_client(url, http_client=http)
                async with Client(transport, extensions=[Tasks()]) as client:
                    yield client

        return Caller(connect)

    return connect_as


@pytest.fixture
def tasks(connect, bot):
    """The notebook as bot's client has it."""
    return connect(bot)


def text_of(result) -> str:
    return " ".join(each.text for each in result.content)


def test_a_model_calls_once_and_gets_the_tools_result(tasks, alice, notebook):
    async def work(client: Any) -> Any:
        async def approve() -> None:
            while not (task := await aside(Task.objects.first)):
                await anyio.sleep(0.05)
            await aside(lambda: approve_task(task, by=alice))

        async with anyio.create_task_group() as group:
            group.start_soon(approve)
            return await client.call_tool("write", {"text": "tea"})

    assert text_of(tasks.run(work)) == "wrote tea"
    assert notebook.calls_made == [{"write": "tea", "page": 1}]
    assert Task.objects.get().status == "completed"


def test_the_handle_is_the_task_and_a_repetition_gets_it_again(tasks, alice, notebook):
    async def work(client: Any) -> Any:
        first, again = [await start(client, "write", text="tea") for _ in range(2)]
        waiting = await get(client.session, first.task_id)
        await aside(lambda: approve_task(Task.objects.get(), by=alice))
        while (after := await get(client.session, first.task_id)).result is None:
            await anyio.sleep(0.05)
        return first, again, waiting, after, await get(client.session, first.task_id)

    first, again, waiting, after, later = tasks.run(work)
    task = Task.objects.get()
    assert isinstance(first, Handle)
    assert first.task_id == again.task_id == str(task.pk)
    assert first.status_message == "write has not run: it waits for approval by finance."
    assert waiting.status == "working"
    assert text_of(after.result) == text_of(later.result) == "wrote tea"
    assert notebook.calls_made == [{"write": "tea", "page": 1}]


def test_what_passes_needs_no_handle(tasks, notebook):
    policy("notes pass", "approve", when={"task_type": "mcp.notebook.*"})
    result = tasks.run(lambda client: start(client, "write", text="tea"))
    assert text_of(result) == "wrote tea"


def test_a_rejection_is_the_result(tasks, alice, notebook):
    async def work(client: Any) -> Any:
        handle = await start(client, "write", text="tea")
        approval = await aside(lambda: the_approval(Task.objects.get()))
        given = {"payload_digest": approval.payload_digest, "notes": "No tea."}
        await aside(lambda: decisions.reject(approval.pk, by=Actor.human(alice), **given))
        return await get(client.session, handle.task_id)

    details = tasks.run(work)
    assert details.status == "completed"
    assert details.result.is_error
    assert text_of(details.result) == "Not run: the call of write was rejected. alice: No tea."
    assert notebook.calls_made == []


def test_a_client_takes_its_request_back(tasks, notebook):
    async def work(client: Any) -> Any:
        handle = await start(client, "write", text="tea")
        cancel = Cancel(params={"taskId": handle.task_id})
        await client.session.send_request(cancel, EmptyResult)
        return await get(client.session, handle.task_id)

    details = tasks.run(work)
    assert details.result.is_error
    assert Task.objects.get().status == "cancelled"


def test_nobody_elses_handle_is_known(tasks, connect):
    handle = tasks.run(lambda client: start(client, "write", text="tea"))
    stranger = connect(AgentFactory(roles=["support-agent"]))

    async def look(client: Any) -> Any:
        with pytest.raises(MCPError, match="You have no such task"):
            await get(client.session, handle.task_id)

    stranger.run(look)
