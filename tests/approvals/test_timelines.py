"""The trail of one thing is read from its beginning, by whoever may know of it."""

import re
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils.html import strip_tags

from approvals_app.review import timelines
from approvals_app.review.sentences import PHRASES
from audit_app.base.actors import Actor
from audit_app.base.errors import NotFound
from audit_app.base.events import EventType
from audit_app.ui.state_diagram import build_state_diagram, list_past_states
from sessions_app.models import Task
from tests.factories import AgentFactory, SessionFactory, TaskFactory, approve_task, find_approval

pytestmark = pytest.mark.usefixtures("whole")


@pytest.fixture
def task(bot, alice):
    session = SessionFactory(agent=bot)
    return approve_task(TaskFactory(agent=bot, session_id=session.pk), by=alice)


def kinds(timeline):
    return [step.event.event_type for step in timeline.steps]


TOLD = ["task.routed", "approval.requested", "vote.cast", "approval.approved", "task.approved"]


def test_a_tasks_story_is_in_order_with_what_was_said(task, alice):
    found = timelines.load_task(task.pk, Actor.human(alice))
    assert kinds(found) == TOLD
    assert found.steps[0].after is None
    assert all(step.after is not None for step in found.steps[1:])
    assert found.steps[2].details["choice"] == "yes"


def test_what_one_transaction_did_is_one_line_in_words(task, bot, breaker, say, client):
    alone = TaskFactory(agent=bot, description="Refund before the hotel closes.")
    reason = "Hotel is closed tomorrow."
    approval = find_approval(alone, "finance")
    assert say(breaker, "break_glass", approval, reason=reason).status_code == 201
    found = timelines.load_task(alone.pk, Actor.human(breaker))
    said = [(each.actor, each.phrase, each.reason) for each in found.moments]
    assert said == [
        (bot.name, "routed the task", ""),
        ("alice", "approved alone (break glass)", reason),
    ]
    assert sum(len(each.steps) for each in found.moments) == len(found.steps)

    client.force_login(breaker)
    page = client.get(f"/admin/timeline/trace/{alone.trace_id}/").content.decode()
    text = " ".join(strip_tags(page).split())
    assert f"alice approved alone (break glass): “{reason}”" in text
    title = re.search(r'<h2 class="o-title">([^<]*)', page)[1]
    assert title == "Refund before the hotel closes."


def test_every_event_has_words():
    assert set(PHRASES) | {"vote.cast"} == set(EventType.values)


def test_a_sessions_and_a_traces_story(task, alice, root):
    session = timelines.load_session(task.session_id, Actor.human(root))
    assert kinds(session) == ["session.opened", *TOLD]
    assert kinds(timelines.load_trace(task.trace_id, Actor.human(alice))) == TOLD


def test_what_somebody_did(task, bot, alice, root):
    by = Actor.human(root)
    assert kinds(timelines.load_actor("human", "alice", by)) == TOLD[2:]
    assert "task.routed" in kinds(timelines.load_actor("agent", bot.name, by))
    assert kinds(timelines.load_actor("human", "nobody", by)) == []


def test_it_can_be_narrowed_and_paged(task, bot, alice, monkeypatch):
    by = Actor.human(alice)
    assert kinds(timelines.load_task(task.pk, by, of="vote")) == ["vote.cast"]
    monkeypatch.setattr(timelines, "PAGE_SIZE", 2)
    latest = timelines.load_task(task.pk, by)
    assert kinds(latest) == TOLD[3:]
    before = timelines.load_task(task.pk, by, before=latest.earlier)
    assert kinds(before) == TOLD[1:3]
    first = timelines.load_task(task.pk, by, before=before.earlier)
    assert (kinds(first), first.earlier) == (TOLD[:1], None)


def test_nobody_reads_what_is_not_theirs(task, charlie, client):
    by = Actor.human(charlie)
    with pytest.raises(NotFound):
        timelines.load_task(task.pk, by)
    with pytest.raises(NotFound):
        timelines.load_session(task.session_id, by)
    assert kinds(timelines.load_trace(task.trace_id, by)) == []
    client.force_login(charlie)
    seen, unknown = (
        client.get(f"/admin/timeline/task/{pk}/").status_code for pk in (task.pk, uuid4())
    )
    assert seen == unknown == 404
    for way in ("trace/x", "task/x", "session/1", "person/", "nothing/1", "person/%00"):
        assert client.get(f"/admin/timeline/{way}/").status_code in (400, 404), way


@pytest.mark.parametrize("query", ["", "?of=vote", "?of=x", "?before=3", "?before=x&of=task"])
def test_the_page_answers_whatever_the_address_says(task, alice, client, query):
    client.force_login(alice)
    assert client.get(f"/admin/timeline/task/{task.pk}/{query}").status_code == 200


def test_a_page_costs_the_same_however_long_the_story_is(task, bot, alice, api, client):
    client.force_login(alice)

    def queries():
        with CaptureQueriesContext(connection) as caught:
            assert client.get(f"/admin/timeline/trace/{task.trace_id}/").status_code == 200
        return len(caught)

    queries()
    before = queries()
    body = {"event_type": "agent.noted", "metadata": {"x": 1}}
    for _ in range(5):
        api(bot).post("/audit/events", body, headers={"X-Trace-Id": str(task.trace_id)})
    assert queries() == before <= 12


def test_the_state_diagram_highlights_the_present_state_and_the_way_to_it(task):
    row = Task.objects.get(pk=task.pk)
    drawn = build_state_diagram(row, list_past_states(row))
    lit = {state["name"]: (state["present"], state["passed"]) for state in drawn.states}
    assert lit["approved"] == (True, False)
    assert lit["awaiting approval"] == (False, True)
    assert lit["completed"] == (False, False)
    assert drawn.label == "task: awaiting approval, approved. Now approved."
    assert sum(arrow["passed"] for arrow in drawn.arrows) == 1


def test_the_timelines_of_a_task_and_a_session_show_where_it_is(task, alice, client):
    client.force_login(alice)
    for way, now in (
        (f"task/{task.pk}", "task: awaiting approval, approved. Now approved."),
        (f"session/{task.session_id}", "session: pending. Now pending."),
    ):
        assert now in client.get(f"/admin/timeline/{way}/").content.decode()
    assert "o-machine" not in client.get("/admin/timeline/person/alice/").content.decode()


def test_an_agents_page_leads_to_its_timeline(root, client):
    agent = AgentFactory(name="a b/c")
    client.force_login(root)
    page = client.get(f"/admin/sessions_app/agent/{agent.pk}/change/").content.decode()
    assert "/admin/timeline/agent/a%20b/c/" in page
    assert client.get("/admin/timeline/agent/a%20b/c/").status_code == 200


def test_the_decision_page_leads_to_it(task, bot, alice, client):
    waiting = TaskFactory(agent=bot)
    client.force_login(alice)
    address = f"/admin/approvals_app/approval/{find_approval(waiting, 'finance').pk}/change/"
    page = client.get(address).content.decode()
    assert f"/admin/timeline/trace/{waiting.trace_id}/" in page
