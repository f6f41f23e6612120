"""The worker runs by itself what time makes due."""

import io
import json
import os
import subprocess
import sys
from contextlib import contextmanager
from datetime import timedelta

import pytest
from django.core.management import call_command
from procrastinate import JobContext
from procrastinate.contrib.django import app

from audit_app.models import CommandRun, Event
from orchestrator.ops import schedule
from orchestrator.settings import _schedule
from sessions_app.models import AgentSession, Task
from sessions_app.tasks import operations as task_operations
from tests.awaiting import until
from tests.database import as_superuser, database_url
from tests.factories import SessionFactory, TaskFactory, policy, the_approval

PATIENCE = 120
"""Seconds: a worker starts while others' tests keep both cores busy."""

COMMANDS = ["expire_approvals", "expire_sessions", "purge", "release_leases", "remind_approvals"]


@contextmanager
def worker(**environment):
    running = subprocess.Popen(
        [sys.executable, "manage.py", "worker"],
        env=os.environ | {"DATABASE_URL": database_url()} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield
    finally:
        running.terminate()
        said = running.communicate(timeout=30)[0]
    assert "Traceback" not in said, said


def read_schedule():
    return {
        periodic.periodic_id: periodic.cron
        for periodic in app.periodic_registry.periodic_tasks.values()
        if periodic.task.name == "schedule.run"
    }


@pytest.mark.pure
def test_every_command_is_scheduled():
    assert read_schedule() == schedule.CRONS
    assert sorted(schedule.CRONS) == COMMANDS


@pytest.mark.pure
@pytest.mark.parametrize(
    ("given", "commands"),
    [
        (None, COMMANDS),
        ("on", COMMANDS),
        ("off", []),
        ("", []),
        ("purge", ["purge"]),
        ("expire_sessions,purge", ["expire_sessions", "purge"]),
    ],
)
def test_a_setting_says_which(monkeypatch, given, commands):
    monkeypatch.delenv("SCHEDULE", raising=False)
    if given is not None:
        monkeypatch.setenv("SCHEDULE", given)
    assert sorted(_schedule("SCHEDULE")) == commands


def test_a_worker_does_what_is_due(bot, payer, backdate):
    policy(asks="1 finance", when={"task_type": "refund_approval"}, deadline="2h", reminders=["1h"])
    policy("reports", then="approve", when={"task_type": "report"})
    late, soon = (the_approval(TaskFactory(agent=bot)) for _ in range(2))
    backdate(late, hours=3)
    backdate(soon, hours=1, minutes=30)
    claimed = TaskFactory(agent=bot, task_type="report")
    task_operations.claim(claimed.pk, by=payer.as_actor(), lease=timedelta(minutes=5))
    backdate(Task.objects.get(pk=claimed.pk), minutes=6)
    session = SessionFactory(agent=bot)
    backdate(session, days=8)
    expected = {
        ("approval.expired", late.pk),
        ("approval.reminded", soon.pk),
        ("task.released", claimed.pk),
        ("session.expired", session.pk),
    }
    with worker():
        until(
            lambda: expected <= set(Event.objects.values_list("event_type", "subject_id")), PATIENCE
        )
        until(lambda: CommandRun.objects.filter(failures=0).count() >= 4, PATIENCE)


def run_now(command, *, abort_reason=lambda: None):
    context = JobContext(app=app, job=None, start_timestamp=0, abort_reason=abort_reason)
    schedule.run_command(context, 0, command)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_run_is_recorded_as_one_by_hand_is(command):
    run_now(command)
    run = CommandRun.objects.get()
    assert (run.command, run.runs, run.failures) == (command, 1, 0)


def test_a_run_ends_with_its_batch_where_the_worker_stops(bot, backdate):
    backdate(*SessionFactory.create_batch(3, agent=bot), days=8)
    out = io.StringIO()
    options = {"batch_size": 1, "format": "json", "stdout": out}
    call_command("expire_sessions", should_stop=lambda: True, **options)
    assert json.loads(out.getvalue()) == {"sessions": 1, "dry_run": False, "stopped": True}

    asked = []
    run_now("expire_sessions", abort_reason=lambda: asked.append(1))
    assert asked
    assert AgentSession.objects.filter(status="expired").count() == 3


def test_a_run_that_fails_is_recorded_and_the_worker_goes_on(bot):
    with as_superuser() as admin:
        admin.execute("ALTER TABLE sessions RENAME TO elsewhere")
    try:
        run_now("expire_sessions")
    finally:
        with as_superuser() as admin:
            admin.execute("ALTER TABLE elsewhere RENAME TO sessions")
    assert CommandRun.objects.get().failures == 1


def test_a_worker_whose_schedule_is_off_runs_none(bot):
    out = subprocess.run(
        [
            sys.executable,
            "-c",
            "import django; django.setup()\n"
            "from procrastinate.contrib.django import app\n"
            "print(sorted(t.periodic_id for t in app.periodic_registry.periodic_tasks.values()))",
        ],
        env=os.environ | {"DATABASE_URL": database_url(), "SCHEDULE": "off"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert not set(COMMANDS) & set(out.split("'"))
