"""Break glass: one person approves alone, and the others review it afterwards."""

from datetime import timedelta
from functools import partial

import pytest
from django.contrib.auth.models import Group, Permission
from django.utils import timezone

from approvals_app.decisions import operations
from approvals_app.decisions.break_glass import break_glass
from approvals_app.errors import NoRightToOverride
from approvals_app.models import Approval, Override
from audit_app.base.actors import Actor
from sessions_app.models import Task
from sessions_app.tasks.operations import cancel
from tests.commands.conftest import run_for_output
from tests.database import as_superuser
from tests.factories import AgentFactory, TaskFactory, find_approval, policy, set_columns
from tests.races.together import waiting

pytestmark = pytest.mark.usefixtures("whole")


@pytest.fixture
def task(bot):
    policy(asks="2 finance, 1 legal")
    return TaskFactory(agent=bot)


@pytest.fixture
def finance(task):
    return find_approval(task, "finance")


def code(answer):
    return answer.status_code, answer.json()["code"]


def glass(say, person, approval, reason="The data centre burns."):
    return say(person, "break_glass", approval, reason=reason)


def review(task, role):
    return Approval.objects.get(task=task, approver_role=role, override__isnull=False)


def test_one_person_approves_and_everybody_else_reviews(task, finance, say, breaker, bob, erin):
    answer = glass(say, breaker, finance)
    assert (answer.status_code, answer.json()["opened_by"]) == (201, "alice")
    assert Task.objects.get().status == "approved"
    reviews = Approval.objects.filter(override__isnull=False).order_by("approver_role")
    assert [(r.approver_role, r.needed, r.status) for r in reviews] == [
        ("finance", 2, "pending"),
        ("legal", 1, "pending"),
    ]
    assert code(say(breaker, "approve", review(task, "finance"))) == (403, "separation_of_duties")


def test_the_full_quorum_upholds_it(task, finance, say, breaker, bob, dave, erin):
    glass(say, breaker, finance)
    for person, role in ((bob, "finance"), (dave, "finance"), (erin, "legal")):
        assert Override.objects.get().status == "open"
        assert say(person, "approve", review(task, role)).status_code == 200
    assert Override.objects.get().status == "upheld"
    assert Task.objects.get().status == "approved"


def test_one_no_condemns_it_and_nobody_can_begin_the_task(task, finance, say, breaker, erin):
    glass(say, breaker, finance)
    assert say(erin, "reject", review(task, "legal")).json()["status"] == "rejected"
    assert (Override.objects.get().status, Task.objects.get().status) == ("condemned", "cancelled")
    assert review(task, "finance").status == "withdrawn"


def test_what_was_begun_before_it_was_condemned_is_its_agents_to_end(
    api, task, finance, say, breaker, erin, payer
):
    glass(say, breaker, finance)
    claimed = api(payer).post(f"/tasks/{task.pk}/claim", {})
    assert claimed.status_code == 200
    say(erin, "reject", review(task, "legal"))
    assert (Override.objects.get().status, Task.objects.get().status) == ("condemned", "claimed")


def test_a_role_that_is_asked_twice_reviews_once(api, bot, task, finance, say, breaker, bob, dave):
    for person in (bob, dave):
        assert say(person, "approve", finance).status_code == 200
    more = api(bot).post("/approvals", {"task_id": str(task.pk), "approver_role": "finance"})
    assert more.status_code == 201
    assert glass(say, breaker, find_approval(task, "legal")).status_code == 201
    asks = Approval.objects.filter(override__isnull=False).values_list("approver_role", "needed")
    assert sorted(asks) == [("finance", 2), ("legal", 1)]


def test_not_where_ones_own_agent_requested_another_approval(task, finance, say, breaker):
    worker = AgentFactory(roles=["finance"], owner=breaker)
    operations.request(task.pk, by=worker.as_actor(), approver_role="sre")
    assert code(glass(say, breaker, finance)) == (403, "separation_of_duties")


def test_a_question_needs_its_answer(bot, say, breaker):
    task = TaskFactory(agent=bot, task_type="question", data={"question": "Which?"})
    assert code(glass(say, breaker, find_approval(task, "finance"))) == (400, "answer_required")


def test_a_right_that_goes_meanwhile_is_no_right(task, finance, breaker):
    """Between the look and the commit, for which it waits: somebody holds the other approval."""
    seen = {"payload_digest": finance.payload_digest, "reason": "Fire."}
    with as_superuser() as admin:
        admin.execute("SELECT FROM approvals WHERE approver_role = 'legal' FOR UPDATE")
        attempt = partial(break_glass, finance.pk, by=Actor.human(breaker), **seen)
        with waiting(attempt) as outcome:
            admin.execute("DELETE FROM auth_user_user_permissions")
            admin.commit()
            with pytest.raises(NoRightToOverride):
                outcome.result(timeout=30)
    assert not Override.objects.exists()


def test_who_voted_before_votes_in_the_review_as_well(task, finance, say, breaker, bob):
    say(bob, "approve", finance)
    glass(say, breaker, finance)
    assert say(bob, "approve", review(task, "finance")).status_code == 200


def test_the_right_is_given_to_a_person_or_a_group(task, finance, say, alice, root):
    assert code(glass(say, alice, finance)) == (403, "no_right_to_override")
    assert glass(say, root, finance).status_code in (403, 404)
    right = Permission.objects.get(codename="break_glass")
    Group.objects.get(name="finance").permissions.add(right)
    assert glass(say, alice, finance).status_code == 201


def test_never_for_an_agent_of_ones_own(breaker, say):
    hers = TaskFactory(agent=AgentFactory(owner=breaker))
    assert code(glass(say, breaker, find_approval(hers, "finance"))) == (
        403,
        "separation_of_duties",
    )


def test_a_reason_and_the_payload_that_was_seen_are_needed(finance, say, breaker):
    assert glass(say, breaker, finance, reason="").status_code == 400
    body = {"payload_digest": "0" * 64, "reason": "x"}
    assert code(say(breaker, "break_glass", finance, **body)) == (409, "payload_digest_mismatch")
    assert not Override.objects.exists()


def test_while_one_is_overdue_the_next_is_refused(bot, task, finance, say, breaker, erin):
    glass(say, breaker, finance)
    another = find_approval(TaskFactory(agent=bot), "finance")
    set_columns(Override, review_due_at=timezone.now() - timedelta(seconds=1))
    assert code(glass(say, breaker, another)) == (409, "override_overdue")
    say(erin, "reject", review(task, "legal"))
    assert glass(say, breaker, another).status_code == 201


def test_nothing_takes_a_review_away(bot, task, finance, say, breaker, run, late):
    glass(say, breaker, finance)
    cancel(task.pk, by=bot.as_actor())
    late(review(task, "legal"))
    assert run("expire_approvals")["approvals"] == 0
    assert run_for_output("purge", "--older-than", "1s").startswith("Removed 0 tasks")
    assert review(task, "legal").status == "pending"


def test_after_a_deadline_there_is_nothing_to_override(task, finance, say, breaker, late):
    late(find_approval(task, "legal"))
    assert code(glass(say, breaker, finance)) == (409, "approval_expired")
    assert Task.objects.get().status == "awaiting_approval"


def test_a_late_review_is_a_review(task, finance, say, breaker, erin, late):
    glass(say, breaker, finance)
    late(review(task, "legal"))
    assert say(erin, "approve", review(task, "legal")).json()["status"] == "approved"


def test_it_waits_in_the_inbox_of_all_but_one(task, finance, say, breaker, bob):
    glass(say, breaker, finance)
    waits = [
        [a.override_id is not None for a in Approval.objects.waiting_for(Actor.human(who))]
        for who in (bob, breaker)
    ]
    assert waits == [[True], []]


def test_the_review_keeps_the_risk(bot, say, breaker):
    policy(asks="1 finance", risk="high")
    glass(say, breaker, find_approval(TaskFactory(agent=bot), "finance"))
    assert Approval.objects.get(override__isnull=False).risk == "high"
