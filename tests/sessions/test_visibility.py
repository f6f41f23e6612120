"""What is somebody else's does not exist; what is addressed to a role, that role sees."""

import pytest

from audit_app.models import Event
from tests.factories import AgentFactory, SessionFactory, TaskFactory, the_approval


@pytest.fixture
def theirs():
    """What agent ``other`` has: the addresses of a session, a task and its approval."""
    other = AgentFactory(name="other", roles=["weather"])
    session = SessionFactory(agent=other)
    task = TaskFactory(agent=other, session_id=session.pk)
    return {"session": session, "task": task, "approval": the_approval(task)}


READS = [
    "/sessions/{session}",
    "/sessions/{session}/tasks",
    "/tasks/{task}",
    "/approvals/{approval}",
]
WRITES = [
    ("PUT", "/sessions/{session}", {"status": "active"}),
    ("POST", "/tasks/{task}/claim", {}),
    ("POST", "/tasks/{task}/complete", {}),
    ("POST", "/tasks/{task}/fail", {}),
    ("POST", "/tasks/{task}/cancel", {}),
    ("POST", "/approvals/{approval}/approve", {"payload_digest": "0" * 64}),
    ("POST", "/approvals/{approval}/reject", {"payload_digest": "0" * 64}),
]


def at(path, theirs):
    return path.format(**{name: row.pk for name, row in theirs.items()})


@pytest.mark.parametrize("path", READS)
def test_an_agent_does_not_find_what_is_another_agents(api, bot, theirs, path):
    assert api(bot).get(at(path, theirs)).status_code == 404


@pytest.mark.parametrize(("method", "path", "body"), WRITES)
def test_an_agent_does_not_touch_what_is_another_agents(api, bot, theirs, method, path, body):
    answer = api(bot).send(method, at(path, theirs), body)
    assert answer.status_code == 404
    assert not Event.objects.filter(actor="agent:bot", event_type="operation.refused").exists()


@pytest.mark.parametrize("path", READS)
def test_not_there_and_not_yours_sound_the_same(api, bot, theirs, path):
    nowhere = "5b2c0c9f-27a4-4a2e-9a3f-0c8a52a45b11"
    hidden = api(bot).get(at(path, theirs)).json()
    absent = api(bot).get(path.format(session=nowhere, task=nowhere, approval=nowhere)).json()
    assert hidden | {"trace_id": ""} == absent | {"trace_id": ""}


@pytest.mark.parametrize("path", ["/sessions", "/tasks", "/approvals"])
def test_a_list_holds_nothing_of_another_agents(api, bot, theirs, path):
    assert api(bot).get(path).json()["total"] == 0


def test_a_search_finds_nothing_of_another_agents(api, bot, theirs):
    query = {"session_id": str(theirs["session"].pk)}
    assert api(bot).get("/tasks", **query).json()["total"] == 0
    query = {"task_id": str(theirs["task"].pk)}
    assert api(bot).get("/approvals", **query).json()["total"] == 0


@pytest.mark.parametrize("path", ["/tasks/{task}", "/approvals/{approval}"])
def test_the_role_that_is_asked_sees_the_task_and_its_approvals(api, payer, theirs, path):
    assert api(payer).get(at(path, theirs)).status_code == 200


def test_the_role_that_is_asked_does_not_see_the_session(api, payer, theirs):
    assert api(payer).get(at("/sessions/{session}", theirs)).status_code == 404


@pytest.mark.parametrize("path", READS)
def test_a_reviewer_sees_what_their_role_is_asked_about(api, alice, theirs, path):
    assert api(user=alice).get(at(path, theirs)).status_code == 200


@pytest.mark.parametrize("path", READS)
def test_a_reviewer_of_another_role_sees_nothing(api, charlie, theirs, path):
    assert api(user=charlie).get(at(path, theirs)).status_code == 404


@pytest.mark.parametrize("path", [*READS, "/sessions", "/tasks", "/approvals", "/audit/events"])
def test_nobody_sees_nothing(api, theirs, path):
    assert api().get(at(path, theirs)).status_code == 401
