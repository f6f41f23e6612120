"""What stands beside a decision: what was decided before of its kind, at a cost that stays."""

from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from approvals_app.review import decision
from audit_app.base.actors import Actor
from audit_app.base.errors import NotFound
from sessions_app import operations
from sessions_app.tasks.operations import cancel, revise_task
from tests.factories import (
    AgentFactory,
    ReviewerFactory,
    SessionFactory,
    TaskFactory,
    find_approval,
    policy,
    the_approval,
)

FRAMES = ("SAVEPOINT", "RELEASE", "BEGIN", "COMMIT", "ROLLBACK")


def read(task, person):
    return decision.load_decision(find_approval(task, "finance").pk, Actor.human(person))


@pytest.fixture
def decide(bot, say):
    """``decide(alice, "approve", notes=…)``: a task of the bot's that she decided on."""

    def decide(person, word, *, notes="", agent=bot, **task):
        approval = find_approval(TaskFactory(agent=agent, **task), "finance")
        say(person, word, approval, notes=notes)
        return approval

    return decide


def test_the_last_five_decisions_of_this_kind_by_this_agent(bot, alice, bob, decide):
    decide(alice, "approve", notes="the oldest")
    decide(alice, "reject", notes="no receipt")
    for n in range(4):
        decide(bob, "approve", notes=f"fine {n}")
    decide(alice, "approve", agent=AgentFactory(), notes="another agent")
    decide(alice, "approve", task_type="expense_approval", notes="another kind")

    before = read(TaskFactory(agent=bot), alice).similar

    assert [each.notes for each in before] == ["fine 3", "fine 2", "fine 1", "fine 0", "no receipt"]
    assert [each.decided_by for each in before] == [bob, bob, bob, bob, alice]


def test_decisions_that_only_another_group_was_asked_for_stay_unknown(bot, alice, say, decide):
    lawyer = ReviewerFactory(username="lawyer", roles=["legal"])
    contract = TaskFactory(agent=bot, target="legal")
    say(lawyer, "approve", find_approval(contract, "legal"), notes="between us")
    decide(alice, "approve", notes="paid in June")

    found = read(TaskFactory(agent=bot), alice)

    assert [each.notes for each in found.similar] == ["paid in June"]
    assert found.last_approved.pk != contract.pk


def test_the_difference_is_to_the_last_that_was_approved_not_refused(bot, alice, decide):
    decide(alice, "approve", data={"amount": "5"})
    decide(alice, "reject", data={"amount": "900"})

    lines = read(TaskFactory(agent=bot, data={"amount": "50"}), alice).changes_since_last_approved

    changed = [(line[0], line[1].strip()) for line in lines if line[0] in "+-"]
    assert changed == [("-", '"amount": "5"'), ("+", '"amount": "50"')]


def test_the_first_of_its_kind_has_nothing_beside_it(bot, alice):
    found = read(TaskFactory(agent=bot), alice)
    assert (found.similar, found.last_approved, found.changes_since_last_approved) == ([], None, [])


def test_what_deceives_is_found_in_the_payload_and_in_its_description(bot, alice):
    task = TaskFactory(agent=bot, description="approve this now", data={"to": "p\u0430y\u200bpal"})
    words = read(task, alice).suspicious.words()
    assert "hidden characters (1)" in words
    assert "text addressed to you (1)" in words


def test_what_is_shown_is_what_the_digest_is_of(bot, alice):
    task = TaskFactory(agent=bot, data={"amount": "5"})
    found = read(task, alice)
    assert found.payload_digest == find_approval(task, "finance").payload_digest
    assert found.payload["data"] == {"amount": "5"}


def test_charlie_of_another_group_is_told_of_nothing(bot, charlie):
    with pytest.raises(NotFound):
        read(TaskFactory(agent=bot), charlie)


def test_the_context_costs_the_same_however_much_was_decided_before(bot, alice, decide):
    def cost():
        task = TaskFactory(agent=bot, trace_id=uuid4())
        actor, approval = Actor.human(alice), find_approval(task, "finance")
        with CaptureQueriesContext(connection) as sent:
            found = decision.load_decision(approval.pk, actor)
            assert all((found.rendering, found.tallies, found.current))
            assert isinstance(found.changes_since_last_approved, list)
        queries = [each["sql"] for each in sent.captured_queries]
        return len([each for each in queries if not each.upper().startswith(FRAMES)])

    decide(alice, "approve")
    one = cost()
    for _ in range(7):
        decide(alice, "approve", notes="again")
    assert cost() == one
    assert one <= 12


@pytest.fixture
def open_page():
    """``open_page(alice, approval)``: the text of its page as she sees it."""

    def get(person, approval):
        client = Client()
        client.force_login(person)
        return client.get(f"/admin/approvals_app/approval/{approval.pk}/change/").text

    return get


@pytest.mark.parametrize(
    ("state", "words"),
    [("failed", "has failed"), ("expired", "has expired"), ("completed", "has ended")],
)
def test_an_asking_session_that_is_over_is_said(alice, bot, open_page, state, words):
    session = SessionFactory(agent=bot)
    approval = the_approval(TaskFactory(agent=bot, session_id=session.pk))
    assert "The session that asks" not in open_page(alice, approval)
    for step in {"expired": ["expired"]}.get(state, ["active", state]):
        operations.update_session(session.pk, by=bot.as_actor(), status=step)
    assert f"The session that asks for this {words}" in open_page(alice, approval)


def test_a_session_that_is_over_is_not_said_once_nothing_depends_on_it(alice, bot, open_page):
    task = TaskFactory(agent=bot, session_id=SessionFactory(agent=bot).pk)
    operations.update_session(task.session_id, by=bot.as_actor(), status="expired")
    cancel(task.pk, by=bot.as_actor())
    assert "The session that asks" not in open_page(alice, the_approval(task))


def test_what_was_revised_says_by_whom_and_leads_to_what_waits(alice, bot, open_page):
    task = TaskFactory(agent=bot)
    first = the_approval(task)
    revise_task(task.pk, by=bot.as_actor(), data={"amount": "1"})
    second = find_approval(task, "finance")
    page = open_page(alice, first)
    assert "<b>bot</b> revised this" in page
    assert f'href="/admin/approvals_app/approval/{second.pk}/change/">Revision 2 waits' in page
    assert "Withdrawn by bot" in page

    revise_task(task.pk, by=bot.as_actor(), data={"amount": "2"})
    cancel(task.pk, by=bot.as_actor())
    page = open_page(alice, first)
    assert "<b>bot</b> revised this" in page
    assert "the task is cancelled" in page


def test_what_was_withdrawn_otherwise_says_why(alice, bot, open_page):
    task = TaskFactory(agent=bot)
    cancel(task.pk, by=bot.as_actor())
    assert "The task was cancelled." in open_page(alice, the_approval(task))


def test_what_was_escalated_leads_to_who_is_asked(alice, bot, late, run, open_page):
    policy(asks="1 finance", deadline="1h", escalate=[{"role": "legal", "deadline": "1h"}])
    task = TaskFactory(agent=bot)
    first = the_approval(task)
    late(first)
    run("expire_approvals")
    asked = find_approval(task, "legal")
    page = open_page(alice, first)
    assert f'href="/admin/approvals_app/approval/{asked.pk}/change/">legal</a>' in page


def test_the_api_says_who_was_faster_and_what_waits(alice, bot, say):
    task = TaskFactory(agent=bot)
    first = the_approval(task)
    revise_task(task.pk, by=bot.as_actor(), data={"amount": "1"})
    problem = say(alice, "approve", first).json()
    assert (problem["code"], problem["decided_by"]) == ("already_decided", "bot")
    assert problem["why"] == "The task was revised."
    assert problem["waiting"] == [str(find_approval(task, "finance").pk)]
