"""The gateway passes nothing on that is frozen."""

from uuid import uuid4

import pytest

from orchestrator.gateway import calls, operations
from orchestrator.gateway.calls import ToolCall
from sessions_app import freezes
from sessions_app.errors import Frozen
from sessions_app.models import Task
from tests.factories import OPS, approve_task, policy

CALL = {"tool": "write", "arguments": {"text": "tea"}}


@pytest.fixture
def upstream(private_network):
    return operations.create_upstream(
        "notebook", by=OPS, role="finance", agent_roles=[], url="http://127.0.0.1:9/mcp"
    )


def open_call(upstream, bot):
    call = ToolCall(upstream=upstream, trace_id=uuid4(), **CALL)
    return calls.open_call(call, by=bot.as_actor())


def test_a_call_that_policies_let_pass_is_refused_and_leaves_nothing(upstream, bot):
    policy("notes pass", "approve", when={"task_type": "mcp.notebook.*"})
    stop = freezes.begin_freeze("everything", by=OPS, reason="Stop.")
    with pytest.raises(Frozen):
        open_call(upstream, bot)
    assert not Task.objects.exists()

    freezes.lift_freeze(stop.pk, by=OPS)
    assert open_call(upstream, bot).runs_now


def test_an_approved_call_is_not_started_until_it_is_thawed(upstream, bot, alice):
    task = open_call(upstream, bot).task
    approve_task(task, by=alice)
    stop = freezes.begin_freeze("agent", agent="bot", by=OPS, reason="Stop.")
    with pytest.raises(Frozen):
        calls.start_call(task.pk, by=bot.as_actor())
    freezes.lift_freeze(stop.pk, by=OPS)
    assert calls.start_call(task.pk, by=bot.as_actor()).status == "claimed"
