"""People in the admin: what they decide for, and how a reviewer is added."""

import re

import pytest
from django.contrib.auth import authenticate
from django.contrib.auth.models import Group, Permission, User
from django.utils.html import strip_tags

from tests.factories import ReviewerFactory

PEOPLE = "/admin/auth/user/"
ADD = "/admin/auth/user/add/"


@pytest.fixture
def root(database):
    return ReviewerFactory(username="root", is_superuser=True)


@pytest.fixture
def window(client, root):
    client.force_login(root)
    return client


def test_the_list_says_what_groups_people_are_in(window):
    ReviewerFactory(username="dave", roles=["legal", "finance"])
    page = window.get(PEOPLE).content.decode()
    row = next(row for row in page.split("<tr") if ">dave</a>" in row)
    assert "finance, legal" in strip_tags(row)
    assert "Staff status" not in page


def test_a_reviewer_is_added_as_the_command_adds_one(window, alice):
    group = Group.objects.get(name="finance")
    asked = window.get(ADD).content.decode()
    assert "LDAP" not in asked
    given = {"username": "dora", "email": "dora@example.com", "groups": [group.pk]}
    shown = window.post(ADD, given | {"new_group": "legal"})
    assert shown.headers["Cache-Control"].find("no-store") >= 0
    dora = User.objects.get(username="dora")
    assert authenticate(username="dora", password=shown.context["key"]) == dora
    assert set(dora.groups.values_list("name", flat=True)) == {"finance", "legal"}
    assert (dora.is_staff, dora.is_superuser, dora.email) == (True, False, "dora@example.com")
    assert not dora.user_permissions.exists()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"username": "alice", "new_group": "finance"}, "User alice already exists."),
        ({"username": "dora"}, "Choose at least one group, or name a new one."),
        ({"username": "dora the reviewer", "new_group": "x"}, "Enter a valid username."),
        ({"username": "dora", "new_group": "x", "email": "nowhere"}, "Enter a valid email"),
    ],
    ids=["taken", "no group", "blanks", "no address"],
)
def test_who_can_not_be_added_is_said_and_nothing_is_made(window, alice, given, why):
    people, groups = User.objects.count(), Group.objects.count()
    refused = window.post(ADD, given)
    assert refused.status_code == 400
    assert re.search(rf'role="alert">[^<]*{re.escape(why)}', refused.content.decode())
    assert (User.objects.count(), Group.objects.count()) == (people, groups)


def test_who_may_only_add_people_can_not_put_them_in_groups(client, database):
    keeper = ReviewerFactory(username="keeper")
    keeper.user_permissions.add(Permission.objects.get(codename="add_user"))
    client.force_login(keeper)
    assert client.get(ADD).status_code == 403
    assert client.post(ADD, {"username": "x", "new_group": "finance"}).status_code == 403
