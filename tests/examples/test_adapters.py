"""Each framework asks people by its own means, and executes exactly what they approved."""

from pathlib import Path

import pytest

from sessions_app.models import Task
from tests.clients.conftest import decide

NOT_APPROVED = 3
ADAPTERS = {
    "decorator": (NOT_APPROVED, "{}", "ArgumentsRefused"),
    "langgraph_interrupt": (NOT_APPROVED, "Not paid. {}", "TypeError"),
    "openai_agents_approval": (0, "{}", "ModelBehaviorError"),
    "pydantic_ai_deferred": (0, "{}", "ValidationError"),
}
"""What each ends with when people said no: its exit status, and what it says of their words; and
the error that it reports where what was approved is not what the function takes."""

each_adapter = pytest.mark.parametrize("adapter", ADAPTERS)


def edit_and_approve(task, editor, approver, data):
    """Whoever edits something can't approve it."""
    decide(task.pk, editor, "edit", data=data)
    decide(task.pk, approver)


@each_adapter
def test_what_was_approved_is_executed_and_reported(adapter, start, alice):
    program = start(adapter, "42.50")
    task = program.asks()
    assert (task.to_role, task.task_type) == ("finance", "refund_approval")
    assert task.description == "Refund 42.50 EUR to customer 1007."
    assert task.data == {"amount": "42.50", "currency": "EUR", "customer": 1007}
    decide(task.pk, alice)
    assert program.ends() == (0, ["paying 42.50 EUR to customer 1007", "42.50 EUR paid"])
    task = Task.objects.get()
    assert (task.status, task.result) == ("completed", "42.50 EUR paid")


@each_adapter
def test_what_a_reviewer_made_of_it_is_executed(adapter, start, alice, bob):
    program = start(adapter, "42.50")
    edit_and_approve(
        program.asks(), alice, bob, {"amount": "40.00", "currency": "USD", "customer": 1008}
    )
    assert program.ends() == (0, ["paying 40.00 USD to customer 1008", "40.00 USD paid"])
    task = Task.objects.get()
    assert (task.status, task.result) == ("completed", "40.00 USD paid")


@each_adapter
def test_a_no_is_told_in_the_reviewers_words(adapter, start, alice):
    program = start(adapter, "42.50")
    decide(program.asks().pk, alice, "reject", notes="Twice the price.")
    status, line, _ = ADAPTERS[adapter]
    assert program.ends() == (status, [line.format("rejected: alice: Twice the price.")])
    assert Task.objects.get().status == "rejected"


@each_adapter
def test_a_request_for_changes_is_reported_and_takes_the_task_back(adapter, start, alice):
    program = start(adapter, "42.50")
    decide(program.asks().pk, alice, "request_changes", message="To the card, please.")
    status, line, _ = ADAPTERS[adapter]
    said = "changes_requested: alice: To the card, please."
    assert program.ends() == (status, [line.format(said)])
    assert Task.objects.get().status == "cancelled"


@each_adapter
def test_what_the_function_does_not_take_is_not_executed(adapter, start, alice, bob):
    program = start(adapter, "42.50")
    edit_and_approve(program.asks(), alice, bob, {"amount": "40.00", "currency": "EUR"})
    _, lines = program.ends()
    assert not any(line.startswith("paying") for line in lines)
    task = Task.objects.get()
    assert (task.status, task.error["type"]) == ("failed", ADAPTERS[adapter][2])


TWO_QUESTIONS = Path(__file__).parent / "langgraph_two_questions"


def test_two_equal_questions_of_a_node_are_two_tasks(start, alice):
    program = start(TWO_QUESTIONS)
    decide(program.asks().pk, alice)
    second = program.asks()
    assert Task.objects.count() == 2
    decide(second.pk, alice, "reject", notes="Once is enough.")
    assert program.ends() == (0, ["None", "rejected: alice: Once is enough."])


def test_an_id_that_was_asked_under_is_not_asked_under_again(start, alice):
    """As langgraph before 1.2.20 does it: one yes would answer both questions."""
    program = start(TWO_QUESTIONS, "--one-id")
    decide(program.asks().pk, alice)
    status, lines = program.ends()
    assert (status, lines) == (1, [])
    assert Task.objects.count() == 1
