"""Which state leads to which: the models, the operations and the database say the same."""

import re
from itertools import product

import pytest
from django.db import connection

from approvals_app.models import (
    Approval,
    ApprovalPolicy,
    Comment,
    Delegation,
    Override,
    Passkey,
    Vote,
)
from audit_app.base.errors import InvalidTransition
from audit_app.models import Event, Subject, Webhook
from audit_app.trail.verification import changes_of
from orchestrator.gateway.models import Upstream
from sessions_app import operations
from sessions_app.models import Agent, AgentSession, Freeze, Task
from tests.factories import session_in

SESSION_PAIRS = {
    ("pending", "active"),
    ("pending", "expired"),
    ("active", "completed"),
    ("active", "failed"),
    ("active", "expired"),
}
TASK_PAIRS = {
    ("awaiting_approval", "approved"),
    ("awaiting_approval", "rejected"),
    ("awaiting_approval", "expired"),
    ("awaiting_approval", "cancelled"),
    ("approved", "claimed"),
    ("approved", "cancelled"),
    ("approved", "awaiting_approval"),
    ("approved", "expired"),
    ("claimed", "completed"),
    ("claimed", "failed"),
    ("claimed", "approved"),
    ("claimed", "cancelled"),
}
APPROVAL_PAIRS = {
    ("pending", "approved"),
    ("pending", "rejected"),
    ("pending", "expired"),
    ("pending", "withdrawn"),
}
MODELS = {AgentSession: SESSION_PAIRS, Task: TASK_PAIRS, Approval: APPROVAL_PAIRS}
BESIDES_TRANSITIONS = {
    Agent: {
        ("identity.created", "", "active"),
        ("identity.changed", "", ""),
        ("key.issued", "", ""),
        ("key.revoked", "", ""),
    },
    AgentSession: {
        ("session.opened", "", "pending"),
        ("session.updated", "", ""),
        ("session.purged", "completed", ""),
        ("session.purged", "failed", ""),
        ("session.purged", "expired", ""),
    },
    Task: {
        ("task.routed", "", "awaiting_approval"),
        ("task.routed", "", "approved"),
        ("task.routed", "", "rejected"),
        ("task.revised", "", ""),
        ("task.lease_extended", "", ""),
        ("task.recalled", "", ""),
        ("payload.erased", "", ""),
        ("task.purged", "rejected", ""),
        ("task.purged", "expired", ""),
        ("task.purged", "cancelled", ""),
        ("task.purged", "completed", ""),
        ("task.purged", "failed", ""),
    },
    Approval: {
        ("approval.requested", "", "pending"),
        ("approval.reminded", "", ""),
        ("approval.purged", "approved", ""),
        ("approval.purged", "rejected", ""),
        ("approval.purged", "expired", ""),
        ("approval.purged", "withdrawn", ""),
    },
    Vote: {
        ("vote.cast", "", "cast"),
        ("vote.purged", "cast", ""),
        ("vote.purged", "withdrawn", ""),
    },
    Passkey: {("passkey.registered", "", "active"), ("passkey.renamed", "", "")},
    Comment: {("comment.added", "", "added"), ("comment.purged", "added", "")},
    Delegation: {
        ("delegation.granted", "", "active"),
        ("delegation.purged", "active", ""),
        ("delegation.purged", "ended", ""),
    },
    Override: {
        ("override.opened", "", "open"),
        ("override.purged", "upheld", ""),
        ("override.purged", "condemned", ""),
    },
    ApprovalPolicy: {("policy.created", "", "active"), ("policy.changed", "", "")},
    Webhook: {
        ("webhook.created", "", "active"),
        ("webhook.changed", "", ""),
        ("webhook.secret_rotated", "", ""),
    },
    Freeze: {("freeze.began", "", "active")},
    Upstream: {
        ("upstream.created", "", "enabled"),
        ("upstream.changed", "", ""),
        ("upstream.secrets_replaced", "", ""),
    },
}
"""What else may happen to a row: how it is created, changed in its state, and purged."""
EVENTS = {
    "active": "session.activated",
    "completed": "session.completed",
    "failed": "session.failed",
    "expired": "session.expired",
}


def every_pair(model):
    return list(product(model.Status.values, repeat=2))


def transitions(model, state):
    """Where the model's state machine leads from ``state``."""
    row = model(status=state)
    return {t.target for t in row.get_available_status_transitions()}


@pytest.mark.parametrize(("before", "after"), every_pair(AgentSession))
def test_a_session_goes_where_it_may_and_nowhere_else(bot, before, after):
    session = session_in(before, bot)
    row = AgentSession.objects.filter(pk=session.pk).values()
    events = Event.objects.filter(subject_id=session.pk)
    row_before, seen = row.get(), events.count()

    if (before, after) in SESSION_PAIRS:
        operations.update_session(session.pk, by=bot.as_actor(), status=after)
        last = events.last()
        assert row.get()["status"] == after
        assert (last.event_type, last.from_state, last.to_state) == (EVENTS[after], before, after)
        assert events.count() == seen + 1
    else:
        with pytest.raises(InvalidTransition) as refusal:
            operations.update_session(session.pk, by=bot.as_actor(), status=after)
        assert refusal.value.data["state"] == before
        assert row.get() == row_before
        assert events.count() == seen


@pytest.mark.parametrize("state", AgentSession.Status.values)
def test_can_says_what_the_session_may(state):
    session = AgentSession(status=state)
    said = {
        "active": session.can_activate(),
        "completed": session.can_complete(),
        "failed": session.can_fail(),
        "expired": session.can_expire(),
    }
    assert said == {after: (state, after) in SESSION_PAIRS for after in said}


@pytest.mark.parametrize(("before", "after"), every_pair(Task))
def test_a_task_goes_where_it_may_and_nowhere_else(before, after):
    assert (after in transitions(Task, before)) is ((before, after) in TASK_PAIRS)


@pytest.mark.parametrize(("before", "after"), every_pair(Approval))
def test_an_approval_goes_where_it_may_and_nowhere_else(before, after):
    assert (after in transitions(Approval, before)) is ((before, after) in APPROVAL_PAIRS)


def laws(model):
    """``(event, before, after)`` of each change that the database takes for legal."""
    with connection.cursor() as cursor:
        trigger = f"{model._meta.db_table}_check_transition"
        cursor.execute("SELECT tgargs FROM pg_trigger WHERE tgname = %s", [trigger])
        [(arguments,)] = cursor.fetchall()
    _, *changes = bytes(arguments).decode().split("\0")[:-1]
    return {tuple(re.split("[:>]", change)) for change in changes}


@pytest.mark.parametrize("model", Subject.kinds().values())
def test_the_database_knows_the_same_pairs_and_what_makes_them(model):
    said = {(law[0], law[1:]) for law in laws(model) if all(law)}
    made = {(event, pair) for event, pairs in changes_of(model).items() for pair in pairs}
    assert said == made
    assert {pair for _, pair in said} == MODELS.get(model, {pair for _, pair in made})


@pytest.mark.parametrize("model", Subject.kinds().values())
def test_the_database_knows_how_rows_begin_and_end_and_change_in_place(model):
    assert {law for law in laws(model) if not all(law)} == BESIDES_TRANSITIONS[model]


@pytest.mark.parametrize("model", MODELS)
def test_only_what_is_finished_may_be_purged(model):
    purged = {before for _, before, after in laws(model) if before and not after}
    assert purged == {state for state in model.Status.values if not transitions(model, state)}
