"""How the work goes: figures of what one may know, and of nothing else."""

import re
from datetime import timedelta

import pytest
import time_machine
from django.contrib.auth.models import Group
from django.core.cache import cache
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals_app.models import Approval
from approvals_app.review.dashboards import CACHE_SECONDS, OUTCOMES, compute_figures
from audit_app.base.actors import Actor
from audit_app.models import CommandRun
from tests.factories import TaskFactory, find_approval, policy, set_columns

pytestmark = pytest.mark.usefixtures("whole")


def of(person, days=7):
    return compute_figures(Actor.human(person), days)


@pytest.fixture
def work(bot, say, alice, bob, run, late):
    """One approved, one rejected and one out of time in finance; one of each waits."""
    done, refused = (find_approval(TaskFactory(agent=bot), "finance") for _ in range(2))
    say(alice, "approve", done)
    say(bob, "reject", refused)
    late(find_approval(TaskFactory(agent=bot), "finance"))
    run("expire_approvals")
    TaskFactory(agent=bot)
    TaskFactory(agent=bot, target="sre")


def test_what_waits_is_counted_by_group_and_age(work, root, alice, charlie):
    assert of(root).waiting_by_role.rows == [("finance", 1), ("sre", 1)]
    assert of(alice).waiting_by_role.rows == [("finance", 1)]
    assert of(charlie).waiting_by_role.rows == [("sre", 1)]
    assert of(root).waiting_by_age.rows[0] == ("under an hour", 2)
    set_columns(Approval, created_at=timezone.now() - timedelta(days=30))
    assert of(root).waiting_by_age.rows[-1] == ("a week and more", 2)


def test_decisions_are_counted_by_day_and_how(work, root, charlie):
    *before, row = of(root).decisions.rows
    assert [day[1] for day in before] == [0] * 6
    assert row[1] == 3
    assert dict(zip(OUTCOMES, row[2:], strict=True)) == {
        "approved": 1,
        "rejected": 1,
        "timed out": 1,
        "escalated": 0,
        "approved by the deadline": 0,
        "break glass": 0,
    }
    assert of(charlie).decisions.rows == []


def test_how_long_people_take_is_shown_by_type(work, root):
    [(name, count, half, most)] = of(root).speed.rows
    assert (name, count) == ("refund_approval", 2)
    assert half.endswith(" s")
    assert most.endswith(" s")


def test_what_policies_decide_alone_and_who_asks(work, bot, root):
    policy("small", then="approve", priority=-1)
    TaskFactory(agent=bot)
    assert of(root).policies.rows == [("approved", 1), ("refused", 0)]
    assert of(root).agents.rows == [("bot", 6)]


def test_people_see_their_own_pace_and_who_reads_everything_all(work, root, alice, bob):
    assert [row[:4] for row in of(alice).pace.rows] == [("alice", 1, "100%", 0)]
    assert [row[:3] for row in of(root).pace.rows] == [("alice", 1, "100%"), ("bob", 1, "0%")]


def test_the_page_has_as_many_queries_whatever_there_is(work, client, root, bot):
    client.force_login(root)

    def queries():
        with CaptureQueriesContext(connection) as caught:
            assert client.get("/admin/dashboards/?days=30").status_code == 200
        return len(caught)

    queries()
    cache.clear()
    before = queries()
    for _ in range(5):
        TaskFactory(agent=bot)
    cache.clear()
    assert queries() == before <= 12


def test_the_page_is_a_minute_old_at_most_and_each_reads_their_own(work, client, bot, alice, bob):
    def count_waiting(person):
        client.force_login(person)
        page = client.get("/admin/dashboards/").content.decode()
        return int(re.search(r"Waiting now, by group: (\d+)", page)[1])

    assert count_waiting(alice) == 1
    TaskFactory(agent=bot)
    assert (count_waiting(alice), count_waiting(bob)) == (1, 2)
    with time_machine.travel(timezone.now() + timedelta(seconds=CACHE_SECONDS + 1), tick=True):
        assert count_waiting(alice) == 2


def test_whoever_left_a_group_is_told_nothing_of_it_any_more(work, client, alice):
    client.force_login(alice)
    assert "refund_approval" in client.get("/admin/dashboards/").content.decode()
    alice.groups.set([Group.objects.get_or_create(name="sre")[0]])
    assert "refund_approval" not in client.get("/admin/dashboards/").content.decode()


@pytest.mark.parametrize("days", ["", "7", "30", "90", "8", "x", "-1"])
def test_any_window_is_one_of_three(client, alice, days):
    client.force_login(alice)
    assert client.get(f"/admin/dashboards/?days={days}").status_code == 200


def test_the_alarm_about_the_scheduled_job_comes_first(client, root, run):
    client.force_login(root)

    def read():
        cache.clear()
        return client.get("/admin/dashboards/").content.decode()

    never = read()
    alarm = "expire_approvals has never run: expired requests will not escalate."
    assert never.index(alarm) < never.index('<h2 class="o-title">Dashboards</h2>')
    run("expire_approvals")
    assert "o-alarm" not in read()
    set_columns(CommandRun, succeeded_at=timezone.now() - timedelta(hours=2))
    assert "expire_approvals last ran 2.0 h ago: expired requests do not escalate." in read()


def test_a_panel_without_figures_says_so_and_only_charts_have_a_table_to_unfold(
    client, root, work, run
):
    client.force_login(root)
    page = client.get("/admin/dashboards/").content.decode()
    panels = dict(
        re.findall(
            r'<section class="o-panel[^>]*aria-labelledby="([^"]*)">(.*?)</section>',
            page,
            re.DOTALL,
        )
    )
    unfold = "<summary>Table</summary>"
    assert {name for name, panel in panels.items() if unfold in panel} == {
        "by-role",
        "by-age",
        "by-day",
        "agents",
    }
    assert "Policies decided no task by themselves." in panels["policies"]


def test_where_nothing_waits_no_panel_has_a_toggle(client, root):
    client.force_login(root)
    page = client.get("/admin/dashboards/").content.decode()
    assert "<summary>Table</summary>" not in page
    assert page.count("Nothing is waiting.") == 2
