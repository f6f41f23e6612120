"""How many people may decide on what was routed, and what nobody can decide."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import Group
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals_app.decisions import delegations
from approvals_app.models import Approval
from approvals_app.review.dashboards import compute_figures
from audit_app.base.actors import Actor
from sessions_app.models import Task
from tests.factories import (
    AgentFactory,
    ReviewerFactory,
    TaskFactory,
    find_approval,
    policy,
    the_approval,
)

pytestmark = pytest.mark.usefixtures("whole")


@pytest.fixture(autouse=True)
def refuse_unknown_roles(settings):
    settings.ALLOW_UNKNOWN_ROLES = False


@pytest.fixture
def route(api, bot):
    """``route(target)``: the answer to a refund that ``bot`` routes there."""

    def send(target="finance", agent=bot, **given):
        body = {"target": target, "task": {"task_type": "refund_approval"}, **given}
        key = {"Idempotency-Key": f"k{Task.objects.count()}"}
        return api(agent).post("/tasks/route", body, headers=key)

    return send


def test_the_answer_says_how_many_may_decide(route, alice, bob, charlie):
    answer = route()
    assert (answer.status_code, answer.json()["eligible"]) == (202, 2)


def test_who_is_away_or_barred_does_not_count(route, alice, bob):
    assert route(on_behalf_of="ALICE").json()["eligible"] == 1
    bob.is_active = False
    bob.save()
    assert route().json()["eligible"] == 1


def test_whoever_stands_in_counts(route, alice, charlie):
    now = timezone.now()
    times = {"starts_at": now - timedelta(hours=1), "ends_at": now + timedelta(hours=1)}
    delegations.grant_delegation(by=Actor.human(alice), to="charlie", **times)
    assert route().json()["eligible"] == 2


def test_nobody_can_decide_on_what_the_only_member_asks_for(route, alice):
    mine = AgentFactory(name="mine", owner=alice)
    assert route(agent=mine).json()["eligible"] == 0


def test_a_group_without_members_has_nobody_who_can_decide(route):
    Group.objects.create(name="finance")
    assert route().json()["eligible"] == 0


def test_of_several_approvals_the_scarcest_counts(route, alice, bob):
    policy(asks="2 finance, 1 legal")
    assert route().json()["eligible"] == 0
    ReviewerFactory(username="erin", roles=["legal"])
    assert route().json()["eligible"] == 1


@pytest.mark.parametrize("then", ["approve", "refuse"])
def test_where_nobody_is_asked_nobody_is_counted(route, alice, then):
    policy(then=then)
    with CaptureQueriesContext(connection) as caught:
        answer = route("nowhere")
    assert (answer.status_code, answer.json()["eligible"]) == (202, None)
    assert not [q for q in caught if "approval_voters" in q["sql"] or "auth_group" in q["sql"]]


def test_a_repeated_answer_says_what_it_said_before(api, bot, alice, bob):
    send = api(bot, **{"Idempotency-Key": "k"}).post
    body = {"target": "finance", "task": {"task_type": "refund_approval"}}
    assert send("/tasks/route", body).json()["eligible"] == 2
    bob.groups.clear()
    assert send("/tasks/route", body).json()["eligible"] == 2


def test_of_a_batch_each_task_is_counted_by_itself(api, bot, alice, bob, charlie):
    parts = [{"target": "finance"}, {"target": "finance", "on_behalf_of": "bob"}, {"target": "sre"}]
    parts.append({"target": "nowhere"})
    tasks = [
        {"idempotency_key": f"k{n}", "task": {"task_type": "refund_approval"}, **part}
        for n, part in enumerate(parts)
    ]
    answer = api(bot).post("/tasks/route:batch", {"tasks": tasks}).json()["results"]
    assert [each["status"] for each in answer] == [202, 202, 202, 400]
    assert [each["task"]["eligible"] for each in answer[:3]] == [2, 1, 1]
    assert answer[3]["problem"]["code"] == "unknown_role"


class TestRolesThatNobodyKnows:
    def test_what_would_ask_one_is_refused(self, route):
        answer = route("nowhere")
        assert (answer.status_code, answer.json()["code"]) == (400, "unknown_role")
        assert [each["field"] for each in answer.json()["errors"]] == ["target"]
        assert not Task.objects.exists()

    def test_so_is_one_more_approval_by_one(self, api, bot, alice):
        task = TaskFactory(agent=bot)
        body = {"task_id": str(task.pk), "approver_role": "nowhere"}
        answer = api(bot).post("/approvals", body)
        assert (answer.status_code, answer.json()["code"]) == (400, "unknown_role")
        assert [each["field"] for each in answer.json()["errors"]] == ["approver_role"]
        assert Approval.objects.count() == 1

    def test_a_setting_allows_them(self, route, settings):
        settings.ALLOW_UNKNOWN_ROLES = True
        assert route("nowhere").json()["eligible"] == 0

    @pytest.mark.parametrize(
        "knows",
        [
            lambda: Group.objects.create(name="somewhere"),
            lambda: AgentFactory(roles=["support-agent", "somewhere"]),
            lambda: policy("other", when={"task_type": "other"}, asks="1 somewhere"),
            lambda: policy("other", then="refuse", when={"to_role": "somewhere", "task_type": "x"}),
            lambda: policy(
                "other",
                when={"task_type": "other"},
                asks="1 finance",
                deadline="1h",
                escalate=[{"role": "somewhere", "deadline": "1h"}],
            ),
        ],
        ids=["group", "agent", "approver", "target", "escalation"],
    )
    def test_a_group_an_agent_or_a_policy_knows_a_role(self, route, knows):
        assert route("somewhere").status_code == 400
        knows()
        assert route("somewhere").status_code == 202

    def test_a_pattern_knows_no_role(self, route):
        policy("other", when={"to_role": "some*"}, asks="1 $to_role")
        assert route("somewhere").status_code == 400

    def test_what_asks_others_may_be_addressed_to_one(self, route, alice):
        policy(asks="1 finance")
        assert route("nowhere").json()["eligible"] == 1


class TestWhatNobodyCanDecide:
    @pytest.fixture
    def stuck(self, alice):
        """Two refunds that only their agent's owner could decide on."""
        mine = AgentFactory(name="mine", owner=alice)
        return [the_approval(task) for task in TaskFactory.create_batch(2, agent=mine)]

    def test_its_page_says_so(self, client, root, bot, alice, stuck):
        client.force_login(root)
        page = client.get(f"/admin/approvals_app/approval/{stuck[0].pk}/change/").content.decode()
        assert "Nobody can decide for finance now." in page
        other = the_approval(TaskFactory(agent=bot))
        page = client.get(f"/admin/approvals_app/approval/{other.pk}/change/").content.decode()
        assert "Nobody can decide" not in page

    def test_too_few_are_as_bad_as_nobody(self, client, root, bot, alice, say):
        policy(asks="2 finance")
        approval = find_approval(TaskFactory(agent=bot), "finance")
        say(alice, "approve", approval)
        client.force_login(root)
        path = f"/admin/approvals_app/approval/{approval.pk}/change/"
        assert "Nobody can decide for finance now." in client.get(path).content.decode()
        ReviewerFactory(username="bob", roles=["finance"])
        assert "Nobody can decide" not in client.get(path).content.decode()
        alice.groups.clear()
        words = "finance still needs 2 approvals, but only 1 can be given now."
        assert words in client.get(path).content.decode()

    def test_the_dashboards_list_it(self, client, root, bot, stuck):
        decidable = TaskFactory(agent=bot)
        (row,) = compute_figures(Actor.human(root), 7).stuck
        assert (row.oldest.approval_id, row.oldest.eligible) == (stuck[0].pk, 0)
        assert (row.task_type, row.agent, row.waiting) == ("refund_approval", "mine", 2)
        client.force_login(root)
        page = client.get("/admin/dashboards/").content.decode()
        assert f"/approval/{stuck[0].pk}/" in page
        assert str(the_approval(decidable).pk) not in page

    def test_the_dashboards_list_what_votes_left_nobody_for(self, root, bot, alice, say):
        policy(asks="2 finance")
        decided, fresh = (find_approval(TaskFactory(agent=bot), "finance") for _ in range(2))
        say(alice, "approve", decided)
        rows = compute_figures(Actor.human(root), 7).stuck
        assert [(r.oldest.approval_id, r.oldest.missing, r.oldest.eligible) for r in rows] == [
            (decided.pk, 1, 0),
            (fresh.pk, 2, 1),
        ]

    def test_reviewers_see_their_own_groups(self, stuck, alice, charlie):
        assert len(compute_figures(Actor.human(alice), 7).stuck) == 1
        assert compute_figures(Actor.human(charlie), 7).stuck == []

    def test_what_is_over_is_not_listed(self, root, stuck, late):
        for approval in stuck:
            late(approval)
        assert compute_figures(Actor.human(root), 7).stuck == []
