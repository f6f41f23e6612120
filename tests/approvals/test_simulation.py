"""What is decided when a task is routed is what simulation says of the stored task."""

import itertools

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from approvals_app.policy import evaluation
from approvals_app.policy.files import dump_file, parse_file
from approvals_app.policy.language import evaluate
from approvals_app.policy.simulation import fetch_past_tasks, simulate
from sessions_app.models import Task
from tests.factories import policy

pytestmark = pytest.mark.usefixtures("patient")

CONDITIONS = [
    "data.x > 999.5",
    "data.x == 1000",
    "data.x != 1000",
    "data.x + 1 > 0",
    "1.0 / data.x < 0.0",  # tells -0.0 from 0
    "string(data.x) == '1000'",
    "type(data.x) == double",
    "size(data) > 1",
    "data.exists(key, key == 'x')",
    "data.map(key, key)[0] == 'b'",  # the order of the members
    "data.x == data.y || data.x in data.y",
    "data.y.all(each, each != 0)",
    "decimal(data.x) > decimal('999.99')",
    "description == 'a'",
    "context.?x.orValue(0) == 0",
]
NUMBERS = st.sampled_from([0, -0.0, 1, 1000, 1000.0, 1e3, 999.999, 2**53 - 1, 1e-7, -1.5])
VALUES = st.recursive(
    NUMBERS | st.booleans() | st.none() | st.sampled_from(["", "1000", "a", "é", "😀"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("xyb"), inner),
    max_leaves=5,
)
OBJECTS = st.dictionaries(st.sampled_from(["x", "y", "b", "é", "a\u20ac"]), VALUES, max_size=4)
keys = itertools.count()


@pytest.fixture
def policies(database):
    for number, condition in enumerate(CONDITIONS):
        then = ["approve", "refuse", "require"][number % 3]
        asks = {"asks": "1 finance"} if then == "require" else {}
        when = {"task_type": f"type{number}_*", "condition": condition}
        policy(f"policy {number}", then=then, when=when, **asks)
    return evaluation.load_policies()


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.sampled_from(range(len(CONDITIONS))),
    OBJECTS,
    OBJECTS,
    st.sampled_from(["a", "b"]),
)
def test_routing_decides_what_simulation_says(api, bot, policies, number, data, context, words):
    body = {
        "target": "finance",
        "task": {"task_type": f"type{number}_x", "description": words, "data": data},
        "context": context,
    }
    answer = api(bot).post("/tasks/route", body, {"Idempotency-Key": f"key-{next(keys)}"})
    assert answer.status_code == 202, answer.json()
    routed = Task.objects.get(pk=answer.json()["task_id"])
    [stored] = fetch_past_tasks(1, 1)
    assert stored.task_id == routed.pk
    written = parse_file(dump_file(policies))  # as `policies export` writes them
    for each in (policies, written):
        decision = evaluate(each, stored.facts, "require")
        assert (decision.kind.value, decision.policy) == (routed.verdict, routed.policy)
        assert decision.why.replace(" (version 1)", "") == routed.why.replace(" (version 1)", "")
    assert simulate(policies, days=1, most=1).changes == 0


def test_a_number_is_judged_as_it_is_kept(api, bot):
    policy("round", then="approve", when={"task_type": "pay", "condition": "data.x % 10 == 0"})
    for key, number in enumerate([1000, 1000.0]):
        body = {"target": "finance", "task": {"task_type": "pay", "data": {"x": number}}}
        answer = api(bot).post("/tasks/route", body, {"Idempotency-Key": f"key-{key}"})
        assert answer.json()["status"] == "approved"
    assert Task.objects.values("payload_digest").distinct().count() == 1
