"""Many tasks in one request, each answered as if it had come alone."""

import json
from unittest.mock import ANY

import pytest
from django.db import connection

from approvals_app.models import Approval
from audit_app.models import Event, RequestReceipt
from sessions_app import agents
from sessions_app.models import Task
from tests.factories import OPS, AgentFactory, SessionFactory, policy, session_in

REPLAY = {"replayed": True, "answered_at": ANY}
"""What marks an answer that was given before."""


def build_item(key, task_type="refund_approval", target="finance", **other):
    """One of a batch; ``data`` and ``description`` are of its task."""
    task = {"task_type": task_type}
    task |= {name: other.pop(name) for name in ("data", "description") if name in other}
    return {"idempotency_key": key, "target": target, "task": task} | other


def alone(api, agent, item, **headers):
    """The same, sent by itself."""
    item = dict(item)
    key = {"Idempotency-Key": json.dumps(item.pop("idempotency_key"))}
    return api(agent).post("/tasks/route", item, key | headers)


@pytest.fixture
def batch(api, bot):
    """``batch(item, …)``: the results."""

    def send(*items, agent=bot, **headers):
        answer = api(agent).post("/tasks/route:batch", {"tasks": list(items)}, headers)
        assert answer.status_code == 200, answer.content
        return answer.json()["results"]

    return send


def test_each_task_is_routed_and_evaluated_by_itself(batch):
    policy("refused", "refuse", when={"task_type": "forbidden"})
    policy("two", asks="2 finance, 1 legal", priority=1, when={"task_type": "wire"})
    results = batch(
        build_item("a"),
        build_item("b", "notification"),
        build_item("c", "forbidden"),
        build_item("d", "wire", data={"amount": "42.50"}, context={"ticket": 7}),
    )
    assert [each["status"] for each in results] == [202] * 4
    states = [each["task"]["status"] for each in results]
    assert states == ["awaiting_approval", "approved", "rejected", "awaiting_approval"]
    assert not any("replayed" in each for each in results)
    wire = Task.objects.get(pk=results[3]["task"]["task_id"])
    assert (wire.data, wire.context, wire.policy) == ({"amount": "42.50"}, {"ticket": 7}, "two")
    asked = [(each.approver_role, each.needed) for each in wire.approvals.order_by("created_at")]
    assert asked == [("finance", 2), ("legal", 1)]
    assert Approval.objects.count() == 3


def test_the_answer_is_the_one_that_it_would_have_got_alone(api, bot, batch):
    item = build_item("a", data={"amount": "42"})
    (result,) = batch(item, **{"X-Trace-Id": "5b2c0c9f-27a4-4a2e-9a3f-0c8a52a45b11"})
    task = Task.objects.get()
    assert result["task"] == {
        "task_id": str(task.pk),
        "status": "awaiting_approval",
        "trace_id": "5b2c0c9f-27a4-4a2e-9a3f-0c8a52a45b11",
        "eligible": 0,
    }
    again = alone(api, bot, item)
    assert again.headers["Idempotent-Replayed"] == "true"
    assert again.headers["Location"] == f"/tasks/{task.pk}"
    assert (again.status_code, again.json()) == (202, result["task"])


def test_a_key_of_a_single_request_is_replayed_in_a_batch(api, bot, batch):
    first = alone(api, bot, build_item("a"))
    results = batch(build_item("a"), build_item("b"))
    assert results[0] == {"status": 202, "task": first.json(), **REPLAY}
    assert "replayed" not in results[1]
    assert Task.objects.count() == 2


def test_sent_again_all_of_it_is_answered_as_before(batch):
    items = [build_item("a"), build_item("b", "notification"), build_item("c")]
    first = batch(*items)
    events = Event.objects.count()
    again = batch(*reversed(items))
    assert again == [each | REPLAY for each in reversed(first)]
    assert Event.objects.count() == events


def test_another_request_under_a_key_is_refused_and_the_others_go_on(batch):
    batch(build_item("a"))
    results = batch(build_item("a", target="sre"), build_item("b"))
    assert [each["status"] for each in results] == [422, 202]
    assert results[0]["problem"]["code"] == "idempotency_key_reused"


def test_a_forgotten_key_whose_task_is_there_is_refused(api, bot, batch):
    batch(build_item("a"))
    RequestReceipt.objects.all().delete()
    results = batch(build_item("a"), build_item("b"))
    assert [each["status"] for each in results] == [422, 202]
    assert list(RequestReceipt.objects.values_list("key", flat=True)) == ["b"]
    assert Event.objects.filter(event_type="task.routed").count() == 2
    assert Approval.objects.count() == 2


@pytest.mark.parametrize(
    ("item", "field"),
    [
        ({"target": ""}, "target"),
        ({"task": {}}, "task.task_type"),
        ({"task": {"task_type": "x", "data": 7}}, "task.data"),
        ({"surprise": 1}, "surprise"),
        ({"idempotency_key": "é"}, "idempotency_key"),
        ({"idempotency_key": ""}, "idempotency_key"),
        ({"idempotency_key": None}, "idempotency_key"),
        ({"idempotency_key": "k" * 256}, "idempotency_key"),
        ({"task": {"task_type": "question"}}, "task.data.question"),
    ],
)
def test_one_that_is_not_valid_is_told_so_and_the_others_go_on(batch, item, field):
    results = batch(build_item("a"), build_item("b") | item, build_item("c"))
    assert [each["status"] for each in results] == [202, 400, 202]
    assert results[1]["problem"]["errors"][0]["field"] == field
    assert set(RequestReceipt.objects.values_list("key", flat=True)) == {"a", "c"}


def test_what_is_no_object_is_told_so(batch):
    results = batch(7, build_item("a"), None)
    assert [each["status"] for each in results] == [400, 202, 400]
    assert results[0]["problem"]["errors"][0]["field"] == "body"


@pytest.mark.parametrize(
    ("tasks", "field"),
    [
        ([], "tasks"),
        ([build_item("a")] * 501, "tasks"),
        ({}, "tasks"),
        ("x", "tasks"),
        ([build_item("a"), build_item("b"), build_item("a")], "tasks[2].idempotency_key"),
        ([build_item("a"), {"idempotency_key": "a"}], "tasks[1].idempotency_key"),
    ],
)
def test_a_batch_that_is_none(api, bot, tasks, field):
    answer = api(bot).post("/tasks/route:batch", {"tasks": tasks})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == field
    assert not Task.objects.exists()


def test_five_hundred_at_once(batch):
    results = batch(*(build_item(f"k{number}") for number in range(500)))
    assert {each["status"] for each in results} == {202}
    routed = [each["task"]["task_id"] for each in results]
    assert len(set(routed)) == Task.objects.count() == Approval.objects.count() == 500
    told = Event.objects.filter(event_type="task.routed").order_by("position")
    assert [str(each.subject_id) for each in told] == routed
    newest_first = Task.objects.order_by("-created_at").values_list("pk", flat=True)
    assert [str(pk) for pk in newest_first] == routed[::-1]


def test_from_a_closed_session_each_is_refused_recorded_and_kept(api, bot, batch):
    session = session_in("failed", bot)
    given = {"X-Session-Id": str(session.pk)}
    results = batch(build_item("a"), build_item("b"), **given)
    assert [each["problem"]["code"] for each in results] == ["session_closed"] * 2
    refusals = Event.objects.filter(event_type="operation.refused")
    assert [each.metadata["operation"] for each in refusals] == ["task.route"] * 2
    assert {each.metadata["subject_id"] for each in refusals} == {str(session.pk)}
    again = batch(build_item("a"), **given)
    assert again == [results[0] | REPLAY]
    kept = alone(api, bot, build_item("b"), **given)
    assert kept.json() == results[1]["problem"]
    assert refusals.count() == 2


def test_a_session_of_another_agent_refuses_all_and_keeps_nothing(batch):
    stranger = SessionFactory(agent=AgentFactory())
    results = batch(build_item("a"), build_item("b"), **{"X-Session-Id": str(stranger.pk)})
    assert [each["problem"]["code"] for each in results] == ["unknown_session"] * 2
    assert not RequestReceipt.objects.exists()


def test_they_are_of_the_session_that_the_header_names(batch):
    agent = AgentFactory(roles=["support-agent", "billing"])
    session = SessionFactory(agent=agent, agent_role="billing")
    batch(build_item("a"), build_item("b"), agent=agent, **{"X-Session-Id": str(session.pk)})
    of = Task.objects.values_list("from_role", "session_id")
    assert set(of) == {("billing", session.pk)}


def test_a_person_routes_no_tasks(api, alice):
    answer = api(user=alice).post("/tasks/route:batch", {"tasks": [build_item("a")]})
    (result,) = answer.json()["results"]
    assert (result["status"], result["problem"]["code"]) == (403, "agents_only")
    assert not Task.objects.exists()


def test_a_condition_that_names_the_agent_is_asked_for_each(batch):
    policy("bots", "refuse", when={"condition": 'agent == "bot" && data.n > 1'})
    results = batch(*(build_item(f"k{n}", data={"n": n}) for n in range(4)))
    assert [each["task"]["status"] == "rejected" for each in results] == [False, False, True, True]


def test_who_was_given_other_roles_gets_its_own_answers_still(batch, bot):
    first = batch(build_item("a"))
    agents.change_agent(bot.pk, by=OPS, roles=["weather"], owner_id=None, subject=None)
    assert batch(build_item("a")) == [first[0] | REPLAY]


def test_a_header_with_a_key_is_not_heeded(batch):
    key = {"Idempotency-Key": "k"}
    batch(build_item("a"), **key)
    assert batch(build_item("b"), **key)[0]["status"] == 202


def test_the_trail_is_whole(batch):
    batch(*(build_item(f"k{n}", data={"n": n / 7}) for n in range(10)))
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM tasks t JOIN audit_events e ON e.subject_id = t.id "
            "AND e.seq = t.version AND e.timestamp = t.created_at "
            "AND e.metadata ->> 'payload_digest' = t.payload_digest"
        )
        assert cursor.fetchone() == (10,)
