"""The queue that a decision page stands in, and what the page's script asks for and sends."""

import re
from html import unescape

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from approvals_app.decisions import operations
from approvals_app.models import Approval, Viewer, Vote
from approvals_app.review import inbox, queue
from audit_app.base.actors import Actor
from audit_app.models import Event
from tests.factories import TaskFactory, policy, the_approval

AHEAD, OPEN, SEND = ({"X-Flow": purpose} for purpose in ("ahead", "open", "send"))


@pytest.fixture
def waiting(bot, alice):
    """45 approvals, in the order of alice's inbox."""
    for number in range(45):
        TaskFactory(agent=bot, description=f"Refund number {number}.")
    found = inbox.list_waiting(Actor.human(alice), inbox.Filters(), 0, 45)
    approvals = Approval.objects.in_bulk(found)
    return [approvals[pk] for pk in found]


@pytest.fixture
def browser(alice):
    client = Client()
    client.force_login(alice)
    return client


def url(approval, query=""):
    return f"/admin/approvals_app/approval/{approval.pk}/change/{query}"


def read(page):
    """The place, and where Previous and Next lead."""
    text = unescape(page.text)
    place = re.search(r"data-position>(\d+)</span> of <span data-count>([^<]+)", text)
    links = (re.search(rf'<a rel="{rel}" href="([^"]+)"', text) for rel in ("prev", "next"))
    return place and place.groups(), *(link and link[1].partition("?")[0] for link in links)


class TestQueue:
    def test_the_place_and_both_neighbours(self, browser, waiting):
        first, second, third = waiting[:3]
        assert read(browser.get(url(first))) == (("1", "45"), None, url(second))
        assert read(browser.get(url(second))) == (("2", "45"), url(first), url(third))

    def test_over_the_pages_of_the_inbox(self, browser, waiting):
        page = browser.get(url(waiting[20], "?inbox=page%3D2"))
        assert read(page) == (("21", "45"), url(waiting[19]), url(waiting[21]))
        # From there the next is on the inbox's third page, once there are enough.
        links = unescape(browser.get(url(waiting[39], "?inbox=page%3D2")).text)
        assert f"inbox=page%3D3&row={waiting[41].pk}" in links

    def test_the_filters_of_the_inbox_hold(self, bot, browser, waiting):
        payout = the_approval(TaskFactory(agent=bot, task_type="payout"))
        page = browser.get(url(payout, "?inbox=type%3Dpayout"))
        assert read(page) == (("1", "1"), None, None)

    def test_a_long_queue_is_not_counted(self, browser, waiting, monkeypatch):
        monkeypatch.setattr(queue, "WINDOW", 10)
        assert read(browser.get(url(waiting[2])))[0] == ("3", "10+")

    def test_what_no_longer_waits_leads_on(self, alice, browser, waiting):
        first, second, third = waiting[:3]
        vote = {"payload_digest": second.payload_digest}
        operations.reject(second.pk, by=Actor.human(alice), **vote)
        page = browser.get(url(second, f"?inbox=&row={third.pk}"))
        assert read(page) == (None, url(first), url(third))

    def test_what_is_under_way_is_left_out(self, browser, waiting):
        first, second, third = waiting[:3]
        decided = {"X-Flow-Decided": f"{second.pk},nonsense"}
        page = browser.get(url(first), headers=OPEN | decided)
        assert read(page) == (("1", "44"), None, url(third))

    def test_other_tabs_and_decided_pages_have_none(self, alice, browser, waiting):
        assert read(browser.get(url(waiting[0], "?inbox=tab%3Ddecided"))) == (None, None, None)

    def test_the_sidebars_number_needs_no_query_of_its_own(self, browser, waiting):
        with CaptureQueriesContext(connection) as queries:
            page = browser.get(url(waiting[0]))
        assert not [each for each in queries if "COUNT(" in each["sql"]]
        sidebar = re.sub(r"<[^>]*>|\s+", " ", page.text.partition("<article")[0])
        assert re.search(r"Inbox\s+45\s", sidebar), sidebar


class TestScript:
    def test_it_gets_the_article_alone(self, browser, waiting):
        page = browser.get(url(waiting[0]), headers=OPEN)
        assert "<article" in page.text
        assert "<title>" in page.text
        assert "Audit events" not in page.text

    def test_a_page_that_is_fetched_ahead_is_not_looked_at(self, browser, waiting):
        browser.get(url(waiting[0]), headers=AHEAD)
        assert not Viewer.objects.exists()
        browser.get(url(waiting[0]), headers=OPEN)
        assert Viewer.objects.get().approval_id == waiting[0].pk

    def send(self, browser, approval, decision="approve", **form):
        form |= {"decision": decision, "payload_digest": approval.payload_digest}
        return browser.post(url(approval), form, headers=SEND)

    def test_a_vote_is_answered_by_a_message(self, browser, waiting):
        answer = self.send(browser, waiting[0])
        assert answer.status_code == 200
        assert answer.json()["message"].startswith("Approved: Payment of 42.50 EUR.")

    def test_a_refusal_is_the_page_with_its_reason(self, browser, waiting):
        answer = self.send(browser, waiting[0], "request_changes")
        assert answer.status_code == 400
        assert 'role="alert">Write in the comment what should change.' in answer.text

    def test_the_same_vote_twice_is_one_and_no_refusal(self, browser, waiting):
        self.send(browser, waiting[0])
        answer = self.send(browser, waiting[0])
        assert answer.json() == {"message": "Your vote is recorded."}
        assert Vote.objects.count() == 1
        assert not Event.objects.filter(event_type="operation.refused").exists()

    def test_another_vote_is_refused(self, browser, waiting):
        self.send(browser, waiting[0])
        answer = self.send(browser, waiting[0], "reject", notes="Twice.")
        assert answer.status_code == 409
        assert Vote.objects.get().choice == "yes"

    def test_a_withdrawn_vote_is_not_taken_for_cast(self, bot, alice, browser):
        policy("two", asks="2 finance")
        approval = the_approval(TaskFactory(agent=bot))
        self.send(browser, approval)
        operations.withdraw_vote(approval.pk, by=Actor.human(alice))
        self.send(browser, approval, "reject", notes="Twice.")
        assert Vote.objects.cast().get().choice == "no"


@pytest.mark.parametrize(
    ("document", "held", "confirmed"),
    [
        ({}, "8", ""),
        ({"risk": "low"}, "8", ""),
        ({"risk": "high"}, "0", "approve reject"),
        ({"risk": "high", "type_out": "data.amount"}, "0", "reject"),
        ({"look_for": "5s"}, "0", ""),
    ],
)
def test_what_is_held_back_and_what_asks_once_more(bot, browser, document, held, confirmed):
    policy("careful", asks="1 finance", **document)
    text = browser.get(url(the_approval(TaskFactory(agent=bot)))).text
    assert f'data-undo="{held}" data-confirm="{confirmed}"' in text
