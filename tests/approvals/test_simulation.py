"""What is decided when a task is routed is what simulation says of the stored task."""

import itertools
from datetime import timedelta

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from approvals_app.decisions import operations
from approvals_app.models import Approval
from approvals_app.policy import evaluation
from approvals_app.policy.files import dump_file, parse_file
from approvals_app.policy.language import Policy, evaluate
from approvals_app.policy.simulation import fetch_past_tasks, simulate
from sessions_app.models import Task
from tests.factories import TaskFactory, policy, set_columns

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


def draft(then="require", asks=(("finance", 1),), **more):
    asked = {"approvals": [{"role": role, "count": count} for role, count in asks]}
    document = {"name": "draft", "then": then} | (asked if then == "require" else {})
    return Policy.parse(document | more)


def list_changed(report):
    return {(str(each.before), str(each.after)) for each in report.reassigned}


def test_who_is_asked_is_compared_as_well_as_the_outcome(bot, database):
    policy("migrations", asks="1 dba, 1 sre", when={"task_type": "migration"})
    migration = TaskFactory(agent=bot, target="sre", task_type="migration", data={})
    refund = TaskFactory(agent=bot)
    report = simulate([draft()], days=30)
    assert (report.tasks, report.changes, report.other_approvers) == (2, 0, 1)
    [changed] = report.reassigned
    assert (changed.task_id, str(changed.before), str(changed.after)) == (
        migration.pk,
        "dba 1, sre 1",
        "finance 1",
    )
    assert report.headline == (
        "2 tasks from the last 30 days: 0 outcomes change, 1 task gets other approvers, "
        "2 approvals needed"
    )
    facts = report.as_dict()
    assert facts["by_role_before"] == {"dba": 1, "sre": 1, "finance": 1}
    assert facts["by_role"] == {"finance": 2}
    both = evaluation.load_policies()
    assert simulate(both, days=30).other_approvers == 0
    more = simulate([*both, draft(asks=[("finance", 2)], when={"task_type": "refund*"})], days=30)
    assert [each.task_id for each in more.reassigned] == [refund.pk]
    assert list_changed(more) == {("finance 1", "finance 2")}


def test_escalations_and_what_agents_asked_for_are_not_who_the_policy_asked(bot, database, run):
    escalate = [{"role": "dba", "deadline": "1h"}]
    policy("nights", asks="1 sre", when={"task_type": "restart"}, escalate=escalate)
    late = TaskFactory(agent=bot, target="sre", task_type="restart", data={})
    set_columns(Approval, expires_at=timezone.now() - timedelta(seconds=1))
    run("expire_approvals")
    extra = TaskFactory(agent=bot)
    operations.request(extra.pk, by=bot.as_actor(), approver_role="finance-lead")
    assert Approval.objects.filter(task=late).count() == 2
    assert Approval.objects.filter(task=extra).count() == 2
    assert simulate(evaluation.load_policies(), days=1).other_approvers == 0


def test_a_changed_outcome_says_whom_it_asked(bot, database, settings):
    settings.APPROVAL_DEFAULT = "allow"
    TaskFactory(agent=bot, task_type="report")
    refund = TaskFactory(agent=bot)
    report = simulate([draft("refuse", when={"task_type": "refund*"})], days=30)
    [changed] = report.changed
    assert (changed.task_id, str(changed.before), str(changed.after)) == (
        refund.pk,
        "finance 1",
        "refused",
    )
    assert "42.50 EUR" in changed.title
    assert report.unmatched == {"report": 1}
    report = simulate([draft()], days=30)
    assert {str(each.before) for each in report.changed} == {"approved without a human"}


def test_a_revised_task_is_compared_with_whom_its_last_revision_asked(api, bot, database):
    condition = "decimal(data.amount) > decimal(1000)"
    policy("large", asks="2 finance", when={"condition": condition})
    task = TaskFactory(agent=bot)
    body = {"data": {"amount": "2000", "currency": "EUR"}}
    revised = api(bot).post(f"/tasks/{task.pk}/revise", body, {"Idempotency-Key": "r"})
    assert revised.status_code == 200, revised.json()
    assert simulate(evaluation.load_policies(), days=1).other_approvers == 0
    assert list_changed(simulate([draft()], days=1)) == {("finance 2", "finance 1")}


def test_what_is_listed_is_bounded_and_counted(bot, database, monkeypatch):
    monkeypatch.setattr("approvals_app.policy.simulation.LISTED", 2)
    TaskFactory.create_batch(3, agent=bot)
    report = simulate([draft(asks=[("legal", 1)])], days=1)
    assert (report.other_approvers, len(report.reassigned)) == (3, 2)
    assert not report.is_capped
    assert simulate([draft()], days=1, most=2).is_capped
