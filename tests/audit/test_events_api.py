"""The trail over HTTP: who reads what, in which order, and what agents may add."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission

from audit_app.models import Event
from tests.factories import AgentFactory, ReviewerFactory, SessionFactory, TaskFactory, approved


@pytest.fixture
def auditor():
    user = ReviewerFactory(username="olga")
    user.user_permissions.add(Permission.objects.get(codename="read_everything"))
    return user


@pytest.fixture
def story(alice, bot):
    """A refund that alice approved."""
    return approved(TaskFactory(agent=bot), by=alice)


def types(answer):
    assert answer.status_code == 200, answer.content
    return [event["event_type"] for event in answer.json()["events"]]


def test_a_trace_tells_its_story_in_order(api, bot, story):
    answer = api(bot).get("/audit/events", trace_id=str(story.trace_id))

    assert types(answer) == [
        "task.routed",
        "approval.requested",
        "vote.cast",
        "approval.approved",
        "task.approved",
    ]
    said = answer.json()["events"][3]
    assert (said["actor"], said["role"], said["seq"]) == ("human:alice", "finance", 2)
    assert (said["from_state"], said["to_state"]) == ("pending", "approved")
    assert answer.json()["next_cursor"] is None


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("event_type", "task.approved", {"task.approved"}),
        ("actor", "human:alice", {"vote.cast", "approval.approved", "task.approved"}),
        ("role", "finance", None),
        ("event_type", "task.invented", set()),
        ("actor", "alice", set()),
    ],
)
def test_the_trail_can_be_searched(api, auditor, story, name, value, expected):
    everything = {"task.routed", "approval.requested", "task.approved"}
    everything |= {"vote.cast", "approval.approved"}
    found = types(api(user=auditor).get("/audit/events", **{name: value}))
    assert set(found) == (everything if expected is None else expected)


def test_one_subject_can_be_searched(api, auditor, story):
    found = types(api(user=auditor).get("/audit/events", subject=str(story.pk)))
    assert found == ["task.routed", "task.approved"]


def test_a_time_can_be_searched(api, auditor, story):
    _, approved_ = Event.objects.filter(subject_id=story.pk)
    get = api(user=auditor).get
    given = {"subject": str(story.pk), "from": approved_.timestamp.isoformat()}
    assert types(get("/audit/events", **given)) == ["task.approved"]
    given = {"subject": str(story.pk), "to": approved_.timestamp.isoformat()}
    assert types(get("/audit/events", **given)) == ["task.routed"]
    after = (approved_.timestamp + timedelta(microseconds=1)).isoformat()
    assert types(get("/audit/events", **{"subject": str(story.pk), "from": after})) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [("subject", "x"), ("trace_id", "1"), ("from", "yesterday"), ("who", "bot")],
)
def test_a_search_for_nonsense_is_refused_by_name(api, bot, name, value):
    answer = api(bot).get("/audit/events", **{name: value})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == name


def test_pages_follow_each_other_without_repeat_or_loss(api, auditor, bot):
    for _ in range(12):
        SessionFactory(agent=bot)
    seen, cursor = [], ""
    while cursor is not None:
        page = api(user=auditor).get("/audit/events", page_size=5, cursor=cursor).json()
        seen += [event["event_id"] for event in page["events"]]
        cursor = page["next_cursor"]
        SessionFactory(agent=bot) if len(seen) <= 10 else None
    everything = [str(pk) for pk in Event.objects.values_list("pk", flat=True)]
    assert seen == everything


@pytest.mark.parametrize(
    "cursor", ["x", "!", "WzFd!", "bnVsbA", "WyJ4Il0", "e30", "W0luZmluaXR5XQ", "W251bGxd"]
)
def test_a_cursor_of_somebody_elses_making_is_refused(api, bot, cursor):
    answer = api(bot).get("/audit/events", cursor=cursor)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "cursor"


def test_agents_see_their_own_and_nobody_elses(api, bot, story):
    stranger = AgentFactory(name="stranger", roles=["weather"])
    assert types(api(stranger).get("/audit/events")) == ["identity.created", "key.issued"]
    assert "task.routed" in types(api(bot).get("/audit/events"))
    other = api(stranger).get("/audit/events", trace_id=str(story.trace_id))
    assert types(other) == []


def test_a_reviewer_sees_what_their_roles_are_asked(api, alice, charlie, story):
    assert "task.routed" in types(api(user=alice).get("/audit/events"))
    assert types(api(user=charlie).get("/audit/events")) == []


def test_an_auditor_sees_everything(api, auditor, bot, story):
    SessionFactory(agent=AgentFactory())
    everything = list(Event.objects.values_list("event_type", flat=True))
    assert types(api(user=auditor).get("/audit/events", page_size=100)) == everything


def test_nobody_sees_nothing(api):
    assert api().get("/audit/events").status_code == 401


def test_an_agent_adds_an_event_of_its_own(api, bot):
    body = {"event_type": "agent.tool_called", "metadata": {"tool": "search", "n": 1.5}}
    trace = "5b2c0c9f-27a4-4a2e-9a3f-0c8a52a45b11"
    answer = api(bot).post("/audit/events", body, {"X-Trace-Id": trace})

    assert answer.status_code == 201
    said = answer.json()
    assert (said["actor"], said["trace_id"]) == ("agent:bot", trace)
    assert said["metadata"] == {"tool": "search", "n": 1.5}
    assert types(api(bot).get("/audit/events", trace_id=trace)) == ["agent.tool_called"]


@pytest.mark.parametrize(
    "name",
    ["task.approved", "approval.approved", "operation.refused", "agent", "agent.", "agents.x", ""],
)
def test_an_agent_can_not_speak_for_the_orchestrator(api, bot, name):
    answer = api(bot).post("/audit/events", {"event_type": name})

    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "event_type"
    assert not Event.objects.filter(subject_type="note").exists()


def test_an_event_added_twice_under_one_key_is_there_once(api, bot):
    body, key = {"event_type": "agent.noted"}, {"Idempotency-Key": "note-1"}
    first, second = (api(bot).post("/audit/events", body, key) for _ in range(2))

    assert first.content == second.content
    assert Event.objects.filter(event_type="agent.noted").count() == 1


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_there_is_no_way_to_change_the_trail(api, auditor, method):
    assert api(user=auditor).send(method, "/audit/events", {}).status_code == 405
