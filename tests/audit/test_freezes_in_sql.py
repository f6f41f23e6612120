"""Raw SQL as the application's role: what is frozen is not claimed, and no freeze is forged."""

from datetime import timedelta

import pytest
from django.db import DatabaseError, IntegrityError, connection, transaction
from django.utils import timezone

from audit_app.base.events import EventType
from audit_app.trail.recording import create, perform
from sessions_app import freezes
from sessions_app.errors import Frozen
from sessions_app.models import Freeze, Task
from tests.factories import OPS, TaskFactory, approve_task

CLAIM = """
UPDATE tasks SET status = 'claimed', version = version + 1, claimed_by_id = %s,
    consumed_by_id = %s, lease_expires_at = clock_timestamp() + %s::interval
"""


@pytest.fixture
def task(alice, bot, payer):
    return approve_task(TaskFactory(agent=bot), by=alice)


@pytest.fixture
def stop(task):
    return freezes.begin_freeze("role", role="finance", by=OPS, reason="It pays twice.")


def run(statement, *values):
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement, values)


@pytest.mark.parametrize("lease", ["1 hour", "-1 hour"])
def test_a_frozen_task_is_not_claimed(stop, payer, lease):
    with pytest.raises(DatabaseError, match="Role finance is frozen") as refused:
        run(CLAIM, payer.pk, payer.pk, lease)
    assert refused.value.__cause__.sqlstate == "OR001"
    assert Task.objects.get().status == "approved"


def test_nor_with_its_honest_event_beside_it(stop, task, payer):
    until = timezone.now() + timedelta(hours=1)
    with pytest.raises(Frozen, match="It pays twice"), transaction.atomic():
        perform(task.claim, by=payer.as_actor(), agent_id=payer.pk, session_id=None, until=until)


def test_nor_is_a_claim_handed_to_another_agent(task, payer, bot):
    until = timezone.now() + timedelta(hours=1)
    with transaction.atomic():
        perform(task.claim, by=payer.as_actor(), agent_id=payer.pk, session_id=None, until=until)
    freezes.begin_freeze("agent", agent="bot", by=OPS, reason="It pays twice.")
    with pytest.raises(DatabaseError, match="Agent bot is frozen"):
        run("UPDATE tasks SET version = version + 1, claimed_by_id = %s", bot.pk)


def test_a_freeze_is_not_lifted_without_its_event(stop):
    with pytest.raises(IntegrityError):
        run("UPDATE freezes SET status = 'lifted', version = version + 1")


@pytest.mark.parametrize(
    "forgery",
    [
        "DELETE FROM freezes",
        "UPDATE freezes SET role = 'sre'",
        "UPDATE freezes SET reason = 'None.'",
        "UPDATE freezes SET created_at = created_at - interval '1 day'",
    ],
)
def test_a_freeze_is_not_rewritten(stop, forgery):
    with pytest.raises(DatabaseError, match=r"freezes|denied|refuse"):
        run(forgery)
    assert Freeze.objects.get().role == "finance"


def test_a_freeze_has_one_target(bot):
    freeze = Freeze(scope="everything", agent=bot, reason="x", frozen_by=str(OPS))
    with pytest.raises(IntegrityError, match="freezes_have_one_target"), transaction.atomic():
        create(freeze, EventType.FREEZE_BEGAN, by=OPS)
