"""``Prefer: wait=N``: an agent is told as soon as a human decided."""

import threading
from functools import partial

import pytest

from approvals_app import operations, waiting
from audit_app import bell
from audit_app.actors import Actor
from tests.factories import TaskFactory, approved, the_approval
from tests.races.together import together


@pytest.fixture
def someone_waits(monkeypatch):
    """Set when a request has begun to wait for the bell."""
    waits, wait = threading.Event(), bell.bell.wait

    def tell_and_wait(*given):
        waits.set()
        wait(*given)

    monkeypatch.setattr(bell.bell, "wait", tell_and_wait)
    return waits


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_the_answer_comes_with_the_decision(api, alice, bot, someone_waits, verdict):
    approval = the_approval(TaskFactory(agent=bot))

    def decide():
        assert someone_waits.wait(timeout=30)
        getattr(operations, verdict)(
            approval.pk, by=Actor.human(alice), payload_digest=approval.payload_digest
        )

    ask = partial(api(bot).get, f"/approvals/{approval.pk}", {"Prefer": "wait=60"})
    answer, decided = together([ask, decide])

    assert decided is None
    assert answer.status_code == 200
    assert answer.json()["status"] == {"approve": "approved", "reject": "rejected"}[verdict]
    assert answer.json()["decided_by"] == "alice"
    assert answer.headers["Preference-Applied"] == "wait=60"


def test_the_answer_comes_when_changes_are_asked_for(api, alice, bot, someone_waits):
    approval = the_approval(TaskFactory(agent=bot))

    def ask_for_changes():
        assert someone_waits.wait(timeout=30)
        operations.request_changes(
            approval.pk,
            by=Actor.human(alice),
            payload_digest=approval.payload_digest,
            message="Less.",
        )

    ask = partial(api(bot).get, f"/approvals/{approval.pk}", {"Prefer": "wait=60"})
    answer, asked = together([ask, ask_for_changes])

    assert asked is None
    assert answer.json()["status"] == "pending"
    assert answer.json()["votes"][0]["notes"] == "Less."


def test_several_wait_for_one_decision(api, alice, bot, payer, someone_waits):
    approval = the_approval(TaskFactory(agent=bot))

    def decide():
        assert someone_waits.wait(timeout=30)
        operations.approve(
            approval.pk, by=Actor.human(alice), payload_digest=approval.payload_digest
        )

    path = f"/approvals/{approval.pk}"
    asks = [partial(api(agent).get, path, {"Prefer": "wait=60"}) for agent in (bot, payer, bot)]
    answers = together([*asks, decide])[:3]

    assert {answer.json()["status"] for answer in answers} == {"approved"}


def test_what_is_decided_is_answered_at_once(api, alice, bot, someone_waits):
    task = TaskFactory(agent=bot)
    approved(task, by=alice)
    answer = api(bot).get(f"/approvals/{the_approval(task).pk}", {"Prefer": "wait=60"})

    assert answer.json()["status"] == "approved"
    assert answer.headers["Preference-Applied"] == "wait=60"
    assert not someone_waits.is_set()


def test_after_the_time_asked_for_it_is_still_pending(api, bot, someone_waits):
    approval = the_approval(TaskFactory(agent=bot))
    answer = api(bot).get(f"/approvals/{approval.pk}", {"Prefer": "wait=1"})

    assert answer.json()["status"] == "pending"
    assert answer.headers["Preference-Applied"] == "wait=1"
    assert someone_waits.is_set()


def test_without_the_preference_nobody_waits(api, bot, someone_waits):
    approval = the_approval(TaskFactory(agent=bot))
    answer = api(bot).get(f"/approvals/{approval.pk}")

    assert answer.json()["status"] == "pending"
    assert "Preference-Applied" not in answer.headers
    assert not someone_waits.is_set()


def test_when_all_places_are_taken_the_answer_comes_at_once(api, bot, settings, someone_waits):
    approval = the_approval(TaskFactory(agent=bot))
    settings.MAX_WAITERS = 0
    answer = api(bot).get(f"/approvals/{approval.pk}", {"Prefer": "wait=60"})

    assert answer.json()["status"] == "pending"
    assert "Preference-Applied" not in answer.headers
    assert not someone_waits.is_set()


def test_one_caller_does_not_take_all_places(api, alice, bot, payer, settings, someone_waits):
    settings.MAX_WAITERS_PER_CALLER = 1
    approval = the_approval(TaskFactory(agent=bot))
    path, prefer = f"/approvals/{approval.pk}", {"Prefer": "wait=60"}

    def ask_again_and_decide():
        assert someone_waits.wait(timeout=30)
        refused = api(bot).get(path, prefer)
        assert (refused.status_code, refused.json()["code"]) == (429, "throttled")
        assert refused.headers["Retry-After"] == "1"
        assert api(payer).get(path, {"Prefer": "wait=1"}).headers["Preference-Applied"]
        operations.approve(
            approval.pk, by=Actor.human(alice), payload_digest=approval.payload_digest
        )

    first, failed = together([partial(api(bot).get, path, prefer), ask_again_and_decide])

    assert failed is None
    assert first.json()["status"] == "approved"
    assert api(bot).get(path, prefer).headers["Preference-Applied"]
    assert not waiting._waiting


def test_what_a_stranger_asks_for_is_not_there_and_not_waited_for(api, charlie, bot, someone_waits):
    approval = the_approval(TaskFactory(agent=bot))
    answer = api(user=charlie).get(f"/approvals/{approval.pk}", {"Prefer": "wait=60"})

    assert answer.status_code == 404
    assert not someone_waits.is_set()


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
    assert waiting.seconds_preferred(header) == seconds
