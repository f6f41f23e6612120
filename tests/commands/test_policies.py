"""Policies under version control: export, plan, apply, and a look before the leap."""

import io
from datetime import timedelta

import pytest
from django.contrib.auth.models import Permission
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from approvals_app.errors import PolicyAdministratorsOnly
from approvals_app.models import ApprovalPolicy
from approvals_app.policy import operations
from approvals_app.policy.files import FileInvalid, dump_file, parse_file
from approvals_app.policy.language import Policy
from audit_app.base.actors import Actor
from audit_app.models import Event
from sessions_app.models import Task
from tests.commands.conftest import run_for_output
from tests.factories import TaskFactory, policy, set_columns

FILE = """
policies:
  - name: large
    priority: 10
    when: {task_type: "refund*", condition: double(data.amount) > 1000.0}
    then: require
    approvals: [{role: finance, count: 2}]
    deadline: 4h
  - name: never
    when: {task_type: drop_everything}
    then: refuse
"""


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "policies.yaml"
    path.write_text(FILE)
    return path


def policies(*args):
    out = io.StringIO()
    call_command("policies", *map(str, args), stdout=out, stderr=io.StringIO())
    return out.getvalue()


def names():
    return {p.name: (p.status, p.version) for p in ApprovalPolicy.objects.all()}


def test_plan_shows_and_apply_does_and_nothing_is_left_to_do(file, run):
    shown = policies("plan", file)
    assert "Create large" in shown
    assert "+   condition: double(data.amount) > 1000.0" in shown
    assert "2 to create; nothing is changed yet." in shown
    assert names() == {}

    assert "Created large" in policies("apply", file)
    assert names() == {"large": ("active", 1), "never": ("active", 1)}
    assert "Nothing would change" in policies("plan", file)
    assert "Nothing changed" in policies("apply", file)
    assert names() == {"large": ("active", 1), "never": ("active", 1)}
    assert {e.actor for e in Event.objects.filter(subject_type="policy")} == {"system:policies"}
    assert run("verify_audit")["whole"]


def test_what_the_file_does_not_have_is_retired_and_comes_back(file, run):
    policies("apply", file)
    file.write_text(FILE.replace("count: 2", "count: 3").partition("  - name: never")[0])
    shown = policies("plan", file)
    assert "Change large" in shown
    assert "-     count: 2" in shown
    assert "+     count: 3" in shown
    assert "Retire never" in shown
    policies("apply", file)
    assert names() == {"large": ("active", 2), "never": ("retired", 2)}

    file.write_text(FILE.replace("then: refuse", "then: approve"))
    assert "Restore never" in policies("plan", file)
    policies("apply", file)
    assert names() == {"large": ("active", 3), "never": ("active", 4)}
    assert ApprovalPolicy.objects.get(name="never").rule["then"] == "approve"
    assert run("verify_audit")["whole"]


def test_apply_needs_no_restart(file, bot):
    assert TaskFactory(agent=bot, data={"amount": "5000"}).policy == ""
    policies("apply", file)
    task = TaskFactory(agent=bot, data={"amount": "5000"})
    assert (task.policy, task.policy_version) == ("large", 1)
    file.write_text(FILE.replace("count: 2", "count: 3"))
    policies("apply", file)
    task = TaskFactory(agent=bot, data={"amount": "5000"})
    assert (task.policy, task.policy_version) == ("large", 2)
    assert task.approvals.get().needed == 3


def test_export_is_what_apply_takes(file, tmp_path, run):
    policies("apply", file)
    out = tmp_path / "out.yaml"
    assert "Exported 2 policies" in policies("export", out)
    assert parse_file(out.read_text()) == parse_file(FILE)
    assert policies("export", "-") == out.read_text()
    assert "Nothing would change" in policies("plan", out)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "one key at its top"),
        ("- x", "one key at its top"),
        ("policies: 7", "must be a list"),
        ("policies: [", "Line 1"),
        ("policies:\n  - name: a\n    name: b\n", "Line 3: name is there twice"),
        ("policies:\n  - ? [a]\n    : b\n", "Line 2: a key must be a word"),
        ("policies:\n  - &a {name: a, then: refuse}\n  - *a\n", "aliases"),
        ("policies:\n  - {name: a, then: refuse}\n  - {name: a, then: refuse}\n", "there twice"),
        ("policies:\n  - {name: a, then: maybe}\n", "line 2 (a): then: it must be"),
        ("policies:\n  - {name: a, then: require}\n", "approvals: it must say who"),
        (FILE.replace("double(", "dubble("), "there is no dubble"),
        (FILE.replace("data.amount", "nope.amount"), "there is no nope"),
        (FILE.replace("> 1000.0", "> "), "condition"),
        ("policies:\n" + "  - {name: x}\n" * 100_000, "longer than"),
    ],
)
def test_a_file_that_is_none_changes_nothing(file, text, why):
    file.write_text(text)
    for action in ("plan", "apply", "simulate"):
        with pytest.raises(CommandError) as refusal:
            policies(action, file)
        assert why in str(refusal.value)
        assert "\n" not in str(refusal.value)
    assert not ApprovalPolicy.objects.exists()


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(CommandError, match="No such file"):
        policies("plan", tmp_path / "none")
    with pytest.raises(CommandError, match="No such file"):
        policies("export", tmp_path / "none" / "none")


def test_who_may_change_policies(alice, bot):
    rule = Policy.parse({"name": "x", "then": "approve"})
    for by in (Actor.human(alice), bot.as_actor()):
        with pytest.raises(PolicyAdministratorsOnly):
            operations.create_policy(rule, by=by)
    alice.user_permissions.add(Permission.objects.get(codename="change_approvalpolicy"))
    assert operations.create_policy(rule, by=Actor.human(alice)).version == 1


def test_simulation_says_what_would_be_otherwise(file, bot, run, settings):
    settings.APPROVAL_DEFAULT = "allow"
    policy("all", then="approve", when={"task_type": "refund*"})
    for amount in ("10", "2000", "3000"):
        TaskFactory(agent=bot, data={"amount": amount})
    TaskFactory(agent=bot, data={})
    TaskFactory(agent=bot, task_type="notification")
    report = run("policies", "simulate", str(file), "--days", "1")

    assert (report["tasks"], report["changes"]) == (4, 4)
    assert report["moves"] == [{"before": "approve", "after": "require", "tasks": 4}]
    assert report["by_role"] == {"finance": 7}
    assert sum(report["by_hour"]) == report["approvals_needed"] == 7
    assert report["policies"] == {"large": 3, "none": 1}
    assert report["conditions_failed"] == 1
    assert {change["before"] for change in report["changed"]} == {"approve"}
    now = run("policies", "simulate")
    assert (now["changes"], now["approvals_needed"]) == (0, 0)
    assert "4 tasks from the last day: 4 outcomes change" in policies(
        "simulate", file, "--days", "1"
    )


def test_an_agent_can_not_write_on_the_terminal(file, bot):
    TaskFactory(agent=bot, description="\x1b[2J\nRefund nothing.", data={"amount": "2000"})
    shown = policies("simulate", file)
    assert "finance 1 -> finance 2" in shown
    assert "\x1b" not in shown


def test_simulation_looks_back_as_far_as_it_is_told(file, bot, run):
    TaskFactory(agent=bot)
    set_columns(Task, created_at=timezone.now() - timedelta(days=8))
    assert run("policies", "simulate", "--days", "7")["tasks"] == 0
    assert run("policies", "simulate", "--days", "9")["tasks"] == 1
    assert "0 tasks" in run_for_output("policies", "simulate", "--days", "7")


def test_a_file_round_trips():
    rules = parse_file(FILE)
    assert parse_file(dump_file(rules)) == rules
    with pytest.raises(FileInvalid):
        parse_file("policies: {}")
