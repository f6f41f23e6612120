"""What will be done is changed, by the agent or by a reviewer, and everything is asked anew."""

import pytest

from approvals_app.models import Approval, Vote
from audit_app.base.actors import Actor
from audit_app.models import Event
from sessions_app.models import Task
from tests.factories import TaskFactory, find_approval, policy
from tests.races.together import together

pytestmark = pytest.mark.usefixtures("whole")


@pytest.fixture
def task(bot):
    policy("large", asks="2 finance", when={"condition": "double(data.amount) > 1000.0"})
    return TaskFactory(agent=bot, data={"amount": "5000.00"})


def code(answer):
    return answer.status_code, answer.json()["code"]


def revise(api, agent, task, **body):
    return api(agent).post(f"/tasks/{task.pk}/revise", body)


def test_the_agents_revision_is_evaluated_as_if_it_were_new(api, bot, task, say, alice):
    say(alice, "approve", find_approval(task, "finance"))
    answer = revise(api, bot, task, data={"amount": "900.00"}).json()

    assert (answer["revision"], answer["status"]) == (2, "awaiting_approval")
    assert answer["payload_digest"] != task.payload_digest
    assert "No policy matches" in answer["policy"]["why"]
    assert [(a["revision"], a["status"], a["needed"]) for a in answer["approvals"]] == [
        (1, "withdrawn", 2),
        (2, "pending", 1),
    ]
    now = find_approval(task, "finance")
    assert say(alice, "approve", now).json()["status"] == "approved"
    assert Task.objects.get().status == "approved"


def test_a_revision_may_be_approved_or_refused_at_once(api, bot, task):
    policy("small", then="approve", when={"condition": "double(data.amount) < 10.0"}, priority=-2)
    policy("huge", then="refuse", when={"condition": "double(data.amount) > 1e6"}, priority=-1)
    assert revise(api, bot, task, data={"amount": "1.00"}).json()["status"] == "approved"
    other = TaskFactory(agent=bot, data={"amount": "5000.00"})
    assert revise(api, bot, other, data={"amount": "2000000"}).json()["status"] == "rejected"


def test_who_may_revise(api, bot, payer, task, alice):
    assert code(revise(api, payer, task, data={"x": 1})) == (403, "not_router")
    answer = api(user=alice).post(f"/tasks/{task.pk}/revise", {"data": {}})
    assert code(answer) == (403, "agents_only")
    assert code(revise(api, bot, task)) == (409, "nothing_revised")
    assert code(revise(api, bot, task, data={"amount": "5000.00"})) == (409, "nothing_revised")


def test_what_is_decided_is_not_revised(api, bot, alice, say):
    task = TaskFactory(agent=bot)
    say(alice, "approve", find_approval(task, "finance"))
    assert code(revise(api, bot, task, data={"x": 1})) == (409, "invalid_transition")


def test_every_payload_can_be_read(api, bot, task, alice, say):
    revise(api, bot, task, description="Less.", data={"amount": "2000.00"})
    say(alice, "edit", find_approval(task, "finance"), data={"amount": "1500.00"}, notes="Agreed.")
    found = api(user=alice).get(f"/tasks/{task.pk}/revisions").json()["revisions"]
    assert [(r["revision"], r["payload"]["data"]["amount"], r["edited_by"]) for r in found] == [
        (1, "5000.00", None),
        (2, "2000.00", None),
        (3, "1500.00", "alice"),
    ]
    assert found[0]["payload_digest"] == task.payload_digest
    assert [r["replaced_at"] is None for r in found] == [False, False, True]


def test_the_editor_alone_can_not_approve_it(task, alice, bob, dave, say):
    answer = say(alice, "edit", find_approval(task, "finance"), data={"amount": "900.00"})
    assert (answer.status_code, answer.json()["edited_by"]) == (200, "alice")
    now = find_approval(task, "finance")
    assert code(say(alice, "approve", now)) == (403, "separation_of_duties")
    assert say(bob, "approve", now).json()["status"] == "approved"
    told = Event.objects.get(event_type="task.revised")
    assert (told.actor, told.metadata["replaces"]) == ("human:alice", task.payload_digest)


def test_only_who_could_decide_may_edit(task, charlie, say):
    assert say(charlie, "edit", find_approval(task, "finance"), data={"x": 1}).status_code == 404


def test_an_edit_of_another_payload_than_was_seen_changes_nothing(api, task, alice):
    body = {"payload_digest": "0" * 64, "data": {"amount": "1"}}
    answer = api(user=alice).post(f"/approvals/{find_approval(task, 'finance').pk}/edit", body)
    assert code(answer) == (409, "payload_digest_mismatch")
    assert Task.objects.get().revision == 1


def test_changes_that_were_asked_for_are_answered_with_a_revision(api, bot, task, alice, bob, say):
    say(alice, "request_changes", find_approval(task, "finance"), message="At most 2,000.")
    seen = api(bot).get(f"/tasks/{task.pk}").json()["approvals"][0]["votes"][0]
    assert (seen["choice"], seen["notes"]) == ("changes", "At most 2,000.")
    revise(api, bot, task, data={"amount": "2000.00"})
    now = find_approval(task, "finance")
    for person in (alice, bob):
        assert say(person, "approve", now).status_code == 200
    assert Task.objects.get().status == "approved"
    assert Vote.objects.filter(approval=now).count() == 2


def test_two_revisions_at_once_are_two_revisions(api, bot, task):
    bodies = [{"data": {"amount": "2001"}}, {"data": {"amount": "2002"}}]
    clients = [api(bot), api(bot)]
    path = f"/tasks/{task.pk}/revise"
    together([lambda c=c, b=b: c.post(path, b) for c, b in zip(clients, bodies, strict=True)])
    assert Task.objects.get().revision == 3
    assert Approval.objects.pending().count() == 1


def test_who_edited_it_once_can_approve_no_later_revision(api, bot, task, alice, bob, dave, say):
    say(alice, "edit", find_approval(task, "finance"), data={"amount": "9999"})
    say(bob, "edit", find_approval(task, "finance"), description="The same, said better.")
    assert revise(api, bot, task, description="The same.").status_code == 200
    for editor in (alice, bob):
        answer = say(editor, "approve", find_approval(task, "finance"))
        assert code(answer) == (403, "separation_of_duties")
        assert "earlier revision" in str(answer.json())
        assert not Approval.objects.waiting_for(Actor.human(editor)).exists()
    assert say(dave, "approve", find_approval(task, "finance")).status_code == 200
