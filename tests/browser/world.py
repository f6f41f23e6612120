"""A world of people at work, in which no page is empty, and where each page of it is."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, Permission, User

from approvals_app.decisions import break_glass, delegations, operations
from approvals_app.models import Approval, ApprovalPolicy
from approvals_app.policy import operations as rulebook
from approvals_app.policy.files import parse_file
from approvals_app.review import presence
from audit_app.base.actors import Actor
from audit_app.live import event_log
from audit_app.models import Delivery, Event, Webhook
from audit_app.webhooks import operations as webhooks
from sessions_app.models import Agent, AgentSession
from sessions_app.tasks.operations import claim, complete
from tests.factories import (
    OPS,
    AgentFactory,
    ReviewerFactory,
    SessionFactory,
    TaskFactory,
    find_approval,
)

ROOT = Path(__file__).parents[2]
PAYLOADS = sorted((ROOT / "examples" / "payloads").glob("*.json"))
GROUPS = {
    "alice": ["finance", "legal", "sre"],
    "bob": ["finance", "marketing"],
    "charlie": ["sre", "dba"],
    "dave": ["finance", "legal", "sre"],
    "erin": [],
}
QUESTION = {
    "question": "Which account do we refund to?",
    "schema": {
        "type": "object",
        "required": ["account"],
        "properties": {
            "account": {"type": "string", "enum": ["main", "reserve"]},
            "note": {"type": "string", "maxLength": 200},
            "urgent": {"type": "boolean"},
        },
    },
}
CAREFUL = """
  - name: careful-payouts
    priority: 5
    when: {task_type: payout}
    then: require
    risk: high
    approvals: [{role: finance, count: 1}]
    look_for: 30s
    type_out: data.amount
"""


@pytest.fixture
def people(database):
    found = {
        name: ReviewerFactory(username=name, roles=roles, email=f"{name}@example.com")
        for name, roles in GROUPS.items()
    }
    User.objects.filter(username="alice").update(is_superuser=True)
    found["dave"].user_permissions.add(Permission.objects.get(codename="break_glass"))
    return found


@pytest.fixture
def work(people):
    """The six examples wait; others were decided, edited, overridden and done before."""
    policies = (ROOT / "examples/policies.yaml").read_text()
    rulebook.apply_policies(parse_file(policies.rstrip() + "\n" + CAREFUL), by=OPS)
    support = AgentFactory(name="support-bot", roles=["support-agent"], owner=people["erin"])
    payer = AgentFactory(name="payments", roles=["finance", "support-agent"])
    session = SessionFactory(agent=support)
    bodies = {path.stem: json.loads(path.read_text()) for path in PAYLOADS}

    def route(body, **other):
        task = dict(body["task"]) | other
        return TaskFactory(
            agent=support,
            target=body["target"],
            context=body.get("context", {}),
            session_id=session.pk,
            **task,
        )

    def decide(what, name, approval, **more):
        given = {"by": Actor.human(people[name]), "payload_digest": approval.payload_digest}
        return what(approval.pk, **given, **more)

    done = route(bodies["refund"])
    decide(operations.approve, "bob", find_approval(done, "finance"), notes="A known customer.")
    claim(done.pk, by=payer.as_actor(), lease=timedelta(minutes=5))
    complete(done.pk, by=payer.as_actor(), result={"reference": "R-2026-1181"})
    refused = route(bodies["refund"])
    decide(
        operations.reject, "alice", find_approval(refused, "finance"), notes="The kettle is in use."
    )
    alone = route(bodies["shell_command"])
    decide(break_glass.break_glass, "dave", find_approval(alone, "sre"), reason="The disk is full.")
    waiting = {name: route(body) for name, body in bodies.items()}
    wire = find_approval(waiting["wire_transfer"], "finance")
    decide(operations.approve, "bob", wire, confirmed=True)
    plan = find_approval(waiting["terraform_plan"], "sre")
    data = dict(waiting["terraform_plan"].data) | {"workspace": "staging"}
    decide(operations.edit, "charlie", plan, data=data, notes="Not production.")
    waiting["question"] = TaskFactory(
        agent=support,
        target="finance",
        task_type="question",
        description=QUESTION["question"],
        data=QUESTION,
    )
    waiting["careful"] = TaskFactory(
        agent=support,
        target="finance",
        task_type="payout",
        description="Pay 12,900.00 EUR to a supplier who was never paid before.",
        data={"amount": "12900.00", "currency": "EUR", "supplier": "Nordlicht GmbH"},
    )
    TaskFactory(agent=support, target="finance", on_behalf_of="alice", description="Book a flight.")
    _places(people)
    return waiting | {"done": done, "refused": refused, "alone": alone}


def _places(people):
    """Who is told, who stands in, and what alice keeps."""
    by = Actor.human(people["bob"])
    now = operations.clock()
    span = {"starts_at": now, "ends_at": now + timedelta(days=7)}
    delegations.grant_delegation(by=by, to="alice", reason="On holiday.", **span)
    presence.save_view(people["alice"], "Old refunds", "type=refund&age=1d")
    hook, _ = webhooks.create_webhook(
        "ledger", by=OPS, url="https://hooks.example/ledger", event_types=["task.*"], roles=[]
    )
    outcomes = {"delivered": (200, "ok", 41), "failed": (503, "try later", 1200), "waiting": ()}
    events = Event.objects.filter(event_type="task.routed").order_by("position")
    for event, (status, answer) in zip(events, outcomes.items(), strict=False):
        code, words, took = answer or (None, "", None)
        Delivery.objects.create(
            webhook=hook,
            event_id=event.pk,
            event_type=event.event_type,
            subject_id=event.subject_id,
            cursor=event_log.cursor_of(event),
            status=status,
            attempts=bool(answer),
            attempted_at=now if answer else None,
            response_status=code,
            response=words,
            milliseconds=took,
        )


def of(row, page="change/"):
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/{page}"


def addresses(work):
    """Each page in the admin's frame by the name of its picture, for alice, who sees all."""
    waiting = [name for name in work if name not in ("done", "refused", "alone")]
    wire = find_approval(work["wire_transfer"], "finance")
    policy = ApprovalPolicy.objects.order_by("priority").first()
    agent = Agent.objects.get(name="support-bot")
    hook, bob = Webhook.objects.get(), User.objects.get(username="bob")
    finance = Group.objects.get(name="finance")
    session = AgentSession.objects.first()
    event = Event.objects.filter(subject_id=work["done"].pk).earliest("position")
    decisions = {
        f"decide-{name.replace('_', '-')}": of(
            Approval.objects.filter(task=work[name], status="pending").first()
        )
        for name in waiting
    }
    return {
        "inbox": "/admin/",
        "inbox-none": "/admin/?q=nothing+has+these&age=7d&role=finance",
        "inbox-decided": "/admin/?tab=decided",
        "inbox-asked": "/admin/?tab=asked",
        **decisions,
        "decided": of(Approval.objects.get(task=work["done"])),
        "review": of(Approval.objects.get(task=work["alone"], status="pending")),
        "edit": of(wire, "edit/"),
        "dashboards": "/admin/dashboards/",
        "dashboards-90": "/admin/dashboards/?days=90",
        "timeline": f"/admin/timeline/task/{work['done'].pk}/",
        "timeline-person": "/admin/timeline/person/bob/?of=vote",
        "policies": "/admin/policies/",
        "policy": f"/admin/policies/{policy.pk}/",
        "policy-new": "/admin/policies/new/",
        "simulate": "/admin/policies/simulate/",
        "away": "/admin/away/",
        "notifications": "/admin/notifications/",
        "approvals": "/admin/approvals_app/approval/",
        "tasks": "/admin/sessions_app/task/",
        "task": of(work["done"]),
        "sessions": "/admin/sessions_app/agentsession/",
        "session": of(session),
        "agents": "/admin/sessions_app/agent/",
        "agent": of(agent),
        "agent-new": "/admin/sessions_app/agent/add/",
        "agent-change": of(agent, "roles"),
        "agent-rotate": of(agent, "rotate"),
        "agent-revoke": of(agent, "revoke"),
        "events": "/admin/audit_app/event/",
        "event": of(event),
        "webhooks": "/admin/audit_app/webhook/",
        "webhook": of(hook),
        "webhook-new": "/admin/audit_app/webhook/add/",
        "webhook-change": of(hook, "edit"),
        "webhook-rotate": of(hook, "rotate"),
        "webhook-disable": of(hook, "disable"),
        "people": "/admin/auth/user/",
        "person": of(bob),
        "person-new": "/admin/auth/user/add/",
        "person-password": of(bob, "password/"),
        "groups": "/admin/auth/group/",
        "group": of(finance),
        "group-new": "/admin/auth/group/add/",
        "group-delete": of(finance, "delete/"),
        "passkeys": "/admin/passkeys/",
        "second-factor": "/admin/second-factor/",
        "reauthenticate": "/admin/reauthenticate/",
        "password-change": "/admin/password_change/",
    }
