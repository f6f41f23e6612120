"""How an agent learns of a decision: by the stream, by a held request, by looking."""

import asyncio
import threading
from concurrent.futures import Future

import httpx
import pytest
from django.conf import settings
from orchestrator_client import AsyncClient, Client, Problem, StillWaiting, outcome
from orchestrator_client import client as synchronous

from sessions_app import agents
from tests.clients.conftest import decide
from tests.clients.proxy import refusal
from tests.factories import OPS, TaskFactory
from tests.serving import client_of, free_port, gunicorn, on_the_tests_database

STREAM, POLL = 600, 50
"""Timeouts: the last minute is never streamed."""


@pytest.mark.parametrize("timeout", [None, STREAM, POLL])
@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_a_decision_is_learnt_of(server, aside, client, clerk, alice, timeout, verdict):
    task = TaskFactory(agent=clerk)
    waiting = aside(client.wait_for_decision, str(task.pk), timeout=timeout)
    server.holds(1)
    decide(task.pk, alice, verdict)
    assert waiting.result(30)["status"] == {"approve": "approved", "reject": "rejected"}[verdict]
    server.holds(0)


@pytest.mark.parametrize("timeout", [STREAM, POLL])
def test_what_is_decided_already_is_answered_at_once(client, clerk, alice, timeout):
    task = TaskFactory(agent=clerk)
    decide(task.pk, alice)
    assert client.wait_for_decision(str(task.pk), timeout=timeout)["status"] == "approved"


def test_the_task_is_read_after_the_stream_began(proxy, through, clerk, alice):
    task = TaskFactory(agent=clerk)
    decide(task.pk, alice)
    through.wait_for_decision(str(task.pk))
    assert [seen.line.split("?")[0] for seen in proxy.seen] == [
        "GET /events",
        f"GET /tasks/{task.pk} HTTP/1.1",
    ]


@pytest.mark.parametrize("timeout", [STREAM, POLL])
def test_a_request_for_changes_ends_the_wait_and_a_revision_begins_the_next(
    server, aside, client, clerk, alice, timeout
):
    task = TaskFactory(agent=clerk)
    waiting = aside(client.wait_for_decision, str(task.pk), timeout=timeout)
    server.holds(1)
    decide(task.pk, alice, "request_changes", message="Less.")
    told = waiting.result(30)
    assert outcome(told) == "changes_requested"

    revised = client.revise(told["task_id"], data={"amount": "40.00"})
    assert outcome(revised) == "awaiting_approval"
    waiting = aside(client.wait_for_decision, str(task.pk), timeout=timeout)
    server.holds(1)
    decide(task.pk, alice)
    assert waiting.result(30)["status"] == "approved"


def test_whoever_waits_for_nothing_is_told_so_and_the_task_waits_on(client, clerk):
    task = TaskFactory(agent=clerk)
    with pytest.raises(StillWaiting) as raised:
        client.wait_for_decision(str(task.pk), timeout=1)
    assert raised.value.task_id == str(task.pk)
    assert isinstance(raised.value, TimeoutError)
    assert client.task(str(task.pk))["status"] == "awaiting_approval"


def test_whoever_can_ask_nobody_until_the_time_is_over_waits_still(proxy, through, clerk):
    task = TaskFactory(agent=clerk)
    proxy.refusals = [("GET /tasks", refusal(503))] * 20
    with pytest.raises(StillWaiting) as raised:
        through.wait_for_decision(str(task.pk), timeout=1)
    assert isinstance(raised.value.__cause__, Problem)
    assert raised.value.__cause__.status == 503


def test_where_no_stream_can_be_had_the_server_holds_the_request(
    server, proxy, aside, through, clerk, alice
):
    proxy.refusals = [("GET /events", refusal(404))]
    task = TaskFactory(agent=clerk)
    waiting = aside(through.wait_for_decision, str(task.pk))
    server.holds(1)
    decide(task.pk, alice)
    assert waiting.result(30)["status"] == "approved"
    assert proxy.find_requests("GET /tasks")[0].header("Prefer") == "wait=60"


def test_where_nothing_is_held_the_client_looks_slowly(
    proxy, aside, through, clerk, alice, monkeypatch
):
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 2:
            decide(task.pk, alice)

    monkeypatch.setattr(synchronous.time, "sleep", pause)
    proxy.refusals, proxy.hidden = [("GET /events", refusal(404))], b"Prefer"
    task = TaskFactory(agent=clerk)
    assert through.wait_for_decision(str(task.pk))["status"] == "approved"
    assert pauses == [synchronous.POLL_INTERVAL] * 2


def test_a_stream_that_is_cut_is_taken_up_again(server, proxy, aside, through, clerk, alice):
    task = TaskFactory(agent=clerk)
    waiting = aside(through.wait_for_decision, str(task.pk))
    server.holds(1)
    proxy.cut()
    server.holds(0)
    decide(task.pk, alice)
    assert waiting.result(60)["status"] == "approved"


class Observed(Client):
    """Tells when it has read the task: the stream was there, and is all that it goes by now."""

    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.read = threading.Semaphore(0)

    def task(self, task_id, **given):
        found = super().task(task_id, **given)
        self.read.release()
        return found


class ObservedAsync(AsyncClient):
    def __init__(self, *given, **named):
        super().__init__(*given, **named)
        self.read = threading.Semaphore(0)

    async def task(self, task_id, **given):
        found = await super().task(task_id, **given)
        self.read.release()
        return found


@pytest.mark.parametrize("kind", [Observed, ObservedAsync])
def test_a_stream_that_is_cut_again_and_again_costs_no_patience(proxy, aside, clerk, alice, kind):
    task = TaskFactory(agent=clerk)
    client = kind(f"http://127.0.0.1:{proxy.port}", clerk.key, patience=3)

    def wait():
        said = client.wait_for_decision(str(task.pk))
        return said if kind is Observed else asyncio.run(said)

    waiting = aside(wait)
    for _ in range(5):
        assert client.read.acquire(timeout=30), waiting.exception(0)
        proxy.cut()
    decide(task.pk, alice)
    assert waiting.result(60)["status"] == "approved"


@pytest.mark.parametrize("timeout", [STREAM, POLL])
def test_a_restarted_server_answers_who_waited_before(tmp_path, aside, clerk, alice, timeout):
    port = free_port()
    env = on_the_tests_database(port, DATA_DIR=str(tmp_path), METRICS_TOKEN="the tests' own")
    env["SECRET_KEY"] = settings.SECRET_KEY
    task = TaskFactory(agent=clerk)
    with Client(f"http://127.0.0.1:{port}", clerk.key) as client:
        with gunicorn(tmp_path / "first", env):
            admin = client_of(port, headers={"Authorization": "Bearer the tests' own"})
            with admin:
                waiting = aside(client.wait_for_decision, str(task.pk), timeout=timeout)
                while "orchestrator_waiting_requests 1.0" not in admin.get("/metrics").text:
                    pass
        decide(task.pk, alice)
        with gunicorn(tmp_path / "second", env):
            assert waiting.result(60)["status"] == "approved"


def test_a_key_that_is_not_good_is_no_reason_to_wait(client, clerk):
    task = TaskFactory(agent=clerk)
    agents.rotate_key(clerk.pk, by=OPS)
    with pytest.raises(Problem) as raised:
        client.wait_for_decision(str(task.pk))
    assert (raised.value.status, raised.value.code) == (401, "invalid_key")


def test_an_asynchronous_client_waits_and_leaves_when_it_is_cancelled(
    server, aside, asynchronous, clerk, alice
):
    task = TaskFactory(agent=clerk)

    async def both():
        async with asynchronous() as client:
            one = asyncio.create_task(client.wait_for_decision(str(task.pk)))
            other = asyncio.create_task(client.wait_for_decision(str(task.pk), timeout=POLL))
            leaver = asyncio.create_task(client.wait_for_decision(str(task.pk)))
            await asyncio.to_thread(server.holds, 3)
            leaver.cancel()
            with pytest.raises(asyncio.CancelledError):
                await leaver
            await asyncio.to_thread(server.holds, 2)
            left.set_result(None)
            return await one, await other

    left = Future()
    waiting = aside(asyncio.run, both())
    left.result(60)
    decide(task.pk, alice)
    assert [told["status"] for told in waiting.result(60)] == ["approved", "approved"]
    server.holds(0)


def test_a_server_that_is_not_there_is_said_by_httpx(clerk):
    with (
        Client(f"http://127.0.0.1:{free_port()}", clerk.key, patience=0) as client,
        pytest.raises(httpx.ConnectError),
    ):
        client.task("0")
