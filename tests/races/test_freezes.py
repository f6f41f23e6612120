"""A freeze among claims: once it is committed, no claim commits."""

from contextlib import ExitStack
from functools import partial

import pytest
from django.db import transaction

from audit_app.base.events import EventType
from audit_app.trail.recording import create, perform
from sessions_app import freezes
from sessions_app.errors import AlreadyFrozen, Frozen
from sessions_app.models import Freeze, Task
from sessions_app.tasks.operations import claim
from tests.factories import OPS, TaskFactory, approve_task
from tests.races.together import together, waiting

AGENTS = 50
begin = partial(freezes.begin_freeze, "everything", by=OPS, reason="Stop.")


@pytest.fixture
def tasks(alice, bot):
    return [approve_task(task, by=alice) for task in TaskFactory.create_batch(AGENTS, agent=bot)]


def claim_one(task, payer, settings):
    return claim(task.pk, by=payer.as_actor(), lease=settings.TASK_LEASE)


def test_fifty_agents_stop(tasks, payer, settings):
    """Each either claimed before the freeze committed, or was refused."""
    claimed_at_commit = []

    def stop():
        begin()
        claimed_at_commit.extend(Task.objects.filter(status="claimed").values_list("pk", flat=True))

    claims = [partial(claim_one, task, payer, settings) for task in tasks]
    outcomes = together([*claims[:25], stop, *claims[25:]])

    refused = [each for each in outcomes if isinstance(each, Exception)]
    assert {type(each) for each in refused} <= {Frozen}
    assert len(claimed_at_commit) + len(refused) == AGENTS
    assert set(claimed_at_commit) == set(
        Task.objects.filter(status="claimed").values_list("pk", flat=True)
    )


def test_a_freeze_waits_for_a_claim_that_has_begun(tasks, payer, settings):
    with ExitStack() as claiming:
        claiming.enter_context(transaction.atomic())
        task = Task.objects.select_for_update().get(pk=tasks[0].pk)
        lease = task.updated_at + settings.TASK_LEASE
        claimant = {"agent_id": payer.pk, "session_id": None}
        perform(task.claim, by=payer.as_actor(), until=lease, **claimant)
        with waiting(begin) as freeze:
            assert not freeze.done()
            claiming.close()
            assert freeze.result().status == "active"
    assert Task.objects.get(pk=task.pk).status == "claimed"


def test_a_claim_waits_for_a_freeze_that_has_begun(tasks, payer, settings):
    with ExitStack() as freezing:
        freezing.enter_context(transaction.atomic())
        freeze = Freeze(scope="everything", reason="Stop.", frozen_by=str(OPS))
        create(freeze, EventType.FREEZE_BEGAN, by=OPS)
        with waiting(partial(claim_one, tasks[0], payer, settings)) as claimed:
            freezing.close()
            assert isinstance(claimed.exception(), Frozen)


def test_two_people_freeze_the_same_at_once(bot):
    outcomes = together([begin, begin])
    assert sorted(type(each).__name__ for each in outcomes) == ["AlreadyFrozen", "Freeze"]
    assert any(isinstance(each, AlreadyFrozen) for each in outcomes)
