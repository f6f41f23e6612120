"""A session is moved on, and its metadata merged."""

import pytest

from audit_app.models import Event
from sessions_app.models import AgentSession
from sessions_app.operations import merge_patch
from tests.factories import SessionFactory, session_in

RFC_7396 = [
    ({"a": "b"}, {"a": "c"}, {"a": "c"}),
    ({"a": "b"}, {"b": "c"}, {"a": "b", "b": "c"}),
    ({"a": "b"}, {"a": None}, {}),
    ({"a": "b", "b": "c"}, {"a": None}, {"b": "c"}),
    ({"a": ["b"]}, {"a": "c"}, {"a": "c"}),
    ({"a": "c"}, {"a": ["b"]}, {"a": ["b"]}),
    ({"a": {"b": "c"}}, {"a": {"b": "d", "c": None}}, {"a": {"b": "d"}}),
    ({"a": [{"b": "c"}]}, {"a": [1]}, {"a": [1]}),
    (["a", "b"], ["c", "d"], ["c", "d"]),
    ({"a": "b"}, ["c"], ["c"]),
    ({"a": "foo"}, None, None),
    ({"a": "foo"}, "bar", "bar"),
    ({"e": None}, {"a": 1}, {"e": None, "a": 1}),
    ([1, 2], {"a": "b", "c": None}, {"a": "b"}),
    ({}, {"a": {"bb": {"ccc": None}}}, {"a": {"bb": {}}}),
]


@pytest.fixture
def session(bot):
    return SessionFactory(agent=bot, metadata={"a": 1})


@pytest.fixture
def put(api, bot, session):
    """PUT to bot's session, with headers where given."""
    return lambda body, **headers: api(bot).put(
        f"/sessions/{session.pk}", body, {n.replace("_", "-"): v for n, v in headers.items()}
    )


def is_unchanged(session):
    row = AgentSession.objects.get(pk=session.pk)
    return (row.version, row.status, row.metadata) == (1, "pending", {"a": 1})


@pytest.mark.parametrize(("target", "patch", "result"), RFC_7396)
def test_merging_does_what_the_rfc_says(target, patch, result):
    assert merge_patch(target, patch) == result


@pytest.mark.parametrize(
    ("target", "patch", "result"),
    [example for example in RFC_7396 if all(isinstance(part, dict) for part in example)],
)
def test_metadata_are_merged_as_the_rfc_says(api, bot, target, patch, result):
    session = SessionFactory(agent=bot, metadata=target)
    answer = api(bot).put(f"/sessions/{session.pk}", {"metadata": patch})
    assert answer.json()["metadata"] == result
    assert AgentSession.objects.get().metadata == result


def test_what_python_takes_for_the_same_is_another_value(api, bot):
    session = SessionFactory(agent=bot, metadata={"approved": 0, "n": 1})
    api(bot).put(f"/sessions/{session.pk}", {"metadata": {"approved": False, "n": True}})
    kept = AgentSession.objects.get().metadata
    assert (kept["approved"], kept["n"]) == (False, True)
    assert (type(kept["approved"]), type(kept["n"])) == (bool, bool)


def test_metadata_do_not_grow_without_end(api, bot):
    session = SessionFactory(agent=bot)
    path, half = f"/sessions/{session.pk}", "x" * 40_000
    assert api(bot).put(path, {"metadata": {"a": half}}).status_code == 200
    answer = api(bot).put(path, {"metadata": {"b": half}})
    assert (answer.status_code, answer.json()["code"]) == (400, "metadata_too_large")
    assert answer.json()["errors"][0]["field"] == "metadata"
    assert AgentSession.objects.get().metadata == {"a": half}


def test_state_task_and_metadata_change_as_one(put, session):
    answer = put({"status": "active", "task_id": "ticket 7", "metadata": {"b": 2}})

    assert answer.status_code == 200
    body = answer.json()
    assert (body["state"], body["task_id"], body["metadata"]) == (
        "active",
        "ticket 7",
        {"a": 1, "b": 2},
    )
    told = Event.objects.filter(subject_id=session.pk).last()
    assert (told.event_type, told.seq) == ("session.activated", 2)
    assert told.metadata == {"task_id": "ticket 7", "metadata": {"b": 2}}


def test_what_is_not_given_stays(put):
    put({"task_id": "ticket 7"})
    body = put({"metadata": {"b": 2}}).json()
    assert (body["state"], body["task_id"]) == ("pending", "ticket 7")


def test_an_update_of_nothing_changes_nothing(put, session):
    answer = put({})
    assert answer.status_code == 200
    assert answer.headers["ETag"] == '"1"'
    assert is_unchanged(session)


def test_a_metadata_only_update_is_an_event_without_states(put, session):
    put({"metadata": {"b": 2}})
    told = Event.objects.filter(subject_id=session.pk).last()
    assert (told.event_type, told.from_state, told.to_state) == ("session.updated", None, None)


@pytest.mark.parametrize("given", ['"1"', '"7", "1"', "*", ' "1" '])
def test_a_fresh_version_goes_through(put, given):
    answer = put({"status": "active"}, If_Match=given)
    assert answer.status_code == 200
    assert answer.headers["ETag"] == '"2"'


@pytest.mark.parametrize("given", ['"2"', '"0"', '"x"', "", '"1x"', '"2", "3"'])
def test_a_stale_version_is_refused(put, session, given):
    answer = put({"status": "active"}, If_Match=given)
    assert (answer.status_code, answer.json()["code"]) == (412, "stale_version")
    assert is_unchanged(session)


def test_a_weak_tag_never_matches_a_precondition(put, session):
    """RFC 9110, 13.1.1: If-Match compares strongly."""
    assert put({"status": "active"}, If_Match='W/"1"').status_code == 412
    assert is_unchanged(session)


def test_the_tag_changes_with_every_change(put):
    tags = [put({"metadata": {"n": n}}).headers["ETag"] for n in range(3)]
    assert tags == ['"2"', '"3"', '"4"']


@pytest.mark.parametrize("given", ['"1"', 'W/"1"', '"7", "1"', "*"])
def test_what_has_not_changed_is_not_sent_again(api, bot, session, given):
    answer = api(bot).get(f"/sessions/{session.pk}", {"If-None-Match": given})
    assert (answer.status_code, answer.content) == (304, b"")
    assert answer.headers["ETag"] == '"1"'


def test_what_has_changed_is_sent(api, bot, put, session):
    put({"status": "active"})
    answer = api(bot).get(f"/sessions/{session.pk}", {"If-None-Match": '"1"'})
    assert answer.status_code == 200
    assert answer.json()["state"] == "active"


@pytest.mark.parametrize("status", ["done", "ACTIVE", "", 1])
def test_a_state_that_does_not_exist_is_refused_by_name(put, session, status):
    answer = put({"status": status})
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "status"
    assert is_unchanged(session)


def test_a_state_that_can_not_follow_says_what_can(api, bot):
    session = session_in("completed", bot)
    answer = api(bot).put(f"/sessions/{session.pk}", {"status": "active"})

    assert (answer.status_code, answer.json()["code"]) == (409, "invalid_transition")
    assert (answer.json()["state"], answer.json()["allowed"]) == ("completed", [])


def test_a_state_that_can_follow_is_named(put):
    answer = put({"status": "completed", "metadata": {"b": 2}})
    assert answer.status_code == 409
    assert answer.json()["state"] == "pending"
    assert answer.json()["allowed"] == ["activate", "expire"]


def test_what_is_refused_merges_nothing(put, session):
    put({"status": "completed", "metadata": {"b": 2}})
    assert is_unchanged(session)


def test_a_finished_session_can_still_be_annotated(api, bot):
    session = session_in("completed", bot)
    answer = api(bot).put(f"/sessions/{session.pk}", {"metadata": {"note": "archived"}})
    assert answer.status_code == 200
    assert answer.json()["state"] == "completed"
