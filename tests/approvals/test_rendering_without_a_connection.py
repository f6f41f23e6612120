"""No page of the admin holds a connection of the pool while its template is rendered."""

import pytest
from django.contrib.auth.models import Group, User
from django.db import connections
from django.test.signals import template_rendered

from audit_app.models import Event, Webhook
from audit_app.webhooks import operations
from sessions_app.models import Agent, AgentSession
from tests.factories import OPS, ReviewerFactory, SessionFactory, TaskFactory, approve_task, policy


@pytest.fixture
def window(client, database):
    client.force_login(ReviewerFactory(username="root", is_superuser=True))
    return client


@pytest.fixture
def work(bot, alice):
    policy("wires", "approve", when={"task_type": "wire_*"})
    told = {"url": "https://hooks.example/", "event_types": [], "roles": []}
    operations.create_webhook("ledger", by=OPS, **told)
    return approve_task(TaskFactory(agent=bot, session_id=SessionFactory(agent=bot).pk), by=alice)


def page_of(row, page="change/"):
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/{page}"


def addresses(task):
    agent, hook = Agent.objects.first(), Webhook.objects.get()
    return [
        "/admin/approvals_app/approval/",
        "/admin/sessions_app/task/",
        "/admin/sessions_app/agentsession/",
        "/admin/sessions_app/agent/",
        "/admin/audit_app/event/",
        "/admin/audit_app/webhook/",
        "/admin/auth/user/",
        page_of(task),
        page_of(AgentSession.objects.first()),
        page_of(agent),
        page_of(agent, "rotate"),
        page_of(agent, "revoke"),
        page_of(Event.objects.first()),
        page_of(hook),
        page_of(hook, "disable"),
        f"/admin/timeline/task/{task.pk}/",
        "/admin/dashboards/",
        "/admin/policies/",
        "/admin/away/",
    ]


def test_no_page_holds_a_connection_while_it_is_rendered(window, work):
    assert User.objects.count()
    assert Group.objects.count()
    connection, held = connections["default"], []

    def note(template, **_):
        if connection.connection is not None:
            held.append((address, template.name))

    template_rendered.connect(note)
    try:
        for address in addresses(work):
            assert window.get(address).status_code == 200, address
    finally:
        template_rendered.disconnect(note)
    assert held == []
