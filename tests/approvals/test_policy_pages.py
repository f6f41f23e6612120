"""Policies and stand-ins in the admin."""

import pytest
from django.contrib.auth.models import Permission

from approvals_app.models import ApprovalPolicy, Delegation
from tests.factories import ReviewerFactory, TaskFactory, policy

pytestmark = pytest.mark.usefixtures("whole")
TEXT = "name: large\nthen: require\napprovals:\n  - role: finance\n    count: 2\n"


@pytest.fixture
def editor(alice):
    """alice, who may change policies."""
    alice.user_permissions.add(Permission.objects.get(codename="change_approvalpolicy"))
    return alice


@pytest.fixture
def page(client, editor):
    client.force_login(editor)

    def ask(path, **sent):
        path = f"/admin/policies/{path}"
        return client.post(path, sent) if sent else client.get(path)

    return ask


def of(name):
    return f"{ApprovalPolicy.objects.get(name=name).pk}/"


def test_a_policy_is_made_changed_and_retired(page):
    assert page("new/", text=TEXT, action="save").status_code == 302
    shown = page("").content.decode()
    assert "2 of finance" in shown
    assert "Version" in page(of("large")).content.decode()

    changed = TEXT.replace("count: 2", "count: 3")
    assert page(of("large"), text=changed, action="save", version="1").status_code == 302
    assert ApprovalPolicy.objects.get().version == 2
    stale = page(of("large"), text=TEXT, action="save", version="1")
    assert stale.status_code == 409
    assert "does not name the present version" in stale.content.decode()

    page(of("large"), text="", action="retire")
    assert ApprovalPolicy.objects.get().status == "retired"
    assert "Retired" in page("").content.decode()
    page(of("large"), text="", action="restore")
    assert ApprovalPolicy.objects.get().status == "active"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "mapping"),
        ("name: x", "then: it is missing"),
        ("name: x\nthen: perhaps", "it must be approve, require or refuse"),
        ("name: [", "Line"),
        ("name: x\nthen: refuse\nwhen: {condition: nope > 1}", "there is no nope"),
        ("name: x\nthen: refuse\n  - y", "it must be approve, require or refuse"),
        ("name: a\nthen: refuse\n-\n", "Line"),
        ("- name: a\n  then: refuse\n- name: b\n  then: refuse", "mapping"),
    ],
)
def test_what_can_not_be_parsed_is_not_saved(page, text, why):
    for action in ("save", "try"):
        answer = page("new/", text=text, action=action)
        assert answer.status_code == 400
        assert why in answer.content.decode()
    assert not ApprovalPolicy.objects.exists()


def test_the_name_of_a_policy_stays(page):
    policy("large", asks="2 finance")
    renamed = TEXT.replace("name: large", "name: other")
    assert page(of("large"), text=renamed, action="save", version="1").status_code == 400


def test_a_draft_is_tried_on_past_tasks(page, bot):
    TaskFactory.create_batch(3, agent=bot)
    answer = page("new/", text=TEXT, action="try", days="7").content.decode()
    assert "3 tasks from the last 7 days: 0 outcomes change, 6 approvals needed" in answer
    assert "<svg" in answer
    assert not ApprovalPolicy.objects.exists()


def test_a_whole_file_is_tried(page, bot):
    TaskFactory(agent=bot)
    text = "policies:\n  - {name: never, then: refuse}\n"
    answer = page("simulate/", text=text, days="30").content.decode()
    assert "1 task from the last 30 days: 1 outcome changes" in answer
    assert page("simulate/", text="x").status_code == 400
    assert page("simulate/").status_code == 200


def test_a_policy_can_be_called_anything(page):
    name = "a/b <b>&amp; ?x=%00"
    policy(name, then="refuse")
    assert "&lt;b&gt;" in page("").content.decode()
    assert page(of(name)).status_code == 200


def test_who_may_not_change_may_read(client, bob, page):
    policy("large", asks="2 finance")
    client.force_login(bob)
    assert "Save as version" not in page(of("large")).content.decode()
    answer = page(of("large"), text=TEXT, action="save", version="1")
    assert answer.status_code == 403
    assert page("new/").status_code == 403
    assert page(of("large"), text="", action="retire").status_code == 403
    assert ApprovalPolicy.objects.get().version == 1


def test_who_reviews_nothing_reads_nothing(client, page):
    client.force_login(ReviewerFactory(username="nobody", roles=[]))
    for path in ("", "new/", "simulate/"):
        assert page(path).status_code == 403


class TestAway:
    @pytest.fixture
    def away(self, client, alice, charlie):
        client.force_login(alice)
        return lambda **sent: client.post("/admin/away/", sent)

    def test_a_stand_in_is_named_and_ends(self, away, client):
        sent = {"to": "charlie", "starts": "2999-01-01", "ends": "2999-01-02"}
        assert away(**sent).status_code == 302
        given = Delegation.objects.get()
        assert (given.ends_at - given.starts_at).days == 2
        assert "2999-01-01" in client.get("/admin/away/").content.decode()
        assert away(**sent).status_code == 409
        assert away(end=str(given.pk)).status_code == 302
        assert Delegation.objects.get().status == "ended"

    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            ({}, 400),
            ({"to": "charlie", "starts": "x", "ends": "y"}, 400),
            ({"to": "charlie", "starts": "2999-01-02", "ends": "2999-01-01"}, 409),
            ({"to": "nobody", "starts": "2999-01-01", "ends": "2999-01-02"}, 409),
            ({"end": "x"}, 404),
            ({"end": "00000000-0000-4000-8000-000000000000"}, 404),
        ],
    )
    def test_what_is_none(self, away, sent, status):
        assert away(**sent).status_code == status
        assert not Delegation.objects.exists()
