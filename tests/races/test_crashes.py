"""A process is killed in the middle of a request: afterwards both effect and answer are there, or
neither."""

import os
import signal
import subprocess
import sys

from audit_app.models import Event, RequestReceipt
from sessions_app.models import Task
from tests.database import database_url

REFUND = {"target": "finance", "task": {"task_type": "refund_approval"}}
KEY = {"Idempotency-Key": "order-1007"}
REQUEST = """
import os, signal, django
django.setup()
from django.test import Client
from audit_app.trail.idempotency import Receipt
from audit_app.live.notifier import notifier

def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)

{fault}
Client(SERVER_NAME="localhost").post(
    "/tasks/route",
    {body!r},
    content_type="application/json",
    headers={{"Authorization": "Bearer {key}", "Idempotency-Key": "order-1007"}},
)
"""
BEFORE_THE_COMMIT = """
store = Receipt.store
Receipt.store = lambda *given: (store(*given), die())
"""
AFTER_THE_COMMIT = "notifier.publish = die  # the first thing that happens after a commit"


def crash_request(fault, agent):
    """Run the request in a process of its own that dies by ``fault``."""
    environment = os.environ | {
        "DATABASE_URL": database_url(),
    }
    program = REQUEST.format(fault=fault, body=REFUND, key=agent.key)
    ended = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, timeout=60
    )
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def test_killed_before_the_commit_nothing_is_kept_and_the_retry_does_it_once(api, bot):
    crash_request(BEFORE_THE_COMMIT, bot)
    assert not Task.objects.exists()
    assert not RequestReceipt.objects.exists()
    assert not Event.objects.filter(subject_type="task").exists()

    retry = api(bot).post("/tasks/route", REFUND, KEY)

    assert retry.status_code == 202
    assert "Idempotent-Replayed" not in retry.headers
    assert str(Task.objects.get().pk) == retry.json()["task_id"]


def test_killed_after_the_commit_the_retry_gets_the_answer_that_was_lost(api, bot):
    crash_request(AFTER_THE_COMMIT, bot)
    task = Task.objects.get()

    retry = api(bot).post("/tasks/route", REFUND, KEY)

    assert retry.status_code == 202
    assert retry.headers["Idempotent-Replayed"] == "true"
    assert retry.json()["task_id"] == str(task.pk)
    assert Task.objects.count() == 1


def test_killed_again_and_again_there_is_still_one_task(api, bot):
    for _ in range(3):
        crash_request(BEFORE_THE_COMMIT, bot)
    crash_request(AFTER_THE_COMMIT, bot)
    retry = api(bot).post("/tasks/route", REFUND, KEY)

    assert retry.headers["Idempotent-Replayed"] == "true"
    assert Task.objects.count() == 1
