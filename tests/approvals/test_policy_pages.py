"""Policies and stand-ins in the admin."""

import re
from html import unescape

import pytest
from django.contrib.auth.models import Permission

from approvals_app.models import Approval, ApprovalPolicy, Delegation
from approvals_app.notifications.models import NoticeSettings
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


def find_token(answer):
    found = re.search(r'name="simulated" value="([^"]+)"', answer.content.decode())
    return unescape(found[1]) if found else None


@pytest.fixture
def activate(page):
    """Simulate a text and activate exactly it."""

    def simulate_and_activate(path, text, **sent):
        token = find_token(page(path, text=text, action="simulate", **sent))
        return page(path, text=text, action="activate", simulated=token, **sent)

    return simulate_and_activate


def test_a_policy_is_made_changed_and_retired(page, activate):
    assert activate("new/", TEXT).status_code == 302
    shown = page("").content.decode()
    assert "Asks 2 of finance, 7 d, then rejects." in shown
    assert "Version" in page(of("large")).content.decode()

    changed = TEXT.replace("count: 2", "count: 3")
    assert activate(of("large"), changed, version="1").status_code == 302
    assert ApprovalPolicy.objects.get().version == 2
    stale = activate(of("large"), TEXT, version="1")
    assert stale.status_code == 409
    assert "does not name the present version" in stale.content.decode()

    page(of("large") + "retire/", name="large")
    assert ApprovalPolicy.objects.get().status == "retired"
    assert "Retired" in page("").content.decode()
    restored = TEXT.replace("count: 2", "count: 4")
    assert activate(of("large"), restored, version="3").status_code == 302
    stored = ApprovalPolicy.objects.get()
    assert (stored.status, stored.rule["approvals"][0]["count"]) == ("active", 4)


def test_only_what_was_simulated_is_activated(page, client, bob):
    first = page("new/", text=TEXT)
    simulated = page("new/", text=TEXT, action="simulate")
    assert "Activate</button>" not in page("new/").content.decode()
    assert "Activate</button>" in simulated.content.decode()
    assert find_token(first)  # a button without a name simulates
    token = find_token(simulated)
    other = TEXT.replace("count: 2", "count: 1")
    for text, sent in [(TEXT, ""), (TEXT, "x"), (TEXT, token + "x"), (other, token)]:
        refused = page("new/", text=text, action="activate", simulated=sent)
        assert refused.status_code == 409
        assert "Simulate exactly this policy before you activate it." in refused.content.decode()
        assert find_token(refused) is None
    assert not ApprovalPolicy.objects.exists()
    commented = TEXT + "# the same policy\n"
    answer = page("new/", text=commented, action="activate", simulated=token)
    assert answer.status_code == 302


def test_what_is_in_force_since_the_simulation_asks_to_simulate_again(page):
    token = find_token(page("new/", text=TEXT, action="simulate"))
    policy("other", asks="1 finance")
    refused = page("new/", text=TEXT, action="activate", simulated=token)
    assert refused.status_code == 409
    assert "The policies in force have changed since the simulation" in refused.content.decode()
    assert ApprovalPolicy.objects.get().name == "other"


FILLED = {
    "mode": "form",
    "name": "wires",
    "priority": "20",
    "task_type": "wire*",
    "amount_above": "10,000",
    "then": "require",
    "role": ["finance", "legal", ""],
    "count": ["2", "", ""],
    "deadline": "24h",
    "on_timeout": "reject",
    "instructions": "Call them.",
}
SAYS = "Asks 2 of finance and 1 of legal, 24 h, then rejects."


def test_a_policy_is_made_in_the_form(page):
    empty = page("new/").content.decode()
    assert 'name="name" value=""' in empty
    assert 'name="priority" value="10"' in empty
    simulated = page("new/", **FILLED, action="simulate")
    assert SAYS in simulated.content.decode()
    assert 'name="count" value="2"' in simulated.content.decode()
    token = find_token(simulated)
    assert page("new/", **FILLED, action="activate", simulated=token).status_code == 302
    assert ApprovalPolicy.objects.get().document == {
        "name": "wires",
        "priority": 20,
        "description": "",
        "when": {
            "task_type": "wire*",
            "condition": 'decimal(data.amount) > decimal("10000")',
        },
        "then": "require",
        "approvals": [{"role": "finance", "count": 2}, {"role": "legal", "count": 1}],
        "deadline": "1d",
        "instructions": "Call them.",
    }
    again = page(of("wires")).content.decode()
    assert 'name="amount_above" value="10000"' in again
    assert SAYS in again
    assert 'name="priority" value="30"' in page("new/").content.decode()


def test_the_form_and_the_yaml_are_one_click_apart(page):
    written = page("new/", **FILLED, action="yaml").content.decode()
    assert "role: legal" in written
    assert 'name="mode" value="yaml"' in written
    text = unescape(re.search(r"<textarea id=.text.*?>\n(.*?)</textarea>", written, re.DOTALL)[1])
    shown = page("new/", mode="yaml", text=text, action="form").content.decode()
    assert 'name="role" value="legal"' in shown
    wrong = page("new/", **(FILLED | {"deadline": "soon"}), action="yaml")
    assert wrong.status_code == 400
    assert 'value="soon"' in wrong.content.decode()
    assert 'id="deadline-wrong"' in wrong.content.decode()


def test_the_form_says_what_a_draft_does(page, client, bob):
    described = page("describe/", **FILLED)
    assert described.json() == {"sentence": SAYS, "problem": "", "warns": False}
    silent = page("describe/", **(FILLED | {"on_timeout": "approve_without_a_human"})).json()
    assert silent["warns"]
    assert silent["sentence"].endswith("then approves without a human.")
    lacking = page("describe/", **(FILLED | {"role": []})).json()
    assert lacking["problem"] == "Who approves: it must be a list of 1 to 20."
    assert page("describe/").status_code == 403
    assert page("describe/", mode="form", name="\0").status_code == 400
    client.force_login(bob)
    assert page("describe/", **FILLED).status_code == 403


def test_retiring_says_what_it_does_and_asks_for_the_name(page, bot, client, bob):
    policy("large", asks="2 finance")
    TaskFactory.create_batch(2, agent=bot)
    shown = page(of("large") + "retire/").content.decode()
    assert "It matched <b>2</b> tasks of the last 30 days." in shown
    assert "<b>2</b> pending approvals stay as they are" in shown
    assert "If none matches, one approval from the target group is needed." in shown
    for name in ("", "large policy"):
        refused = page(of("large") + "retire/", name=name)
        assert refused.status_code == 400
    assert ApprovalPolicy.objects.get().status == "active"
    path = of("large")
    left_out = page(f"simulate/?without={ApprovalPolicy.objects.get().pk}").content.decode()
    assert "policies: []" in left_out
    assert page(f"{path}retire/", name=" large ").status_code == 302
    assert ApprovalPolicy.objects.get().status == "retired"
    assert "retired already" in page(f"{path}retire/").content.decode()
    assert page(f"{path}retire/", name="large").status_code == 302
    assert Approval.objects.pending().count() == 2
    client.force_login(bob)
    assert page(f"{path}retire/").status_code == 403
    assert page(f"{path}retire/", name="large").status_code == 403


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
    for action in ("activate", "simulate", "form"):
        answer = page("new/", text=text, action=action)
        assert answer.status_code == 400
        assert why in answer.content.decode()
    assert not ApprovalPolicy.objects.exists()


def test_the_name_of_a_policy_stays(page):
    policy("large", asks="2 finance")
    renamed = TEXT.replace("name: large", "name: other")
    assert page(of("large"), text=renamed, action="simulate", version="1").status_code == 400


def test_a_draft_is_tried_on_past_tasks(page, bot):
    TaskFactory.create_batch(3, agent=bot)
    answer = page("new/", text=TEXT, action="simulate", days="7").content.decode()
    assert (
        "3 tasks from the last 7 days: 0 outcomes change, 3 tasks get other approvers, "
        "6 approvals needed" in answer
    )
    assert "<td>finance 1</td><td>finance 2</td>" in answer
    assert "42.50 EUR" in answer
    assert "<svg" in answer
    assert not ApprovalPolicy.objects.exists()


def test_titles_of_tasks_of_other_groups_stay_with_them(client, page, bot, charlie):
    TaskFactory(agent=bot)
    client.force_login(charlie)
    answer = page("simulate/", text="policies:\n  - {name: never, then: refuse}\n")
    shown = answer.content.decode()
    assert "1 outcome changes" in shown
    assert "A refund_approval task that you can't see" in shown
    assert "42.50" not in shown


def test_tasks_that_no_policy_matches_are_counted(page, bot):
    TaskFactory.create_batch(2, agent=bot)
    TaskFactory(agent=bot, task_type="report")
    text = "policies:\n  - {name: never, when: {task_type: report}, then: refuse}\n"
    shown = page("simulate/", text=text).content.decode()
    assert "2 tasks match no policy: 2 refund_approval." in shown


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
    shown = page(of("large"), text=TEXT, action="simulate").content.decode()
    assert "Activate" not in shown
    answer = page(
        of("large"),
        text=TEXT,
        action="activate",
        simulated=find_token(page(of("large"), text=TEXT, action="simulate")),
        version="1",
    )
    assert answer.status_code == 403
    assert page("new/").status_code == 403
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

    def test_its_days_are_those_of_the_readers_time_zone(self, away, client, alice):
        NoticeSettings.objects.create(person=alice, time_zone="Asia/Kolkata")
        assert away(to="charlie", starts="2999-01-01", ends="2999-01-02").status_code == 302
        given = Delegation.objects.get()
        assert given.starts_at.isoformat() == "2998-12-31T18:30:00+00:00"
        assert given.ends_at.isoformat() == "2999-01-02T18:30:00+00:00"
        assert "2999-01-01 00:00:00 IST" in client.get("/admin/away/").content.decode()

    @pytest.mark.parametrize(
        ("sent", "status"),
        [
            ({}, 400),
            ({"to": "charlie", "starts": "x", "ends": "y"}, 400),
            ({"to": "charlie", "starts": "2999-01-01", "ends": "9999-12-31"}, 400),
            ({"to": "charlie", "starts": "2999-01-02", "ends": "2999-01-01"}, 400),
            ({"to": "nobody", "starts": "2999-01-01", "ends": "2999-01-02"}, 409),
            ({"end": "x"}, 404),
            ({"end": "00000000-0000-4000-8000-000000000000"}, 404),
        ],
    )
    def test_what_is_none(self, away, sent, status):
        assert away(**sent).status_code == status
        assert not Delegation.objects.exists()
