"""/hooks/claude-code: what Claude Code sends of a tool call, and what it gets for a decision."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from approvals_app.decisions import operations as approval_operations
from audit_app.base.actors import Actor
from orchestrator.hooks.claude_code import Behavior, answer
from sessions_app import agents
from sessions_app.models import Task
from sessions_app.tasks.operations import cancel
from tests.awaiting import until
from tests.client import Api
from tests.factories import OPS, AgentFactory, approve_task, find_approval, policy, the_approval
from tests.serving import client_of, free_port, gunicorn, on_the_tests_database

PATH = "/hooks/claude-code"


def bash(command: str = "make deploy", **more: Any) -> dict[str, Any]:
    """A PreToolUse hook as Claude Code sends it."""
    return {
        "session_id": "3f6a9c1e-0f0b-4a57-9a54-6f0c3f1f2d11",
        "transcript_path": "/home/ada/.claude/projects/shop/3f6a9c1e.jsonl",
        "cwd": "/home/ada/shop",
        "permission_mode": "default",
        "hook_event_name": "PreToolUse",
        "tool_name": "Bash",
        "tool_input": {"command": command, "description": "Deploy the shop", "timeout": 120000},
        "tool_use_id": "toolu_01ABC",
        **more,
    }


def asking(**more: Any) -> dict[str, Any]:
    """A PermissionRequest hook as Claude Code sends it."""
    given = bash(hook_event_name="PermissionRequest", **more)
    del given["tool_use_id"]
    suggestion = {"type": "setMode", "mode": "acceptEdits", "destination": "session"}
    return {**given, "permission_suggestions": [suggestion]}


def decision(response: Any) -> tuple[str, str]:
    """(allow or deny, why) of a 200."""
    assert response.status_code == 200, response.content
    output = json.loads(response.content)["hookSpecificOutput"]
    if output["hookEventName"] == "PermissionRequest":
        return output["decision"]["behavior"], output["decision"].get("message", "")
    return output["permissionDecision"], output["permissionDecisionReason"]


@pytest.fixture
def asks_finance():
    return policy(asks="1 finance")


@pytest.fixture
def hook(api, bot, asks_finance):
    """``hook(given)``: what bot's Claude Code gets for it."""
    return lambda given: decision(api(bot).post(PATH, given))


class TestWhatBecomesATask:
    def test_a_command(self, hook, bot):
        hook(bash())
        task = Task.objects.get()
        assert (task.task_type, task.to_role) == ("claude-code.Bash", "support-agent")
        assert task.data == {
            "tool": "Bash",
            "input": bash()["tool_input"],
            "cwd": "/home/ada/shop",
        }
        assert task.context == {"claude_code_session": bash()["session_id"]}

    def test_reviewers_see_what_a_command_destroys(self, hook, bot, api):
        hook(bash("rm -rf / && git push --force"))
        task = api(bot).get(f"/tasks/{Task.objects.get().pk}").json()
        assert {"destroys", "command"} <= {fact["label"] for fact in task["summary"]}

    @pytest.mark.parametrize(
        "edits",
        [
            {"old_string": "x = 1", "new_string": "x = 2"},
            {"edits": [{"old_string": "x = 1", "new_string": "x = 2"}]},
        ],
    )
    def test_an_edit_is_shown_as_a_patch(self, hook, bot, api, edits):
        hook(bash(tool_name="Edit", tool_input={"file_path": "/home/ada/shop/a.py", **edits}))
        task = api(bot).get(f"/tasks/{Task.objects.get().pk}").json()
        assert "\n-x = 1\n+x = 2\n" in task["data"]["diff"]
        assert any("a.py" in fact["value"] for fact in task["summary"])

    @pytest.mark.parametrize(
        "given",
        [
            {"file_path": 7, "old_string": "a", "new_string": "b"},
            {"file_path": "a", "old_string": "a"},
            {"file_path": "a", "edits": "all"},
            {"file_path": "a", "edits": [{"old_string": "a", "new_string": 1}]},
            {"file_path": "a", "old_string": "a" * 100_001, "new_string": ""},
            {},
        ],
    )
    def test_what_is_no_edit_has_no_patch(self, hook, given):
        hook(bash(tool_name="Edit", tool_input=given))
        assert "diff" not in Task.objects.get().data

    def test_policies_know_the_tool_and_its_input(self, api, bot):
        policy("all", then="require", asks="1 finance")
        policy(
            "reading",
            then="approve",
            when={
                "task_type": "claude-code.Bash",
                "condition": 'data.input.command.startsWith("ls ")',
            },
            priority=-1,
        )
        call = api(bot)
        assert decision(call.post(PATH, bash("ls -l")))[0] == "allow"
        assert decision(call.post(PATH, bash("rm x")))[0] == "deny"


class TestTheDecision:
    @pytest.mark.parametrize("given", [bash(), asking()])
    def test_nobody_has_decided(self, hook, given):
        behavior, why = hook(given)
        assert behavior == "deny"
        assert why.startswith("Nobody has decided yet: finance must approve this call first")

    @pytest.mark.parametrize("given", [bash(), asking()])
    def test_a_yes_lets_the_repeated_call_pass_once(self, hook, given, alice):
        hook(given)
        approve_task(Task.objects.get(), by=alice)
        again = {**given, "tool_use_id": "toolu_02", "permission_mode": "plan"}
        behavior, why = hook(again)
        assert behavior == "allow"
        if given["hook_event_name"] == "PreToolUse":
            assert why == f"Approved by alice (task {Task.objects.get().pk})."
        assert Task.objects.get().status == "completed"
        assert hook(again)[0] == "deny"
        assert Task.objects.count() == 2

    def test_another_call_is_another_task(self, hook, alice):
        hook(bash())
        approve_task(Task.objects.get(), by=alice)
        for other in (
            bash("make deploy FORCE=1"),
            bash(cwd="/home/ada"),
            bash(session_id="another"),
            bash(tool_name="PowerShell"),
        ):
            assert hook(other)[0] == "deny"
        assert Task.objects.count() == 5

    def test_anothers_approval_does_not_count(self, hook, api, alice):
        hook(bash())
        approve_task(Task.objects.get(), by=alice)
        mate = AgentFactory(roles=["support-agent"])
        assert decision(api(mate).post(PATH, bash()))[0] == "deny"

    def test_a_no_holds_for_the_session(self, hook, alice):
        hook(bash())
        approval = the_approval(Task.objects.get())
        approval_operations.reject(
            approval.pk,
            by=Actor.human(alice),
            payload_digest=approval.payload_digest,
            notes="Not on Fridays.",
        )
        for _ in range(2):
            behavior, why = hook(bash())
            assert behavior == "deny"
            assert why.startswith("alice rejected this call")
            assert why.endswith("They say: Not on Fridays.")
        assert Task.objects.count() == 1

    def test_a_policy_refuses(self, api, bot):
        policy(then="refuse")
        behavior, why = decision(api(bot).post(PATH, bash()))
        assert behavior == "deny"
        assert why.startswith("A policy refuses this call")

    def test_a_reviewer_asks_for_changes(self, hook, alice):
        hook(bash())
        approval = the_approval(Task.objects.get())
        approval_operations.request_changes(
            approval.pk,
            by=Actor.human(alice),
            payload_digest=approval.payload_digest,
            message="Only the blue half.",
        )
        behavior, why = hook(bash())
        assert behavior == "deny"
        assert "alice asks for changes" in why
        assert "They say: Only the blue half. Make the changed call instead." in why

    @pytest.mark.parametrize("event", ["PreToolUse", "PermissionRequest"])
    def test_what_a_reviewer_edited_is_what_runs(self, api, bot, asks_finance, alice, bob, event):
        given = bash() if event == "PreToolUse" else asking()
        api(bot).post(PATH, given)
        task = Task.objects.get()
        edited = {"command": "make deploy DRY_RUN=1"}
        data = {**task.data, "input": edited}
        body = {"data": data, "payload_digest": task.payload_digest}
        approval = the_approval(task)
        assert api(user=alice).post(f"/approvals/{approval.pk}/edit", body).status_code == 200
        waiting = find_approval(Task.objects.get(), "finance")
        approval_operations.approve(
            waiting.pk, by=Actor.human(bob), payload_digest=waiting.payload_digest
        )
        output = api(bot).post(PATH, given).json()["hookSpecificOutput"]
        place = output if event == "PreToolUse" else output["decision"]
        assert place["updatedInput"] == edited
        assert decision(api(bot).post(PATH, given))[0] == "deny"

    @pytest.mark.parametrize(
        "change",
        [
            {"tool": "Write"},
            {"cwd": "/"},
            {"input": "make"},
            {"diff": "+ something else"},
            {"input": {"file_path": "/a", "old_string": "1", "new_string": "3"}},
        ],
    )
    def test_what_a_reviewer_made_of_it_must_be_such_a_call(
        self, api, bot, asks_finance, alice, bob, change
    ):
        edit = {"file_path": "/a", "old_string": "1", "new_string": "2"}
        given = bash(tool_name="Edit", tool_input=edit)
        api(bot).post(PATH, given)
        task = Task.objects.get()
        approval = the_approval(task)
        approval_operations.edit(
            approval.pk,
            by=Actor.human(alice),
            payload_digest=approval.payload_digest,
            data={**task.data, **change},
        )
        waiting = find_approval(task, "finance")
        digest = waiting.payload_digest
        approval_operations.approve(waiting.pk, by=Actor.human(bob), payload_digest=digest)
        behavior, why = decision(api(bot).post(PATH, given))
        assert behavior == "deny"
        assert "that it cannot be" in why

    def test_what_was_cancelled_is_asked_again(self, hook, bot):
        hook(bash())
        cancel(Task.objects.get().pk, by=bot.as_actor())
        assert hook(bash())[0] == "deny"
        assert Task.objects.filter(status="awaiting_approval").count() == 1

    def test_of_many_equal_calls_one_passes(self, hook, bot, alice):
        hook(bash())
        approve_task(Task.objects.get(), by=alice)

        def call(_: int) -> str:
            from django.db import connections

            try:
                return decision(Api(bot).post(PATH, bash()))[0]
            finally:
                connections.close_all()

        with ThreadPoolExecutor(6) as pool:
            behaviors = list(pool.map(call, range(6)))
        assert sorted(behaviors) == ["allow", *["deny"] * 5]


class TestFailingClosed:
    """Claude Code lets a call pass on any other status than 2xx, so these are 200."""

    @pytest.mark.parametrize("key", ["", "Bearer ", "Bearer $ORCHESTRATOR_KEY", "Bearer ork_none"])
    @pytest.mark.parametrize("given", [bash(), asking()])
    def test_without_a_valid_key(self, api, given, key):
        caller = Api(**({"Authorization": key} if key else {}))
        behavior, why = decision(caller.post(PATH, given))
        assert behavior == "deny"
        assert why.startswith("The orchestrator does not allow this call: ")
        assert not Task.objects.exists()

    def test_a_revoked_key(self, hook, bot):
        agents.revoke_agent(bot.pk, by=OPS)
        assert "unknown or revoked" in hook(bash())[1]

    def test_a_person(self, api, alice):
        assert decision(api(user=alice).post(PATH, bash()))[0] == "deny"

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"tool_name": ""}, "tool_name"),
            ({"tool_name": "x" * 101}, "tool_name"),
            ({"tool_name": None}, "tool_name"),
            ({"tool_input": "rm"}, "tool_input"),
            ({"tool_input": {"n": "\u0000"}}, "tool_input.n"),
            ({"tool_input": {"n": 9007199254740993}}, "tool_input.n"),
            ({"cwd": 7}, "cwd"),
        ],
    )
    def test_what_cannot_be_read(self, hook, change, field):
        behavior, why = hook(bash(**change))
        assert behavior == "deny"
        assert field in why
        assert not Task.objects.exists()

    @pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"hook_event_name": "Stop"}'])
    def test_what_is_no_hook_of_ours_stops_everything(self, api, bot, content):
        client, headers = api(bot).client, {"Authorization": f"Bearer {bot.key}"}
        response = client.post(PATH, content, content_type="application/json", headers=headers)
        said = response.json()
        assert (response.status_code, said["continue"]) == (200, False)
        assert said["stopReason"].startswith("The orchestrator does not allow this call: ")

    def test_an_error_of_ours(self, hook, monkeypatch):
        def fail(*_: Any, **__: Any) -> Any:
            raise RuntimeError("oh")

        monkeypatch.setattr("orchestrator.hooks.views.decide", fail)
        behavior, why = hook(bash())
        assert behavior == "deny"
        assert "internal error, trace" in why

    def test_only_post(self, api, bot):
        assert api(bot).get(PATH).status_code == 405


class TestWaiting:
    @pytest.fixture
    def port(self, tmp_path):
        port = free_port()
        with gunicorn(tmp_path / "log", on_the_tests_database(port, DATA_DIR=str(tmp_path))):
            with client_of(port) as client:
                assert client.get("/status").status_code == 200
            yield port

    def test_a_yes_ends_it(self, port, bot, asks_finance, alice):
        def call() -> Any:
            with client_of(port, headers={"Authorization": f"Bearer {bot.key}"}) as client:
                return client.post(f"{PATH}?wait=60", json=bash(), timeout=90)

        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(call)
            until(Task.objects.exists)
            approve_task(Task.objects.get(), by=alice)
            assert decision(waiting.result(30))[0] == "allow"
        assert Task.objects.get().status == "completed"

    def test_its_time_ends_it(self, port, bot, asks_finance):
        with client_of(port, headers={"Authorization": f"Bearer {bot.key}"}) as client:
            behavior, why = decision(client.post(f"{PATH}?wait=1", json=bash()))
        assert behavior == "deny"
        assert "Make exactly the same call again later" in why


def test_reasons_are_cut():
    said = answer("PreToolUse", Behavior.DENY, "x" * 5_000)
    assert len(said["hookSpecificOutput"]["permissionDecisionReason"]) == 2_000
