"""Conditions that may take long are evaluated before the transaction that needs them."""

import pytest
from django.db import connection

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
        def _ask(self, serialized, facts):
            held.append(connection.connection is not None)
            return super()._ask(serialized, facts)

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
