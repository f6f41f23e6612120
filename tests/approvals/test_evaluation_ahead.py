"""Conditions that may take long are evaluated before the transaction that needs them."""

import json

import pytest
from django.db import connection
from django.urls import reverse

from approvals_app.models import Approval
from approvals_app.policy import conditions, evaluation
from approvals_app.policy.evaluator import Evaluator
from sessions_app.models import Task
from tests.factories import policy

LOOPS = {"condition": "data.lines.exists(line, line.amount > 100)"}
ROUTED = {
    "target": "finance",
    "task": {"task_type": "refund", "data": {"lines": [{"amount": 5}, {"amount": 500}]}},
}


@pytest.fixture
def evaluations(monkeypatch):
    """For each evaluation in the child process: whether a connection was held."""
    held = []

    class Watched(Evaluator):
        def _ask(self, serialized, facts, payer):
            held.append(connection.connection is not None)
            return super()._ask(serialized, facts, payer)

    watched = Watched()
    monkeypatch.setattr(conditions, "EVALUATOR", watched)
    monkeypatch.setattr(evaluation, "_compiled", {})
    yield held
    watched.stop()


def route(api, bot, key, **headers):
    return api(bot).post("/tasks/route", ROUTED, {"Idempotency-Key": key, **headers})


def test_no_connection_is_held_while_a_condition_is_evaluated(api, bot, evaluations):
    policy("large", then="approve", when=LOOPS)
    route(api, bot, "first")  # compiles the policies of this process
    evaluations.clear()

    assert route(api, bot, "second").json()["status"] == "approved"
    assert evaluations == [False]
    assert Task.objects.get(idempotency_key="second").policy == "large"


def test_nor_for_a_batch(api, bot, evaluations):
    policy("large", then="approve", when=LOOPS)
    route(api, bot, "first")
    evaluations.clear()
    batch = [ROUTED | {"idempotency_key": f"k{n}"} for n in range(3)]
    answer = api(bot).post("/tasks/route:batch", {"tasks": batch})

    assert answer.status_code == 200
    assert len(evaluations) <= 3
    assert not any(evaluations)


CHANGED = {"lines": [{"amount": 5}, {"amount": 700}]}


def test_nor_for_a_revision(api, bot, evaluations):
    policy("large", when=LOOPS, asks="1 finance")
    task = route(api, bot, "first").json()["task_id"]
    evaluations.clear()
    answer = api(bot).post(f"/tasks/{task}/revise", {"data": CHANGED})

    assert answer.status_code == 200, answer.json()
    assert evaluations == [False]


def test_nor_for_a_reviewers_edit(api, bot, evaluations, alice):
    policy("large", when=LOOPS, asks="1 finance")
    asked = route(api, bot, "first").json()
    approval = Approval.objects.get(task=asked["task_id"])
    evaluations.clear()
    edit = {"data": CHANGED, "payload_digest": approval.payload_digest}
    answer = api(user=alice).post(f"/approvals/{approval.pk}/edit", edit)

    assert answer.status_code == 200, answer.json()
    assert evaluations == [False]


def test_nor_for_an_edit_on_the_page(api, bot, evaluations, alice, client):
    policy("large", when=LOOPS, asks="1 finance")
    route(api, bot, "first")
    approval = Approval.objects.get()
    evaluations.clear()
    client.force_login(alice)
    form = {
        "payload_digest": approval.payload_digest,
        "description": "Refund",
        "data_json": json.dumps(CHANGED),
        "context_json": "{}",
        "notes": "",
    }
    page = reverse("admin:approvals_app_approval_edit", args=[approval.pk])

    assert client.post(page, form).status_code == 302
    assert evaluations == [False]


def test_a_policy_that_changed_meanwhile_is_evaluated_in_the_transaction(api, bot, evaluations):
    policy("large", then="approve", when=LOOPS)
    route(api, bot, "first")
    evaluation._compiled.clear()

    assert route(api, bot, "second").json()["status"] == "approved"


def test_without_such_a_condition_nothing_is_evaluated_ahead(api, bot, evaluations):
    policy("small", then="approve", when={"condition": "size(data.lines) < 3"})
    evaluations.clear()  # saving it tried it
    for key in ("first", "second"):
        assert route(api, bot, key).json()["status"] == "approved"
    assert evaluations == []
