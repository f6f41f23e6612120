"""Summaries where people, agents and policies meet them."""

import pytest

from tests.factories import TaskFactory, policy, the_approval
from tests.payloads.reading import load

pytestmark = pytest.mark.usefixtures("patient")


def test_the_page_and_the_inbox_say_the_danger_first(client, alice, bot):
    client.force_login(alice)
    approval = the_approval(TaskFactory(agent=bot, data=load("plan_many_noop")))
    page = client.get(f"/admin/approvals_app/approval/{approval.pk}/change/").content.decode()
    assert page.index("What will happen") < page.index("aws_db_instance.orders")
    assert page.index("aws_db_instance.orders") < page.index("Your decision")
    assert "aws_db_instance.orders" in client.get("/admin/").content.decode()


def test_a_moment_is_shown_as_one(client, alice, bot):
    client.force_login(alice)
    data = {"command": "reboot", "run_at": "2020-01-01T01:00:00+01:00"}
    approval = the_approval(TaskFactory(agent=bot, data=data))
    page = client.get(f"/admin/approvals_app/approval/{approval.pk}/change/").content.decode()
    [fact] = [each for each in page.split("<dt>") if "run at in the past" in each]
    assert 'datetime="2020-01-01T00:00:00' in fact


def test_the_members_that_no_fact_tells_of_are_named(client, alice, bot):
    client.force_login(alice)
    task = TaskFactory(agent=bot, data={"sql": "SELECT 1", "surprise": 1})
    page = client.get(f"/admin/approvals_app/approval/{the_approval(task).pk}/change/")
    assert "not part of this summary: <code>surprise</code>" in page.content.decode()


def test_a_task_by_itself_has_its_summary(api, bot):
    task = TaskFactory(agent=bot, data={"sql": "DROP TABLE orders", "database": "prod"})
    [first, *_] = api(bot).get(f"/tasks/{task.pk}").json()["summary"]
    assert first["level"] == "danger"
    assert first["path"] == "sql"
    assert "orders" in first["value"]
    assert "summary" not in api(bot).get("/tasks").json()["tasks"][0]


def test_numbers_that_the_payload_lacks_are_on_the_page(client, alice, bot):
    client.force_login(alice)
    task = TaskFactory(agent=bot, description="Refund 24.90 EUR", data={"amount": "249.90"})
    page = client.get(f"/admin/approvals_app/approval/{the_approval(task).pk}/change/")
    assert "The description says <b>24.90</b>, which is not in the payload." in (
        page.content.decode()
    )


@pytest.mark.parametrize(
    ("condition", "payload", "holds"),
    [
        ("summary.destroys > 0", "plan_many_noop", True),
        ("summary.destroys > 0", "plan_forget", False),
        ("summary.as_root", "cmd_sudo_in_argv", True),
        ("summary.as_root", "cmd_ssh_hosts", False),
        ("summary.recipients > 1000", "mail_bcc_many", True),
        (
            "decimal(summary.amount.split(' ')[0]) > decimal(200)"
            " && summary.amount.endsWith(' EUR')",
            "stripe_refund",
            True,
        ),
        ("has(summary.amount)", "stripe_refund_no_currency", False),
    ],
)
def test_policies_ask_what_a_summary_read(bot, condition, payload, holds):
    policy("asks", then="refuse", when={"condition": condition})
    task = TaskFactory(agent=bot, data=load(payload))
    assert (task.status == "rejected") is holds, task.why
