"""An agent opens a session."""

from uuid import UUID

import pytest

from audit_app.models import Event
from sessions_app.models import AgentSession
from tests.factories import AgentFactory

TRACE = "5b2c0c9f-27a4-4a2e-9a3f-0c8a52a45b11"


def test_it_begins_pending_and_says_where_it_is(api, bot):
    answer = api(bot).post("/sessions", {"agent_role": "support-agent"})

    assert answer.status_code == 201
    body = answer.json()
    assert set(body) == {"session_id", "status"}
    assert body["status"] == "pending"
    assert answer.headers["Location"] == f"/sessions/{body['session_id']}"
    there = api(bot).get(answer.headers["Location"])
    assert there.headers["ETag"] == answer.headers["ETag"]


def test_what_was_given_is_kept(api, bot):
    given = {"agent_role": "support-agent", "task_id": "ticket 7", "metadata": {"a": {"b": None}}}
    opened = api(bot).post("/sessions", given, {"X-Trace-Id": TRACE}).json()
    seen = api(bot).get(f"/sessions/{opened['session_id']}").json()

    assert set(seen) == {
        "session_id",
        "agent_role",
        "state",
        "metadata",
        "task_id",
        "created_at",
        "updated_at",
    }
    assert (seen["agent_role"], seen["state"], seen["task_id"]) == (
        "support-agent",
        "pending",
        "ticket 7",
    )
    assert seen["metadata"] == {"a": {"b": None}}
    assert seen["created_at"] == seen["updated_at"]
    assert seen["created_at"].endswith("Z")
    assert AgentSession.objects.get().trace_id == UUID(TRACE)
    told = Event.objects.get(subject_id=opened["session_id"])
    assert (told.event_type, told.to_state, told.trace_id) == (
        "session.opened",
        "pending",
        UUID(TRACE),
    )


def test_a_task_may_be_left_out_as_null(api, bot):
    body = {"agent_role": "support-agent", "task_id": None}
    assert api(bot).post("/sessions", body).status_code == 201


def test_a_second_role_of_the_agent_will_do(api):
    agent = AgentFactory(roles=["support-agent", "billing"])
    api(agent).post("/sessions", {"agent_role": "billing"})
    assert AgentSession.objects.get().role == "billing"


@pytest.mark.parametrize("role", ["finance", "Support-Agent"])
def test_a_role_that_the_agent_does_not_hold_is_refused(api, bot, role):
    answer = api(bot).post("/sessions", {"agent_role": role})
    assert (answer.status_code, answer.json()["code"]) == (403, "role_not_held")
    assert answer.json()["role"] == role
    assert not AgentSession.objects.exists()


def test_a_person_has_no_sessions(api, alice):
    answer = api(user=alice).post("/sessions", {"agent_role": "finance"})
    assert (answer.status_code, answer.json()["code"]) == (403, "agents_only")
