"""The first page of a list, whose SQL is kept, is the page that its filters find."""

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from tests.factories import (
    AgentFactory,
    ReviewerFactory,
    SessionFactory,
    TaskFactory,
    approve_task,
    the_approval,
)

NAMES = ["finance", "it's", "100%s", "back\\slash", '"quoted"', "\u00fc\u4e2d", "a" * 36, "null"]
NOBODYS = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
def callers(bot, alice, api):
    """Somebody who asks, one who executes and asks too, one who knows of nothing, one who reads
    everything, and a person."""
    payer = AgentFactory(name="payer", roles=["finance", "support-agent"])
    stranger = AgentFactory(name="stranger", roles=["nothing"])
    lead = ReviewerFactory(username="lead", roles=[], is_superuser=True)
    for number, name in enumerate(NAMES):
        asker = AgentFactory(name=f"asker {number}", roles=[name])
        session = SessionFactory(agent=asker, agent_role=name, task_id=name)
        TaskFactory(agent=asker, target=name, task_type=name, session_id=session.pk)
    approve_task(TaskFactory(agent=bot), by=alice)
    TaskFactory(agent=payer, target="finance")
    return [api(each) for each in (bot, payer, stranger)] + [api(user=lead), api(user=alice)]


def both(caller, path, **query):
    """The page by kept SQL, and the same one by a page_size that is written otherwise."""
    return [caller.get(path, **query, page_size=size).json() for size in ("5", "005")]


def found_by(callers, path, **query):
    """What each finds. Twice: the second time nothing is written anew."""
    for _ in range(2):
        pages = [both(caller, path, **query) for caller in callers]
        assert all(kept == found for kept, found in pages)
    return [page for page, _ in pages]


@pytest.mark.parametrize("path", ["/sessions", "/tasks", "/approvals"])
def test_everybody_finds_what_they_may_know_of(callers, path):
    pages = found_by(callers, path)
    assert len({page["total"] for page in pages}) > 1
    assert any(page["total"] > 5 for page in pages)


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/sessions", "agent_role"),
        ("/sessions", "task_id"),
        ("/tasks", "to_role"),
        ("/tasks", "from_role"),
        ("/tasks", "task_type"),
        ("/approvals", "approver_role"),
    ],
)
def test_a_name_is_looked_for_as_it_is_written(callers, path, name):
    for value in (*NAMES, "nobody's", " finance "):
        pages = found_by(callers[1:4], path, **{name: value})
        assert any(page["total"] for page in pages) == (value != "nobody's")


def test_a_state_an_id_and_several_at_once(callers, bot):
    task = TaskFactory(agent=bot, session_id=SessionFactory(agent=bot).pk)
    for path, query in (
        ("/sessions", {"state": "pending"}),
        ("/tasks", {"status": "awaiting_approval"}),
        ("/tasks", {"trace_id": str(task.trace_id)}),
        ("/tasks", {"session_id": str(task.session_id), "from_role": "support-agent"}),
        ("/approvals", {"status": "approved"}),
        ("/approvals", {"task_id": str(task.pk), "status": "pending"}),
    ):
        assert any(page["total"] for page in found_by(callers, path, **query))
    assert not any(page["total"] for page in found_by(callers, "/tasks", trace_id=NOBODYS))


@pytest.mark.parametrize(
    "query",
    [
        {"status": "done"},
        {"status": "null"},
        {"trace_id": "1"},
        {"to_role": " "},
        {"to_role": "a" * 300},
        {"page": "0"},
        {"page": "2"},
        {"cursor": ""},
    ],
)
def test_what_is_no_first_page_is_answered_as_before(callers, query):
    for caller in callers[:2]:
        answers = [caller.get("/tasks", **query, page_size=size) for size in ("5", "005")]
        assert answers[0].status_code == answers[1].status_code
        said, again = [answer.json() for answer in answers]
        assert said | {"trace_id": 0} == again | {"trace_id": 0}


def test_it_is_one_statement_for_rows_and_total(callers, bot, api):
    with CaptureQueriesContext(connection) as sent:
        api(bot).get("/sessions", page=1)
    assert len([query for query in sent if 'FROM "sessions"' in query["sql"]]) == 1


def test_each_thread_asks_on_its_own_connection(callers):
    def ask(_):
        try:
            return callers[0].get("/tasks").json()["total"]
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as threads:
        assert set(threads.map(ask, range(8))) == {ask(None)}


def test_a_task_has_its_votes(bot, alice, api):
    task = approve_task(TaskFactory(agent=bot), by=alice)
    waiting = TaskFactory(agent=bot)
    [second, first] = api(bot).get("/tasks").json()["tasks"]
    assert [vote["choice"] for vote in first["approvals"][0]["votes"]] == ["yes"]
    assert (first["task_id"], second["task_id"]) == (str(task.pk), str(waiting.pk))
    assert second["approvals"][0]["approval_id"] == str(the_approval(waiting).pk)
    assert second["approvals"][0]["votes"] == []
