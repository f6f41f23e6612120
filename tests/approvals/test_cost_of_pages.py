"""What a page costs: no more than twelve statements, and as many for one row as for a full page."""

import re
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from approvals_app.decisions import operations
from approvals_app.models import ApprovalPolicy
from approvals_app.review import presence
from audit_app.base.actors import Actor
from audit_app.live import event_log
from audit_app.models import Delivery, Event, Webhook
from audit_app.webhooks import operations as webhooks
from sessions_app.models import Agent
from tests.factories import (
    OPS,
    AgentFactory,
    ReviewerFactory,
    SessionFactory,
    TaskFactory,
    policy,
    the_approval,
)

MOST = 12
IDS = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
FRAMES = re.compile(r"^(SAVEPOINT|RELEASE|BEGIN|COMMIT|ROLLBACK)", re.IGNORECASE)
ADMINISTERS = (
    *("add_user", "change_user", "view_user", "delete_user"),
    *("add_group", "change_group", "view_group", "delete_group"),
    *("change_agent", "change_webhook", "view_webhook", "change_approvalpolicy"),
    *("break_glass", "read_everything"),
)
"""As much as a person can be offered, and so as many statements as a page can send."""


@pytest.fixture(autouse=True)
def no_limit(settings):
    """A share of the rate limit is asked for once in many requests, whichever that is."""
    settings.RATE_LIMIT_PER_MINUTE = settings.ADDRESS_LIMIT_PER_MINUTE = 0


@pytest.fixture
def reviewer(alice):
    """Reviews for finance, and may do nothing else."""
    return alice


@pytest.fixture
def administrator():
    """Reviews for finance, reads everything, and administers."""
    person = ReviewerFactory(username="ada", roles=["finance"])
    person.user_permissions.set(Permission.objects.filter(codename__in=ADMINISTERS))
    return person


class World:
    """Work of one trace and one session, and who and what there is, as much as is asked for."""

    def __init__(self, reviewer, administrator, agent):
        self.reviewer, self.administrator, self.agent = reviewer, administrator, agent
        self.session = SessionFactory(agent=agent)
        self.made = 0

    def grow(self, decided, waiting):
        """By so many tasks that the reviewer decided, and so many that wait."""
        for _ in range(decided):
            approval = self._create_approval()
            seen = {"by": Actor.human(self.reviewer), "payload_digest": approval.payload_digest}
            self.decided = operations.approve(approval.pk, notes="Fine.", **seen)
        for _ in range(waiting):
            self.waits = self._create_approval()
        for _ in range(decided + waiting):
            self.made += 1
            self._places(f"n{self.made:03}")

    def _create_approval(self):
        given = {"session_id": self.session.pk, "trace_id": self.session.trace_id}
        return the_approval(TaskFactory(agent=self.agent, **given))

    def _places(self, name):
        AgentFactory(name=name, owner=self.reviewer)
        SessionFactory(agent=self.agent)
        ReviewerFactory(username=name, roles=[f"group-{name}"])
        policy(name, then="approve", when={"task_type": f"none_{name}"})
        about = {"url": "https://hooks.example/", "event_types": [], "roles": []}
        webhooks.create_webhook(name, by=OPS, **about)
        event = Event.objects.latest("position")
        Delivery.objects.create(
            webhook=Webhook.objects.earliest("name"),
            event_id=event.pk,
            event_type=event.event_type,
            subject_id=event.subject_id,
            cursor=event_log.cursor_of(event),
        )
        if self.made <= presence.MAX_SAVED_VIEWS:
            presence.save_view(self.reviewer, name, urlencode({"q": name}))


@pytest.fixture
def world(reviewer, administrator, bot):
    return World(reviewer, administrator, bot)


def of_reviewers(world):
    """Where whoever reviews finds what they may know of."""
    waits, task, change = world.waits.pk, world.waits.task_id, "/admin/{}/{}/change/".format
    trace, session = world.session.trace_id, world.session.pk
    timelines = (f"trace/{trace}", f"session/{session}", f"task/{task}", "person/alice")
    inbox = ("", "tab=decided", "tab=asked", "q=kettle&age=1h&role=finance", "page=2")
    return [
        *(f"/admin/?{query}" for query in inbox),
        "/admin/inbox/",
        change("approvals_app/approval", waits),
        change("approvals_app/approval", world.decided.pk),
        f"/admin/approvals_app/approval/{waits}/edit/",
        "/admin/dashboards/?days=30",
        *(f"/admin/timeline/{name}/" for name in (*timelines, f"agent/{world.agent.name}")),
        f"/admin/timeline/trace/{trace}/?of=vote&before=99999",
        change("sessions_app/task", task),
        change("sessions_app/agentsession", session),
        change("sessions_app/agent", Agent.objects.get(name="n001").pk),
        change("audit_app/event", Event.objects.filter(subject_id=task).first().pk),
        "/admin/policies/",
        f"/admin/policies/{ApprovalPolicy.objects.first().pk}/",
        "/admin/away/",
        "/admin/notifications/",
        "/admin/approvals_app/approval/?q=kettle",
        "/admin/sessions_app/task/?q=kettle",
        "/admin/sessions_app/agentsession/?status__exact=pending",
        f"/admin/audit_app/event/?q={trace}",
        "/admin/sessions_app/agent/",
    ]


def of_administrators(world):
    """And what only an administrator opens."""
    change = "/admin/{}/{}/change/".format
    return [
        *of_reviewers(world),
        "/admin/approvals_app/approval/?status__exact=pending&within=day&role=finance",
        "/admin/sessions_app/task/?status__exact=awaiting_approval&within=day&role=finance",
        "/admin/sessions_app/agentsession/?q=none",
        "/admin/audit_app/event/?event=vote.cast&within=day&role=finance",
        "/admin/auth/user/?q=n0",
        change("auth/user", world.reviewer.pk),
        "/admin/auth/group/",
        change("auth/group", Group.objects.get(name="finance").pk),
        "/admin/audit_app/webhook/?status__exact=active",
        change("audit_app/webhook", Webhook.objects.earliest("name").pk),
        f"/admin/sessions_app/agent/{world.agent.pk}/roles",
        "/admin/policies/simulate/",
    ]


def statements(client, path):
    with CaptureQueriesContext(connection) as sent:
        answer = client.get(path)
        assert answer.status_code == 200, (path, answer.status_code)
    return len([q for q in sent.captured_queries if not FRAMES.match(q["sql"])])


def test_every_page_is_at_most_twelve_statements_however_much_there_is(world):
    def costs():
        found = {}
        for person, pages in (
            (world.reviewer, of_reviewers(world)),
            (world.administrator, of_administrators(world)),
        ):
            client = Client()
            client.force_login(person)
            for number, path in enumerate(pages):
                found[person.username, number, IDS.sub("…", path)] = statements(client, path)
        return found

    world.grow(decided=1, waiting=1)
    one = costs()
    world.grow(decided=22, waiting=30)
    full = costs()
    assert {key: number for key, number in full.items() if number > MOST} == {}
    assert {key: (one[key], number) for key, number in full.items() if number > one[key]} == {}
