"""The worker that operators run tells people, of its own."""

import os
import subprocess
import sys
import threading
from contextlib import contextmanager
from uuid import uuid4

import pytest
from django.db import connection
from django.utils import timezone
from procrastinate.contrib.django.models import ProcrastinateJob
from psycopg import sql

from approvals_app.notifications.models import Notice
from audit_app.live.consumers import CONSUMERS
from audit_app.webhooks import operations
from tests.database import as_superuser, database_url
from tests.factories import OPS, TaskFactory, the_approval
from tests.notifications.conftest import text
from tests.trail import advance_once
from tests.webhooks.conftest import Receiver

PATIENT = """
import django
django.setup()
from audit_app.webhooks import sending
sending.TIMEOUT = 600
from django.core.management import call_command
call_command("worker")
"""
"""The worker, but a delivery is never over because its receiver takes long."""


def start(mailbox, *command, **environment):
    return subprocess.Popen(
        [sys.executable, *(command or ("manage.py", "worker"))],
        env=os.environ | {"DATABASE_URL": database_url(), "EMAIL_URL": mailbox.url} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@contextmanager
def worker(mailbox, *command, **environment):
    """In the end it must stop as asked, and have said nothing of an error."""
    running = start(mailbox, *command, **environment)
    try:
        yield
    finally:
        running.terminate()
        said = running.communicate(timeout=30)[0]
    assert "Traceback" not in said, said


@pytest.fixture
def alice(alice):
    alice.email = "alice@example.com"
    alice.save()
    return alice


def test_a_mail_arrives_without_anybody_looking(mailbox, bot, alice):
    advance_once(CONSUMERS["notices"])
    TaskFactory(agent=bot)
    with worker(mailbox):
        mail = mailbox.one()
    assert mail["To"] == "alice@example.com"
    assert "needs a decision from finance" in text(mail)


def test_jobs_are_done_where_the_database_has_a_direct_address(mailbox, bot, alice):
    advance_once(CONSUMERS["notices"])
    TaskFactory(agent=bot)
    with worker(mailbox, DATABASE_DIRECT_URL=database_url()):
        mail = mailbox.one()
    assert "needs a decision from finance" in text(mail)


def test_a_webhook_that_does_not_answer_delays_no_mail(mailbox, bot, alice):
    advance_once(CONSUMERS["notices"])
    advance_once(CONSUMERS["webhooks"])
    asked, arrived = threading.Event(), threading.Event()

    def hold(path):
        asked.set()
        arrived.wait(60)

    with Receiver() as receiver:
        receiver.hold = hold
        serving = threading.Thread(target=receiver.serve_forever)
        serving.start()
        operations.create_webhook("all", by=OPS, url=receiver.url, event_types=[], roles=[])
        TaskFactory.create_batch(12, agent=bot)
        with worker(mailbox, "-c", PATIENT, WEBHOOK_ALLOWED_NETWORKS="127.0.0.0/8"):
            assert asked.wait(60)
            try:
                for _ in range(3):  # by the second, whoever can be kept waiting is
                    approval = the_approval(TaskFactory(agent=bot))
                    while str(approval.pk) not in text(mailbox.one()):
                        pass
            finally:
                arrived.set()
        receiver.shutdown()
        serving.join()


def test_what_became_due_by_the_clock_arrives_too(mailbox, alice):
    """Nobody deferred a job for it, as at the end of quiet hours, or after a failure."""
    ids = {"event_id": uuid4(), "subject_id": uuid4()}
    place = f"email:{alice.pk}"
    Notice.objects.create(**ids, place=place, person=alice, kind="test", due_at=timezone.now())
    assert not ProcrastinateJob.objects.exists()
    with worker(mailbox):
        mail = mailbox.one()
    assert "This is a test" in text(mail)


def test_a_worker_that_may_not_fetch_jobs_says_so_and_ends(mailbox):
    application = sql.Identifier(connection.settings_dict["USER"])
    with as_superuser() as admin:
        admin.execute(sql.SQL("REVOKE UPDATE ON procrastinate_jobs FROM {}").format(application))
    try:
        with start(mailbox) as running:
            said = running.communicate(timeout=60)[0]
    finally:
        with as_superuser() as admin:
            admin.execute(sql.SQL("GRANT UPDATE ON procrastinate_jobs TO {}").format(application))
    assert running.returncode == 1
    assert "The worker can't fetch jobs: permission denied for table procrastinate_jobs" in said


@contextmanager
def fetching_that_fails(code):
    """Fetching a job fails with PostgreSQL's error ``code``, while the database answers."""
    name = "procrastinate_fetch_job_v2"
    with as_superuser() as admin:
        [(signature, definition)] = admin.execute(
            "SELECT oid::regprocedure, pg_get_functiondef(oid) FROM pg_proc WHERE proname = %s",
            [name],
        ).fetchall()
        failing = (
            "CREATE OR REPLACE FUNCTION {}(target_queue_names varchar[], p_worker_id bigint) "
            "RETURNS procrastinate_jobs LANGUAGE plpgsql AS "
            "$$ BEGIN RAISE 'no room' USING ERRCODE = {}; END $$"
        )
        admin.execute(sql.SQL(failing).format(sql.Identifier(name), sql.Literal(code)))
    try:
        yield signature
    finally:
        with as_superuser() as admin:
            admin.execute(definition)


def test_a_worker_that_can_fetch_no_job_for_a_while_says_so_and_ends(mailbox):
    """A failure that may mend itself, as of a full disk, is tried again a few times first."""
    with fetching_that_fails("53100"), start(mailbox) as running:
        said = running.communicate(timeout=90)[0]
    assert running.returncode == 1
    assert "The worker can't fetch jobs: no room" in said
    assert said.count('"failure": "DiskFull"') == 3


def test_a_worker_whose_fetching_mends_itself_goes_on(mailbox, bot, alice):
    advance_once(CONSUMERS["notices"])
    TaskFactory(agent=bot)
    with fetching_that_fails("53100"):
        running = start(mailbox)
        first = running.stdout.readline()
        while "DiskFull" not in (line := running.stdout.readline()):
            assert line, first
    mail = mailbox.one()
    running.terminate()
    assert running.communicate(timeout=30)
    assert running.returncode == 0
    assert "needs a decision from finance" in text(mail)
