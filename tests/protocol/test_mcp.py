"""The tools of the Model Context Protocol, called by the SDK's own client: over HTTP from a server
as operators run it, in both of the protocol's ways, and over a process's standard input."""

import json
import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import anyio
import httpx
import httpx2
import pytest
from mcp import Client, StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from approvals_app.decisions import deadlines
from approvals_app.decisions import operations as approval_operations
from audit_app.base.actors import Actor
from audit_app.models import RequestReceipt
from sessions_app import agents
from sessions_app.models import AgentSession, Task
from tests.database import as_superuser
from tests.factories import (
    OPS,
    AgentFactory,
    SessionFactory,
    TaskFactory,
    approve_task,
    find_approval,
    policy,
    session_in,
    the_approval,
)
from tests.serving import ROOT, client_of, free_port, gunicorn, on_the_tests_database

WIRE = {"task_type": "wire_transfer_approval", "data": {"amount": "900.00", "to": "DE89"}}
TOOLS = {"send_task", "request_approval", "notify", "fetch_status", "wait_for_decision"}


@pytest.fixture(scope="module")
def port(django_db_setup, django_db_blocker, tmp_path_factory):
    place = tmp_path_factory.mktemp("mcp")
    port = free_port()
    with django_db_blocker.unblock():
        env = on_the_tests_database(port, DATA_DIR=str(place))
    with gunicorn(place / "log", env):
        with client_of(port) as client:
            assert client.get("/status").status_code == 200
        yield port


class Caller:
    """An agent's model: each call is a connection of its own."""

    def __init__(self, connect: Any) -> None:
        self.connect = connect

    def __call__(self, tool: str, /, tell: Any = None, **arguments: Any) -> Any:
        return self.run(lambda client: client.call_tool(tool, arguments, progress_callback=tell))

    def run(self, work: Any) -> Any:
        async def connect_and_work() -> Any:
            async with self.connect() as client:
                return await work(client)

        return anyio.run(connect_and_work)

    def expect_result(self, tool: str, **arguments: Any) -> Any:
        """What the tool gives, which must not be a refusal."""
        result = self(tool, **arguments)
        assert not result.is_error, result.structured_content
        assert json.loads(result.content[0].text) == result.structured_content
        return result.structured_content

    def expect_problem(self, tool: str, **arguments: Any) -> Any:
        """The problem that the tool answers with."""
        result = self(tool, **arguments)
        assert result.is_error, result.structured_content
        problem = result.structured_content
        assert {"type", "title", "status", "detail", "code", "trace_id"} <= problem.keys()
        assert json.loads(result.content[0].text) == problem
        return problem


def over_http(port: int, key: str, mode: str = "auto") -> Caller:
    @asynccontextmanager
    async def connect() -> Any:
        headers = {"Authorization": f"Bearer {key}"}
        async with httpx2.AsyncClient(headers=headers, timeout=60) as http:
            transport = streamable_http_client(f"http://127.0.0.1:{port}/mcp", http_client=http)
            async with Client(transport, mode=mode) as client:
                yield client

    return Caller(connect)


def over_stdio(key: str) -> Caller:
    @asynccontextmanager
    async def connect() -> Any:
        parameters = StdioServerParameters(
            command=sys.executable,
            args=["manage.py", "mcp"],
            cwd=ROOT,
            env=on_the_tests_database(0, ORCHESTRATOR_KEY=key),
        )
        async with Client(parameters) as client:
            yield client

    return Caller(connect)


@pytest.fixture(params=["http", "http of 2025", "stdio"])
def calling(request, port):
    """``calling(agent)``: its tools, over each transport."""
    if request.param == "stdio":
        return lambda agent: over_stdio(agent.key)
    mode = "legacy" if "2025" in request.param else "auto"
    return lambda agent: over_http(port, agent.key, mode)


@pytest.fixture
def bots(port, bot):
    """The tools as bot calls them over HTTP."""
    return over_http(port, bot.key)


@pytest.fixture
def aside():
    """``aside(function)``: a Future of what it returns."""
    with ThreadPoolExecutor() as pool:
        yield pool.submit


class Heard:
    """What is told while a tool works."""

    def __init__(self) -> None:
        self.first = threading.Event()
        self.told: list[tuple[float, float, str]] = []

    async def __call__(self, progress: float, total: float, message: str) -> None:
        self.told.append((progress, total, message))
        self.first.set()


class TestEachTool:
    def test_all_five_say_what_they_take_and_give(self, calling, bot):
        tools = calling(bot).run(lambda client: client.list_tools()).tools
        assert {tool.name for tool in tools} == TOOLS
        for tool in tools:
            # Some clients hold refusals against it as well.
            assert {"$ref": "#/$defs/Problem"} in tool.output_schema["anyOf"]
            assert tool.description
            assert tool.input_schema["additionalProperties"] is False
            assert tool.output_schema["type"] == "object"

    def test_a_task_is_sent_and_waits_for_a_human(self, calling, bot):
        sent = calling(bot).expect_result(
            "send_task", target="finance", task=WIRE, context={"why": "rent"}
        )
        task = Task.objects.get(pk=sent["task_id"])
        assert sent == {
            "task_id": str(task.pk),
            "status": "awaiting_approval",
            "trace_id": str(task.trace_id),
            "eligible": 0,
        }
        assert (task.data, task.context) == (WIRE["data"], {"why": "rent"})

    def test_one_more_human_is_asked(self, bots, bot, api):
        task = TaskFactory(agent=bot)
        given = bots.expect_result(
            "request_approval", task_id=str(task.pk), approver_role="legal", reason="a contract"
        )
        approval = find_approval(task, "legal")
        assert given == api(bot).get(f"/approvals/{approval.pk}").json()
        assert given["reason"] == "a contract"

    def test_a_role_is_notified(self, bots, payer):
        sent = bots.expect_result(
            "notify", target="finance", message="The kettle is here.", priority="low"
        )
        task = Task.objects.get(pk=sent["task_id"])
        assert (sent["status"], task.task_type) == ("approved", "notification")
        assert (task.description, task.data) == ("The kettle is here.", {"priority": "low"})

    def test_the_state_of_a_task(self, bots, bot, api):
        task = TaskFactory(agent=bot)
        given = bots.expect_result("fetch_status", task_id=str(task.pk))
        told = api(bot).get(f"/tasks/{task.pk}").json()
        assert given == {
            "state": "awaiting_approval",
            "session": None,
            "tasks": [told],
            "total": 1,
            "approvals": told["approvals"],
        }

    def test_the_state_of_a_session_with_its_tasks(self, bots, bot, api):
        session = SessionFactory(agent=bot)
        for number in range(2):
            bots.expect_result(
                "send_task",
                target="finance",
                task=WIRE,
                session_id=str(session.pk),
                idempotency_key=f"wire {number}",
            )
        given = bots.expect_result("fetch_status", session_id=str(session.pk))
        told = api(bot).get(f"/sessions/{session.pk}/tasks").json()
        assert given["session"] == api(bot).get(f"/sessions/{session.pk}").json()
        assert (given["state"], given["tasks"], given["total"]) == ("pending", told["tasks"], 2)
        assert len(given["approvals"]) == 2


class TestRetries:
    def test_the_same_key_gets_the_same_task(self, calling, bot):
        call = calling(bot)
        first, again = (
            call.expect_result(
                "send_task", target="finance", task=WIRE, idempotency_key='the "rent"'
            )
            for _ in range(2)
        )
        assert first == again
        assert Task.objects.count() == 1

    def test_the_same_key_and_another_request(self, bots):
        bots.expect_result("notify", target="finance", message="One.", idempotency_key="k")
        problem = bots.expect_problem(
            "notify", target="finance", message="Two.", idempotency_key="k"
        )
        assert (problem["code"], problem["status"]) == ("idempotency_key_reused", 422)

    def test_the_key_is_the_same_as_over_rest(self, bots, bot, api):
        sent = bots.expect_result("send_task", target="finance", task=WIRE, idempotency_key="k")
        body = {"target": "finance", "task": WIRE}
        again = api(bot).post("/tasks/route", body, {"Idempotency-Key": "k"})
        assert again.json() == sent
        assert again.headers["Idempotent-Replayed"] == "true"

    def test_null_for_an_optional_argument_is_absence(self, bots):
        nothing = {"priority": None, "session_id": None, "idempotency_key": None}
        sent = bots.expect_result("notify", target="finance", message="Hi.", **nothing)
        assert Task.objects.get().data == {}
        seen = bots.expect_result("fetch_status", task_id=sent["task_id"], session_id=None)
        assert seen["state"] == "approved"
        bots.expect_result("wait_for_decision", task_id=sent["task_id"], timeout_seconds=None)
        task = {"task_type": "t", "description": None, "data": None}
        given = {"target": "finance", "task": task, "context": None, "on_behalf_of": None}
        bots.expect_result("send_task", **given)

    def test_a_repeated_refusal_says_that_it_is_an_earlier_answer(self, calling, bot):
        call, session = calling(bot), session_in(AgentSession.Status.FAILED, agent=bot)
        given = {"target": "finance", "message": "Hi.", "session_id": str(session.pk)}
        first, again = (call("notify", **given, idempotency_key="k") for _ in range(2))
        assert first.structured_content == again.structured_content
        assert first.structured_content["code"] == "session_closed"
        assert len(first.content) == 1
        at = RequestReceipt.objects.get().created_at.isoformat().replace("+00:00", "Z")
        note = f"This is the answer of {at}: the call was not run again."
        assert again.content[1].text == note

    def test_without_a_key_each_call_is_one_of_its_own(self, bots):
        bots.expect_result("notify", target="finance", message="Again.")
        bots.expect_result("notify", target="finance", message="Again.")
        assert Task.objects.count() == 2


class TestRefusals:
    def test_what_is_not_the_callers_is_not_there(self, calling, bot):
        theirs = TaskFactory(agent=AgentFactory(roles=["marketing"]))
        call = calling(bot)
        for task_id in (theirs.pk, uuid4()):
            problem = call.expect_problem("fetch_status", task_id=str(task_id))
            assert (problem["code"], problem["status"]) == ("not_found", 404)

    @pytest.mark.parametrize("tool", ["request_approval", "wait_for_decision"])
    def test_nothing_is_done_with_what_is_not_the_callers(self, bots, tool):
        theirs = TaskFactory(agent=AgentFactory(roles=["marketing"]))
        more = {"approver_role": "legal"} if tool == "request_approval" else {}
        assert bots.expect_problem(tool, task_id=str(theirs.pk), **more)["code"] == "not_found"

    def test_a_session_of_somebody_else(self, bots):
        problem = bots.expect_problem(
            "send_task", target="finance", task=WIRE, session_id=str(SessionFactory().pk)
        )
        assert problem["code"] == "unknown_session"
        assert problem["errors"][0]["field"] == "session_id"

    def test_a_role_that_the_session_speaks_for_and_the_agent_holds_no_more(self, bots, bot):
        session = SessionFactory(agent=bot)
        agents.change_agent(bot.pk, by=OPS, roles=["marketing"], owner_id=None, subject=None)
        problem = bots.expect_problem(
            "send_task", target="finance", task=WIRE, session_id=str(session.pk)
        )
        assert (problem["code"], problem["status"]) == ("role_not_held", 403)

    def test_a_task_that_waits_no_more(self, bots, bot, alice):
        task = approve_task(TaskFactory(agent=bot), by=alice)
        problem = bots.expect_problem(
            "request_approval", task_id=str(task.pk), approver_role="legal"
        )
        assert (problem["code"], problem["state"]) == ("task_not_waiting", "approved")

    def test_a_task_whose_time_is_over(self, bots, bot):
        task = TaskFactory(agent=bot)
        with as_superuser() as admin:
            admin.execute("SET session_replication_role = replica")
            admin.execute("UPDATE approvals SET expires_at = created_at + interval '1 us'")
        for _ in deadlines.expire_approvals(by=OPS, batch_size=10):
            pass
        problem = bots.expect_problem(
            "request_approval", task_id=str(task.pk), approver_role="legal"
        )
        assert (problem["code"], problem["state"]) == ("task_not_waiting", "expired")

    @pytest.mark.parametrize(
        ("tool", "arguments", "field"),
        [
            ("send_task", {"target": "finance"}, "task"),
            ("send_task", {"target": "finance", "task": {**WIRE, "x": 1}}, "task.x"),
            ("send_task", {"target": "finance", "task": WIRE, "taks": 1}, "taks"),
            ("send_task", {"target": 7, "task": WIRE}, "target"),
            ("send_task", {"target": "finance", "task": WIRE, "session_id": "x"}, "session_id"),
            (
                "send_task",
                {"target": "finance", "task": WIRE, "idempotency_key": "é"},
                "idempotency_key",
            ),
            ("request_approval", {"task_id": "x", "approver_role": "legal"}, "task_id"),
            ("notify", {"target": "finance", "message": "", "priority": "low"}, "message"),
            ("notify", {"target": "finance", "message": "m", "priority": "urgent"}, "priority"),
            ("fetch_status", {}, "task_id"),
            ("fetch_status", {"task_id": str(uuid4()), "session_id": str(uuid4())}, "task_id"),
            ("wait_for_decision", {"task_id": str(uuid4()), "timeout_seconds": 301},
             "timeout_seconds"),
            ("wait_for_decision", {"task_id": str(uuid4()), "timeout_seconds": "9"},
             "timeout_seconds"),
        ],
    )  # fmt: skip
    def test_an_argument_that_is_none_is_named(self, bots, tool, arguments, field):
        problem = bots.expect_problem(tool, **arguments)
        assert problem["status"] == 400
        assert problem["errors"][0]["field"] == field
        assert not Task.objects.exists()

    def test_a_tool_that_there_is_not(self, bots):
        async def call_unknown_tool(client: Any) -> str:
            with pytest.raises(MCPError) as refusal:
                await client.call_tool("approve", {"approval_id": str(uuid4())})
            return refusal.value.message

        assert bots.run(call_unknown_tool).startswith("There is no such tool; there are send_task,")

    def test_a_limit_that_is_reached(self, bot, tmp_path):
        port = free_port()
        env = on_the_tests_database(port, DATA_DIR=str(tmp_path), RATE_LIMIT_PER_MINUTE="1")
        with gunicorn(tmp_path / "log", env), client_of(port) as client:
            assert client.get("/status").status_code == 200
            caller = over_http(port, bot.key)
            codes = {
                result.structured_content.get("code")
                for result in [
                    caller("fetch_status", task_id=str(uuid4())),
                    caller("fetch_status", task_id=str(uuid4())),
                    caller("fetch_status", task_id=str(uuid4())),
                ]
            }
        assert codes == {"not_found", "throttled"}


CLIENT = {"name": "tests", "version": "1"}


def message(tool: str, arguments: str) -> str:
    """A call as it goes over the wire, in the way of 2025; ``arguments`` is its very text."""
    return (
        '{"jsonrpc": "2.0", "id": 7, "method": "tools/call", '
        f'"params": {{"name": "{tool}", "arguments": {arguments}}}}}'
    )


INEXACT = [
    ('{"target": "a", "target": "b", "task": {"task_type": "t"}}', "duplicate_name", "target"),
    (
        '{"target": "a", "task": {"task_type": "t", "data": {"n": 9007199254740993}}}',
        "inexact_number",
        "task.data.n",
    ),
    ('{"target": "a", "task": {"task_type": "t\\u0000"}}', "nul_character", "task.task_type"),
]


def post_raw(port: int, content: str, **headers: str) -> httpx.Response:
    accepted = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
    with client_of(port, headers=accepted) as client:
        return client.post("/mcp", content=content.encode(), headers=headers)


class TestTheHttpEndpoint:
    @pytest.mark.parametrize("given", [None, "Bearer ork_nobody", "Basic Ym90OmJvdA=="])
    def test_nobody_gets_in_without_valid_credentials(self, port, given):
        headers = {"Authorization": given} if given else {}
        response = post_raw(port, message("fetch_status", "{}"), **headers)
        assert response.status_code == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        assert response.headers["Content-Type"] == "application/problem+json"

    def test_a_persons_cookie_does_not_open_it(self, api, alice):
        assert api(user=alice).post("/mcp", {}).status_code == 401

    def test_a_key_that_was_revoked(self, port, bot):
        agents.revoke_agent(bot.pk, by=OPS)
        response = post_raw(port, "{}", Authorization=f"Bearer {bot.key}")
        assert (response.status_code, response.json()["code"]) == (401, "invalid_key")

    @pytest.mark.parametrize(("arguments", "code", "field"), INEXACT)
    def test_values_that_another_reader_would_read_otherwise(
        self, port, bot, arguments, code, field
    ):
        content = message("send_task", arguments)
        response = post_raw(port, content, Authorization=f"Bearer {bot.key}")
        said = answer_in(response)
        assert said["id"] == 7
        assert said["result"]["isError"] is True
        problem = said["result"]["structuredContent"]
        assert (problem["code"], problem["errors"][0]["field"]) == (code, field)
        assert not Task.objects.exists()

    @pytest.mark.parametrize("content", ["{", '{"id": 1, "id": 2}', "[]", '"text"'])
    def test_what_is_no_message(self, port, bot, content):
        response = post_raw(port, content, Authorization=f"Bearer {bot.key}")
        assert response.status_code == 400

    def test_another_type_of_body(self, port, bot):
        headers = {"Authorization": f"Bearer {bot.key}", "Content-Type": "text/plain"}
        assert post_raw(port, "{}", **headers).status_code == 415

    def test_a_page_of_another_origin(self, port, bot):
        headers = {"Authorization": f"Bearer {bot.key}", "Origin": "https://elsewhere.example"}
        assert post_raw(port, message("fetch_status", "{}"), **headers).status_code == 403

    def test_there_is_nothing_to_get(self, port, bot):
        with client_of(port) as client:
            headers = {"Authorization": f"Bearer {bot.key}", "Accept": "text/event-stream"}
            response = client.get("/mcp", headers=headers)
        assert (response.status_code, response.headers["Allow"]) == (405, "POST, OPTIONS")

    @pytest.mark.parametrize("version", ["2024-01-01", "2027-01-01", "newest"])
    def test_a_version_of_the_protocol_that_there_is_not(self, port, bot, version):
        headers = {"Authorization": f"Bearer {bot.key}", "MCP-Protocol-Version": version}
        response = post_raw(port, message("fetch_status", "{}"), **headers)
        said = response.json()
        assert (response.status_code, said["id"], said["error"]["code"]) == (400, 7, -32022)
        assert said["error"]["data"] == {"supported": ["2026-07-28"], "requested": version}
        spoken = ("2024-11-05", "2025-03-26", "2025-06-18", "2025-11-25", "2026-07-28")
        assert all(each in said["error"]["message"] for each in spoken)

    def test_a_handshake_for_a_version_that_there_is_not_gets_the_newest_that_has_one(
        self, port, bot
    ):
        params = {"protocolVersion": "1999-01-01", "capabilities": {}, "clientInfo": CLIENT}
        body = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": params}
        response = post_raw(port, json.dumps(body), Authorization=f"Bearer {bot.key}")
        assert answer_in(response)["result"]["protocolVersion"] == "2025-11-25"

    def test_the_trace_goes_on(self, port, bot):
        trace = str(uuid4())
        arguments = json.dumps({"target": "finance", "task": WIRE})
        headers = {"Authorization": f"Bearer {bot.key}", "X-Trace-Id": trace}
        response = post_raw(port, message("send_task", arguments), **headers)
        assert response.headers["X-Trace-Id"] == trace
        assert str(Task.objects.get().trace_id) == trace


def answer_in(response: httpx.Response) -> Any:
    """The message of an answer, be it JSON or a stream."""
    if response.headers["Content-Type"].startswith("application/json"):
        return response.json()
    [line] = [line for line in response.text.splitlines() if line.startswith("data: {")]
    return json.loads(line.removeprefix("data: "))


class TestWaiting:
    def test_by_default_it_ends_before_the_official_clients_give_up(self, calling, bot):
        tools = calling(bot).run(lambda client: client.list_tools()).tools
        (tool,) = [each for each in tools if each.name == "wait_for_decision"]
        seconds = tool.input_schema["properties"]["timeout_seconds"]
        assert (seconds["default"], seconds["maximum"]) == (50, 300)
        assert "timeout_seconds (50, at most 300)" in " ".join(tool.description.split())

    def test_a_yes_ends_it(self, calling, bot, alice, aside):
        task, heard = TaskFactory(agent=bot), Heard()
        call = calling(bot)
        wait: Future[Any] = aside(
            call, "wait_for_decision", heard, task_id=str(task.pk), timeout_seconds=60
        )
        assert heard.first.wait(30)
        approve_task(task, by=alice)
        given = wait.result(30).structured_content
        assert (given["decided"], given["task"]["status"]) == (True, "approved")
        assert given["task"]["approvals"][0]["decided_by"] == "alice"
        assert given["task"]["receipt"] == f"/tasks/{task.pk}/receipt"
        assert heard.told[0] == (pytest.approx(0, abs=5), 60, "Waiting for finance.")

    def test_a_no_of_one_of_two_groups_ends_it(self, bots, bot, charlie, aside):
        policy(asks="1 finance, 1 sre")
        task, heard = TaskFactory(agent=bot), Heard()
        wait = aside(bots, "wait_for_decision", heard, task_id=str(task.pk), timeout_seconds=60)
        assert heard.first.wait(30)
        approval = find_approval(task, "sre")
        approval_operations.reject(
            approval.pk, by=Actor.human(charlie), payload_digest=approval.payload_digest
        )
        given = wait.result(30).structured_content
        assert (given["decided"], given["task"]["status"]) == (True, "rejected")
        assert heard.told[0][2] == "Waiting for finance, sre."

    def test_a_request_for_changes_ends_it(self, bots, bot, alice, aside):
        task, heard = TaskFactory(agent=bot), Heard()
        wait = aside(bots, "wait_for_decision", heard, task_id=str(task.pk), timeout_seconds=60)
        assert heard.first.wait(30)
        approval = the_approval(task)
        approval_operations.request_changes(
            approval.pk,
            by=Actor.human(alice),
            payload_digest=approval.payload_digest,
            message="Half of it.",
        )
        given = wait.result(30).structured_content
        assert (given["decided"], given["changes_requested"]) == (False, True)
        assert given["task"]["approvals"][0]["votes"][0]["notes"] == "Half of it."

    def test_it_ends_with_its_time(self, calling, bot):
        task = TaskFactory(agent=bot)
        given = calling(bot).expect_result(
            "wait_for_decision", task_id=str(task.pk), timeout_seconds=1
        )
        assert (given["decided"], given["task"]["status"]) == (False, "awaiting_approval")

    def test_what_is_decided_is_not_waited_for(self, bots, bot, alice):
        task = approve_task(TaskFactory(agent=bot), by=alice)
        assert bots.expect_result("wait_for_decision", task_id=str(task.pk))["decided"] is True

    def test_whoever_is_cut_off_meanwhile_learns_nothing(self, bots, bot, aside):
        task, heard = TaskFactory(agent=bot), Heard()
        wait = aside(bots, "wait_for_decision", heard, task_id=str(task.pk), timeout_seconds=60)
        assert heard.first.wait(30)
        agents.revoke_agent(bot.pk, by=OPS)
        result = wait.result(30)
        assert result.is_error
        assert result.structured_content["code"] == "invalid_key"

    def test_it_is_cancelled_and_its_slot_is_free(self, calling, bot, port):
        task = TaskFactory(agent=bot)

        async def cancel_calls(client: Any) -> None:
            for _ in range(10):  # more than one caller may have at a time
                heard = Heard()
                async with anyio.create_task_group() as group:
                    group.start_soon(
                        lambda heard=heard: client.call_tool(
                            "wait_for_decision",
                            {"task_id": str(task.pk), "timeout_seconds": 300},
                            progress_callback=heard,
                        )
                    )
                    await anyio.to_thread.run_sync(heard.first.wait, 30)
                    group.cancel_scope.cancel()
                assert heard.told
            result = await client.call_tool("fetch_status", {"task_id": str(task.pk)})
            assert result.structured_content["state"] == "awaiting_approval"

        calling(bot).run(cancel_calls)

    def test_it_holds_no_connection_to_the_database(self, port, bot, alice, aside):
        """Six wait, one more than the pool has connections; a seventh call is answered."""
        task = TaskFactory(agent=bot)
        heard = [Heard() for _ in range(6)]
        waits = [
            aside(
                over_http(port, bot.key),
                "wait_for_decision",
                each,
                task_id=str(task.pk),
                timeout_seconds=60,
            )
            for each in heard
        ]
        assert all(each.first.wait(30) for each in heard)
        assert (
            over_http(port, bot.key).expect_result("fetch_status", task_id=str(task.pk))["total"]
            == 1
        )
        approve_task(task, by=alice)
        assert all(wait.result(30).structured_content["decided"] for wait in waits)


class TestTheCommand:
    def run(self, key: str | None, said: str = "") -> "subprocess.CompletedProcess[str]":
        env = on_the_tests_database(0)
        env = {**env, "ORCHESTRATOR_KEY": key} if key else env
        command = [sys.executable, "manage.py", "mcp"]
        return subprocess.run(
            command, cwd=ROOT, env=env, input=said, capture_output=True, text=True, check=False
        )

    def test_it_says_which_variable_is_missing(self):
        done = self.run(None)
        assert (done.returncode, done.stdout) == (1, "")
        assert "ORCHESTRATOR_KEY" in done.stderr
        assert "Traceback" not in done.stderr

    def test_a_key_that_is_unknown(self):
        done = self.run("ork_nobody")
        assert (done.returncode, done.stdout) == (1, "")
        assert "unknown or revoked" in done.stderr

    def test_a_version_of_the_protocol_that_there_is_not(self, bot):
        meta = {
            "io.modelcontextprotocol/protocolVersion": "2027-01-01",
            "io.modelcontextprotocol/clientCapabilities": {},
        }
        call = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}
        error = json.loads(self.run(bot.key, json.dumps(call) + "\n").stdout)["error"]
        supported = {"supported": ["2026-07-28"], "requested": "2027-01-01"}
        assert (error["code"], error["data"]) == (-32022, supported)

    def test_it_ends_with_its_input(self, bot):
        done = self.run(bot.key)
        assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.skipif(
    shutil.which("mcp-inspector") is None, reason="the inspector of npm is not installed"
)
def test_the_inspector_calls_a_tool(port, bot):
    task = TaskFactory(agent=bot)
    command = ["mcp-inspector", "--cli", f"http://127.0.0.1:{port}/mcp", "--transport", "http"]
    command += ["--header", f"Authorization: Bearer {bot.key}", "--method", "tools/call"]
    command += ["--tool-name", "fetch_status", "--tool-arg", f"task_id={task.pk}"]
    done = subprocess.run(
        command, env=dict(os.environ), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["structuredContent"]["state"] == "awaiting_approval"
