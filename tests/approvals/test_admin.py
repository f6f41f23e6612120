"""The reviewers' pages, and what crafted requests to them can't do."""

import pytest
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils.html import strip_tags

from approvals_app.models import Approval
from approvals_app.review import inbox
from audit_app.base.actors import Actor
from audit_app.models import Event
from sessions_app import operations
from sessions_app.models import Agent, AgentKey, Task
from tests.factories import (
    AgentFactory,
    ReviewerFactory,
    SessionFactory,
    TaskFactory,
    approve_task,
    the_approval,
)

INBOX = "/admin/"


@pytest.fixture
def approval(bot) -> Approval:
    """Alice and bob are asked about a refund."""
    return the_approval(TaskFactory(agent=bot))


@pytest.fixture
def root() -> User:
    """May do everything that Django's permissions allow; is in no group."""
    return User.objects.create_superuser("root", password="root")


def page_of(row) -> str:
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/change/"


def browser(user=None) -> Client:
    client = Client(raise_request_exception=False)
    if user is not None:
        client.force_login(user)
    return client


def decision(approval, **changes) -> dict[str, str]:
    sent = {"decision": "approve", "payload_digest": approval.payload_digest, "notes": "Fine."}
    return {**sent, **changes}


def assert_still_waiting(approval) -> None:
    fresh = Approval.objects.select_related("task").get(pk=approval.pk)
    assert (fresh.status, fresh.version) == ("pending", approval.version)
    assert fresh.task.status == "awaiting_approval"


class TestInbox:
    def test_alice_sees_what_waits_for_her_groups_nearest_deadline_first(self, alice, bot):
        TaskFactory(agent=bot, description="Refund 1.")
        TaskFactory(agent=bot, description="Refund 2.")
        TaskFactory(agent=bot, target="sre", description="Restart the cache.")

        page = browser(alice).get(INBOX).content.decode()

        assert page.index("Refund 1.") < page.index("Refund 2.")
        assert "Restart the cache." not in page
        assert "42.50 EUR" in page

    def test_a_task_without_a_description_is_told_from_its_type_and_roles(self, alice, bot):
        TaskFactory(agent=bot, description="")

        page = browser(alice).get(INBOX).content.decode()

        assert "support-agent asks finance for: refund approval." in page

    def test_nothing_waits(self, alice):
        assert "All clear." in browser(alice).get(INBOX).content.decode()

    def test_somebody_in_no_group_is_told_why_the_inbox_is_empty(self):
        nobody = ReviewerFactory(username="nobody")

        assert "You are not in any group yet" in browser(nobody).get(INBOX).content.decode()

    def test_an_owner_is_not_asked_about_their_own_agent(self, alice):
        TaskFactory(agent=AgentFactory(name="hers", owner=alice))

        assert "All clear." in browser(alice).get(INBOX).content.decode()

    def test_a_page_is_fixed_in_size_and_so_are_its_queries(self, alice, bot):
        client = browser(alice)
        TaskFactory(agent=bot)
        with CaptureQueriesContext(
            connection,
        ) as one:
            client.get(INBOX)
        for _ in range(inbox.PAGE_SIZE):
            TaskFactory(agent=bot)
        with CaptureQueriesContext(connection) as many:
            first = client.get(INBOX).content.decode()
        second = client.get(INBOX, {"page": "2"}).content.decode()

        assert len(one) == len(many) <= 8
        assert first.count('<th scope="row">') == inbox.PAGE_SIZE
        assert second.count('<th scope="row">') == 1
        assert ">Next<" in first
        assert ">Next<" not in second

    @pytest.mark.parametrize("number", ["0", "-1", "x", "²", "9" * 30, "99999"])
    def test_a_page_that_is_none_is_no_error(self, alice, approval, number):
        assert browser(alice).get(INBOX, {"page": number}).status_code == 200

    @pytest.mark.parametrize("data", [[], "text", 7, {"amount": {"a": 1}}, {"amount": "<b>9</b>"}])
    def test_what_is_no_amount_is_not_shown_as_one(self, alice, bot, data):
        TaskFactory(agent=bot, data={"nested": data} if not isinstance(data, dict) else data)

        assert 'class="o-number o-blank"' in browser(alice).get(INBOX).content.decode()


class TestDecisionPage:
    def test_everything_about_the_task_is_shown_and_escaped(self, alice, bot):
        task = TaskFactory(
            agent=bot,
            context={"why": "<script>alert(1)</script>"},
            data={"sql": "BEGIN;\nDELETE FROM orders;\nCOMMIT;", "hidden": "a\u200bb\u202ec"},
        )

        page = browser(alice).get(page_of(the_approval(task))).content.decode()

        assert "BEGIN;\nDELETE FROM orders;\nCOMMIT;" in strip_tags(page)
        assert "<script>alert(1)" not in page
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
        assert "\u200b" not in page
        assert "\u202e" not in page
        assert "U+200B" in page
        assert "U+202E" in page
        assert f'name="payload_digest" value="{task.payload_digest}"' in page
        assert "task.routed" in page
        assert "approval.requested" in page

    def test_alice_approves(self, alice, approval):
        answer = browser(alice).post(page_of(approval), decision(approval, notes="One.\r\nTwo."))

        assert answer.status_code == 302
        assert answer.headers["Location"] == INBOX
        approval = the_approval(approval.task)
        assert (approval.status, approval.notes) == ("approved", "One.\nTwo.")
        assert approval.decided_by == alice

    def test_alice_rejects(self, alice, approval):
        browser(alice).post(page_of(approval), decision(approval, decision="reject"))

        assert Task.objects.get().status == "rejected"

    def test_bob_comes_second_and_his_notes_are_kept(self, alice, bob, approval):
        browser(alice).post(page_of(approval), decision(approval))

        answer = browser(bob).post(
            page_of(approval), decision(approval, decision="reject", notes="Wait!")
        )

        page = answer.content.decode()
        assert answer.status_code == 409
        assert "alice approved this on" in page
        assert "Wait!</textarea>" in page
        panel = page[page.index("decide-title") : page.index('id="details"')]
        assert 'value="reject"' not in panel
        assert 'value="recall_cancel"' in panel
        assert the_approval(approval.task).decided_by == alice

    def test_another_digest_than_the_one_shown_decides_nothing(self, alice, approval):
        sent = decision(approval, payload_digest="0" * 64)

        answer = browser(alice).post(page_of(approval), sent)

        assert answer.status_code == 409
        assert "changed since you opened it" in answer.content.decode()
        assert "Fine.</textarea>" in answer.content.decode()
        assert_still_waiting(approval)

    @pytest.mark.parametrize(
        "changes",
        [
            {"decision": ""},
            {"decision": "expire"},
            {"payload_digest": ""},
            {"payload_digest": "0" * 65},
            {"notes": "x" * 20_001},
            {"notes": "a\0b"},
        ],
        ids=str,
    )
    def test_a_malformed_form_decides_nothing(self, alice, approval, changes):
        answer = browser(alice).post(page_of(approval), decision(approval, **changes))

        assert answer.status_code == 400
        assert_still_waiting(approval)

    def test_who_cannot_decide_gets_a_sentence_instead_of_the_form(self, root, approval):
        page = browser(root).get(page_of(approval)).content.decode()

        assert "Only members of finance can decide this." in page
        assert 'name="payload_digest"' not in page


class TestCraftedRequests:
    def test_anonymous_is_sent_to_the_login(self, approval):
        answer = browser().post(page_of(approval), decision(approval))

        assert answer.status_code == 302
        assert answer.headers["Location"].startswith("/admin/login/")
        assert_still_waiting(approval)

    def test_charlie_of_another_group_finds_nothing(self, charlie, approval):
        assert browser(charlie).get(page_of(approval)).status_code == 404
        assert browser(charlie).post(page_of(approval), decision(approval)).status_code == 404
        assert_still_waiting(approval)

    def test_staff_in_no_group_may_not_even_look(self, approval):
        nobody = ReviewerFactory(username="nobody")

        assert browser(nobody).get(page_of(approval)).status_code == 403
        assert browser(nobody).post(page_of(approval), decision(approval)).status_code == 403
        assert_still_waiting(approval)

    def test_the_owner_of_the_agent_is_refused(self, alice):
        approval = the_approval(TaskFactory(agent=AgentFactory(name="hers", owner=alice)))

        answer = browser(alice).post(page_of(approval), decision(approval))

        assert answer.status_code == 403
        assert "they own the agent that asks" in answer.content.decode()
        assert_still_waiting(approval)

    def test_a_superuser_in_no_group_is_refused(self, root, approval):
        answer = browser(root).post(page_of(approval), decision(approval))

        assert answer.status_code == 403
        assert_still_waiting(approval)

    def test_without_the_forms_token_nothing_is_decided(self, alice, approval):
        client = Client(enforce_csrf_checks=True, raise_request_exception=False)
        client.force_login(alice)

        assert client.post(page_of(approval), decision(approval)).status_code == 403
        assert_still_waiting(approval)

    @pytest.mark.parametrize("who", ["alice", "root"])
    def test_the_state_cannot_be_posted(self, request, who, approval):
        client = browser(request.getfixturevalue(who))
        sent = {"status": "approved", "_save": "Save", "version": "9", "approver_role": "sre"}

        assert client.post(page_of(approval), sent).status_code == 400
        assert client.post(page_of(approval.task), sent).status_code == 403
        assert_still_waiting(approval)

    @pytest.mark.parametrize("who", ["alice", "root"])
    def test_nothing_can_be_added_or_deleted(self, request, who, bot, approval):
        client = browser(request.getfixturevalue(who))
        session = SessionFactory(agent=bot)
        event = Event.objects.order_by("position").first()
        for row in (approval, approval.task, session, event):
            model = f"/admin/{row._meta.app_label}/{row._meta.model_name}"
            action = {"action": "delete_selected", "_selected_action": str(row.pk), "post": "yes"}
            events = Event.objects.count()

            assert client.post(f"{model}/{row.pk}/delete/", {"post": "yes"}).status_code == 403
            assert client.post(f"{model}/add/", {"status": "approved"}).status_code == 403
            assert client.get(f"{model}/add/").status_code == 403
            client.post(f"{model}/", action)

            assert type(row).objects.filter(pk=row.pk).exists()
            assert Event.objects.count() == events
        assert_still_waiting(approval)


class TestReading:
    def test_a_reviewer_reads_their_own_and_nobody_elses(self, alice, charlie, bot):
        session = operations.update_session(
            SessionFactory(agent=bot).pk, by=bot.as_actor(), status="active"
        )
        task = TaskFactory(agent=bot, session_id=session.pk)
        event = Event.objects.get(subject_id=task.pk)
        for row in (task, session, event, the_approval(task)):
            model = f"/admin/{row._meta.app_label}/{row._meta.model_name}/"

            assert browser(alice).get(page_of(row)).status_code == 200
            assert browser(charlie).get(page_of(row)).status_code == 404
            assert str(row.pk) in browser(alice).get(model).content.decode()
            assert str(row.pk) not in browser(charlie).get(model).content.decode()

    def test_an_auditor_reads_everything_of_everybody(self, root, bot):
        row = TaskFactory(agent=bot)

        page = browser(root).get(page_of(Event.objects.get(subject_id=row.pk))).content.decode()

        assert "task.routed" in page
        assert browser(root).get(page_of(row)).status_code == 200

    @pytest.mark.parametrize(
        "query",
        [{}, {"q": "human:alice"}, {"q": "%s"}, {"event": "task.routed"}, {"within": "day"}],
    )
    def test_the_trail_is_searched_without_counting_it(self, alice, bot, query):
        task = TaskFactory(agent=bot)
        asked = {name: value.replace("%s", str(task.trace_id)) for name, value in query.items()}
        with CaptureQueriesContext(connection) as queries:
            answer = browser(alice).get("/admin/audit_app/event/", asked)

        assert answer.status_code == 200
        assert not [q for q in queries if "COUNT(*)" in q["sql"] and "audit_events" in q["sql"]]
        assert ("task.routed</a>" in answer.content.decode()) == (query != {"q": "human:alice"})

    @pytest.mark.parametrize("few", [0, 1000])
    def test_the_trail_is_theirs_however_it_is_looked_for(self, alice, bot, monkeypatch, few):
        monkeypatch.setattr("audit_app.querysets.FEW", few)
        asked, other = TaskFactory(agent=bot), TaskFactory(agent=bot, target="sre")
        approve_task(asked, by=alice)

        events = Event.objects.visible_to(Actor.human(alice))
        page = browser(alice).get("/admin/audit_app/event/").content.decode()

        assert events.filter(subject_id=asked.pk).exists()
        assert all(page_of(event) in page for event in events)
        assert not any(page_of(e) in page for e in Event.objects.filter(subject_id=other.pk))
        assert browser(alice).get(page_of(events[0])).status_code == 200

    def test_tasks_are_found_by_words_state_type_and_role(self, alice, bot):
        TaskFactory(agent=bot)
        found = {"q": "kettle", "status__exact": "awaiting_approval", "role": "finance"}
        list_of = "/admin/sessions_app/task/"

        page = browser(alice).get(list_of, found | {"type": "refund_approval"}).content.decode()
        other = browser(alice).get(list_of, {"q": "kettle", "role": "sre"}).content.decode()

        assert "broken kettle" in page
        assert "broken kettle" not in other

    def test_approvals_are_listed_by_what_will_be_done(self, alice, bot):
        TaskFactory(agent=bot)
        TaskFactory(agent=bot, description=" ", task_type="of_few_words")

        page = browser(alice).get("/admin/approvals_app/approval/").content.decode()

        assert "broken kettle" in page
        assert "refund_approval" not in page
        assert "of_few_words" in page

    @pytest.mark.parametrize("pk", ["1", "x", "00000000-0000-0000-0000-000000000000"])
    @pytest.mark.parametrize(
        "model", ["approvals_app/approval", "sessions_app/task", "audit_app/event"]
    )
    def test_an_address_that_names_nothing_is_not_found(self, alice, model, pk):
        assert browser(alice).get(f"/admin/{model}/{pk}/change/").status_code == 404


class TestAgents:
    def test_an_administrator_creates_an_agent_and_sees_its_key_once(self, root, alice, api):
        sent = {"name": "courier", "roles": "delivery\nsupport-agent", "owner": str(alice.pk)}

        answer = browser(root).post("/admin/sessions_app/agent/add/", sent)

        agent = Agent.objects.get(name="courier")
        agent.key = answer.context["key"]
        assert (agent.roles, agent.owner) == (["delivery", "support-agent"], alice)
        assert answer.content.decode().count(agent.key) == 1
        assert "no-store" in answer.headers["Cache-Control"]
        assert api(agent).get("/tasks").status_code == 200
        assert agent.key not in browser(root).get(page_of(agent)).content.decode()

    def test_an_administrator_gives_an_agent_other_roles_and_another_owner(self, root, alice, bot):
        address = f"/admin/sessions_app/agent/{bot.pk}/roles"
        assert "support-agent" in browser(root).get(address).content.decode()
        sent = {"roles": "finance\nfinance\nsre", "owner": str(alice.pk), "subject": "bot@issuer"}

        assert browser(root).post(address, sent).status_code == 302

        agent = Agent.objects.get(pk=bot.pk)
        assert (agent.roles, agent.owner, agent.subject) == (
            ["finance", "sre"],
            alice,
            "bot@issuer",
        )
        told = Event.objects.filter(subject_id=bot.pk, event_type="identity.changed").get()
        assert told.metadata["owner_id"] == alice.pk
        assert browser(alice).post(address, sent).status_code == 403

    def test_two_agents_do_not_share_their_tokens(self, root, bot):
        AgentFactory(name="other", subject="taken@issuer")
        sent = {"roles": "finance", "owner": "", "subject": "taken@issuer"}
        page = browser(root).post(f"/admin/sessions_app/agent/{bot.pk}/roles", sent)
        assert "already has the subject taken@issuer" in page.content.decode()

    def test_a_new_key_ends_the_old_one_when_its_overlap_is_over(self, root, bot, api):
        address = f"/admin/sessions_app/agent/{bot.pk}/rotate"
        asked = browser(root).get(address).content.decode()
        assert "1 present key will end." in asked
        assert '<option value="1h" selected>in 1 hour</option>' in asked
        assert AgentKey.objects.count() == 1

        answer = browser(root).post(address, {"overlap": "1h"})
        new = answer.context["key"]
        assert api(bot).get("/tasks").status_code == 200

        browser(root).post(address, {"overlap": "0"})
        assert api(bot).get("/tasks").status_code == 401
        bot.key = new
        assert api(bot).get("/tasks").status_code == 401

    def test_a_mere_click_rotates_and_revokes_nothing(self, root, bot, api):
        for way, sent in (
            ("rotate", {}),
            ("rotate", {"overlap": "2h"}),
            ("revoke", {}),
            ("revoke", {"name": bot.name}),
            ("revoke", {"name": "another", "reason": "Leaked."}),
        ):
            answer = browser(root).post(f"/admin/sessions_app/agent/{bot.pk}/{way}", sent)
            assert answer.status_code == 400
            assert 'role="alert"' in answer.content.decode()
        assert AgentKey.objects.get().revoked_at is None
        assert api(bot).get("/tasks").status_code == 200

    def test_revoking_says_first_what_it_ends_and_keeps_who_and_why(self, root, alice, bot, api):
        tasks = [TaskFactory(agent=bot) for _ in range(3)]
        approve_task(tasks[2], by=alice)
        address = f"/admin/sessions_app/agent/{bot.pk}/revoke"
        asked = strip_tags(browser(root).get(address).content.decode())
        assert "This cancels 2 pending tasks and 1 approved task that nobody has claimed." in asked
        assert "This ends 1 key at once." in asked

        browser(root).post(address, {"name": bot.name, "reason": "Its host was broken into."})

        assert Agent.objects.get(pk=bot.pk).status == "revoked"
        assert api(bot).get("/tasks").status_code == 401
        why = "Its agent was revoked: Its host was broken into."
        withdrawn = strip_tags(browser(alice).get(page_of(the_approval(tasks[0]))).content.decode())
        assert "Withdrawn by root on" in withdrawn
        assert why in withdrawn
        cancelled = strip_tags(browser(alice).get(page_of(tasks[0])).content.decode())
        assert f"by root: {why}" in cancelled
        event = Event.objects.get(event_type="identity.revoked")
        assert event.metadata["reason"] == "Its host was broken into."

    def test_a_name_that_is_taken_is_said_beside_it(self, root, bot):
        sent = {"name": "bot", "roles": "x"}

        page = browser(root).post("/admin/sessions_app/agent/add/", sent).content.decode()

        assert "An agent named bot already exists." in page

    @pytest.mark.parametrize("way", ["rotate", "revoke"])
    def test_neither_a_reviewer_nor_a_link_can_touch_a_key(self, root, alice, bot, api, way):
        address = f"/admin/sessions_app/agent/{bot.pk}/{way}"
        sent = {"overlap": "0", "name": bot.name, "reason": "x"}
        assert browser(alice).get(address).status_code == 403
        assert browser(alice).post(address, sent).status_code == 403
        assert browser(root).get(address, sent).status_code == 200
        assert browser(alice).get("/admin/sessions_app/agent/add/").status_code == 403
        assert api(bot).get("/tasks").status_code == 200

    def test_an_owner_reads_their_agent_and_no_other(self, alice, bot):
        hers = AgentFactory(name="hers", owner=alice)

        assert browser(alice).get(page_of(hers)).status_code == 200
        assert browser(alice).get(page_of(bot)).status_code == 404

    def test_people_and_groups_are_an_administrators(self, root, alice):
        Group.objects.get_or_create(name="finance")
        for address in ("/admin/auth/user/", "/admin/auth/group/", "/admin/auth/user/add/"):
            assert browser(root).get(address).status_code == 200
            assert browser(alice).get(address).status_code == 403
