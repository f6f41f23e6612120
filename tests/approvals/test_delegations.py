"""Somebody else votes in a person's seat."""

from datetime import timedelta

import pytest
from django.utils import timezone

from approvals_app.decisions import delegations
from approvals_app.errors import AlreadyDelegated, NotDelegator, UnknownPerson
from approvals_app.models import Approval, Delegation
from audit_app.base.actors import Actor
from audit_app.base.errors import Invalid, InvalidTransition
from audit_app.models import Subject
from tests.factories import (
    AgentFactory,
    ReviewerFactory,
    SessionFactory,
    TaskFactory,
    find_approval,
    policy,
    the_approval,
)

pytestmark = pytest.mark.usefixtures("whole")
DAY = timedelta(days=1)


@pytest.fixture
def finance(bot):
    policy(asks="2 finance")
    return find_approval(TaskFactory(agent=bot), "finance")


@pytest.fixture
def away(alice, charlie):
    """charlie, of sre, stands in for alice today and tomorrow."""
    now = timezone.now()
    by = Actor.human(alice)
    return delegations.grant_delegation(by=by, to="charlie", starts_at=now, ends_at=now + 2 * DAY)


def code(answer):
    return answer.status_code, answer.json()["code"]


def waits(person):
    return list(Approval.objects.waiting_for(Actor.human(person)))


def test_one_approval_is_delegated(api, finance, say, alice, charlie):
    assert waits(charlie) == []
    given = say(alice, "delegate", finance, to="charlie", reason="You know this one.")
    assert (given.status_code, given.json()["delegate"]) == (201, "charlie")
    assert waits(charlie) == [finance]
    assert api(user=charlie).get(f"/tasks/{finance.task_id}").status_code == 200

    vote = say(charlie, "approve", finance).json()["votes"][0]
    assert (vote["voter"], vote["seat_of"]) == ("charlie", "alice")
    assert code(say(alice, "approve", finance)) == (403, "one_voice_each")


def test_a_stand_in_sees_and_decides_while_the_other_is_away(bot, finance, say, away, charlie):
    another = find_approval(TaskFactory(agent=bot), "finance")
    assert set(waits(charlie)) == {finance, another}
    assert say(charlie, "approve", finance).status_code == 200
    assert waits(charlie) == [another]


def test_when_it_is_over_nothing_is_left_of_it(finance, say, away, alice, charlie):
    delegations.end_delegation(away.pk, by=Actor.human(charlie))
    assert waits(charlie) == []
    assert say(charlie, "approve", finance).status_code == 404
    with pytest.raises(InvalidTransition):
        delegations.end_delegation(away.pk, by=Actor.human(alice))


def test_what_was_delegated_is_not_passed_on(finance, say, away, charlie):
    ReviewerFactory(username="frank", roles=["sre"])
    answer = say(charlie, "delegate", finance, to="frank")
    assert code(answer) == (409, "delegate_excluded")
    by, now = Actor.human(charlie), timezone.now()
    delegations.grant_delegation(by=by, to="frank", starts_at=now, ends_at=now + DAY)
    frank = Delegation.objects.get(delegate__username="frank").delegate
    assert waits(frank) == []
    assert say(frank, "approve", finance).status_code == 404


def test_whoever_is_excluded_is_so_in_every_seat(say, alice, charlie, away):
    hers = find_approval(TaskFactory(agent=AgentFactory(owner=alice)), "finance")
    assert code(say(charlie, "approve", hers)) == (403, "separation_of_duties")
    his = find_approval(TaskFactory(agent=AgentFactory(owner=charlie)), "finance")
    assert code(say(charlie, "approve", his)) == (403, "separation_of_duties")
    assert code(say(alice, "delegate", his, to="charlie")) == (409, "delegate_excluded")


def test_a_seat_is_given_to_one_person_at_a_time(finance, say, away, alice, bob):
    assert say(alice, "delegate", finance, to="bob").status_code == 201
    assert code(say(alice, "delegate", finance, to="charlie")) == (409, "already_delegated")
    by, now = Actor.human(alice), timezone.now()
    with pytest.raises(AlreadyDelegated):
        delegations.grant_delegation(by=by, to="bob", starts_at=now + DAY, ends_at=now + 9 * DAY)
    later = {"starts_at": now + 3 * DAY, "ends_at": now + 9 * DAY}
    assert delegations.grant_delegation(by=by, to="bob", **later).status == "active"


@pytest.mark.parametrize("name", ["nobody", "alice", "bot"])
def test_to_nobody_who_works_here(finance, say, alice, name):
    answer = say(alice, "delegate", finance, to=name)
    assert code(answer) == (400, "unknown_person")
    assert answer.json()["errors"][0]["field"] == "to"


def test_days_that_are_over_or_none(alice, charlie):
    by, now = Actor.human(alice), timezone.now()
    for starts, ends in ((now, now - DAY), (now + DAY, now), (now - 2 * DAY, now - DAY)):
        with pytest.raises(Invalid):
            delegations.grant_delegation(by=by, to="charlie", starts_at=starts, ends_at=ends)
    with pytest.raises(UnknownPerson):
        delegations.grant_delegation(by=by, to="x", starts_at=now, ends_at=now + DAY)


def test_who_may_end_it(away, bob, root):
    with pytest.raises(Exception, match="No such delegation"):
        delegations.end_delegation(away.pk, by=Actor.human(bob))
    bob.user_permissions.add(*_read_everything())
    with pytest.raises(NotDelegator):
        delegations.end_delegation(away.pk, by=Actor.human(_again(bob)))
    assert delegations.end_delegation(away.pk, by=Actor.human(root)).status == "ended"


def _read_everything():
    from django.contrib.auth.models import Permission

    return Permission.objects.filter(codename="read_everything")


def _again(user):
    return type(user).objects.get(pk=user.pk)


@pytest.mark.parametrize("few", [0, 10_000])
def test_one_sees_the_same_however_it_is_looked_for(
    monkeypatch, api, bot, say, alice, bob, charlie, few
):
    monkeypatch.setattr("audit_app.querysets.FEW", few)
    once, other, sre = (
        TaskFactory(agent=bot, session_id=SessionFactory(agent=bot).pk, target=role)
        for role in ("finance", "finance", "sre")
    )
    say(alice, "delegate", the_approval(once), to="charlie")
    days = {"starts_at": timezone.now(), "ends_at": timezone.now() + DAY}
    delegations.grant_delegation(by=Actor.human(alice), to="bob", **days)
    museum = ReviewerFactory(username="dave", roles=["museum"])

    sees = {
        alice: [once, other],
        bob: [once, other],
        charlie: [once, sre],
        museum: [],
    }
    for person, tasks in sees.items():
        caller = api(user=person)
        found = {
            "tasks": {each["task_id"] for each in caller.get("/tasks").json()["tasks"]},
            "approvals": {a["task_id"] for a in caller.get("/approvals").json()["approvals"]},
            "sessions": {each["session_id"] for each in caller.get("/sessions").json()["sessions"]},
        }
        assert found == {
            "tasks": {str(task.pk) for task in tasks},
            "approvals": {str(task.pk) for task in tasks},
            "sessions": {str(task.session_id) for task in tasks},
        }
        by = Actor.human(person)
        for model in Subject.kinds().values():
            assert set(model.objects.looked_up(by)) == set(model.objects.visible_to(by))


@pytest.mark.parametrize(
    ("starts", "ends"), [("2999-02-02", "2999-02-01"), ("2020-01-01", "2020-01-02")]
)
def test_days_that_can_not_be_are_said_in_a_sentence(client, alice, charlie, starts, ends):
    client.force_login(alice)
    given = {"to": "charlie", "starts": starts, "ends": ends}
    refused = client.post("/admin/away/", given)
    assert refused.status_code == 400
    page = refused.content.decode()
    assert "The last day must not be before the first, or in the past." in page
    assert f'value="{ends}"' in page
