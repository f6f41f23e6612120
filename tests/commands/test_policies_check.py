"""`policies check`: conditions that fail, or decide past tasks otherwise than they were decided."""

import importlib
import io
import json
from datetime import timedelta

import pytest
from django.apps import apps
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.core.management.base import CommandError
from django.db import connection
from django.utils import timezone

from approvals_app.models import ApprovalPolicy
from approvals_app.policy import evaluation
from approvals_app.policy.checking import RUNTIME_CHANGED_BY
from sessions_app.models import Task
from tests.approvals.test_policy_pages import find_token
from tests.factories import TaskFactory, policy, set_columns

pytestmark = pytest.mark.usefixtures("patient")
WHEN = {"task_type": "refund*"}


def check(*args):
    """The output, and whether the command found something."""
    out = io.StringIO()
    try:
        call_command("policies", "check", *args, stdout=out, stderr=io.StringIO())
    except CommandError:
        return out.getvalue(), True
    return out.getvalue(), False


def store_condition(name, condition):
    """What an earlier version would have saved."""
    stored = ApprovalPolicy.objects.get(name=name)
    stored.rule["when"]["condition"] = condition
    set_columns(ApprovalPolicy, rule=json.dumps(stored.rule))
    evaluation._compiled.clear()


def test_nothing_is_found_in_what_works(bot):
    policy("small", then="approve", when=WHEN | {"condition": "data.cents < 100"})
    TaskFactory(agent=bot, data={"cents": 10})
    assert check() == ("Nothing found: 1 policy in force.\n", False)


def test_a_condition_that_fails_on_one_kind_of_value_names_its_tasks(bot, run):
    policy(
        "tagged",
        then="refuse",
        when=WHEN | {"condition": "has(data.tags) && data.tags.contains('x')"},
    )
    lists = [TaskFactory(agent=bot, data={"tags": ["x"]}) for _ in range(4)]
    TaskFactory(agent=bot, data={"tags": "x"})
    TaskFactory(agent=bot, data={})
    TaskFactory(agent=bot, task_type="report", data={"tags": ["x"]})
    text, found = check()
    assert found
    assert (
        "tagged: its condition fails on every task in which data.tags is a list (4 tasks): "
        "contains does not take (list, string)." in text
    )
    assert len(text.splitlines()) == 1
    assert sum(str(task.pk) in text for task in lists) == 3


def test_what_is_evaluated_otherwise_than_it_was_is_found(bot):
    policy("weekdays", then="approve", when=WHEN | {"condition": "data.day != 6"})
    same, other = (TaskFactory(agent=bot, data={"day": day}) for day in (1, 6))
    set_columns(Task, verdict="approve", policy="weekdays")  # as another runtime decided
    text, found = check()
    assert found
    assert "weekdays: 1 task would be decided otherwise than it was: 1 approve then" in text
    assert str(other.pk) in text
    assert str(same.pk) not in text


def test_a_task_that_other_policies_decided_is_no_finding(bot):
    task = TaskFactory(agent=bot, data={"day": 1})
    policy("weekdays", then="approve", when=WHEN | {"condition": "data.day != 6"})
    assert Task.objects.get(pk=task.pk).policy == ""
    assert check()[1] is False


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("data.at > 1 &&", "Syntax error"),
        ("matches(agent, '(')", "invalid regular expression"),
        ("duration('7d') > duration('1h')", "String to Duration conversion failed."),
    ],
)
def test_a_stored_condition_that_is_none_any_more_asks_a_human_and_is_found(bot, condition, reason):
    policy("old", then="approve", when=WHEN | {"condition": "true"})
    store_condition("old", condition)
    task = TaskFactory(agent=bot)
    assert task.status == "awaiting_approval"
    assert reason in task.why
    text, found = check()
    assert found
    assert "old: its condition always fails, so that a human is asked: " in text
    assert reason in text


@pytest.mark.parametrize(
    ("condition", "reason"),
    [
        ("timestamp(data.at).getHours() > 8", "getHours is in UTC now"),
        (r"data.id.matches('^\\d+$')", "match ASCII alone now"),
        ("size(data.id) < 9", "size counts the characters of a text now"),
        ("data.account != 4711", "a value of another kind fails now"),
    ],
)
def test_what_an_older_version_saved_is_said_until_it_is_saved_again(condition, reason):
    policy("old", then="approve", when=WHEN | {"condition": condition})
    assert check()[1] is False
    set_columns(ApprovalPolicy, updated_at=timezone.now() - timedelta(days=1))
    app, name = RUNTIME_CHANGED_BY
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM django_migrations WHERE app = %s AND name = %s", [app, name]
        )
        assert cursor.fetchone() == (1,)
    text, found = check()
    assert found
    assert reason in text


def test_plan_and_apply_warn(bot, tmp_path, capsys):
    TaskFactory(agent=bot, data={"tags": ["x"]})
    file = tmp_path / "policies.yaml"
    file.write_text(
        "policies:\n  - name: tagged\n    then: refuse\n    when: "
        "{task_type: 'refund*', condition: 'data.tags.contains(\"x\")'}\n"
    )
    for action in ("plan", "apply"):
        err = io.StringIO()
        call_command("policies", action, str(file), stdout=io.StringIO(), stderr=err)
        assert "Warning: tagged: its condition fails on every task in which data.tags" in (
            err.getvalue()
        )


def test_an_upgrade_says_what_to_do(capsys):
    migration = importlib.import_module("approvals_app.migrations.0003_condition_runtime")
    migration.tell(apps, None)
    assert capsys.readouterr().out == ""
    policy("old", then="approve", when=WHEN | {"condition": "data.day != 6"})
    policy("any", then="approve", when=WHEN)
    migration.tell(apps, None)
    said = capsys.readouterr().out
    assert "1 policy has a condition" in said
    assert "manage.py policies check" in said


def test_the_page_warns(bot, client, alice):
    alice.user_permissions.add(Permission.objects.get(codename="change_approvalpolicy"))
    client.force_login(alice)
    task = TaskFactory(agent=bot, data={"tags": ["x"]})
    text = (
        "name: tagged\nthen: refuse\nwhen:\n  task_type: refund*\n"
        "  condition: 'data.tags.contains(\"x\")'\n"
    )
    form = {"text": text, "action": "simulate"}
    form["simulated"] = find_token(client.post("/admin/policies/new/", form))
    form["action"] = "activate"
    page = client.post("/admin/policies/new/", form, follow=True).content.decode()
    assert "tagged is active." in page
    assert "its condition fails on every task in which data.tags is a list" in page
    assert str(task.pk) in page
