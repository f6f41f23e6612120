"""The trail over HTTP: who reads what, in which order, and what agents may add."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import psycopg
import pytest
from django.contrib.auth.models import Permission
from django.db import connection

from audit_app.live import event_log
from audit_app.models import Event
from sessions_app import operations
from tests.database import as_superuser, database_url
from tests.factories import AgentFactory, ReviewerFactory, SessionFactory, TaskFactory, approve_task
from tests.trail import wait_until_stable, writer


@pytest.fixture
def auditor():
    user = ReviewerFactory(username="olga")
    user.user_permissions.add(Permission.objects.get(codename="read_everything"))
    return user


@pytest.fixture
def story(alice, bot):
    """A refund that alice approved."""
    return approve_task(TaskFactory(agent=bot), by=alice)


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


@pytest.mark.parametrize("slowest", [event_log.LONGEST_TRANSACTION, timedelta(microseconds=1)])
def test_a_time_can_be_searched(api, auditor, story, slowest, monkeypatch):
    monkeypatch.setattr(event_log, "LONGEST_TRANSACTION", slowest)  # without it, from near there on
    _, approved_ = Event.objects.filter(subject_id=story.pk)
    get = api(user=auditor).get
    given = {"subject": str(story.pk), "from": approved_.timestamp.isoformat()}
    assert types(get("/audit/events", **given)) == ["task.approved"]
    given = {"subject": str(story.pk), "to": approved_.timestamp.isoformat()}
    assert types(get("/audit/events", **given)) == ["task.routed"]
    after = (approved_.timestamp + timedelta(microseconds=1)).isoformat()
    assert types(get("/audit/events", **{"subject": str(story.pk), "from": after})) == []


def test_all_times_can_be_searched(api, auditor, story):
    for first in ("0001-01-01T00:00:00Z", "0001-01-01T00:59:59.9Z", "0001-01-01T01:00:00Z"):
        found = types(api(user=auditor).get("/audit/events", **{"from": first}))
        assert len(found) == Event.objects.count()
    for last in ("9999-12-31T23:59:59Z", "2999-01-01T00:00:00+00:00"):
        assert types(api(user=auditor).get("/audit/events", **{"from": last})) == []


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


def read_through(caller, **query):
    """The types of all events that following next_cursor shows, page by page."""
    pages, cursor = [], ""
    while cursor is not None:
        answer = caller.get("/audit/events", cursor=cursor, **query)
        pages.append(types(answer))
        cursor = answer.json()["next_cursor"]
    return pages


def test_what_lies_far_apart_among_others_is_found_by_following_the_cursor(api, bot, monkeypatch):
    other = AgentFactory(roles=["support-agent"])
    for agent in (bot, *[other] * 5, bot):
        SessionFactory(agent=agent)
    monkeypatch.setattr(event_log, "MAX_LOOKUPS", 0)  # as if bot could see much
    monkeypatch.setattr(event_log, "SCAN_STEPS", (1, 2))

    pages = read_through(api(bot), event_type="session.opened")

    assert [kind for page in pages for kind in page] == ["session.opened"] * 2
    assert [] in pages


@pytest.mark.parametrize("few", [0, 1000])
def test_a_caller_sees_the_same_however_it_is_looked_up(api, bot, story, monkeypatch, few):
    TaskFactory.create_batch(3, agent=bot)
    TaskFactory(agent=AgentFactory(roles=["support-agent"]))
    everything = list(Event.objects.visible_to(bot.as_actor()).values_list("event_type", flat=True))
    monkeypatch.setattr(event_log, "MAX_LOOKUPS", few)
    pages = read_through(api(bot), page_size=2)
    assert [kind for page in pages for kind in page] == everything


def test_what_begins_while_a_page_is_read_is_not_passed_over(api, bot):
    """Between what the caller may see being asked, and its events being read."""
    start, first, begun = str(event_log.find_end()), SessionFactory(agent=bot), []

    def beside():
        try:
            begun.append(SessionFactory(agent=bot))
            operations.update_session(first.pk, by=bot.as_actor(), status="active")
        finally:
            connection.close()

    def meanwhile(execute, sql, params, many, context):
        found = execute(sql, params, many, context)
        if "UNION ALL" in sql and not begun:
            with ThreadPoolExecutor() as pool:
                pool.submit(beside).result()
        return found

    with connection.execute_wrapper(meanwhile):
        page = api(bot).get("/audit/events", cursor=start).json()
    assert begun
    assert page["next_cursor"] is None
    assert list_event_ids(page) == list_event_ids(
        api(bot).get("/audit/events", cursor=start).json()
    )
    assert {event["subject_id"] for event in page["events"]} == {str(first.pk), str(begun[0].pk)}


NOTHING_SETTLED = """CREATE OR REPLACE FUNCTION audit_settled_before() RETURNS xid8
LANGUAGE sql STABLE AS $$ SELECT '3'::xid8 $$"""


@pytest.mark.parametrize("few", [0, 1000])
@pytest.mark.parametrize("reader", ["bot", "auditor"])
def test_what_looks_unstable_for_a_moment_is_not_left_out(
    request, api, bot, reader, few, monkeypatch
):
    """As where a transaction of another database ends between the snapshot and the look at its
    lock: then nobody can tell any more that it was theirs."""
    monkeypatch.setattr(event_log, "MAX_LOOKUPS", few)
    caller = request.getfixturevalue(reader)
    caller = api(caller) if reader == "bot" else api(user=caller)
    start, elsewhere = str(event_log.find_end()), database_url(superuser=True, name="postgres")
    with psycopg.connect(elsewhere) as theirs, as_superuser() as admin:
        admin.autocommit = True
        theirs.execute("SELECT pg_current_xact_id()")
        new = [SessionFactory(agent=bot) for _ in range(3)]
        wait_until_stable()
        said = admin.execute("SELECT pg_get_functiondef('audit_settled_before'::regproc)")
        definition = said.fetchone()[0]

        def meanwhile(execute, sql, params, many, context):
            found = execute(sql, params, many, context)
            if "ORDER BY xid DESC" in sql:
                admin.execute(NOTHING_SETTLED)
            return found

        try:
            with connection.execute_wrapper(meanwhile):
                page = caller.get("/audit/events", cursor=start).json()
        finally:
            admin.execute(definition)

    assert [event["subject_id"] for event in page["events"]] == [str(each.pk) for each in new]
    assert page["next_cursor"] is None


def list_event_ids(page):
    return [event["event_id"] for event in page["events"]]


@pytest.mark.parametrize("few", [0, 1000])
@pytest.mark.parametrize("reader", ["bot", "auditor"])
def test_everybody_reads_what_they_just_did_and_no_cursor_passes_it(
    request, api, bot, reader, few, monkeypatch
):
    """While another transaction is open, nothing that is committed meanwhile is final."""
    monkeypatch.setattr(event_log, "MAX_LOOKUPS", few)
    caller = request.getfixturevalue(reader)
    caller = api(caller) if reader == "bot" else api(user=caller)
    start = str(event_log.find_end())
    with writer() as slow:
        slow.execute("SELECT pg_current_xact_id()")
        new = [SessionFactory(agent=bot) for _ in range(3)]
        assert event_log.read(event_log.Cursor.parse(start)) == []

        page = caller.get("/audit/events", cursor=start, event_type="session.opened").json()
        assert [event["subject_id"] for event in page["events"]] == [str(row.pk) for row in new]
        assert page["next_cursor"] is None
        least = caller.get("/audit/events", cursor=start, page_size=2).json()
        assert (len(least["events"]), least["next_cursor"]) == (2, None)
