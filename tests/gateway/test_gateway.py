"""What agents see of an upstream behind the gateway, and what happens to their tool calls."""

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import uuid4

import anyio
import pytest
from django.db.models.functions import Now
from mcp.shared.exceptions import MCPError

from approvals_app.decisions import operations as decisions
from approvals_app.models import Approval
from audit_app.base.actors import Actor
from audit_app.models import Event
from orchestrator.gateway import calls, operations
from orchestrator.gateway.calls import ToolCall
from orchestrator.gateway.models import Call
from sessions_app.models import Task
from tests.awaiting import until
from tests.factories import OPS, AgentFactory, approve_task, policy, the_approval
from tests.gateway.conftest import UPSTREAM, environment, over_http
from tests.serving import client_of, free_port, gunicorn, on_the_tests_database


@pytest.fixture
def passes():
    policy("notes pass", "approve", when={"task_type": "mcp.notebook.*"})


class TestPassThrough:
    def test_tools_resources_and_prompts_are_the_upstreams(self, calling, bot, upstream):
        async def look(client):
            tools = await client.list_tools()
            resources = await client.list_resources()
            prompts = await client.list_prompts()
            read = await client.read_resource("note://first")
            prompt = await client.get_prompt("summarize", {"topic": "tea"})
            return tools, resources, prompts, read, prompt

        tools, resources, prompts, read, prompt = calling(bot).run(look)
        assert {"write", "add", "delete_note"} <= {tool.name for tool in tools.tools}
        assert [each.uri for each in resources.resources] == ["note://first"]
        assert read.contents[0].text == "in the beginning"
        assert [each.name for each in prompts.prompts] == ["summarize"]
        assert prompt.messages[0].content.text == "Summarize tea."
        assert not Task.objects.exists()

    def test_a_call_that_passes_returns_what_the_tool_returns(
        self, calling, bot, upstream, passes, notebook
    ):
        result = calling(bot)("write", text="tea", page=2)
        assert result.content[0].text == "wrote tea"
        assert result.structured_content == {"result": "wrote tea"}
        assert notebook.calls_made == [{"write": "tea", "page": 2}]
        task = Task.objects.get()
        assert (task.task_type, task.status, task.to_role) == (
            "mcp.notebook.write",
            "completed",
            "finance",
        )
        assert task.data == {
            "server": "notebook",
            "tool": "write",
            "arguments": {"text": "tea", "page": 2},
        }
        assert task.result["result"]["structuredContent"] == {"result": "wrote tea"}
        assert not Call.objects.exists()


@pytest.fixture
def aside():
    """``aside(function)``: a Future of what it returns."""
    with ThreadPoolExecutor() as pool:
        yield pool.submit


def the_task() -> Task:
    """The only task, once it is there."""
    until(lambda: Task.objects.exists())
    return Task.objects.get()


def text_of(result) -> str:
    return " ".join(each.text for each in result.content)


class TestWaiting:
    def test_an_approved_call_runs_once_with_what_was_approved(
        self, calling, bot, upstream, alice, aside, notebook
    ):
        call = calling(bot)
        result = aside(call, "write", text="tea")
        approve_task(the_task(), by=alice)
        assert text_of(result.result()) == "wrote tea"
        assert notebook.calls_made == [{"write": "tea", "page": 1}]
        task = Task.objects.get()
        assert task.status == "completed"
        about = result.result().meta["orchestrator/task"]
        assert about["task_id"] == str(task.pk)
        assert about["payload_digest"] == task.payload_digest
        assert about["result_digest"] == task.result["result_digest"]
        event = Event.objects.get(event_type="task.completed")
        assert event.metadata["result_digest"] == about["result_digest"]
        assert not Call.objects.exists()

    def test_a_rejected_call_says_why_and_the_next_one_is_new(self, bots, alice, aside, notebook):
        result = aside(bots, "delete_note", name="tea")
        approval = the_approval(the_task())
        decisions.reject(
            approval.pk,
            by=Actor.human(alice),
            payload_digest=approval.payload_digest,
            notes="Keep it.",
        )
        assert result.result().is_error
        assert text_of(result.result()) == (
            "Not run: the call of delete_note was rejected. alice: Keep it."
        )
        assert notebook.calls_made == []
        aside(bots, "delete_note", name="tea")
        until(lambda: Task.objects.count() == 2)
        approve_task(Task.objects.get(status="awaiting_approval"), by=alice)

    def test_a_policy_refuses_with_its_reason(self, bots, notebook):
        policy("never", "refuse", when={"task_type": "mcp.notebook.delete_*"})
        result = bots("delete_note", name="tea")
        assert result.is_error
        assert text_of(result).startswith("Not run: a policy refuses delete_note. ")
        assert "never" in text_of(result)
        assert notebook.calls_made == []

    def test_policies_see_the_arguments(self, bots, notebook):
        condition = "data.arguments.page < 10.0"
        policy("few", "approve", when={"task_type": "mcp.notebook.write", "condition": condition})
        assert not bots("write", text="tea", page=9).is_error
        assert Task.objects.get().policy == "few"

    def test_what_a_reviewer_edited_runs_and_the_agent_is_told(
        self, bots, alice, bob, aside, notebook
    ):
        result = aside(bots, "write", text="tea")
        task = the_task()
        approval = the_approval(task)
        data = {**task.data, "arguments": {"text": "coffee", "page": 1}}
        decisions.edit(
            approval.pk,
            by=Actor.human(alice),
            payload_digest=approval.payload_digest,
            data=data,
            notes="Coffee is better.",
        )
        second = Approval.objects.pending().get()
        decisions.approve(second.pk, by=Actor.human(bob), payload_digest=second.payload_digest)
        assert text_of(result.result()) == (
            "wrote coffee A reviewer changed this call before approving it. What ran is write with "
            '{"page":1,"text":"coffee"}'
        )
        assert notebook.calls_made == [{"write": "coffee", "page": 1}]

    def test_what_a_reviewer_wants_changed_is_told_and_the_request_is_taken_back(
        self, bots, alice, aside, notebook
    ):
        result = aside(bots, "write", text="tea")
        approval = the_approval(the_task())
        decisions.request_changes(
            approval.pk,
            by=Actor.human(alice),
            payload_digest=approval.payload_digest,
            message="Write coffee.",
        )
        assert text_of(result.result()) == "Not run: changes are wanted. alice: Write coffee."
        assert Task.objects.get().status == "cancelled"
        assert notebook.calls_made == []

    def test_progress_says_who_is_waited_for(self, calling, bot, upstream, alice, aside):
        heard, first = [], threading.Event()

        async def tell(progress, total, message):
            heard.append((progress, message))
            first.set()

        result = aside(calling(bot), "count", to=2, tell=tell)
        assert first.wait(20)
        assert heard[0][1] == "Waiting for finance."
        approve_task(the_task(), by=alice)
        assert text_of(result.result()) == "counted"
        assert [each for each, _ in heard] == sorted(each for each, _ in heard)


class TestComingBack:
    @pytest.fixture
    def port(self, django_db_setup, tmp_path_factory):
        """A gateway that holds no call for long."""
        place = tmp_path_factory.mktemp("gateway")
        port = free_port()
        env = on_the_tests_database(
            port, DATA_DIR=str(place), **{**environment(), "GATEWAY_HOLD": "1s"}
        )
        with gunicorn(place / "log", env):
            with client_of(port) as client:
                assert client.get("/status").status_code == 200
            yield port

    def test_a_repetition_is_the_same_request(self, bots, alice, bot, notebook):
        first = bots("write", text="tea")
        again = bots("write", text="tea")
        task = Task.objects.get()
        for result in (first, again):
            assert result.is_error
            assert text_of(result) == (
                "write has not run: it waits for approval by finance. Call write again with "
                "exactly the same arguments to go on waiting: it is the same request "
                f"(task {task.pk}), and it runs once."
            )
        approve_task(task, by=alice)
        assert notebook.calls_made == []
        assert text_of(bots("write", text="tea")) == "wrote tea"
        assert notebook.calls_made == [{"write": "tea", "page": 1}]
        # The agent has its result: this is another one.
        bots("write", text="tea")
        assert Task.objects.count() == 2

    def test_other_arguments_are_another_request(self, bots):
        bots("write", text="tea")
        bots("write", text="coffee")
        assert Task.objects.count() == 2

    def test_another_agents_call_is_another_request(self, bots, port):
        bots("write", text="tea")
        over_http(port, AgentFactory(roles=["support-agent"]).key)("write", text="tea")
        assert Task.objects.count() == 2

    def test_a_key_of_the_clients_own_gets_the_first_outcome_for_ever(self, bots, passes, notebook):
        meta = {"orchestrator/idempotency-key": "tea time"}
        first, again = (bots("write", meta=meta, text="tea") for _ in range(2))
        assert text_of(first) == text_of(again) == "wrote tea"
        assert notebook.calls_made == [{"write": "tea", "page": 1}]
        other = bots("write", meta=meta, text="coffee")
        assert other.is_error
        assert text_of(other) == "This Idempotency-Key was used with another request."

    def test_a_call_that_runs_when_its_client_gave_up_is_not_run_again(
        self, bots, alice, notebook, tmp_path, aside
    ):
        bots("sleep", until=str(tmp_path / "bell"))
        approve_task(Task.objects.get(), by=alice)

        async def give_up(client):
            with anyio.move_on_after(0.5):
                await client.call_tool("sleep", {"until": str(tmp_path / "bell")})

        bots.run(give_up)
        until(lambda: notebook.calls_made)
        later = aside(bots, "sleep", until=str(tmp_path / "bell"))
        (tmp_path / "bell").touch()
        assert text_of(later.result()) == "woke"
        assert notebook.calls_made == [{"sleep": str(tmp_path / "bell")}]

    def test_concurrent_repetitions_are_one_request(self, bots, alice, notebook, aside):
        results = [aside(bots, "write", text="tea") for _ in range(8)]
        assert all(result.result().is_error for result in results)
        approve_task(Task.objects.get(), by=alice)
        for result in [aside(bots, "write", text="tea") for _ in range(8)]:
            result.result()
        assert notebook.calls_made == [{"write": "tea", "page": 1}]


class TestOutcomes:
    def test_a_tools_own_error_is_recorded_as_one(self, bots, passes):
        result = bots("refuse")
        assert result.is_error
        assert text_of(result) == "Error executing tool refuse"
        task = Task.objects.get()
        assert (task.status, task.error["code"]) == ("failed", "tool_error")

    def test_an_unknown_tool(self, bots, passes):
        result = bots.run(lambda client: _error_of(client.call_tool("paint", {})))
        assert "paint" in str(result)
        assert Task.objects.get().status == "failed"

    def test_a_server_that_ends_in_the_middle_leaves_an_unknown_outcome(
        self, port, bot, alice, notebook
    ):
        notebook.forget()
        operations.create_upstream(
            "child",
            by=OPS,
            role="finance",
            agent_roles=[],
            command=UPSTREAM,
            secrets={**notebook.environment, "SECRET": "hush"},
        )
        policy("ok", "approve", when={"task_type": "mcp.child.*"})
        call = over_http(port, bot.key, "child")
        assert text_of(call("show_credentials")) == "hush"
        result = call("crash")
        assert result.is_error
        assert text_of(result).startswith("The outcome is unknown: the call was started")
        task = Task.objects.order_by("-created_at").first()
        assert (task.status, task.error["code"]) == ("failed", "unknown_outcome")
        assert text_of(call("write", text="tea")) == "wrote tea"
        assert notebook.calls_made == [{"crash": True}, {"write": "tea", "page": 1}]

    def test_a_gateway_that_ends_in_the_middle_leaves_an_unknown_outcome(
        self, bot, upstream, alice
    ):
        call = ToolCall(upstream, "write", {"text": "tea"}, uuid4())
        by = bot.as_actor()
        opened = calls.open_call(call, by=by)
        approve_task(opened.task, by=alice)
        assert calls.start_call(opened.task.pk, by=by).status == "claimed"
        assert calls.start_call(opened.task.pk, by=by) is None
        assert calls.settle_lost_calls() == 0
        Call.objects.update(ends_by=Now() - timedelta(seconds=1))
        assert calls.settle_lost_calls() == 1
        task = calls.open_call(call, by=by).task
        assert (task.pk, task.status) == (opened.task.pk, "failed")
        assert task.error["code"] == "unknown_outcome"

    def test_an_upstream_that_is_away_costs_no_approval(
        self, port, bot, alice, private_network, notebook, upstream
    ):
        call = over_http(port, bot.key)
        gone = operations.create_upstream(
            "gone", by=OPS, role="finance", agent_roles=[], url=f"http://127.0.0.1:{free_port()}/"
        )
        error = over_http(port, bot.key, gone.name).connect
        assert error
        with pytest.raises(Exception) as raised:  # noqa: PT011  # the SDK raises groups
            over_http(port, bot.key, gone.name)("write", text="tea")
        assert "gone can't be reached" in _flatten(raised.value)
        assert call is not None


class TestAccess:
    def test_only_agents_of_its_roles_may_use_it(self, port, bot, upstream):
        operations.change_upstream(
            upstream.pk, by=OPS, role="finance", agent_roles=["sre"], url=upstream.url
        )
        body = {"jsonrpc": "2.0", "id": 1, "method": "tools/list"}
        with client_of(port, headers={"Authorization": f"Bearer {bot.key}"}) as client:
            refused = client.post("/gateway/notebook/mcp", json=body)
            unknown = client.post("/gateway/nothing/mcp", json=body)
        assert refused.status_code == unknown.status_code == 404
        assert refused.json()["detail"] == unknown.json()["detail"]

    def test_without_a_key_nothing_is_answered(self, port, upstream):
        with client_of(port) as client:
            assert client.post("/gateway/notebook/mcp", json={}).status_code == 401

    def test_a_disabled_upstream_passes_nothing(self, port, bot, upstream):
        operations.disable(upstream.pk, by=OPS)
        with client_of(port, headers={"Authorization": f"Bearer {bot.key}"}) as client:
            refused = client.post("/gateway/notebook/mcp", json={})
        assert (refused.status_code, refused.json()["code"]) == (409, "upstream_disabled")

    def test_arguments_that_have_two_readings_are_refused(self, port, bot, upstream, passes):
        body = (
            '{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "write", '
            '"arguments": {"text": "a", "text": "b"}}}'
        )
        headers = {
            "Authorization": f"Bearer {bot.key}",
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
        }
        with client_of(port, headers=headers) as client:
            answer = client.post("/gateway/notebook/mcp", content=body)
        assert '"isError":true' in answer.text
        assert not Task.objects.exists()


async def _error_of(work):
    try:
        return await work
    except MCPError as error:
        return error


def _flatten(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return " ".join(map(_flatten, error.exceptions))
    return str(error)
