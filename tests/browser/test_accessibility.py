"""Every page of ours, as axe-core reads it: nothing that WCAG 2.2 AA forbids, in light and dark,
wide and narrow."""

import re

import pytest
from axe_playwright_python.sync_playwright import Axe
from django.contrib.auth.models import Permission

from approvals_app import operations
from audit_app.actors import Actor
from audit_app.models import Event
from sessions_app.models import AgentSession
from tests.factories import AgentFactory, SessionFactory, TaskFactory, asked, policy, the_approval

pytestmark = pytest.mark.browser

RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
LEGIBLE_AT = 640
"""How wide 1280 pixels are at twice their size (WCAG 1.4.4)."""


@pytest.fixture
def administrator(alice):
    names = ("view_user", "change_user", "view_group", "change_approvalpolicy", "break_glass")
    alice.user_permissions.set(Permission.objects.filter(codename__in=names))
    return alice


@pytest.fixture
def work(administrator, bob, bot, payer):
    """Something of everything, so that no page is empty."""
    rule = policy("two", when={"task_type": "wire*"}, asks="2 finance")
    session = SessionFactory(agent=bot)
    task = TaskFactory(agent=bot, session_id=session.pk, data={"recipients": 3, "note": "a\nb"})
    wire = TaskFactory(agent=bot, task_type="wire_transfer_approval")
    over = the_approval(TaskFactory(agent=bot, description="Over."))
    by = {"by": Actor.human(administrator), "payload_digest": over.payload_digest}
    operations.approve(over.pk, notes="Fine.", **by)
    question = TaskFactory(
        agent=bot, task_type="question", data={"question": "Which one?", "options": ["a", "b"]}
    )
    return {"policy": rule, "session": session, "task": task, "wire": wire, "over": over} | {
        "question": the_approval(question),
        "agent": AgentFactory(name="hers", owner=administrator),
    }


def pages(work):
    decision = "/admin/approvals_app/approval/{}/change/"
    first = the_approval(work["task"])
    event = Event.objects.filter(subject_id=work["task"].pk).earliest("position")
    lists = ("approvals_app/approval", "sessions_app/task", "sessions_app/agentsession")
    return (
        "/admin/",
        "/admin/?q=nothing+has+these&age=7d&role=finance",
        "/admin/?tab=decided",
        "/admin/?tab=asked",
        decision.format(first.pk),
        decision.format(asked(work["wire"], "finance").pk),
        decision.format(work["over"].pk),
        decision.format(work["question"].pk),
        f"/admin/approvals_app/approval/{first.pk}/edit/",
        "/admin/policies/",
        f"/admin/policies/{work['policy'].pk}/",
        "/admin/policies/new/",
        "/admin/policies/simulate/",
        "/admin/away/",
        "/admin/notifications/",
        "/admin/dashboards/",
        f"/admin/timeline/task/{work['task'].pk}/",
        f"/admin/sessions_app/task/{work['task'].pk}/change/",
        f"/admin/sessions_app/agentsession/{AgentSession.objects.first().pk}/change/",
        f"/admin/sessions_app/agent/{work['agent'].pk}/change/",
        f"/admin/audit_app/event/{event.pk}/change/",
        *(f"/admin/{name}/" for name in (*lists, "sessions_app/agent", "audit_app/event")),
        "/admin/auth/user/",
        "/admin/second-factor/",
        "/admin/reauthenticate/",
        "/admin/password_change/",
    )


def violations(page):
    """What axe-core finds, each as: where, which rule, and the element."""
    found = Axe().run(page, options={"runOnly": {"type": "tag", "values": RULES}}).response
    where = re.sub(r"[0-9a-f-]{36}", "…", page.url.partition("/admin")[2])
    return [
        f"/admin{where}: {one['id']} {node['html'][:160]} {node['target']}"
        for one in found["violations"]
        for node in one["nodes"]
    ]


@pytest.mark.parametrize("width", [360, 1440])
@pytest.mark.parametrize("colors", ["light", "dark"])
def test_no_page_keeps_anybody_out(signed_in, administrator, work, colors, width):
    page = signed_in(administrator, width=width, colors=colors)
    page.emulate_media(reduced_motion="reduce")
    found = []
    for path in pages(work):
        answer = page.goto(path)
        found += violations(page) if answer.ok else [f"{path} answers {answer.status}"]
    page.goto("/admin/")
    page.keyboard.press("?")
    found += violations(page)
    page.keyboard.press("Escape")
    for box in page.get_by_role("checkbox", name="Choose").all():
        box.check()
    page.get_by_role("button", name="Decide on the chosen ones").click()
    found += violations(page)
    page.get_by_role("button", name=re.compile("Reject these")).click()
    found += violations(page)
    page.goto("/admin/")
    found += violations(page)
    page.context.clear_cookies()
    page.goto("/admin/login/")
    found += violations(page)
    assert not found, "\n".join(sorted(set(found)))


def test_at_twice_the_size_nothing_is_cut_off(signed_in, administrator, work):
    page = signed_in(administrator, width=LEGIBLE_AT)
    for path in pages(work):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= LEGIBLE_AT, path
