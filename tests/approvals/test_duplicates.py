"""A page says which earlier requests are about the same thing, and what became of them."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from approvals_app.review.history import find_duplicates
from audit_app.base.actors import Actor
from sessions_app.identifiers import find_identifiers
from sessions_app.models import Task
from tests.database import without_guards
from tests.factories import TaskFactory, find_approval

ORDER = "2026-118204"


def refund(bot, amount="249.90", **more):
    data = {"order_id": ORDER, "amount": amount, "currency": "EUR", **more}
    return TaskFactory(agent=bot, data=data, description="Refund to Mara Lindqvist")


def find(task, person):
    return find_duplicates(Task.objects.get(pk=task.pk), Actor.human(person))


@pytest.mark.parametrize(
    ("data", "found"),
    [
        ({"order": ORDER}, [f"order:{ORDER}"]),
        ({"order": {"id": ORDER, "note": "n0te-1"}}, [f"order:{ORDER}"]),
        ({"orderNumber": 118204}, ["order:118204"]),
        ({"invoices": [{"number": "HM-2026-0912", "amount": "18.00"}]}, ["invoice:HM-2026-0912"]),
        ({"charge": "ch_3PqXyz0000AbCd"}, ["charge:ch_3PqXyz0000AbCd"]),
        ({"target": "pi_3PqXyz0000AbCd"}, ["payment_intent:pi_3PqXyz0000AbCd"]),
        ({"beneficiary": {"iban": "AT61 1904 3002 3457 3201"}}, ["iban:AT611904300234573201"]),
        (
            {"plan": {"resource_changes": [
                {"address": "aws_db_instance.a", "change": {"actions": ["delete"]}},
                {"address": "aws_db_instance.b", "change": {"actions": ["no-op"]}},
            ]}},
            ["resource:aws_db_instance.a"],
        ),
        ({"to": "mara@example.com", "customer": "Mara 1", "amount": "249.90"}, []),
        ({"refund": "249.90", "payment": "2026-11-25", "orders": 12, "payments": True}, []),
        ({"order_id": "four", "invoice": "see the mail of 3 May"}, []),
        ([{"order_id": ORDER}, None, "x"], [f"order:{ORDER}"]),
        ("text", []),
        (
            {"debtor": {"iban": "DE89370400440532013000"}, "from_account": "DE89370400440532013000",
             "creditor": {"iban": "AT61 1904 3002 3457 3201"}},
            ["iban:AT611904300234573201"],
        ),
    ],
)  # fmt: skip
def test_identifiers_are_found_by_name_and_shape(data, found):
    assert find_identifiers(data) == found


def test_the_page_says_what_became_of_the_first(bot, alice, say, client):
    first = refund(bot)
    say(alice, "approve", find_approval(first, "finance"))
    second = find_approval(refund(bot, "10.00"), "finance")
    client.force_login(alice)
    page = client.get(f"/admin/approvals_app/approval/{second.pk}/change/").content.decode()

    start = page.index("1 earlier request</b> mentions order 2026-118204")
    words = page[start : page.index("</div>", start)]
    assert "249.90 EUR" in words
    assert "approved by alice" in words
    assert "Refund to Mara Lindqvist</a>" in words
    assert page.index("What will happen") < start < page.index("Payload</h3>")
    # The list of similar decisions says what they were about, too.
    history = page[page.index("Similar decisions") :]
    assert "249.90 EUR" in history
    assert "Refund to Mara Lindqvist" in history


def test_one_that_was_routed_later_is_not_told(bot, alice):
    first = refund(bot)
    refund(bot)
    assert not find(first, alice)


def test_one_that_waits_is_told_as_well(bot, alice):
    refund(bot)
    group = find(refund(bot), alice)[0]
    assert (group.name, group.count) == (f"order {ORDER}", 1)
    assert group.requests[0].task.status == "awaiting_approval"


def test_only_those_that_the_reader_may_see(bot, alice, dave):
    data = {"order_id": ORDER}
    TaskFactory(agent=bot, data=data, target="legal")
    mine = TaskFactory(agent=bot, data=data)
    assert find(mine, alice) == []
    assert [each.count for each in find(mine, dave)] == [1]


def test_a_month_later_it_is_told_no_more(bot, alice):
    old, task = refund(bot), refund(bot)
    with without_guards() as cursor:
        cursor.execute(
            "UPDATE tasks SET created_at = now() - interval '31 days' WHERE id = %s", [old.pk]
        )
    assert find(task, alice) == []


def test_identifiers_of_the_same_requests_are_told_together(bot, alice):
    more = {"invoice": "HM-1", "iban": "AT611904300234573201"}
    refund(bot, **more)
    refund(bot)
    groups = find(refund(bot, **more), alice)
    assert [(each.name, each.count) for each in groups] == [
        ("invoice HM-1, IBAN AT611904300234573201", 1),
        (f"order {ORDER}", 2),
    ]


def test_a_revision_is_looked_for_by_what_it_says_now(bot, alice, api):
    first = refund(bot)
    task = TaskFactory(agent=bot, data={"order_id": "2026-999999"})
    assert find(task, alice) == []
    api(bot).post(f"/tasks/{task.pk}/revise", {"data": {"order_id": ORDER}})
    assert find(task, alice)[0].requests[0].task.pk == first.pk


def test_without_an_identifier_nothing_is_asked(bot, alice):
    task = TaskFactory(agent=bot, data={"a": 1})
    actor = Actor.human(alice)
    with CaptureQueriesContext(connection) as sent:
        assert find_duplicates(task, actor) == []
    assert len(sent) == 0
