"""What an Actor knows of a person: their groups, and what they and those were given."""

import pytest
from django.contrib.auth.models import Group, Permission, User
from django.db import connection
from django.test.utils import CaptureQueriesContext

from audit_app.base.actors import Actor, with_standing
from orchestrator.accounts.passwords import PasswordBackend
from tests.factories import ReviewerFactory

READS, BREAKS = "audit_app.read_everything", "approvals_app.break_glass"


def right(name):
    return Permission.objects.get(codename=name.partition(".")[2])


@pytest.fixture
def lead():
    """Reads everything by a group of hers, and may break the glass herself."""
    person = ReviewerFactory(username="lead", roles=["sre", "auditors"])
    Group.objects.get(name="auditors").permissions.add(right(READS))
    person.user_permissions.add(right(BREAKS))
    return person


def of_a_session(person):
    """The person as a request has them."""
    return PasswordBackend().get_user(person.pk)


@pytest.mark.parametrize("read", [of_a_session, lambda person: User.objects.get(pk=person.pk)])
def test_groups_and_rights_are_known_whoever_read_the_person(lead, alice, read):
    actor = Actor.human(read(lead))
    assert (actor.roles, actor.auditor) == (("auditors", "sre"), True)
    assert actor.rights == {READS, BREAKS}
    other = Actor.human(read(alice))
    assert (other.roles, other.auditor, other.rights) == (("finance",), False, frozenset())


@pytest.mark.parametrize("read", [of_a_session, lambda person: User.objects.get(pk=person.pk)])
def test_a_superuser_may_do_everything_and_has_been_given_nothing(read):
    root = read(ReviewerFactory(username="root", is_superuser=True))
    actor = Actor.human(root)
    assert (actor.auditor, actor.rights) == (True, frozenset())
    assert root.has_perm(BREAKS)


def test_nobody_has_the_rights_of_another(lead, alice, bob):
    bob.user_permissions.add(right(BREAKS))
    found = {user.username: user for user in with_standing(User.objects.all())}
    assert set(found["lead"].rights_given) == {READS, BREAKS}
    assert found["bob"].rights_given == [BREAKS]
    assert found["alice"].rights_given == []


def test_a_sessions_person_is_asked_for_once(lead):
    with CaptureQueriesContext(connection) as sent:
        person = of_a_session(lead)
        assert Actor.human(person).auditor
        assert person.has_perm(READS)
        assert not person.has_perm("auth.view_user")
        assert person.has_module_perms("audit_app")
    assert len(sent) == 1


def test_whoever_was_ended_is_nobody_and_may_do_nothing(lead):
    lead.is_active = False
    lead.save()
    assert of_a_session(lead) is None
    left = with_standing(User.objects.all()).get(pk=lead.pk)
    assert not left.has_perm(READS)
    assert (Actor.human(left).auditor, Actor.human(left).rights) == (False, frozenset())
