"""Who administers, at a browser: agents and their keys, groups and people, webhooks; and whoever
reads dashboards, timelines and lists."""

import csv
import re

import pytest
from django.contrib.auth.models import Group, Permission
from playwright.sync_api import expect

from audit_app.models import Webhook
from sessions_app.models import Agent
from tests.factories import ReviewerFactory, TaskFactory, approve_task, the_approval

pytestmark = pytest.mark.browser

REFUND = "Refund 42.50 EUR to customer 1007 for a broken kettle."
ADMINISTERS = (
    *("view_user", "change_user", "view_group", "add_group", "change_group"),
    *("change_agent", "change_webhook", "view_webhook", "read_everything"),
)


@pytest.fixture
def ada(database):
    """Administers, and reviews nothing."""
    person = ReviewerFactory(username="ada")
    person.user_permissions.set(Permission.objects.filter(codename__in=ADMINISTERS))
    return person


def test_ada_makes_an_agent_whose_key_opens_until_it_is_replaced(signed_in, api, ada):
    page = signed_in(ada)
    page.goto("/admin/sessions_app/agent/")
    page.get_by_role("link", name="Add agent").click()
    page.get_by_label("Name").fill("billing")
    page.get_by_label("Roles").fill("billing-agent\nfinance")
    page.get_by_role("button", name="Create agent").click()
    first = page.get_by_label("API key").input_value()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == first

    with page.expect_navigation():
        page.get_by_role("link", name="Done").click()
    assert first not in page.content()
    agent = Agent.objects.get(name="billing")
    agent.key = first
    assert api(agent).get("/tasks").status_code == 200

    page.get_by_role("link", name="Rotate key").click()
    page.get_by_label("The present keys end").select_option("now (the key has leaked)")
    page.get_by_role("button", name="Rotate key").click()
    second = page.get_by_label("API key").input_value()
    page.get_by_role("link", name="Done").click()
    assert api(agent).get("/tasks").status_code == 401
    agent.key = second
    assert api(agent).get("/tasks").status_code == 200

    page.get_by_role("link", name="Change roles").click()
    page.get_by_label("Roles").fill("billing-agent")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("billing is saved.")).to_be_visible()
    page.get_by_role("link", name="Revoke agent").click()
    page.get_by_label("Reason").fill("No longer used.")
    page.get_by_label("Type billing to confirm").fill("billing")
    page.get_by_role("button", name="Revoke agent").click()
    expect(page.get_by_text("billing and its keys are revoked.")).to_be_visible()
    assert api(agent).get("/tasks").status_code == 401


def test_ada_makes_a_group_puts_bob_into_it_and_work_reaches_him(signed_in, ada, bob, bot):
    TaskFactory(agent=bot, target="legal", description="Sign the contract.")
    his = signed_in(bob)
    expect(his.get_by_text("All clear.")).to_be_visible()

    page = signed_in(ada)
    page.goto("/admin/auth/group/add/")
    page.get_by_label("Name").fill("legal")
    page.get_by_role("button", name=re.compile("^Save$")).click()
    page.goto(f"/admin/auth/user/{bob.pk}/change/")
    page.locator("#id_groups_from option", has_text="legal").dblclick()
    page.get_by_role("button", name=re.compile("^Save$")).click()
    expect(page.get_by_text("was changed successfully")).to_be_visible()
    assert set(bob.groups.values_list("name", flat=True)) == {"finance", "legal"}

    his.goto("/admin/")
    expect(his.get_by_role("link", name="Sign the contract.")).to_be_visible()


def test_ada_adds_a_webhook_pauses_it_and_ends_it(signed_in, ada):
    page = signed_in(ada)
    page.goto("/admin/audit_app/webhook/")
    page.get_by_role("link", name="Add webhook").click()
    page.get_by_label("Name").fill("ledger")
    page.get_by_label("Address").fill("https://ledger.example/events")
    page.get_by_label("Events").fill("task.*")
    page.get_by_role("button", name="Create webhook").click()
    secret = page.get_by_label("Signing secret").input_value()
    assert secret.startswith("whsec_")
    with page.expect_navigation():
        page.get_by_role("link", name="Done").click()
    assert secret not in page.content()
    for button, said in (
        ("Pause", "ledger is paused. Its deliveries are held."),
        ("Resume", "ledger is resumed. Held deliveries are sent first."),
    ):
        page.get_by_role("button", name=button, exact=True).click()
        expect(page.get_by_text(said)).to_be_visible()
    page.get_by_role("link", name="Disable").click()
    page.get_by_label("Reason").fill("Replaced.")
    page.get_by_role("button", name="Disable webhook").click()
    expect(page.get_by_text("ledger is disabled.")).to_be_visible()
    assert Webhook.objects.get().status == "disabled"


def test_alice_reads_how_the_work_goes(signed_in, alice, bob, bot):
    approve_task(TaskFactory(agent=bot), by=alice)
    TaskFactory(agent=bot)
    page = signed_in(alice)
    page.goto("/admin/dashboards/")
    expect(page.get_by_role("img", name=re.compile("Waiting"))).not_to_have_count(0)
    page.get_by_role("link", name="30 days").click()
    expect(page).to_have_url(re.compile("days=30"))
    expect(page.get_by_role("row", name=re.compile("alice"))).to_be_visible()
    expect(page.get_by_role("row", name=re.compile("bob"))).to_have_count(0)


def test_alice_follows_a_task_from_its_decision_to_its_first_event(signed_in, alice, bot):
    task = approve_task(TaskFactory(agent=bot), by=alice)
    page = signed_in(alice)
    page.goto("/admin/?tab=decided")
    page.get_by_role("link", name=REFUND).click()
    page.get_by_text("Activity", exact=True).click()
    page.get_by_role("link", name="Full timeline").click()
    expect(page.get_by_role("listitem").filter(has_text="task.routed")).to_be_visible()
    page.get_by_role("link", name="vote", exact=True).click()
    steps = page.locator(".o-steps").get_by_role("listitem")
    expect(steps).to_have_count(1)
    expect(steps).to_contain_text("vote.cast")
    expect(steps).to_contain_text("alice approved")
    page.goto(f"/admin/timeline/task/{task.pk}/")
    expect(page.get_by_role("img", name=re.compile("Now approved"))).to_be_visible()
    expect(page.get_by_role("link", name="task.approved")).to_be_visible()


def test_alice_takes_a_list_along_as_it_is_narrowed(signed_in, alice, bot):
    approve_task(TaskFactory(agent=bot, description="Refund one."), by=alice)
    waits = TaskFactory(agent=bot, description="Refund two.")
    page = signed_in(alice)
    page.goto("/admin/approvals_app/approval/?status__exact=pending")
    with page.expect_download() as taken:
        page.get_by_role("link", name="CSV").click()
    with taken.value.path().open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert taken.value.suggested_filename.endswith(".csv")
    assert [row["id"] for row in rows] == [str(the_approval(waits).pk)]


def test_nobody_else_is_offered_what_administrators_do(signed_in, charlie):
    page = signed_in(charlie)
    page.goto("/admin/approvals_app/approval/")
    for name in ("People", "Groups", "Webhooks"):
        expect(page.get_by_role("link", name=name, exact=True)).to_have_count(0)
    assert page.goto("/admin/auth/group/").status == 403
    assert Group.objects.count() == 1
