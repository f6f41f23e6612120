"""``GET /events``: what happens, as it happens, to whoever may see it, without loss or repeat."""

import json
import re
import threading
from contextlib import ExitStack

import pytest

from approvals_app.decisions import operations
from audit_app.live import event_log
from audit_app.models import Event
from audit_app.trail.notes import add_event
from sessions_app import agents
from tests.database import without_guards
from tests.factories import OPS, SessionFactory, TaskFactory, approve_task
from tests.trail import wait_until_stable, write_event, writer


class Stream:
    """One connection to /events, read line by line."""

    def __init__(self, response) -> None:
        assert response.status_code == 200, response.read()
        assert response.headers["Content-Type"] == "text/event-stream; charset=utf-8"
        self.lines = response.iter_lines()
        self.last_id = None

    def begin(self) -> "Stream":
        """Return once the stream has said where it begins."""
        while self.last_id is None:
            self._field()
        return self

    def event(self):
        """The next event's data."""
        told = None
        while True:
            name, value = self._field()
            if name == "data":
                told = json.loads(value)
            if name is None and told:
                return told

    def events(self, number):
        return [self.event() for _ in range(number)]

    def ends(self) -> bool:
        """True once nothing more comes; what came before is no event."""
        return not any(line.startswith("event") for line in self.lines)

    def _field(self):
        line = next(self.lines)
        if not line:
            return None, None
        name, _, value = line.partition(": ")
        if name == "id":
            self.last_id = value
        return name, value


@pytest.fixture
def listening(server):
    """``listening(agent, **filters)``: a Stream that has begun."""
    with ExitStack() as stack:

        def listen(agent, headers=None, **filters):
            client = stack.enter_context(server.as_agent(agent, **(headers or {})))
            response = stack.enter_context(client.stream("GET", "/events", params=filters))
            return Stream(response).begin()

        yield listen
    server.holds(0)


def note(agent, number, **given):
    given = {"metadata": {"n": number}, "trace_id": None, **given}
    add_event("agent.noted", by=agent.as_actor(), **given)


def test_what_happens_is_told_in_order_as_the_api_says_it(listening, api, alice, bot):
    stream = listening(bot)
    task = TaskFactory(agent=bot)
    approve_task(task, by=alice)

    told = stream.events(5)
    assert [event["event_type"] for event in told] == [
        "task.routed",
        "approval.requested",
        "vote.cast",
        "approval.approved",
        "task.approved",
    ]
    kept = {e["event_id"]: e for e in api(bot).get("/audit/events").json()["events"]}
    assert all(kept[event["event_id"]] == event for event in told)


def test_nobody_hears_of_what_they_may_not_see(listening, bot, payer):
    stranger = agents.create_agent("stranger", by=OPS, roles=["other"])[0]
    stranger.key = agents.rotate_key(stranger.pk, by=OPS).text
    stream = listening(stranger)
    TaskFactory(agent=bot)
    note(bot, 1)
    note(stranger, 2)
    assert stream.event()["metadata"] == {"n": 2}


def test_whoever_comes_back_misses_nothing_and_hears_nothing_twice(listening, bot):
    first = listening(bot)
    note(bot, 1)
    note(bot, 2)
    assert first.event()["metadata"] == {"n": 1}
    for number in (3, 4):
        note(bot, number)

    again = listening(bot, headers={"Last-Event-ID": first.last_id})
    assert [event["metadata"]["n"] for event in again.events(3)] == [2, 3, 4]
    by_parameter = listening(bot, after=again.last_id)
    note(bot, 5)
    assert by_parameter.event()["metadata"] == {"n": 5}


def test_where_a_stream_begins_is_known_before_its_first_event(listening, bot):
    quiet = listening(bot, event_type="agent.noted")
    note(bot, 1)
    again = listening(bot, headers={"Last-Event-ID": quiet.last_id})
    assert again.event()["metadata"] == {"n": 1}


def test_a_long_backlog_comes_whole(listening, bot):
    stream = listening(bot, event_type="agent.noted")
    for number in range(450):
        note(bot, number)
    again = listening(bot, event_type="agent.noted", after=stream.last_id)
    assert [event["metadata"]["n"] for event in again.events(450)] == list(range(450))


@pytest.mark.parametrize("restored", [False, True])
def test_a_long_way_is_gone_in_short_looks(api, bot, payer, monkeypatch, request, restored):
    monkeypatch.setattr(event_log, "MAX_SCAN", 4)
    request.addfinalizer(event_log.epochs.forget)
    note(bot, 1)
    for number in range(10):
        note(payer, number)
    note(bot, 2)
    if restored:
        with without_guards() as cursor:
            cursor.execute(
                "UPDATE audit_events SET xid = (xid::text::bigint + 1000000000)::text::xid8"
            )
        event_log.epochs.forget()
        note(bot, 3)
    wait_until_stable()

    told, places = [], ["0.0.0"]
    while len(places) < 2 or places[-1] != places[-2]:
        said = api(bot).get("/events", after=places[-1]).content.decode()
        told += re.findall(r'"metadata":{"n":(\d)}', said)
        places.append(re.findall("^id: (.*)$", said, re.MULTILINE)[-1])
    assert told == (["1", "2", "3"] if restored else ["1", "2"])
    assert len(places) > 4, "no look passes more than four"


def test_the_stream_of_a_task_is_of_its_approvals_and_votes_too(listening, alice, bot):
    task, other = TaskFactory(agent=bot), TaskFactory(agent=bot)
    stream = listening(bot, task_id=str(task.pk))
    approve_task(other, by=alice)
    approve_task(task, by=alice)
    told = stream.events(3)
    assert [event["event_type"] for event in told] == [
        "vote.cast",
        "approval.approved",
        "task.approved",
    ]
    assert told[2]["subject_id"] == str(task.pk)


def test_an_approval_that_is_asked_for_later_belongs_to_the_stream_of_its_task(listening, bot):
    task = TaskFactory(agent=bot)
    stream = listening(bot, task_id=str(task.pk))
    operations.request(by=bot.as_actor(), task_id=task.pk, approver_role="sre", reason="")
    asked = stream.event()
    assert (asked["event_type"], asked["role"]) == ("approval.requested", "sre")
    assert asked["metadata"]["task_id"] == str(task.pk)


def test_the_stream_of_a_session_is_of_its_tasks_too(listening, alice, bot):
    session = SessionFactory(agent=bot)
    stream = listening(bot, session_id=str(session.pk))
    TaskFactory(agent=bot)
    task = TaskFactory(agent=bot, session_id=session.pk)
    approve_task(task, by=alice)
    told = stream.events(5)
    assert told[0]["event_type"] == "task.routed"
    assert told[0]["subject_id"] == str(task.pk)
    assert told[4]["event_type"] == "task.approved"


def test_streams_of_a_trace_a_role_and_types(listening, alice, bot):
    task, other = TaskFactory(agent=bot), TaskFactory(agent=bot)
    of_trace = listening(bot, trace_id=str(task.trace_id))
    of_role = listening(bot, role="finance")
    of_types = listening(bot, event_type="task.approved,task.rejected")
    approve_task(other, by=alice)
    approve_task(task, by=alice)
    assert {event["trace_id"] for event in of_trace.events(3)} == {str(task.trace_id)}
    assert {event["role"] for event in of_role.events(6)} == {"finance"}
    assert [event["subject_id"] for event in of_types.events(2)] == [str(other.pk), str(task.pk)]


def test_a_stream_waits_for_what_its_filters_were_read_as(listening, bot):
    stream = listening(bot, event_type="vote.cast, task.routed")
    task = TaskFactory(agent=bot)
    assert stream.event()["subject_id"] == str(task.pk)


def test_who_commits_late_is_told_and_nobody_before_them(listening, bot):
    stream = listening(bot)
    with writer() as slow:
        write_event(slow)
        note(bot, 1)
        heard = threading.Event()

        def hear():
            assert stream.event()["metadata"] == {"n": 1}
            heard.set()

        thread = threading.Thread(target=hear)
        thread.start()
        assert not heard.wait(1.5), "what may still be written before it is waited for"
    thread.join(30)
    assert heard.is_set()


def test_a_key_that_is_revoked_ends_its_stream_at_once(listening, bot):
    stream = listening(bot)
    agents.rotate_key(bot.pk, by=OPS)
    assert stream.ends()


def test_an_agent_that_is_revoked_hears_nothing_more(listening, bot):
    stream = listening(bot, event_type="agent.noted")
    agents.revoke_agent(bot.pk, by=OPS)
    assert stream.ends()


def test_a_person_who_signs_out_ends_their_stream(server, alice, client):
    client.force_login(alice)
    cookies = {"sessionid": client.cookies["sessionid"].value}
    with server.admin.stream("GET", "/events", headers={"Authorization": ""}, cookies=cookies) as r:
        stream = Stream(r).begin()
        client.logout()
        assert stream.ends()


def test_a_cursor_that_retention_has_passed_is_410(server, bot):
    note(bot, 1)
    with server.as_agent(bot) as client:
        with client.stream("GET", "/events") as response:
            old = Stream(response).begin().last_id
        note(bot, 2)
        with without_guards() as cursor:
            newest = Event.objects.order_by("-position")[0].position
            cursor.execute("DELETE FROM audit_events WHERE position < %s", [newest])
        gone = client.get("/events", headers={"Last-Event-ID": old})
    assert (gone.status_code, gone.json()["code"]) == (410, "cursor_expired")


@pytest.mark.parametrize("given", ["x", "1.2", "-1.0.0", "0.0.0x", "0"])
def test_what_is_no_cursor_is_refused_by_name(api, bot, given):
    by_header = api(bot).get("/events", {"Last-Event-ID": given})
    assert by_header.status_code == 400
    assert by_header.json()["errors"][0]["field"] == "Last-Event-ID"
    by_parameter = api(bot).get("/events", after=given)
    assert by_parameter.status_code == 400
    assert by_parameter.json()["errors"][0]["field"] == "after"


@pytest.mark.parametrize("given", ["task_id", "session_id", "trace_id"])
def test_a_filter_that_is_no_uuid_is_refused_by_name(api, bot, given):
    refused = api(bot).get("/events", **{given: "x"})
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == given


def test_more_types_than_there_could_be_are_refused(api, bot):
    refused = api(bot).get("/events", event_type=",".join(f"t{n}" for n in range(101)))
    assert refused.status_code == 400
    assert refused.json()["errors"][0]["field"] == "event_type"


def test_behind_another_server_it_sends_what_there_is_and_ends(api, bot):
    note(bot, 1)
    answer = api(bot).get("/events", after="0.0.0")
    assert b"event: agent.noted" in answer.content


def test_a_reviewer_hears_of_what_they_are_asked(server, alice, bot, client):
    client.force_login(alice)
    cookies = {"sessionid": client.cookies["sessionid"].value}
    with server.admin.stream("GET", "/events", headers={"Authorization": ""}, cookies=cookies) as r:
        stream = Stream(r).begin()
        task = TaskFactory(agent=bot)
        assert stream.event()["subject_id"] == str(task.pk)
