"""A function whose every call needs a yes executes what was approved, and nothing else."""

import asyncio

import pytest
from orchestrator_client import NotApproved, StillWaiting, needs_approval
from orchestrator_client.decorator import ArgumentsRefused

from sessions_app.models import Task
from tests.clients.conftest import decide

ASKED = {"target": "finance", "task_type": "refund_approval"}
KETTLE = {"amount": "42.50", "customer": 1007, "notify": True}


@pytest.fixture
def payments():
    """What was executed."""
    return []


@pytest.fixture
def refund(client, payments):
    @needs_approval(client, **ASKED, description="Refund {amount} EUR to customer {customer}.")
    def refund(amount: str, customer: int, *, notify: bool = True) -> dict[str, object]:
        """Pay money back."""
        payments.append((amount, customer, notify))
        return {"receipt": len(payments)}

    return refund


def the_task(server):
    """The one task, once somebody waits for it."""
    server.holds(1)
    return Task.objects.get()


def test_what_was_approved_is_executed_and_reported(server, aside, refund, payments, alice):
    call = aside(refund, "42.50", customer=1007)
    task = the_task(server)
    assert (task.data, payments) == (KETTLE, [])
    assert task.description == "Refund 42.50 EUR to customer 1007."
    decide(task.pk, alice)
    assert call.result(30) == {"receipt": 1}
    assert payments == [("42.50", 1007, True)]
    task = Task.objects.get()
    assert (task.status, task.result) == ("completed", {"receipt": 1})


def test_what_a_reviewer_made_of_it_is_executed(server, aside, refund, payments, alice, bob):
    call = aside(refund, "42.50", 1007)
    task = the_task(server)
    decide(task.pk, alice, "edit", data=KETTLE | {"amount": "40.00"})
    decide(task.pk, bob)
    call.result(30)
    assert payments == [("40.00", 1007, True)]


def test_what_the_function_does_not_take_is_not_executed(
    server, aside, refund, payments, alice, bob
):
    call = aside(refund, "42.50", 1007)
    task = the_task(server)
    decide(task.pk, alice, "edit", data={"amount": "40.00", "customer": 1007})
    decide(task.pk, bob)
    with pytest.raises(ArgumentsRefused, match="notify"):
        call.result(30)
    assert (payments, Task.objects.get().status) == ([], "failed")


def test_a_no_is_raised_with_the_reviewers_words(server, aside, refund, payments, alice):
    call = aside(refund, "42.50", 1007)
    decide(the_task(server).pk, alice, "reject", notes="Twice the price.")
    with pytest.raises(NotApproved, match=r"rejected: .*alice: Twice the price\.") as raised:
        call.result(30)
    assert raised.value.outcome == "rejected"
    assert payments == []


def test_a_request_for_changes_takes_the_task_back(server, aside, refund, payments, alice):
    call = aside(refund, "42.50", 1007)
    decide(the_task(server).pk, alice, "request_changes", message="To the card, please.")
    with pytest.raises(NotApproved, match="To the card, please") as raised:
        call.result(30)
    assert raised.value.outcome == "changes_requested"
    assert (payments, Task.objects.get().status) == ([], "cancelled")


def test_whoever_waits_no_longer_takes_the_task_back(client, payments):
    guarded = needs_approval(client, **ASKED, timeout=1)(lambda amount: payments.append(amount))
    with pytest.raises(StillWaiting):
        guarded("42.50")
    assert (payments, Task.objects.get().status) == ([], "cancelled")


def test_what_goes_wrong_is_reported_and_raised(server, aside, client, alice):
    @needs_approval(client, **ASKED)
    def refund(amount):
        raise LookupError(f"No account for {amount}.")

    call = aside(refund, "42.50")
    decide(the_task(server).pk, alice)
    with pytest.raises(LookupError):
        call.result(30)
    task = Task.objects.get()
    assert task.status == "failed"
    assert task.error == {"type": "LookupError", "detail": "No account for 42.50."}


@pytest.mark.parametrize("amount", [object(), float("nan"), (1, 2), {1: 2}])
def test_what_people_could_not_be_shown_is_not_asked(refund, amount):
    with pytest.raises(ArgumentsRefused, match="amount"):
        refund(amount, 1007)
    assert not Task.objects.exists()


def test_a_function_keeps_its_name_and_its_signature_is_checked(refund):
    assert (refund.__name__, refund.__doc__) == ("refund", "Pay money back.")
    with pytest.raises(TypeError, match="customer"):
        refund("42.50")
    assert not Task.objects.exists()


def test_what_has_no_names_is_not_decorated(client):
    with pytest.raises(TypeError, match="amounts"):
        needs_approval(client, **ASKED)(lambda *amounts: None)


def test_an_async_function_awaits_its_yes(server, aside, asynchronous, payments, alice):
    async def pay():
        async with asynchronous() as client:

            @needs_approval(client, **ASKED, description=lambda amount: f"Pay {amount}.")
            async def refund(amount: str) -> str:
                payments.append(amount)
                return "paid"

            return await refund("42.50")

    call = aside(asyncio.run, pay())
    task = the_task(server)
    assert task.description == "Pay 42.50."
    decide(task.pk, alice)
    assert (call.result(30), payments) == ("paid", ["42.50"])


def test_each_kind_of_function_takes_its_kind_of_client(client, asynchronous):
    async def later() -> None: ...

    with pytest.raises(TypeError, match="AsyncClient"):
        needs_approval(client, **ASKED)(later)
    with pytest.raises(TypeError, match="Client"):
        needs_approval(asynchronous(), **ASKED)(lambda: None)
