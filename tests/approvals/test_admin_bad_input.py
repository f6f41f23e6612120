"""What people, or programs in their place, can send to the admin's pages: none of it is our fault.

The world is one for all tests, since nothing of it may change.
"""

from itertools import product
from uuid import UUID

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client

from approvals_app.review.forms import LONGEST_NOTES
from tests.database import empty
from tests.factories import AgentFactory, ReviewerFactory, SessionFactory, TaskFactory, the_approval

COUNTED = ("agents", "agent_keys", "sessions", "tasks", "approvals", "audit_events", "auth_user")
LISTS = {
    "approvals": "/admin/approvals_app/approval/",
    "tasks": "/admin/sessions_app/task/",
    "sessions": "/admin/sessions_app/agentsession/",
    "events": "/admin/audit_app/event/",
    "agents": "/admin/sessions_app/agent/",
    "people": "/admin/auth/user/",
    "groups": "/admin/auth/group/",
}


@pytest.fixture(scope="module", autouse=True)
def database(django_db_setup, django_db_blocker):
    with django_db_blocker.unblock():
        yield
        empty()


class World:
    def __init__(self):
        bot = AgentFactory(name="bot", roles=["support-agent"])
        SessionFactory(agent=bot, task_id="7")
        self.agent = bot
        self.approval = the_approval(TaskFactory(agent=bot))
        self.root = User.objects.create_superuser("root", password="root")
        self.root.groups.add(Group.objects.create(name="auditors"))
        self.alice = ReviewerFactory(username="alice", roles=["finance"])
        self.browsers = {name: browser(getattr(self, name)) for name in ("root", "alice")}


def browser(user):
    client = Client(raise_request_exception=False)
    client.force_login(user)
    return client


@pytest.fixture(scope="module")
def world(database):
    return World()


@pytest.fixture(autouse=True)
def expect_no_change(world):
    def counts():
        rows = ", ".join(f"(SELECT count(*) FROM {table})" for table in COUNTED)
        versions = "(SELECT sum(version) FROM tasks), (SELECT sum(version) FROM approvals)"
        with connection.cursor() as cursor:
            cursor.execute(f"SELECT {rows}, {versions}")
            return cursor.fetchone()

    before = counts()
    yield
    assert counts() == before


GARBAGE = {
    "a regular expression that is none": "status__regex=(",
    "a regular expression of an id": "id__regex=[",
    "a regular expression that never ends": "name__iregex=(a%2B)%2B$",
    "a lookup that there is not": "status__nonsense=1",
    "a lookup into another table": "agent__keys__hash__startswith=a",
    "a lookup of a password": "password__startswith=pbkdf2",
    "a lookup of a password of somebody else": "owner__password__startswith=p",
    "a lookup by text of a time": "created_at__gte=yesterday",
    "a lookup by year": "created_at__year=x",
    "a lookup by a year beyond all": "created_at__year=99999999999999999999",
    "a lookup by a year that PostgreSQL has not": "created_at__year=0",
    "a lookup of an id by text": "id__exact=x",
    "a lookup of an id beyond all": "id__exact=" + "9" * 40,
    "a lookup of a null": "task_id__isnull=maybe",
    "a lookup into JSON": "metadata__a__b=1",
    "a lookup into an array": "roles__0=finance",
    "an array that is none": "roles__contains={",
    "a range": "created_at__range=1",
    "NUL in a lookup": "status__exact=%00",
    "NUL in a lookup's name": "sta%00tus=1",
    "NUL in a filter": "role=%00",
    "NUL in a search": "q=%00",
    "NUL within a search": "q=a%00b",
    "a surrogate in a search": "q=%ED%A0%80",
    "not UTF-8 in a search": "q=%ff",
    "a long search": "q=" + "x" * 3_000,
    "a thousand words": "q=" + "x+" * 1_500,
    "quotes in a search": "q=%22'%5C%25_",
    "an id in a search": "q=00000000-0000-0000-0000-000000000000",
    "an order that there is not": "o=999",
    "an order that is none": "o=x.-y",
    "NUL in an order": "o=%00",
    "an order in Arabic digits": "o=%D9%A3",
    "page 10^9": "p=1000000000",
    "page 10^30": "p=1" + "0" * 30,
    "page -1": "p=-1",
    "a page that is none": "p=x",
    "a page in Arabic digits": "p=%D9%A3",
    "a superscript": "p=%C2%B2",
    "NUL as a page": "p=%00",
    "all": "all=",
    "an error": "e=1",
    "a popup": "_popup=1",
    "a field to go to": "_to_field=password",
    "filters kept": "_changelist_filters=%00",
    "facets": "_facets=True",
    "a status that there is not": "status__exact=nonsense",
    "a status twice": "status__exact=a&status__exact=b",
    "a type that there is not": "type=nonsense",
    "a time that there is not": "within=nonsense",
    "an event that there is not": "event=%00",
    "a thousand and one parameters": "a&" * 1_001,
    "a flag that is none": "is_staff__exact=maybe",
    "a group that is none": "groups__id__exact=x",
    "NUL as a group": "groups__id__exact=%00",
    "a number beyond all": "groups__id__exact=" + "9" * 40,
}


@pytest.mark.parametrize("page", LISTS)
def test_a_list_asked_for_with_nonsense(world, subtests, page):
    for name, query in GARBAGE.items():
        with subtests.test(name):
            answer = world.browsers["root"].get(f"{LISTS[page]}?{query}", follow=True)
            assert answer.status_code < 500


NO_PAGES = ("%00", "0", "-1", "1e9", "9" * 40, "%D9%A3", "%ff")


def test_the_inbox_asked_for_a_page_that_is_none(world, subtests):
    for page in NO_PAGES:
        with subtests.test(page):
            assert world.browsers["alice"].get(f"/admin/?page={page}").status_code == 200


NOTHING = ("x", "%00", "7", "_5F", "%ff", "9" * 500, f"{UUID(int=0)}", "..", "a/b")


@pytest.mark.parametrize("page", LISTS)
def test_a_page_of_nothing(world, subtests, page):
    for pk, action in product(NOTHING, ("change", "history", "delete")):
        with subtests.test(f"{pk[:40]} {action}"):
            answer = world.browsers["root"].get(f"{LISTS[page]}{pk}/{action}/", follow=True)
            assert answer.status_code < 500


def build_form(world, **changes):
    form = {
        "decision": "approve",
        "payload_digest": world.approval.payload_digest,
        "notes": "Fine.",
    }
    return {name: value for name, value in {**form, **changes}.items() if value is not None}


def decide(world, form, **how):
    path = f"{LISTS['approvals']}{world.approval.pk}/change/"
    return world.browsers["alice"].post(path, form, **how)


NO_DECISIONS = {
    "no decision": {"decision": None},
    "an empty decision": {"decision": ""},
    "another decision": {"decision": "withdraw"},
    "two decisions": {"decision": ["approve", "x"]},
    "NUL in the decision": {"decision": "approve\x00"},
    "no digest": {"payload_digest": None},
    "an empty digest": {"payload_digest": ""},
    "a short digest": {"payload_digest": "a" * 63},
    "a long digest": {"payload_digest": "a" * 65},
    "a digest in capitals": {"payload_digest": "A" * 64},
    "a digest of other letters": {"payload_digest": "g" * 64},
    "a digest in Arabic digits": {"payload_digest": "٣" * 64},
    "NUL in the digest": {"payload_digest": "a" * 63 + "\x00"},
    "NUL in the notes": {"notes": "a\x00b"},
    "notes too long by one": {"notes": "x" * (LONGEST_NOTES + 1)},
    "notes too long by far": {"notes": "x" * 900_000},
}


def test_a_decision_that_is_none(world, subtests):
    for name, changes in NO_DECISIONS.items():
        with subtests.test(name):
            answer = decide(world, build_form(world, **changes))
            assert answer.status_code == 400
            assert world.approval.task.description in answer.content.decode()


MULTIPART = "multipart/form-data; boundary=b"
BODIES = {
    "JSON": (b'{"decision": "approve"}', "application/json"),
    "nothing": (b"", "application/x-www-form-urlencoded"),
    "a thousand and one fields": (b"a&" * 1_001, "application/x-www-form-urlencoded"),
    "not UTF-8": (b"decision=%ff&notes=%ff", "application/x-www-form-urlencoded"),
    "another charset": (b"decision=x", "application/x-www-form-urlencoded; charset=utf-16"),
    "surrogates": (b"notes=%ED%A0%80", "application/x-www-form-urlencoded"),
    "too large": (b"notes=" + b"x" * 1_200_000, "application/x-www-form-urlencoded"),
    "parts without a boundary": (b"x", "multipart/form-data"),
    "parts with a bad boundary": (b"x", "multipart/form-data; boundary=\xe9"),
    "parts that are none": (b"nonsense", MULTIPART),
    "a part cut short": (b"--b\r\nContent-Disposition: form-data", MULTIPART),
    "a part without an end": (
        b'--b\r\nContent-Disposition: form-data; name="notes"\r\n\r\nx',
        MULTIPART,
    ),
    "a part of bad base64": (
        b'--b\r\nContent-Disposition: form-data; name="notes"\r\n'
        b"Content-Transfer-Encoding: base64\r\n\r\n!!!\r\n--b--\r\n",
        MULTIPART,
    ),
    "a file for notes": (
        b'--b\r\nContent-Disposition: form-data; name="notes"; filename="\x00"\r\n'
        b"\r\nx\r\n--b--\r\n",
        MULTIPART,
    ),
    "a part too large": (
        b'--b\r\nContent-Disposition: form-data; name="notes"\r\n\r\n'
        + b"x" * 1_200_000
        + b"\r\n--b--\r\n",
        MULTIPART,
    ),
    "two hundred files": (
        b'--b\r\nContent-Disposition: form-data; name="f"; filename="f"\r\n\r\nx\r\n' * 200
        + b"--b--\r\n",
        MULTIPART,
    ),
}


def test_a_form_that_is_none(world, subtests):
    for name, (body, content_type) in BODIES.items():
        with subtests.test(name):
            answer = decide(world, body, content_type=content_type)
            assert 400 <= answer.status_code < 500


@pytest.mark.parametrize(
    "changes",
    [
        {"name": ""},
        {"name": " "},
        {"name": "a\x00b"},
        {"name": "x" * 151},
        {"name": "bot"},
        {"roles": ""},
        {"roles": "\n \n"},
        {"roles": "a\x00b"},
        {"roles": "x" * 151},
        {"roles": "x\n" * 2_000},
        {"owner": "x"},
        {"owner": "-1"},
        {"owner": "9" * 40},
        {"owner": "\x00"},
    ],
    ids=str,
)
def test_a_new_agent_that_can_not_be(world, changes):
    form = {"name": "new", "roles": "support-agent", "owner": "", **changes}
    answer = world.browsers["root"].post(f"{LISTS['agents']}add/", form)
    assert answer.status_code < 500


@pytest.mark.parametrize("way", ["rotate", "revoke"])
@pytest.mark.parametrize("pk", ["x", "%00", "00000000-0000-0000-0000-000000000000"])
def test_an_agent_that_there_is_not(world, way, pk):
    assert world.browsers["root"].post(f"{LISTS['agents']}{pk}/{way}").status_code in (302, 404)


@pytest.mark.parametrize(
    ("page", "form"),
    [
        ("people", {"username": "a\x00b", "password1": "x", "password2": "x"}),
        ("people", {"username": "x" * 151, "usable_password": "maybe"}),
        ("people", {}),
        ("groups", {"name": "a\x00b"}),
        ("groups", {"name": "x" * 151}),
        ("groups", {"name": "ops", "permissions": "x"}),
        ("groups", {"name": "ops", "permissions": "9" * 40}),
        ("groups", {"name": ""}),
    ],
    ids=str,
)
def test_people_and_groups_that_can_not_be(world, page, form):
    before = Group.objects.count()
    answer = world.browsers["root"].post(f"{LISTS[page]}add/", form)
    assert answer.status_code in (200, 400)
    assert Group.objects.count() == before


@pytest.mark.parametrize(
    "query", ["next=%00", "next=%ff", "next=//evil.example", "next=" + "x" * 3_000, "next=a&next=b"]
)
def test_a_way_back_from_signing_in_that_is_none(query):
    answer = Client(raise_request_exception=False).get(f"/admin/login/?{query}")
    assert answer.status_code < 500


@pytest.mark.parametrize(
    "form",
    [
        {"username": "a\x00b", "password": "x"},
        {"username": "alice", "password": "\x00"},
        {"username": "x" * 100_000, "password": "x"},
        {"username": "alice", "password": "x" * 900_000},
        {},
    ],
    ids=["NUL as a name", "NUL as a password", "a long name", "a long password", "nothing"],
)
def test_signing_in_with_nonsense(form):
    answer = Client(raise_request_exception=False).post("/admin/login/", form)
    assert answer.status_code < 500
