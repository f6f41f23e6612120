"""Where a policy wants care of a yes: somebody has looked for a while, and types something out."""

from datetime import timedelta

import pytest
from django.utils import timezone

from approvals_app.models import Approval, Viewer
from approvals_app.review import presence
from audit_app.models import Event
from tests.factories import TaskFactory, find_approval, policy

pytestmark = pytest.mark.usefixtures("whole")


def code(answer):
    return answer.status_code, answer.json()["code"]


def since(length):
    Viewer.objects.update(first_at=timezone.now() - length)


@pytest.fixture
def slow(bot):
    policy(asks="1 finance", look_for="30s", risk="high")
    return find_approval(TaskFactory(agent=bot), "finance")


def test_who_did_not_open_its_page_has_to_look_first(slow, say, alice):
    answer = say(alice, "approve", slow)
    assert code(answer) == (409, "look_first")
    assert answer.json()["seconds_left"] == 30


def test_who_looked_for_a_moment_has_to_look_on(slow, say, alice, client):
    client.force_login(alice)
    page = client.get(f"/admin/approvals_app/approval/{slow.pk}/change/").content.decode()
    assert 'data-look-left="30"' in page
    since(timedelta(seconds=12))
    answer = say(alice, "approve", slow)
    assert code(answer) == (409, "look_first")
    assert 0 < answer.json()["seconds_left"] <= 18


def test_who_looked_long_enough_can_approve_and_it_is_kept(slow, say, alice):
    presence.record_view(slow.pk, alice)
    since(timedelta(seconds=31))
    assert say(alice, "approve", slow).json()["status"] == "approved"
    assert Event.objects.get(event_type="vote.cast").metadata["looked_seconds"] >= 31


def test_a_look_of_yesterday_is_none(slow, say, alice):
    presence.record_view(slow.pk, alice)
    Viewer.objects.update(
        first_at=timezone.now() - timedelta(days=1), seen_at=timezone.now() - timedelta(minutes=11)
    )
    presence.record_view(slow.pk, alice)
    assert code(say(alice, "approve", slow)) == (409, "look_first")


def test_another_persons_look_is_not_ones_own(slow, say, alice, bob):
    presence.record_view(slow.pk, bob)
    since(timedelta(minutes=1))
    assert code(say(alice, "approve", slow)) == (409, "look_first")


def test_nobody_has_to_look_to_say_no(slow, say, alice):
    assert say(alice, "reject", slow).json()["status"] == "rejected"


@pytest.mark.parametrize(
    ("data", "typed"),
    [
        ({"amount": "18750.00"}, "18750.00"),
        ({"amount": 42}, " 42 "),
        ({"amount": {"value": 1}}, "wire_approval"),
        ({}, "wire_approval"),
    ],
)
def test_what_the_policy_names_is_typed_out(bot, say, alice, data, typed):
    policy(asks="1 finance", type_out="data.amount")
    approval = find_approval(
        TaskFactory(agent=bot, task_type="wire_approval", data=data), "finance"
    )
    for wrong in ({}, {"typed": "1"}, {"typed": ""}):
        answer = say(alice, "approve", approval, **wrong)
        assert code(answer) == (400, "not_typed")
        assert answer.json()["errors"][0]["field"] == "typed"
    assert say(alice, "approve", approval, typed=typed).json()["status"] == "approved"


def test_the_refusal_names_what_to_type_and_the_currency_is_that_of_the_payload(bot, say, alice):
    policy(asks="1 finance", type_out="data.transfer.amount")
    transfer = {"amount": "4980.00", "currency": "EUR"}
    approval = find_approval(TaskFactory(agent=bot, data={"transfer": transfer}), "finance")
    refused = say(alice, "approve", approval, typed="4,980.00 USD")
    assert code(refused) == (400, "not_typed")
    assert refused.json()["detail"] == "Type 4980.00 to approve. Nothing was approved."
    assert say(alice, "approve", approval, typed="4,980.00 EUR").json()["status"] == "approved"
    vote = Event.objects.get(event_type="vote.cast")
    assert vote.metadata["type_out"] == "data.transfer.amount"


def test_on_the_page_it_is_asked_for(bot, client, alice):
    policy(asks="1 finance", type_out="data.amount")
    approval = find_approval(TaskFactory(agent=bot, data={"amount": "18750"}), "finance")
    client.force_login(alice)
    address = f"/admin/approvals_app/approval/{approval.pk}/change/"
    assert '<b class="o-typed">18750</b>' in client.get(address).content.decode()
    sent = {"decision": "approve", "payload_digest": approval.payload_digest, "typed": "1875"}
    refused = client.post(address, sent)
    assert refused.status_code == 400
    assert 'value="1875"' in refused.content.decode()
    assert client.post(address, sent | {"typed": "18750"}).status_code == 302
    assert Approval.objects.get(pk=approval.pk).status == "approved"
