"""An agent routes a task: who must say yes, what is kept, and what can't be changed any more."""

import hashlib
from uuid import UUID

import pytest
import rfc8785

from approvals_app.models import Approval
from audit_app.models import Event
from sessions_app.models import Task
from tests.factories import AgentFactory, SessionFactory, session_in

TRACE = "5b2c0c9f-27a4-4a2e-9a3f-0c8a52a45b11"


@pytest.fixture
def route(api, bot):
    def send(task_type="refund_approval", headers=None, context=None, agent=bot, **task):
        body = {"target": "finance", "task": {"task_type": task_type, **task}}
        if context is not None:
            body["context"] = context
        given = {"Idempotency-Key": "order-1007"} | (headers or {})
        return api(agent).post("/tasks/route", body, given)

    return send


@pytest.mark.parametrize(
    ("task_type", "default", "status"),
    [
        ("approval", "allow", "awaiting_approval"),
        ("approval_request", "allow", "awaiting_approval"),
        ("refund_approval", "allow", "awaiting_approval"),
        ("_approval", "allow", "awaiting_approval"),
        ("notification", "require", "approved"),
        ("notification", "allow", "approved"),
        ("refund", "require", "awaiting_approval"),
        ("refund", "allow", "approved"),
        ("approvals", "allow", "approved"),
        ("notification_approval", "allow", "awaiting_approval"),
    ],
)
def test_the_type_of_a_task_says_whether_a_human_is_asked(
    route, settings, task_type, default, status
):
    settings.APPROVAL_DEFAULT = default
    answer = route(task_type)

    assert answer.status_code == 202
    assert answer.json()["status"] == status
    asked = list(Approval.objects.values_list("approver_role", "status"))
    assert asked == ([("finance", "pending")] if status == "awaiting_approval" else [])


@pytest.mark.parametrize("task_type", ["Refund_Approval", "APPROVAL", "Notification"])
def test_a_type_that_is_almost_one_of_these_asks_a_human(route, task_type):
    assert route(task_type).json()["status"] == "awaiting_approval"


def test_the_answer_says_where_the_task_is(route, api, bot):
    answer = route(description="Refund 42.50 EUR.", data={"amount": "42.50"}, context={"ticket": 7})
    body = answer.json()

    assert set(body) == {"task_id", "status", "trace_id", "eligible"}
    assert answer.headers["Location"] == f"/tasks/{body['task_id']}"
    seen = api(bot).get(answer.headers["Location"]).json()
    expected = {
        "task_type": "refund_approval",
        "description": "Refund 42.50 EUR.",
        "from_role": "support-agent",
        "to_role": "finance",
        "data": {"amount": "42.50"},
        "context": {"ticket": 7},
        "idempotency_key": "order-1007",
        "revision": 1,
        "session_id": None,
        "result": None,
        "error": None,
        "claimed_by": None,
    }
    assert {name: seen[name] for name in expected} == expected
    assert [a["status"] for a in seen["approvals"]] == ["pending"]


@pytest.mark.parametrize(
    "data", [{"b": 1, "a": [1.5, None, True]}, {"€": "😀", "\n": '"\\'}, {"n": 1e15}, {}]
)
def test_the_digest_is_the_sha256_of_what_was_asked_in_rfc_8785(route, api, bot, data):
    task_id = route(description="Prüfen.", data=data, context={"z": 1}).json()["task_id"]
    asked = {
        "task_type": "refund_approval",
        "description": "Prüfen.",
        "data": data,
        "context": {"z": 1},
        "from_role": "support-agent",
        "to_role": "finance",
    }
    digest = hashlib.sha256(rfc8785.dumps(asked)).hexdigest()

    seen = api(bot).get(f"/tasks/{task_id}").json()
    assert seen["payload_digest"] == seen["approvals"][0]["payload_digest"] == digest
    told = Event.objects.get(event_type="task.routed")
    assert told.metadata["payload_digest"] == digest


def test_a_trace_goes_in_and_through_and_out(route):
    answer = route(headers={"X-Trace-Id": TRACE})

    assert answer.json()["trace_id"] == answer.headers["X-Trace-Id"] == TRACE
    assert Task.objects.get().trace_id == Approval.objects.get().trace_id == UUID(TRACE)
    about = Event.objects.filter(subject_type__in=["task", "approval"])
    assert set(about.values_list("trace_id", flat=True)) == {UUID(TRACE)}


def test_a_traceparent_goes_the_same_way(route):
    given = f"00-{TRACE.replace('-', '')}-00f067aa0ba902b7-01"
    assert route(headers={"traceparent": given}).json()["trace_id"] == TRACE


def test_without_one_a_trace_begins_here(route):
    answer = route()
    assert answer.json()["trace_id"] == answer.headers["X-Trace-Id"]


def test_a_task_of_a_session_speaks_for_its_role(route):
    agent = AgentFactory(roles=["support-agent", "billing"])
    session = SessionFactory(agent=agent, agent_role="billing")
    route(agent=agent, headers={"X-Session-Id": str(session.pk)})
    task = Task.objects.get()
    assert (task.from_role, task.session_id) == ("billing", session.pk)


def test_without_a_session_a_task_speaks_for_the_agents_first_role(route):
    route(agent=AgentFactory(roles=["billing", "support-agent"]))
    assert Task.objects.get().from_role == "billing"


def test_a_session_of_another_agent_is_refused(route):
    stranger = SessionFactory(agent=AgentFactory())
    answer = route(headers={"X-Session-Id": str(stranger.pk)})
    assert (answer.status_code, answer.json()["code"]) == (400, "unknown_session")
    assert answer.json()["errors"][0]["field"] == "X-Session-Id"
    assert not Task.objects.exists()


@pytest.mark.parametrize("state", ["completed", "failed", "expired"])
def test_from_a_closed_session_nothing_is_routed(route, bot, state):
    session = session_in(state, bot)
    answer = route(headers={"X-Session-Id": str(session.pk)})
    assert (answer.status_code, answer.json()["code"]) == (409, "session_closed")
    assert answer.json()["state"] == state
    assert not Task.objects.exists()


def test_what_is_no_session_id_is_refused_by_name(route):
    answer = route(headers={"X-Session-Id": "mine"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "X-Session-Id"


def test_a_person_routes_no_tasks(api, alice):
    body = {"target": "finance", "task": {"task_type": "x"}}
    answer = api(user=alice).post("/tasks/route", body, {"Idempotency-Key": "k"})
    assert (answer.status_code, answer.json()["code"]) == (403, "agents_only")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"task": {"task_type": "x"}}, "target"),
        ({"target": "", "task": {"task_type": "x"}}, "target"),
        ({"target": "x" * 151, "task": {"task_type": "x"}}, "target"),
        ({"target": "finance"}, "task"),
        ({"target": "finance", "task": "x"}, "task"),
        ({"target": "finance", "task": {}}, "task.task_type"),
        ({"target": "finance", "task": {"task_type": "x", "data": []}}, "task.data"),
        ({"target": "finance", "task": {"task_type": "x"}, "context": 1}, "context"),
    ],
)
def test_what_is_missing_or_of_the_wrong_kind_is_named(api, bot, body, field):
    answer = api(bot).post("/tasks/route", body, {"Idempotency-Key": "k"})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_there_is_no_way_to_change_a_task(route, api, bot, method):
    path = route().headers["Location"]
    assert api(bot).send(method, path, {"data": {}}).status_code == 405


@pytest.mark.parametrize(
    ("name", "value", "found"),
    [
        ("to_role", "finance", 1),
        ("to_role", "sre", 0),
        ("from_role", "support-agent", 1),
        ("status", "awaiting_approval", 1),
        ("status", "approved", 0),
        ("task_type", "refund_approval", 1),
        ("trace_id", TRACE, 1),
        ("trace_id", "00000000-0000-4000-8000-000000000000", 0),
    ],
)
def test_tasks_can_be_searched(route, api, bot, name, value, found):
    route(headers={"X-Trace-Id": TRACE})
    assert api(bot).get("/tasks", **{name: value}).json()["total"] == found


@pytest.mark.parametrize("query", [{"status": "done"}, {"trace_id": "x"}, {"session_id": "1"}])
def test_a_search_for_nonsense_is_refused(api, bot, query):
    assert api(bot).get("/tasks", **query).status_code == 400
