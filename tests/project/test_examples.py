"""The six example payloads are real requests: accepted as they are, and readable by who decides."""

import json
from pathlib import Path

import pytest
from django.test import Client

from sessions_app.models import Task
from tests.factories import ReviewerFactory, the_approval

PAYLOADS = sorted((Path(__file__).parents[2] / "examples" / "payloads").glob("*.json"))


def test_there_are_six():
    assert len(PAYLOADS) == 6


@pytest.mark.parametrize("path", PAYLOADS, ids=lambda path: path.stem)
def test_a_payload_is_accepted_and_shown_to_who_decides(api, bot, path):
    body = json.loads(path.read_text())
    routed = api(bot).post("/tasks/route", body, {"Idempotency-Key": path.stem})
    assert (routed.status_code, routed.json()["status"]) == (202, "awaiting_approval")

    task = Task.objects.get(pk=routed.json()["task_id"])
    reviewer = Client()
    reviewer.force_login(ReviewerFactory(roles=[body["target"]]))
    page = reviewer.get(f"/admin/approvals_app/approval/{the_approval(task).pk}/change/")
    assert page.status_code == 200
    assert task.payload_digest in page.content.decode()
    assert 'value="approve"' in page.content.decode()
