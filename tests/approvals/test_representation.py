"""A shape says what its serializer would, and nothing but JSON."""

from datetime import UTC, datetime, timedelta, timezone

import orjson
import pytest
from rest_framework import serializers

from approvals_app.api.serializers import DelegationSerializer, OverrideSerializer
from approvals_app.api.task_serializers import (
    ApprovalSerializer,
    RevisionSerializer,
    RoutedTaskSerializer,
    TaskSerializer,
)
from approvals_app.decisions import break_glass, delegations, operations
from approvals_app.models import Approval
from audit_app.base.actors import Actor
from audit_app.http.representation import compile_serializer
from audit_app.http.serializers import EventSerializer
from audit_app.models import Event
from sessions_app.models import Agent, AgentSession, Task
from sessions_app.serializers import OpenedSessionSerializer, SessionSerializer
from tests.factories import SessionFactory, TaskFactory, approve_task, policy, the_approval


@pytest.fixture
def rows(bot, breaker, bob, charlie):
    """Of everything that is told, at least one row that has it all, and one that has little."""
    policy("bots", when={"condition": 'agent == "bot"'}, asks="1 finance")
    session = SessionFactory(agent=bot, metadata={"a": [1, None]})
    decided = approve_task(TaskFactory(agent=bot, session_id=session.pk, context={"b": "ü"}), bob)
    edited, alone = TaskFactory(agent=bot), TaskFactory(agent=bot)
    approval = the_approval(edited)
    said = {"by": Actor.human(bob), "payload_digest": approval.payload_digest}
    operations.edit(approval.pk, description="Refund nothing.", **said)
    approval = edited.approvals.pending().get()
    given = delegations.delegate(approval.pk, by=Actor.human(breaker), to="charlie")
    approval = the_approval(alone)
    said = {"by": Actor.human(breaker), "payload_digest": approval.payload_digest}
    override = break_glass.break_glass(approval.pk, reason="Fire.", **said)
    tasks, approvals = list(Task.objects.all()), list(Approval.objects.all())
    assert decided in tasks
    revisions = Task.objects.get(pk=edited.pk).all_revisions()
    assert len(revisions) == 2
    return {
        TaskSerializer: tasks,
        RoutedTaskSerializer: tasks,
        ApprovalSerializer: approvals,
        SessionSerializer: list(AgentSession.objects.all()),
        OpenedSessionSerializer: list(AgentSession.objects.all()),
        RevisionSerializer: revisions,
        DelegationSerializer: [given],
        OverrideSerializer: [override],
        EventSerializer: list(Event.objects.all()),
    }


def test_it_says_what_the_serializer_says(rows):
    for serializer, each in rows.items():
        for row in each:
            said = serializer().to_representation(row)
            assert orjson.dumps(compile_serializer(serializer)(row)) == orjson.dumps(said)


class MomentSerializer(serializers.Serializer):
    at = serializers.DateTimeField()


@pytest.mark.parametrize("microsecond", [0, 120])
def test_moments_are_said_in_utc(microsecond):
    class Row:
        at = datetime(2026, 3, 1, 1, 2, 3, microsecond, timezone(timedelta(hours=2)))

    said = compile_serializer(MomentSerializer)(Row)["at"]
    assert said == MomentSerializer().to_representation(Row)["at"]
    assert datetime.fromisoformat(said) == Row.at
    assert datetime.fromisoformat(said).tzinfo is UTC


class DefaultSerializer(serializers.Serializer):
    name = serializers.CharField(source="agent.name", default="nobody")


def test_a_default_that_would_not_be_represented_is_refused():
    with pytest.raises(TypeError, match="name"):
        compile_serializer(DefaultSerializer)(Agent())
