"""What is written is canonical, complete and in order."""

import json
from collections import Counter
from datetime import datetime

import pytest
import rfc8785
from django.db import IntegrityError, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from audit_app.base.actors import Actor
from audit_app.base.errors import InvalidTransition, UnknownEvent
from audit_app.base.events import EventType
from audit_app.models import Event, Subject
from audit_app.trail import recording
from sessions_app import operations
from sessions_app.models import AgentSession
from tests.factories import OPS, AgentFactory, SessionFactory, TaskFactory, approve_task, session_in
from tests.trail import record_event

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=40)
ODD = st.sampled_from(
    ['"', "\\", "\x01\x1f\x7f", "\b\f\n\r\t", "\u2028\u2029", "😀🇨🇭", "</script>"]
)
SCALAR = (
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(-(2.0**53) + 1, 2.0**53 - 1)
    | TEXT
    | ODD
)
VALUE = st.recursive(
    SCALAR, lambda v: st.lists(v, max_size=4) | st.dictionaries(TEXT | ODD, v, max_size=4)
)
METADATA = st.dictionaries(TEXT | ODD, VALUE, max_size=5)
WRITING = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


AN_AGENT = Actor(kind="agent", id="x", name="noted")


def note(actor=AN_AGENT, details=None, role=None, event="agent.noted"):
    subject_id = recording.record_event(event, "note", by=actor, details=details or {}, role=role)
    return Event.objects.get(subject_id=subject_id)


@WRITING
@given(METADATA)
def test_an_entry_is_rfc_8785_whatever_the_metadata(details):
    event = note(details=details)
    assert rfc8785.dumps(json.loads(event.entry)) == event.entry.encode()
    assert json.loads(event.entry)["metadata"] == details == event.metadata


@WRITING
@given(TEXT | ODD, TEXT | ODD)
def test_an_entry_is_rfc_8785_whatever_people_and_roles_are_called(name, role):
    event = note(actor=Actor(kind="agent", id=name, name=name), role=role)
    assert rfc8785.dumps(json.loads(event.entry)) == event.entry.encode()
    assert (event.actor, event.actor_id, event.role) == (f"agent:{name}", name, role)


def test_the_columns_say_what_the_entry_says(alice, bot):
    approve_task(TaskFactory(agent=bot), by=alice)
    session_in("completed", bot)
    placed = ("position", "xid", "entry")
    columns = [field.name for field in Event._meta.fields if field.name not in placed]
    for event in Event.objects.all():
        entry = json.loads(event.entry)
        entry["id"] = entry.pop("event_id")
        entry["timestamp"] = datetime.fromisoformat(entry["timestamp"])
        assert sorted(entry) == sorted(columns)
        for name in columns:
            said = getattr(event, name)
            assert entry[name] == (str(said) if name in ("id", "subject_id") else said) or (
                name == "trace_id" and entry[name] == str(said)
            )


@pytest.mark.parametrize(
    "name", ["task.invented", "agent", "agent.", "agent.Noted", "agent.a b", "agent.a\n", ""]
)
def test_an_unknown_name_is_an_error(name):
    with pytest.raises(UnknownEvent):
        note(event=name)
    assert not Event.objects.exists()


@pytest.mark.parametrize("name", ["agent.noted", "agent.tool_call.began", "agent.2"])
def test_agents_may_call_events_their_own_names(name):
    assert note(event=name).event_type == name


def test_each_subjects_events_are_numbered_without_a_gap(alice, bot):
    approve_task(TaskFactory(agent=bot), by=alice)
    for state in AgentSession.Status.values:
        session_in(state, bot)

    seqs = {}
    for event in Event.objects.order_by("position"):
        seqs.setdefault((event.subject_type, event.subject_id), []).append(event.seq)
    assert all(found == list(range(1, len(found) + 1)) for found in seqs.values())
    for kind, model in Subject.kinds().items():
        for row in model.objects.all():
            assert row.version == len(seqs[kind, row.pk])


def test_a_rows_times_are_its_events_times(bot):
    session = session_in("active", bot)
    first, *_, last = Event.objects.filter(subject_id=session.pk)
    row = AgentSession.objects.get(pk=session.pk)
    assert (row.created_at, row.updated_at) == (first.timestamp, last.timestamp)


def test_an_event_carries_the_role_and_the_trace_of_its_subject(bot):
    task = TaskFactory(agent=bot)
    told = Event.objects.get(event_type="task.routed")
    assert (told.role, told.trace_id, told.actor) == ("finance", task.trace_id, "agent:bot")
    assert (told.subject_id, told.actor_id) == (task.pk, str(bot.pk))


def test_a_change_saves_only_what_it_changed(bot):
    session = SessionFactory(agent=bot, metadata={"a": 1})
    with transaction.atomic():
        row = AgentSession.objects.lock(session.pk)
        row.role = "forged"
        recording.perform(row.activate, by=OPS)
    assert AgentSession.objects.get(pk=session.pk).role == "support-agent"


def test_a_transition_that_is_not_possible_says_what_is(bot):
    session = session_in("active", bot)
    with pytest.raises(InvalidTransition) as refusal, transaction.atomic():
        recording.perform(AgentSession.objects.lock(session.pk).activate, by=OPS)
    assert refusal.value.data == {
        "what": "session",
        "state": "active",
        "transition": "activate",
        "allowed": ["complete", "expire", "fail"],
    }


def test_every_kind_of_change_has_an_event_of_its_own():
    names = []
    for model in Subject.kinds().values():
        marked = (getattr(method, "recorded_as", None) for method in vars(model).values())
        names += [name for name in marked if name]
    # A recalled task is cancelled or waits again; a webhook's secrets are also encrypted anew.
    several = {name for name, count in Counter(names).items() if count > 1}
    assert several == {
        EventType.TASK_RECALLED,
        EventType.UPSTREAM_CHANGED,
        EventType.WEBHOOK_CHANGED,
    }
    assert set(names) <= set(EventType.values)


def test_an_event_without_its_change_stops_nobody_else(bot):
    agent = AgentFactory()
    session, other = SessionFactory(agent=bot), SessionFactory(agent=agent)
    session.version += 1
    with pytest.raises(IntegrityError), transaction.atomic():
        record_event(session, "session.updated", by=OPS)
    operations.update_session(session.pk, by=bot.as_actor(), status="active")
    operations.update_session(other.pk, by=agent.as_actor(), status="active")
