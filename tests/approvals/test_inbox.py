"""The inbox: what is most urgent, what is found, whose views are whose, and who looks at what."""

from datetime import timedelta
from urllib.parse import urlencode

import pytest
from django.db import connection, transaction
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from approvals_app.decisions import break_glass, delegations, operations
from approvals_app.decisions.recall import Then, recall
from approvals_app.models import Approval, SavedView, Viewer
from approvals_app.review import inbox, presence
from audit_app.base.actors import Actor
from sessions_app.models import Task
from tests.database import as_superuser, without_guards
from tests.factories import (
    AgentFactory,
    ReviewerFactory,
    TaskFactory,
    approve_task,
    find_approval,
    policy,
    the_approval,
)

INBOX = "/admin/"
LIST = "/admin/inbox/"
VIEWS = "/admin/inbox/views/"


def browser(user=None) -> Client:
    client = Client(raise_request_exception=False)
    if user is not None:
        client.force_login(user)
    return client


def sentences(person, tab="waiting", **given) -> list[str]:
    filters = inbox.Filters.parse({"tab": tab, **given})
    return [row.summary for row in inbox.load_page(Actor.human(person), filters).rows]


def refund(bot, name, **given):
    return the_approval(TaskFactory(agent=bot, description=f"Refund {name}.", **given))


def due(approval, **later):
    with without_guards() as cursor:
        at = timezone.now() + timedelta(**later)
        cursor.execute("UPDATE approvals SET expires_at = %s WHERE id = %s", [at, approval.pk])


def say(what, approval, person, **more):
    given = {"by": Actor.human(person), "payload_digest": approval.payload_digest} | more
    return getattr(operations, what)(approval.pk, **given)


class TestUrgency:
    def test_the_nearest_deadline_is_first_and_then_what_waits_longest(self, alice, bot):
        later, first, second = (refund(bot, name) for name in ("later", "first", "second"))
        due(later, hours=9)
        at = timezone.now() + timedelta(hours=1)
        with without_guards() as cursor:
            cursor.execute(
                "UPDATE approvals SET expires_at = %s WHERE id IN (%s, %s)",
                [at, first.pk, second.pk],
            )
        assert sentences(alice) == ["Refund first.", "Refund second.", "Refund later."]

    def test_of_one_deadline_the_greater_risk_is_first(self, alice, bot):
        approvals = [refund(bot, name) for name in ("low", "normal", "high")]
        at = timezone.now() + timedelta(hours=1)
        with without_guards() as cursor:
            for approval, risk in zip(approvals, ("low", "normal", "high"), strict=True):
                cursor.execute(
                    "UPDATE approvals SET expires_at = %s, risk = %s WHERE id = %s",
                    [at, risk, approval.pk],
                )
        assert sentences(alice) == ["Refund high.", "Refund normal.", "Refund low."]
        assert "High risk" in browser(alice).get(INBOX).text

    def test_groups_come_in_their_order_and_a_page_continues_the_one_before(
        self, alice, bob, breaker, bot, monkeypatch
    ):
        monkeypatch.setattr(inbox, "PAGE_SIZE", 2)
        names = ("blocked", "far", "risky", "tonight", "risky tonight", "near", "alone")
        rows = {name: refund(bot, name) for name in names}
        midnight = inbox.end_of_day()
        with without_guards() as cursor:
            for name, row in rows.items():
                risk = "high" if "risky" in name or name == "blocked" else "normal"
                at = midnight + timedelta(seconds=-1 if "tonight" in name else 60)
                at += timedelta(days=name in ("far", "alone"))
                cursor.execute(
                    "UPDATE approvals SET expires_at = %s, risk = %s WHERE id = %s",
                    [at, risk, row.pk],
                )
        say("request_changes", rows["blocked"], bob, message="Whose?")
        given = {"by": Actor.human(breaker), "payload_digest": rows["alone"].payload_digest}
        break_glass.break_glass(rows["alone"].pk, reason="It closes.", **given)
        dave = ReviewerFactory(username="dave", roles=["finance"])
        ordered = ["alone", "risky tonight", "tonight", "risky", "near", "far", "blocked"]
        assert [sentences(dave, page=str(number)) for number in (1, 2, 3, 4)] == [
            [f"Refund {name}." for name in ordered[start : start + 2]] for start in (0, 2, 4, 6)
        ]
        actor = Actor.human(dave)
        waiting = inbox.Filters().select_waiting(actor).order_by(*inbox.URGENCY)
        assert [row.task.description for row in waiting] == [f"Refund {name}." for name in ordered]
        page = browser(dave).get(INBOX, {"page": "4"}).text
        assert "Waiting for others" in page

    def test_the_list_is_read_off_its_index_and_stops_where_the_page_is_full(self, alice, bot):
        refund(bot, "kettle")
        actor, filters = Actor.human(alice), inbox.Filters()
        with CaptureQueriesContext(connection) as sent:
            inbox.list_waiting(actor, filters, 0, 21)
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute("EXPLAIN " + sent.captured_queries[-1]["sql"].replace("%", "%%"), [])
            plan = "\n".join(line for (line,) in cursor.fetchall())
        limit, sort, _ = plan.split("\n", 2)
        assert limit.startswith("Limit")
        assert "Incremental Sort" in sort
        assert "Presorted Key: segment.place" in plan
        assert "Index Scan using approvals_urgency" in plan
        assert plan.count("Sort Key: segment.place") == 1


class TestRows:
    @pytest.mark.parametrize(
        ("data", "said"),
        [
            ({"recipients": ["a", "b"]}, "2 recipients"),
            ({"recipients": [1]}, "1 recipient"),
            ({"rows": 1_200_000}, "1,200,000 rows"),
            ({"hosts": ["db1"]}, "1 host"),
            ({"resource_changes": [{}, {}, {}]}, "3 resource changes"),
            ({"count": 0}, "0 items"),
            ({"count": 1.5}, ""),
            ({"count": -3}, ""),
            ({"count": "many"}, ""),
            ({"rows": {"a": 1}}, ""),
            ({"rows": None}, ""),
            (["rows"], ""),
            ("rows", ""),
        ],
    )
    def test_how_much_a_task_touches_is_told_where_it_is_obvious(self, alice, bot, data, said):
        TaskFactory(agent=bot, data={"x": data} if not isinstance(data, dict) else data)
        [row] = inbox.load_page(Actor.human(alice), inbox.Filters()).rows
        assert row.reach == said

    def test_how_many_votes_are_still_needed(self, alice, bob, bot):
        policy("three", asks="3 finance")
        task = TaskFactory(agent=bot)
        say("approve", find_approval(task, "finance"), bob)
        [row] = inbox.load_page(Actor.human(alice), inbox.Filters()).rows
        assert row.missing == 2
        page = browser(alice).get(INBOX).text
        assert "finance 1/3" in page

    def test_every_group_that_is_still_asked_is_told(self, alice, bot):
        policy("two", asks="2 finance, 1 legal")
        TaskFactory(agent=bot)
        [row] = inbox.load_page(Actor.human(alice), inbox.Filters()).rows
        assert row.approvals == "finance 0/2, legal 0/1"

    def test_who_is_in_two_groups_has_one_row_until_they_voted(self, dave, bot):
        policy("two", asks="1 finance, 1 legal, 1 sre")
        task = TaskFactory(agent=bot)
        [row] = inbox.load_page(Actor.human(dave), inbox.Filters()).rows
        assert row.approvals == "finance 0/1 or legal 0/1, sre 0/1"
        say("approve", find_approval(task, "legal"), dave)
        assert inbox.load_page(Actor.human(dave), inbox.Filters()).rows == []
        assert inbox.count_waiting(Actor.human(dave)) == 0

    def test_who_stands_in_is_told_for_whom(self, alice, erin, bot):
        now = timezone.now()
        span = {"starts_at": now, "ends_at": now + timedelta(days=1)}
        delegations.grant_delegation(by=Actor.human(erin), to="alice", reason="Away.", **span)
        TaskFactory(agent=bot, target="legal")
        refund(bot, "of her own group")
        rows = inbox.load_page(Actor.human(alice), inbox.Filters()).rows
        assert sorted(row.stands_in_for for row in rows) == ["", "erin"]
        assert "for erin (legal)" in browser(alice).get(INBOX).text

    def test_silence_that_approves_is_told(self, alice, bot):
        words = "approved automatically if nobody answers"
        refund(bot, "kettle")
        assert words not in browser(alice).get(INBOX).text
        policy("silent", asks="1 finance", on_timeout="approve_without_a_human")
        silent = refund(bot, "lamp")
        assert words in browser(alice).get(INBOX).text
        say("request_changes", silent, alice, message="Whose?")
        other = ReviewerFactory(username="other", roles=["finance"])
        assert words not in browser(other).get(INBOX).text  # an objection is no silence

    def test_what_was_approved_alone_keeps_its_risk_and_is_told(self, alice, breaker, bob, bot):
        policy("risky", asks="1 finance", risk="high")
        kettle = refund(bot, "kettle")
        given = {"by": Actor.human(breaker), "payload_digest": kettle.payload_digest}
        break_glass.break_glass(kettle.pk, reason="The shop burns.", **given)
        page = browser(bob).get(INBOX).text
        assert "Reviews" in page
        assert "alice approved this alone" in page
        assert "o-dot-danger" in page

    def test_an_expired_one_says_where_it_goes(self, alice, bot):
        steps = [{"role": "dba", "count": 1, "deadline": "1h"}]
        policy("chain", asks="1 finance", escalate=steps)
        due(refund(bot, "kettle"), minutes=-5)
        assert sentences(alice) == []
        page = browser(alice).get(INBOX).text
        assert "Expired, not decided" in page
        assert "goes to dba" in page

    def test_administrators_are_warned_where_no_scheduled_job_runs(self, alice, root, bot, run):
        words = "expire_approvals has never run"
        assert words in browser(root).get(INBOX).text
        assert words not in browser(alice).get(INBOX).text
        run("expire_approvals")
        assert words not in browser(root).get(INBOX).text

    def test_the_yes_of_somebody_who_left_is_needed_again(self, alice, bob, bot):
        policy("two", asks="2 finance")
        say("approve", find_approval(TaskFactory(agent=bot), "finance"), bob)
        bob.groups.clear()
        [row] = inbox.load_page(Actor.human(alice), inbox.Filters()).rows
        assert row.missing == 2

    def test_what_waits_for_its_agent_says_so(self, alice, bob, bot):
        say("request_changes", refund(bot, "kettle"), bob, message="Name the order.")
        assert "Changes requested" in browser(alice).get(INBOX).text

    def test_a_page_is_few_queries_however_much_it_shows(self, alice, bot):
        client = browser(alice)
        refund(bot, "one")
        with CaptureQueriesContext(connection) as few:
            client.get(INBOX)
        for n in range(25):
            refund(bot, str(n))
        for query in ("", "?tab=decided", "?tab=asked", "?q=refund&age=1h"):
            with CaptureQueriesContext(connection) as many:
                assert client.get(INBOX + query).status_code == 200
            assert len(many) <= len(few) <= 12


class TestTabs:
    def test_what_alice_decided_is_hers_to_find(self, alice, bob, bot):
        say("approve", refund(bot, "kettle"), alice)
        say("reject", refund(bot, "lamp"), bob)
        assert sentences(alice, "decided") == ["Refund kettle."]
        page = browser(alice).get(INBOX, {"tab": "decided"}).text
        assert "<b>yes</b>" in page
        assert "Refund lamp." not in page

    def test_who_left_the_group_finds_it_no_more(self, alice, bot):
        say("approve", refund(bot, "kettle"), alice)
        alice.groups.clear()
        assert sentences(alice, "decided") == []

    def test_alice_finds_what_her_agents_ask_and_what_is_asked_for_her(self, alice, bot):
        hers = AgentFactory(name="hers", owner=alice)
        alice.email = "Alice@example.com"
        alice.save()
        refund(hers, "of hers")
        refund(bot, "by name", on_behalf_of="ALICE")
        refund(bot, "by address", on_behalf_of="alice@EXAMPLE.com")
        refund(bot, "of another", on_behalf_of="bob")
        refund(bot, "of nobody")
        found = sentences(alice, "asked")
        assert found == ["Refund by address.", "Refund by name.", "Refund of hers."]

    def test_nobody_else_finds_it(self, alice, bob, bot):
        refund(AgentFactory(name="hers", owner=alice), "of hers")
        refund(bot, "for her", on_behalf_of="alice")
        assert sentences(bob, "asked") == []

    def test_whoever_may_not_open_a_task_is_given_no_link(self, charlie):
        task = TaskFactory(agent=AgentFactory(name="his", owner=charlie))
        page = browser(charlie).get(INBOX, {"tab": "asked"}).text
        assert task.description in page
        assert "waits for finance" in page
        assert str(task.pk) not in page.replace(f'data-key="{task.pk}"', "")


class TestSearch:
    @pytest.mark.parametrize(
        ("words", "found"),
        [
            ("kettle", True),
            ("KETTLE", True),
            ("kett", True),
            ("ettle", False),
            ("kettle paris", True),
            ("kettle rome", False),
            ("42.50", True),
            ("db-1.example.com", True),
            ("example", True),
            ("shop:Paris!", True),
            ("second", True),
            ("Straße", True),
            ("'); DROP TABLE tasks; --", False),
            ("& | !", True),
            ("\\", True),
        ],
    )
    def test_words_of_the_description_and_the_payload_are_found(self, alice, bot, words, found):
        data = {"shop": "Paris", "host": "db-1.example.com", "note": "first\nsecond", "n": "42.50"}
        refund(bot, "kettle", data=data | {"street": "Große Straße"})
        refund(bot, "lamp", data={"shop": "Rome"})
        assert ("Refund kettle." in sentences(alice, q=words)) is found

    def test_the_search_reads_its_index(self, alice, bot):
        refund(bot, "kettle")
        with as_superuser() as admin:
            # Of so few rows any index is as good; without the others it is this or the table.
            admin.execute("DROP INDEX tasks_inbox, tasks_status")
            admin.execute("SET enable_seqscan = off; SET enable_indexscan = off")
            plan = admin.execute(f"EXPLAIN {inbox.SEARCH_SQL}", ["kettle", "kettle"]).fetchall()
            admin.rollback()
        assert "tasks_waiting_words" in str(plan)

    def test_what_was_approved_alone_is_found_while_it_is_reviewed(self, alice, breaker, bob, bot):
        kettle = refund(bot, "kettle")
        given = {"by": Actor.human(breaker), "payload_digest": kettle.payload_digest}
        break_glass.break_glass(kettle.pk, reason="The shop burns.", **given)
        assert sentences(bob, q="kettle") == ["Refund kettle."]
        assert sentences(bob, q="lamp") == []

    def test_a_payload_of_any_size_can_be_kept(self, alice, bot):
        words = " ".join(f"word{n}" for n in range(60_000))
        refund(bot, "kettle", data={"words": words, "zeros": "0" * 100_000})
        assert sentences(alice, q="kettle word7") == ["Refund kettle."]

    @pytest.mark.parametrize("name", ["q", "role", "type", "agent"])
    @pytest.mark.parametrize("value", ["\x00", "w" * 201])
    def test_what_can_not_be_looked_for_is_refused(self, alice, name, value):
        for path in (INBOX, LIST):
            assert browser(alice).get(path, {name: value}).status_code == 400

    def test_filters_narrow_by_role_type_agent_and_age(self, alice, bot):
        other = AgentFactory(name="other")
        old = refund(bot, "old")
        refund(other, "new", task_type="gift_approval")
        with without_guards() as cursor:
            cursor.execute(
                "UPDATE approvals SET created_at = now() - interval '2 days' WHERE id = %s",
                [old.pk],
            )
        assert sentences(alice, type="gift_approval") == ["Refund new."]
        assert sentences(alice, agent="other") == ["Refund new."]
        assert sentences(alice, age="1d") == ["Refund old."]
        assert sentences(alice, age="7d") == []
        assert sentences(alice, role="sre") == []
        assert len(sentences(alice, role="finance", age="1d")) == 1
        assert len(sentences(alice, age="nonsense", tab="nonsense", page="-1")) == 2

    def test_what_it_offers_is_what_waits_for_the_reader(self, alice, bot):
        refund(bot, "kettle")
        TaskFactory(agent=AgentFactory(name="elsewhere"), target="sre", task_type="x_approval")
        assert inbox.list_filter_options(Actor.human(alice)) == {
            "role": ["finance"],
            "type": ["refund_approval"],
            "agent": ["bot"],
        }


class TestTheListAlone:
    def test_it_is_sent_again_only_when_it_changed(self, alice, bot):
        client = browser(alice)
        refund(bot, "kettle")
        first = client.get(LIST)
        again = client.get(LIST, headers={"If-None-Match": first.headers["ETag"]})
        refund(bot, "lamp")
        changed = client.get(LIST, headers={"If-None-Match": first.headers["ETag"]})
        assert (first.status_code, again.status_code, changed.status_code) == (200, 304, 200)
        assert again.content == b""
        assert 'data-waiting="2"' in changed.text

    def test_nobody_signed_in_is_sent_to_sign_in(self):
        answer = browser().get(LIST)
        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/admin/login/")

    def test_it_is_only_read(self, alice):
        assert browser(alice).post(LIST).status_code == 403


class TestSavedViews:
    def save(self, person, name, query="q=kettle"):
        return browser(person).post(VIEWS, {"name": name, "query": query}, follow=True)

    def test_alice_saves_one_and_nobody_else_sees_it(self, alice, bob):
        assert "View saved." in self.save(alice, "Kettles").text
        assert "Kettles" in browser(alice).get(INBOX).text
        assert "Kettles" not in browser(bob).get(INBOX).text

    def test_of_an_address_only_filters_are_kept(self, alice):
        self.save(alice, "Odd", "q=a%26b&next=//evil.example&page=7&age=1d&type=t")
        assert SavedView.objects.get().query == urlencode({"type": "t", "age": "1d", "q": "a&b"})

    def test_the_same_name_again_takes_its_place(self, alice):
        self.save(alice, "Mine", "q=a")
        self.save(alice, "Mine", "q=b")
        assert SavedView.objects.get().query == "q=b"

    @pytest.mark.parametrize("name", ["", "   ", "x" * 61, "a\x00b", "a\u202eb"])
    def test_a_name_that_is_none_is_refused(self, alice, name):
        assert "The name of a view has 1 to" in self.save(alice, name).text
        assert not SavedView.objects.exists()

    def test_thirty_are_enough(self, alice):
        for n in range(presence.MAX_SAVED_VIEWS):
            presence.save_view(alice, f"view {n}", "q=a")
        assert "remove one first" in self.save(alice, "one more").text
        assert SavedView.objects.count() == presence.MAX_SAVED_VIEWS
        self.save(alice, "view 7", "q=changed")
        assert SavedView.objects.get(name="view 7").query == "q=changed"

    def test_only_ones_own_can_be_removed(self, alice, bob):
        presence.save_view(alice, "Mine", "q=a")
        view = SavedView.objects.get()
        browser(bob).post(VIEWS, {"forget": str(view.pk)})
        assert SavedView.objects.exists()
        browser(alice).post(VIEWS, {"forget": str(view.pk)})
        assert not SavedView.objects.exists()

    def test_what_is_no_id_is_not_found(self, alice):
        assert browser(alice).post(VIEWS, {"forget": "x"}).status_code == 404

    def test_a_look_saves_nothing(self, alice):
        assert browser(alice).get(VIEWS, {"name": "x"}).status_code == 403


class TestWhoLooks:
    def looking(self, person, approval):
        return browser(person).get(f"/admin/inbox/looking/{approval.pk}/")

    def test_alice_is_told_that_bob_looks_and_not_that_she_does(self, alice, bob, bot):
        kettle = refund(bot, "kettle")
        assert self.looking(bob, kettle).json() == {"looking": []}
        assert self.looking(alice, kettle).json() == {"looking": ["bob"]}
        assert "bob is looking" in browser(alice).get(INBOX).text
        assert "bob is looking" not in browser(bob).get(INBOX).text

    def test_after_a_while_he_does_not_any_more(self, alice, bob, bot):
        kettle = refund(bot, "kettle")
        presence.record_view(kettle.pk, bob)
        Viewer.objects.update(
            seen_at=timezone.now() - presence.PRESENCE_TIMEOUT - timedelta(seconds=1)
        )
        assert presence.list_other_viewers([kettle.pk], alice) == {}

    def test_one_look_is_written_however_often_it_is_said(self, bob, bot):
        kettle = refund(bot, "kettle")
        presence.record_view(kettle.pk, bob)
        first = Viewer.objects.get().seen_at
        presence.record_view(kettle.pk, bob)
        assert Viewer.objects.get().seen_at == first

    def test_what_is_old_goes_with_the_next_look(self, alice, bob, bot):
        old, new = refund(bot, "old"), refund(bot, "new")
        presence.record_view(old.pk, bob)
        Viewer.objects.update(seen_at=timezone.now() - timedelta(hours=2))
        presence.record_view(new.pk, alice)
        assert [viewer.approval_id for viewer in Viewer.objects.all()] == [new.pk]

    def test_whoever_may_not_know_of_it_is_told_nothing_and_not_seen(self, charlie, bot):
        kettle = refund(bot, "kettle")
        nowhere = browser(charlie).get("/admin/inbox/looking/00000000-0000-4000-8000-000000000000/")
        assert self.looking(charlie, kettle).status_code == nowhere.status_code == 404
        assert not Viewer.objects.exists()

    def test_staff_in_no_group_may_not_ask(self, bot):
        newcomer = ReviewerFactory(username="newcomer")
        assert self.looking(newcomer, refund(bot, "kettle")).status_code == 403


class TestSeveral:
    def test_each_is_shown_with_what_it_does_and_its_digest(self, alice, bob, bot):
        kettle = refund(bot, "kettle", data={"amount": "7.00", "currency": "EUR", "rows": 3})
        page = browser(alice).post(
            "/admin/approvals_app/approval/bulk/", {"approval": [str(kettle.pk)]}
        )
        for words in ("Refund kettle.", "7.00 EUR", "3 rows", kettle.payload_digest[:12]):
            assert words in page.text

    def test_what_is_no_longer_known_is_left_out(self, alice, bot):
        kettle = refund(bot, "kettle")
        elsewhere = the_approval(TaskFactory(agent=bot, target="sre"))
        rows = inbox.load_rows(Actor.human(alice), [elsewhere.pk, kettle.pk])
        assert [row.approval.pk for row in rows] == [kettle.pk]
        assert Approval.objects.count() == Task.objects.count() == 2


def test_a_decision_that_was_recalled_is_not_listed_as_standing(alice, bot):
    task = approve_task(TaskFactory(agent=bot), alice)
    page = browser(alice)
    assert "now the task is" not in page.get(INBOX, {"tab": "decided"}).text
    recall(the_approval(task).pk, by=Actor.human(alice), reason="A slip.", then=Then.CANCEL)
    assert "now the task is cancelled" in page.get(INBOX, {"tab": "decided"}).text
