"""How many statements a request sends: what docs/performance.md says, held."""

import re
from pathlib import Path

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit_app.live import event_log
from tests.factories import SessionFactory, TaskFactory, policy, the_approval

SAID = (Path(__file__).parents[2] / "docs" / "performance.md").read_text()
OWN = re.compile(r"^\s*(SAVEPOINT|RELEASE|BEGIN|COMMIT|ROLLBACK|INSERT INTO rate_limits)", re.I)
"""What frames a transaction; and a share of the minute, which is taken once in many requests."""


@pytest.fixture
def count(api, bot):
    """``count(request)``: its statements, without those that frame transactions."""
    api(bot).get("/sessions")  # the key's last use is written once a minute

    def count(request):
        with CaptureQueriesContext(
            connection,
        ) as captured:
            assert request().status_code < 300
        return len([q for q in captured.captured_queries if not OWN.match(q["sql"])])

    return count


def read_table(request):
    """The number in the documented table's row of ``request``."""
    return int(re.search(rf"^\| `?{re.escape(request)}.*\| (\d+) \|$", SAID, re.MULTILINE)[1])


def test_reading_a_task(api, bot, count):
    task = TaskFactory(agent=bot)
    assert count(lambda: api(bot).get(f"/tasks/{task.pk}")) == read_table("GET /tasks/{id}")


def test_reading_a_session(api, bot, count):
    session = SessionFactory(agent=bot)
    assert count(lambda: api(bot).get(f"/sessions/{session.pk}")) == read_table(
        "GET /sessions/{id}"
    )


def test_a_stream_that_looks_for_events(api, bot, count):
    place = event_log.find_end()  # when eras began is asked once a process
    asked = {"task_id": str(TaskFactory(agent=bot).pk), "after": str(place)}
    assert count(lambda: api(bot).get("/events", **asked)) == read_table("GET /events")


def test_opening_a_session(api, bot, count):
    request = api(bot, **{"Idempotency-Key": "k"})
    asked = {"agent_role": "support-agent"}
    assert count(lambda: request.post("/sessions", asked)) == read_table("POST /sessions")


def test_routing_a_task(api, bot, count):
    request = api(bot, **{"Idempotency-Key": "k"})
    asked = {"target": "finance", "task": {"task_type": "refund_approval"}}
    assert count(lambda: request.post("/tasks/route", asked)) == read_table("POST /tasks/route")


def test_the_first_task_for_a_role_in_a_minute_looks_the_role_up(api, bot, alice, count, settings):
    settings.ALLOW_UNKNOWN_ROLES = False
    asked = {"target": "finance", "task": {"task_type": "refund_approval"}}

    def route(key):
        return count(lambda: api(bot, **{"Idempotency-Key": key}).post("/tasks/route", asked))

    assert [route(key) - read_table("POST /tasks/route") for key in "abc"] == [1, 0, 0]


def test_a_task_that_needs_nobody_saves_two(api, bot, count):
    policy(then="approve")
    asked = {"target": "finance", "task": {"task_type": "refund_approval"}}
    api(bot, **{"Idempotency-Key": "k"}).post("/tasks/route", asked)  # the policy is read here
    request = api(bot, **{"Idempotency-Key": "l"})
    number = count(lambda: request.post("/tasks/route", asked))
    assert number == read_table("POST /tasks/route") - 2


@pytest.mark.parametrize("number", [1, 2, 20])
def test_routing_many_tasks_costs_the_same_however_many_there_are(api, bot, count, number):
    policy("bots", when={"condition": 'agent == "bot"'}, asks="1 finance, 1 legal")
    tasks = [
        {"idempotency_key": f"k{n}", "target": "finance", "task": {"task_type": "refund"}}
        for n in range(number)
    ]
    alone = {"target": "finance", "task": {"task_type": "refund"}}
    api(bot).post("/tasks/route", alone, {"Idempotency-Key": "k"})  # the policy is read here
    request = lambda: api(bot).post("/tasks/route:batch", {"tasks": tasks})  # noqa: E731
    first, again = count(request), count(request)
    assert (first, again) == (
        read_table("POST /tasks/route:batch"),
        read_table("the same batch again"),
    )


def test_a_page_of_tasks_costs_the_same_however_many_there_are(api, bot, count):
    TaskFactory(agent=bot)
    one = count(lambda: api(bot).get("/tasks"))
    TaskFactory.create_batch(5, agent=bot)
    assert count(lambda: api(bot).get("/tasks")) == one == read_table("GET /tasks`")


def test_a_decision(api, bot, alice, count):
    approval = the_approval(TaskFactory(agent=bot))
    person = api(user=alice)
    person.get("/approvals")  # her share of the rate limit is asked for once in many requests
    digest = {"payload_digest": approval.payload_digest}
    request = lambda: person.post(f"/approvals/{approval.pk}/approve", digest)  # noqa: E731
    assert count(request) == read_table("POST /approvals/{id}/approve")
