"""``Prefer: wait=N``: an agent is told as soon as there is news, and costs nothing meanwhile."""

import socket
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection

from approvals_app.api.reads import read_approvals, waits_for_people
from approvals_app.decisions import operations
from audit_app.base.actors import Actor
from audit_app.live import long_poll
from orchestrator.server import long_poll as door
from sessions_app import agents
from sessions_app import operations as work
from sessions_app.models import Task
from tests.database import as_superuser
from tests.factories import OPS, SessionFactory, TaskFactory, approve_task, the_approval
from tests.live.conftest import serving

PATIENTLY = {"Prefer": "wait=60"}


def decide(approval, by, verdict="approve", **given):
    getattr(operations, verdict)(
        approval.pk, by=Actor.human(by), payload_digest=approval.payload_digest, **given
    )


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_the_answer_comes_with_the_decision(server, aside, alice, bot, verdict):
    task = TaskFactory(agent=bot)
    approval = the_approval(task)
    with server.as_agent(bot) as client:
        of_approval = aside(client.get, f"/approvals/{approval.pk}", headers=PATIENTLY)
        of_task = aside(client.get, f"/tasks/{task.pk}", headers=PATIENTLY)
        server.holds(2)
        decide(approval, alice, verdict)

        said = of_approval.result(30)
        assert said.json()["status"] == {"approve": "approved", "reject": "rejected"}[verdict]
        assert said.json()["decided_by"] == "alice"
        assert said.headers["Preference-Applied"] == "wait=60"
        assert said.headers["X-Trace-Id"]
        assert said.headers["RateLimit"]
        assert of_task.result(30).json()["status"] == said.json()["status"]
    server.holds(0)


def test_the_answer_comes_when_changes_are_asked_for(server, aside, alice, bot):
    task = TaskFactory(agent=bot)
    approval = the_approval(task)
    with server.as_agent(bot) as client:
        answers = [
            aside(client.get, path, headers=PATIENTLY)
            for path in (f"/approvals/{approval.pk}", f"/tasks/{task.pk}")
        ]
        server.holds(2)
        decide(approval, alice, "request_changes", message="Less.")

        of_approval, of_task = (answer.result(30).json() for answer in answers)
        assert (of_approval["status"], of_task["status"]) == ("pending", "awaiting_approval")
        assert of_approval["votes"][0]["notes"] == "Less."


def test_what_is_decided_is_answered_at_once(server, alice, bot):
    task = TaskFactory(agent=bot)
    approve_task(task, by=alice)
    with server.as_agent(bot) as client:
        answer = client.get(f"/approvals/{the_approval(task).pk}", headers=PATIENTLY)
        assert answer.json()["status"] == "approved"
        assert answer.headers["Preference-Applied"] == "wait=60"
        assert client.get(f"/tasks/{task.pk}", headers=PATIENTLY).json()["status"] == "approved"


def test_after_the_time_asked_for_it_is_still_pending(server, bot):
    approval = the_approval(TaskFactory(agent=bot))
    with server.as_agent(bot) as client:
        answer = client.get(f"/approvals/{approval.pk}", headers={"Prefer": "wait=1"})
    assert answer.json()["status"] == "pending"
    assert answer.headers["Preference-Applied"] == "wait=1"


def test_a_session_is_waited_for_until_it_ends(server, aside, bot):
    session = SessionFactory(agent=bot)
    with server.as_agent(bot) as client:
        known = client.get(f"/sessions/{session.pk}").headers["ETag"]
        ended = aside(client.get, f"/sessions/{session.pk}", headers=PATIENTLY)
        conditional = PATIENTLY | {"If-None-Match": known}
        changed = aside(client.get, f"/sessions/{session.pk}", headers=conditional)
        server.holds(2)
        work.update_session(session.pk, by=bot.as_actor(), status="active")
        assert changed.result(30).json()["state"] == "active"
        server.holds(1)
        work.update_session(session.pk, by=bot.as_actor(), status="completed")
        assert ended.result(30).json()["state"] == "completed"

        known = ended.result().headers["ETag"]
        same = {"Prefer": "wait=1", "If-None-Match": known}
        assert client.get(f"/sessions/{session.pk}", headers=same).status_code == 304


def test_what_a_stranger_asks_for_is_not_there_and_not_waited_for(server, payer, bot, charlie):
    task = TaskFactory(agent=bot)
    stranger = agents.create_agent("stranger", by=OPS, roles=["other"])[1]
    with server.as_agent(bot, Authorization=f"Bearer {stranger.text}") as client:
        for path in (f"/tasks/{task.pk}", f"/approvals/{the_approval(task).pk}"):
            answer = client.get(path, headers=PATIENTLY)
            assert answer.status_code == 404
            assert "Preference-Applied" not in answer.headers


def test_who_may_not_ask_any_more_is_told_so_and_nothing_else(server, aside, alice, bot):
    task = TaskFactory(agent=bot)
    with server.as_agent(bot) as client:
        answer = aside(client.get, f"/approvals/{the_approval(task).pk}", headers=PATIENTLY)
        server.holds(1)
        agents.rotate_key(bot.pk, by=OPS)
        decide(the_approval(task), alice)
        assert answer.result(30).status_code == 401


def test_one_caller_does_not_take_all_slots(server, aside, alice, bot, payer):
    approval = the_approval(TaskFactory(agent=bot))
    path = f"/approvals/{approval.pk}"
    with server.as_agent(bot) as client, server.as_agent(payer) as other:
        waits = [aside(client.get, path, headers=PATIENTLY) for _ in range(4)]
        server.holds(4)
        refused = client.get(path, headers=PATIENTLY)
        assert (refused.status_code, refused.json()["code"]) == (429, "throttled")
        assert refused.headers["Retry-After"] == "1"
        assert other.get(path, headers={"Prefer": "wait=1"}).headers["Preference-Applied"]
        decide(approval, alice)
        assert {wait.result(30).json()["status"] for wait in waits} == {"approved"}
        server.holds(0)
        assert client.get(path, headers=PATIENTLY).headers["Preference-Applied"]


def test_a_caller_who_goes_away_frees_their_slot(server, bot):
    path = f"/approvals/{the_approval(TaskFactory(agent=bot)).pk}"
    head = f"Host: 127.0.0.1\r\nAuthorization: Bearer {bot.key}\r\nPrefer: wait=60\r\n"
    with socket.create_connection(("127.0.0.1", server.port)) as caller:
        caller.sendall(f"GET {path} HTTP/1.1\r\n{head}\r\n".encode())
        server.holds(1)
    server.holds(0)


def test_when_all_slots_are_taken_the_answer_comes_at_once(bot, tmp_path):
    approval = the_approval(TaskFactory(agent=bot))
    with serving(tmp_path, MAX_WAITERS="1") as server, server.as_agent(bot) as client:
        stream = client.stream("GET", "/events")
        with stream as held:
            assert held.status_code == 200
            answer = client.get(f"/approvals/{approval.pk}", headers=PATIENTLY)
    assert answer.json()["status"] == "pending"
    assert "Preference-Applied" not in answer.headers


def test_whoever_waits_is_answered_when_the_server_ends(aside, bot, tmp_path):
    approval = the_approval(TaskFactory(agent=bot))
    with serving(tmp_path) as server, server.as_agent(bot) as client:
        answer = aside(client.get, f"/approvals/{approval.pk}", headers=PATIENTLY)
        server.holds(1)
        server.process.terminate()
        assert answer.result(30).json()["status"] == "pending"


def test_forty_wait_beside_a_pool_of_two_and_others_are_answered(aside, alice, bot, tmp_path):
    approval = the_approval(TaskFactory(agent=bot))
    path = f"/approvals/{approval.pk}"
    with (
        serving(tmp_path, DB_POOL_MAX="2") as server,
        server.as_agent(bot) as client,
        ThreadPoolExecutor(40) as callers,
    ):
        waits = [callers.submit(client.get, path, headers=PATIENTLY) for _ in range(40)]
        server.holds(40)
        assert server.admin.get("/health").status_code == 200
        decide(approval, alice)
        assert {wait.result(30).json()["status"] for wait in waits} == {"approved"}


def test_a_task_that_is_decided_between_two_reads_is_asked_for_again(alice, bot):
    """The wait would end with a task that still waits beside approvals that are decided."""
    read_before = Task.objects.get(pk=TaskFactory(agent=bot).pk)
    decide(the_approval(read_before), alice)
    read_approvals([read_before])
    assert waits_for_people(read_before)

    read_after = Task.objects.get(pk=read_before.pk)
    read_approvals([read_after])
    assert not waits_for_people(read_after)


def test_whoever_waited_does_not_queue_behind_whoever_comes_now(aside, alice, bot, tmp_path):
    approval = the_approval(TaskFactory(agent=bot))
    with (
        serving(tmp_path, DB_POOL_MAX="40") as server,
        server.as_agent(bot) as client,
        ThreadPoolExecutor(door.THREADS + 6) as callers,
    ):
        answer = aside(client.get, f"/approvals/{approval.pk}", headers=PATIENTLY)
        server.holds(1)
        with as_superuser() as other, other.transaction():
            other.execute("LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE")
            many = [callers.submit(client.get, "/sessions") for _ in range(door.THREADS + 6)]
            _stand_in_line(door.THREADS)
            decide(approval, alice)
            assert answer.result(30).json()["status"] == "approved"
            assert not any(one.done() for one in many)
        assert {one.result(60).status_code for one in many} == {200}


def _stand_in_line(number):
    """Return once so many statements wait for somebody's lock."""
    deadline = time.monotonic() + 20
    waiting = 0
    while waiting < number:
        assert time.monotonic() < deadline, f"{waiting} wait, not {number}"
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_locks WHERE NOT granted")
            (waiting,) = cursor.fetchone()


def test_without_the_long_poll_handler_nobody_waits(api, bot):
    approval = the_approval(TaskFactory(agent=bot))
    answer = api(bot).get(f"/approvals/{approval.pk}", PATIENTLY)
    assert answer.json()["status"] == "pending"
    assert "Preference-Applied" not in answer.headers


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("wait=30", 30),
        ("wait=60", 60),
        ("wait=61", 60),
        ("wait=999999999", 60),
        ('wait="20"', 20),
        ("WAIT = 5", 5),
        ("respond-async, wait=10", 10),
        ("wait=10, handling=lenient", 10),
        ("respond-async; foo=bar, wait=7", 7),
        ("wait=0", 0),
        ("wait=-1", 0),
        ("wait=soon", 0),
        ("wait", 0),
        ("await=5", 0),
        ("", 0),
    ],
)
def test_the_preference_is_read_as_rfc_7240_writes_it(header, seconds):
    assert long_poll.parse_wait(header) == seconds
