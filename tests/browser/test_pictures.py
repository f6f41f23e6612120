"""Every page of ours in a world of people at work; `make screenshots` keeps the pictures.

Each is opened in light and dark, at a desk and on a phone: it is there, it says no error in the
console, and it does not scroll sideways.
"""

import json
import os
from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import Permission, User
from playwright.sync_api import Page

from approvals_app import operations, overrides, rulebook
from approvals_app.models import Approval, ApprovalPolicy
from approvals_app.policy_files import parse_file
from audit_app.actors import Actor
from sessions_app.models import AgentSession, Task
from sessions_app.operations import claim, complete
from tests.factories import (
    OPS,
    AgentFactory,
    ReviewerFactory,
    SessionFactory,
    TaskFactory,
    asked,
)

pytestmark = pytest.mark.browser

ROOT = Path(__file__).parents[2]
KEPT = os.environ.get("SCREENSHOTS")
"""The folder that pictures are kept in."""

PAYLOADS = sorted((ROOT / "examples" / "payloads").glob("*.json"))
GROUPS = {
    "alice": ["finance", "legal", "sre"],
    "bob": ["finance", "marketing"],
    "charlie": ["sre", "dba"],
    "dave": ["finance", "legal", "sre"],
    "erin": [],
}
LOOKS = [(1440, "light"), (360, "dark")]
if KEPT:
    LOOKS += [(1440, "dark"), (360, "light")]


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
    rulebook.apply_rules(parse_file((ROOT / "examples/policies.yaml").read_text()), by=OPS)
    support = AgentFactory(name="support-bot", roles=["support-agent"], owner=people["erin"])
    payer = AgentFactory(name="payments", roles=["finance", "support-agent"])
    session = SessionFactory(agent=support)
    bodies = {path.stem: json.loads(path.read_text()) for path in PAYLOADS}

    def routed(body, **other):
        task = dict(body["task"]) | other
        return TaskFactory(
            agent=support,
            target=body["target"],
            context=body.get("context", {}),
            session_id=session.pk,
            **task,
        )

    def said(what, name, approval, **more):
        given = {"by": Actor.human(people[name]), "payload_digest": approval.payload_digest}
        return what(approval.pk, **given, **more)

    done = routed(bodies["refund"])
    said(operations.approve, "bob", asked(done, "finance"), notes="A known customer.")
    claim(done.pk, by=payer.as_actor(), lease=timedelta(minutes=5))
    complete(done.pk, by=payer.as_actor(), result={"reference": "R-2026-1181"})
    refused = routed(bodies["refund"])
    said(operations.reject, "dave", asked(refused, "finance"), notes="The kettle is in use.")
    alone = routed(bodies["shell_command"])
    said(overrides.break_glass, "dave", asked(alone, "sre"), reason="The disk is full.")
    waiting = {name: routed(body) for name, body in bodies.items()}
    said(operations.approve, "bob", asked(waiting["wire_transfer"], "finance"))
    plan = asked(waiting["terraform_plan"], "sre")
    data = dict(waiting["terraform_plan"].data) | {"workspace": "staging"}
    said(operations.edit, "charlie", plan, data=data, notes="Not production.")
    waiting["question"] = TaskFactory(
        agent=support,
        target="finance",
        task_type="question",
        description="Which account do we refund to?",
        data={
            "question": "Which account do we refund to?",
            "schema": {
                "type": "object",
                "required": ["account"],
                "properties": {
                    "account": {"type": "string", "enum": ["main", "reserve"]},
                    "note": {"type": "string", "maxLength": 200},
                },
            },
        },
    )
    return waiting | {"done": done}


def addresses(work):
    """Each page by the name of its picture."""
    decision = "/admin/approvals_app/approval/{}/change/"
    wire = asked(work["wire_transfer"], "finance")
    policy = ApprovalPolicy.objects.order_by("priority").first()
    return {
        "inbox": "/admin/",
        **{
            f"decide-{name.replace('_', '-')}": decision.format(
                Approval.objects.filter(task=task, status="pending").first().pk
            )
            for name, task in work.items()
            if name != "done"
        },
        "decided": decision.format(asked_before(work["done"]).pk),
        "edit": f"/admin/approvals_app/approval/{wire.pk}/edit/",
        "dashboards": "/admin/dashboards/",
        "timeline": f"/admin/timeline/task/{work['done'].pk}/",
        "policies": "/admin/policies/",
        "policy": f"/admin/policies/{policy.pk}/",
        "away": "/admin/away/",
        "approvals": "/admin/approvals_app/approval/",
        "tasks": "/admin/sessions_app/task/",
        "task": f"/admin/sessions_app/task/{work['done'].pk}/change/",
        "sessions": "/admin/sessions_app/agentsession/",
        "session": f"/admin/sessions_app/agentsession/{AgentSession.objects.first().pk}/change/",
        "agents": "/admin/sessions_app/agent/",
        "events": "/admin/audit_app/event/",
    }


def asked_before(task: Task) -> Approval:
    return Approval.objects.get(task=task)


def keep(page: Page, name: str, width: int, colors: str) -> None:
    if not KEPT:
        return
    phone = "-phone" if width < 700 else ""
    dark = "-dark" if colors == "dark" else ""
    page.screenshot(path=Path(KEPT) / f"{name}{phone}{dark}.png", full_page=width < 700)


@pytest.mark.parametrize(("width", "colors"), LOOKS)
def test_every_page_can_be_looked_at(signed_in, work, people, width, colors):
    page = signed_in(people["alice"], width=width, colors=colors)
    said: list[str] = []
    page.on("console", lambda line: line.type == "error" and said.append(line.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    for name, address in addresses(work).items():
        answer = page.goto(address)
        assert answer is not None, name
        assert answer.status == 200, (name, answer.status)
        if KEPT:
            page.wait_for_load_state("networkidle")
        wider = page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wider <= 0, f"{name} scrolls sideways by {wider} px at {width} px"
        keep(page, name, width, colors)
    assert not said, said
