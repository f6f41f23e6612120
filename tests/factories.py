"""People, agents and their work, built the way the product builds them: through operations."""

import json
from typing import Any
from uuid import uuid4

import factory
from django.contrib.auth.models import Group, User

from approvals_app.decisions import operations as approval_operations
from approvals_app.models import Approval, ApprovalPolicy
from approvals_app.policy import operations as rulebook
from approvals_app.policy.language import Policy
from audit_app.base.actors import Actor
from audit_app.base.canonical import canonical
from audit_app.models import Subject
from sessions_app import agents, operations
from sessions_app.models import Agent, AgentSession, Task
from sessions_app.tasks.routing import NewTask, route_task
from tests.database import without_guards

OPS = Actor.system("tests")


class ReviewerFactory(factory.django.DjangoModelFactory):
    """A staff user in the groups that ``roles`` names; the password is the username."""

    class Meta:
        model = User
        skip_postgeneration_save = True

    username = factory.Sequence(lambda n: f"reviewer{n}")
    is_staff = True

    @classmethod
    def _create(cls, model_class: type[User], *args: Any, **kwargs: Any) -> User:
        roles = kwargs.pop("roles", [])
        user = User.objects.create_user(password=kwargs["username"], **kwargs)
        user.groups.set(Group.objects.get_or_create(name=role)[0] for role in roles)
        return user


class AgentFactory(factory.Factory):
    """An agent; its key's text is kept on it as ``key``."""

    class Meta:
        model = Agent

    name = factory.Sequence(lambda n: f"agent{n}")
    roles = ["support-agent"]
    owner = None

    @classmethod
    def _create(cls, model_class: type[Agent], *args: Any, **kwargs: Any) -> Agent:
        owner = kwargs.pop("owner")
        agent, key = agents.create_agent(
            kwargs.pop("name"), by=OPS, owner_id=owner and owner.pk, **kwargs
        )
        agent.key = key.text
        return agent


class SessionFactory(factory.Factory):
    """A pending session of ``agent``."""

    class Meta:
        model = AgentSession

    agent = factory.SubFactory(AgentFactory)

    @classmethod
    def _create(cls, model_class: type[AgentSession], *args: Any, **kwargs: Any) -> AgentSession:
        agent = kwargs.pop("agent")
        asked = {"agent_role": agent.roles[0], "trace_id": uuid4(), **kwargs}
        return operations.open_session(by=agent.as_actor(), **asked)


class TaskFactory(factory.Factory):
    """A refund that ``agent`` asks of the role finance: it awaits one yes."""

    class Meta:
        model = Task

    agent = factory.SubFactory(AgentFactory)
    target = "finance"
    task_type = "refund_approval"
    description = "Refund 42.50 EUR to customer 1007 for a broken kettle."
    data = factory.Dict({"amount": "42.50", "currency": "EUR", "customer": 1007})
    idempotency_key = factory.Sequence(lambda n: f"key-{n}")

    @classmethod
    def _create(cls, model_class: type[Task], *args: Any, **kwargs: Any) -> Task:
        agent = kwargs.pop("agent")
        context = {"trace_id": kwargs.pop("trace_id", uuid4())}
        context |= {"session_id": kwargs.pop("session_id", None)}
        new = NewTask(to_role=kwargs.pop("target"), **kwargs)
        return route_task(new, by=agent.as_actor(), **context)


def the_approval(task: Task) -> Approval:
    """The one approval that ``task`` has."""
    return Approval.objects.get(task=task)


def session_in(status: str, agent: Agent) -> AgentSession:
    """A session of ``agent`` that went to ``status`` by the shortest legal way."""
    by, session = agent.as_actor(), SessionFactory(agent=agent)
    way = {"pending": [], "active": ["active"], "expired": ["expired"]}
    for step in way.get(status, ["active", status]):
        session = operations.update_session(session.pk, by=by, status=step)
    return session


def approve_task(task: Task, by: User) -> Task:
    """``task`` after ``by`` approved what it waits for."""
    approval = the_approval(task)
    decision = approval_operations.approve(
        approval.pk, by=Actor.human(by), payload_digest=approval.payload_digest
    )
    return decision.task


def set_columns(model: type[Any], row: Any = None, **columns: Any) -> None:
    """Set ``columns`` of ``row``, or of every row, and of the events that state them, as if time
    had passed: no trigger fires, as in a replica."""
    assignments = ", ".join(f"{column} = %s" for column in columns)
    with without_guards() as cursor:
        only = "WHERE id = %s" if row else ""
        values = [*columns.values(), *([row.pk] if row else [])]
        cursor.execute(f"UPDATE {model._meta.db_table} SET {assignments} {only}", values)
        if issubclass(model, Subject):
            restate(cursor, model, row, columns)


def restate(cursor: Any, model: type[Subject], row: Any, columns: dict[str, Any]) -> None:
    """Have the events of ``row``, or of every row, state these values of ``columns``."""
    cursor.execute(
        "SELECT position, entry FROM audit_events WHERE subject_type = %s AND metadata ?| %s"
        " AND coalesce(subject_id = %s, true)",
        [model.subject_type, list(columns), row and row.pk],
    )
    for position, entry in cursor.fetchall():
        event = json.loads(entry)
        for name in columns.keys() & event["metadata"]:
            value = columns[name]
            event["metadata"][name] = value.isoformat() if hasattr(value, "isoformat") else value
        cursor.execute(
            "UPDATE audit_events SET entry = %s WHERE position = %s", [canonical(event), position]
        )


def policy(name: str = "policy", then: str = "require", **document: Any) -> ApprovalPolicy:
    """A policy in force; ``asks="2 finance, 1 legal"`` says whom it asks."""
    if asks := document.pop("asks", None):
        pairs = [each.split() for each in asks.split(", ")]
        document["approvals"] = [{"role": role, "count": int(count)} for count, role in pairs]
    rule = Policy.parse({"name": name, "then": then, **document})
    return rulebook.create_policy(rule, by=OPS)


def find_approval(task: Task, role: str) -> Approval:
    """The approval of ``task`` that waits for ``role``."""
    return Approval.objects.pending().get(task=task, approver_role=role)
