"""One call takes effect once, however often it had to be sent."""

import httpx
import pytest
from orchestrator_client import Client, Problem
from orchestrator_client import client as synchronous

from audit_app.models import RequestReceipt
from sessions_app.models import Task
from tests.clients.conftest import decide
from tests.clients.proxy import refusal
from tests.factories import TaskFactory
from tests.serving import free_port

REFUND = {"amount": "42.50", "currency": "EUR", "customer": 1007}


@pytest.fixture
def pauses(monkeypatch):
    """The seconds that the client pauses for; they pass at once."""
    pauses = []
    monkeypatch.setattr(synchronous.time, "sleep", pauses.append)
    return pauses


def route(client, **given):
    return client.route_task("finance", "refund_approval", "A kettle.", data=REFUND, **given)


def test_a_task_whose_answer_was_lost_is_routed_once(proxy, through, pauses):
    proxy.cuts = 2
    told = route(through)
    sent = proxy.find_requests("POST /tasks/route")
    assert len(sent) == 3
    assert len({each.header("Idempotency-Key") for each in sent}) == 1
    assert [str(task.pk) for task in Task.objects.all()] == [told["task_id"]]


def test_two_calls_are_two_tasks_and_one_key_of_ones_own_is_one(through):
    assert len({route(through)["task_id"] for _ in range(2)}) == 2
    assert len({route(through, idempotency_key="mine")["task_id"] for _ in range(2)}) == 1


def test_a_claim_whose_answer_was_lost_is_still_ours(proxy, through, clerk, alice, pauses):
    task = TaskFactory(agent=clerk)
    decide(task.pk, alice)
    proxy.cuts = 1
    assert through.claim(str(task.pk))["status"] == "claimed"
    assert through.complete(str(task.pk), {"paid": True})["result"] == {"paid": True}


def test_a_repeated_refusal_says_when_it_was_given(through, clerk):
    task = TaskFactory(agent=clerk)
    problems = []
    for _ in range(2):
        with pytest.raises(Problem, match="claim is not possible") as caught:
            through.claim(str(task.pk), idempotency_key="k")
        problems.append(caught.value)
    first, again = problems
    assert (first.answered_at, first.code) == (None, "invalid_transition")
    at = RequestReceipt.objects.get().created_at.isoformat().replace("+00:00", "Z")
    assert again.answered_at == at
    assert f"as answered at {at}" in str(again)


@pytest.mark.parametrize("status", [429, 502, 503, 504])
def test_who_is_busy_is_asked_again_after_the_time_it_named(proxy, through, pauses, status):
    proxy.refusals = [("POST /tasks/route", refusal(status, Retry_After="7"))] * 2
    assert route(through)["status"] == "awaiting_approval"
    assert len(pauses) == 2
    assert all(7 < pause < 9 for pause in pauses)


def test_a_time_beyond_the_callers_patience_is_said_at_once(proxy, through, pauses):
    proxy.refusals = [("POST /tasks/route", refusal(429, Retry_After="61"))]
    with pytest.raises(Problem, match="429"):
        route(through)
    assert pauses == []


def test_what_the_server_refuses_is_not_sent_again(proxy, through, pauses):
    with pytest.raises(Problem) as raised:
        through.route_task("finance", "refund_approval", data={}, trace_id="no trace")
    assert (raised.value.status, raised.value.code) == (400, "invalid_request")
    assert raised.value.errors[0]["field"] == "X-Trace-Id"
    with pytest.raises(Problem) as raised:
        through.claim(route(through)["task_id"])
    assert raised.value.status == 409
    assert raised.value.members["state"] == "awaiting_approval"
    assert raised.value.trace_id in str(raised.value)
    assert len(proxy.find_requests("POST /tasks")) == 3
    assert pauses == []


def test_a_stream_begins_with_its_block(client, clerk):
    with client.events(event_type="task.routed") as events:
        task = TaskFactory(agent=clerk)
        assert next(events)["subject_id"] == str(task.pk)


def test_a_stream_goes_on_after_a_cut_without_loss_or_repetition(proxy, through, clerk, alice):
    with through.events(event_type=["task.routed", "approval.approved"]) as events:
        first = TaskFactory(agent=clerk)
        told = [next(events)]
        proxy.cut()
        decide(first.pk, alice)
        second = TaskFactory(agent=clerk)
        told += [next(events), next(events)]
    assert [event["event_type"] for event in told] == [
        "task.routed",
        "approval.approved",
        "task.routed",
    ]
    assert [told[0]["subject_id"], told[2]["subject_id"]] == [str(first.pk), str(second.pk)]

    with through.events(after=events.cursor, event_type="task.routed") as later:
        third = TaskFactory(agent=clerk)
        assert next(later)["subject_id"] == str(third.pk)


def test_without_a_key_there_is_no_client(monkeypatch):
    monkeypatch.delenv("ORCHESTRATOR_KEY", raising=False)
    with pytest.raises(ValueError, match="ORCHESTRATOR_KEY"):
        Client()


def test_url_and_key_come_from_the_environment(server, clerk, monkeypatch):
    monkeypatch.setenv("ORCHESTRATOR_URL", f"http://127.0.0.1:{server.port}")
    monkeypatch.setenv("ORCHESTRATOR_KEY", clerk.key)
    with Client() as client:
        session = client.open_session("finance", metadata={"run": 7})
        assert client.update_session(session["session_id"], status="active")["state"] == "active"


def test_patience_ends(clerk):
    with (
        Client(f"http://127.0.0.1:{free_port()}", clerk.key, patience=1) as client,
        pytest.raises(httpx.ConnectError),
    ):
        client.task("0")
