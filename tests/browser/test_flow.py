"""One decision after the other: what comes next, by which keys, and what can be undone."""

import pytest
from django.contrib.sessions.models import Session
from playwright.sync_api import expect

from approvals_app.decisions import operations
from approvals_app.models import Approval, Viewer, Vote
from audit_app.base.actors import Actor
from tests.browser.axe import violations
from tests.factories import TaskFactory, policy, the_approval

pytestmark = pytest.mark.browser

WINDOW = {"width": 1440, "colors": "light"}
NOTES = "The order is known."
PLAIN = {"customer": 1007}
"""A payload that yields no headline: a page is titled by its description."""


@pytest.fixture
def low(bot):
    """``low(20)``: so many requests of low risk, the first to decide first."""
    policy("small", asks="1 finance", risk="low")

    def route(number):
        return [
            the_approval(TaskFactory(agent=bot, description=f"Refund number {n}.", data=PLAIN))
            for n in range(1, number + 1)
        ]

    return route


@pytest.fixture
def undo(settings):
    """Votes are held back for as long as in production."""
    settings.UNDO_SECONDS = 8


def url(approval):
    return f"/admin/approvals_app/approval/{approval.pk}/change/"


def title(page, number):
    """Of the request, not the frame's heading, which names it too."""
    name = f"Refund number {number}."
    return expect(page.get_by_role("heading", name=name, exact=True, level=2))


def is_sent(page, words="Approved: Refund number 1."):
    """What is held back is told in the same words, but leads nowhere yet."""
    told = page.get_by_role("status").filter(has_text=words)
    expect(told.get_by_role("link", name="View")).to_be_visible()


def count_loads(page):
    """How many whole pages the window has loaded from now on."""
    loads = []
    page.on("request", lambda sent: sent.is_navigation_request() and loads.append(sent.url))
    return loads


def open_first(page):
    page.get_by_role("link", name="Refund number 1.", exact=True).click()
    title(page, 1).to_be_visible()


def leave_over(page):
    """Approve, and leave the window as a browser does that is killed before the vote is sent."""
    page.get_by_role("button", name="Approve").click()
    title(page, 2).to_be_visible()
    kept = page.evaluate("({...sessionStorage})")
    page.keyboard.press("z")
    title(page, 1).to_be_visible()
    page.evaluate("kept => Object.assign(sessionStorage, kept)", kept)
    assert Vote.objects.count() == 0


class TestQueue:
    def test_the_page_says_where_it_stands_and_leads_on(self, signed_in, alice, low):
        low(3)
        page = signed_in(alice)
        open_first(page)
        queue = page.get_by_role("navigation", name="Queue")
        expect(queue).to_contain_text("1 of 3")
        expect(queue.get_by_role("link", name="Previous request")).to_have_count(0)
        queue.get_by_role("link", name="Next request").click()
        title(page, 2).to_be_visible()
        expect(queue).to_contain_text("2 of 3")
        expect(queue.get_by_role("link", name="Previous request")).to_be_visible()
        assert violations(page) == []

    def test_it_keeps_to_the_filters_of_the_inbox(self, signed_in, alice, bot, low):
        low(2)
        TaskFactory(agent=bot, task_type="payout_approval", description="A payout.", data=PLAIN)
        page = signed_in(alice)
        page.goto("/admin/?type=refund_approval")
        open_first(page)
        expect(page.get_by_role("navigation", name="Queue")).to_contain_text("1 of 2")
        page.keyboard.press("j")
        title(page, 2).to_be_visible()
        page.keyboard.press("j")
        title(page, 2).to_be_visible()
        page.get_by_role("navigation", name="Queue").get_by_role("link", name="Inbox").click()
        page.wait_for_url("**/admin/?type=refund_approval*")


class TestMoving:
    def test_j_and_k_load_no_page(self, signed_in, alice, low):
        low(3)
        page = signed_in(alice)
        open_first(page)
        loads = count_loads(page)
        page.keyboard.press("j")
        title(page, 2).to_be_focused()
        expect(page).to_have_title("Refund number 2. | Orchestrator")
        page.keyboard.press("j")
        title(page, 3).to_be_visible()
        page.keyboard.press("k")
        title(page, 2).to_be_visible()
        page.go_back()
        title(page, 3).to_be_visible()
        assert loads == []
        assert page.evaluate("scrollY") == 0

    def test_the_frame_names_the_request_that_is_shown(self, signed_in, alice, bot, undo):
        policy("small", asks="1 finance", risk="low")
        for amount in ("7.50", "8.50"):
            TaskFactory(agent=bot, data={"amount": amount, "currency": "EUR"})
        page = signed_in(alice)
        page.locator(".o-row-link").first.click()
        here = page.locator(".o-here")
        expect(here).to_contain_text("7.50 EUR")
        page.keyboard.press("j")
        expect(here).to_contain_text("8.50 EUR")
        page.keyboard.press("a")
        page.keyboard.press("Enter")
        expect(here).to_contain_text("7.50 EUR")
        page.keyboard.press("z")
        expect(here).to_contain_text("8.50 EUR")

    def test_what_is_fetched_ahead_is_not_looked_at(self, signed_in, alice, low):
        [first, second] = low(2)
        page = signed_in(alice)
        with page.expect_response(lambda answer: str(second.pk) in answer.url):
            open_first(page)
        page.wait_for_load_state("networkidle")
        looked = Viewer.objects.filter(user=alice).values_list("approval_id", flat=True)
        assert list(looked) == [first.pk]
        with page.expect_response("**/inbox/looking/**"):
            page.keyboard.press("j")
        assert set(looked.all()) == {first.pk, second.pk}

    def test_a_required_time_begins_when_the_page_is_opened(self, signed_in, alice, bot, low):
        low(1)
        policy("slow", when={"task_type": "payout"}, asks="1 finance", look_for="2s")
        payout = {"task_type": "payout", "description": "A payout.", "data": PLAIN}
        slow = the_approval(TaskFactory(agent=bot, **payout))
        page = signed_in(alice)
        open_first(page)
        page.wait_for_load_state("networkidle")
        page.keyboard.press("j")
        approve = page.get_by_role("button", name="Approve")
        expect(page.get_by_role("heading", name="A payout.", level=2)).to_be_visible()
        expect(approve).to_be_disabled()
        expect(approve).to_be_enabled()
        approve.click()
        is_sent(page, "Approved: A payout.")
        assert Approval.objects.get(pk=slow.pk).status == "approved"

    def test_what_was_written_is_there_again(self, signed_in, alice, low):
        low(2)
        page = signed_in(alice)
        open_first(page)
        page.get_by_label("Comment").fill(NOTES)
        page.get_by_role("link", name="Next request").click()
        title(page, 2).to_be_visible()
        expect(page.get_by_label("Comment", exact=False).first).to_have_value("")
        page.get_by_role("link", name="Previous request").click()
        title(page, 1).to_be_visible()
        expect(page.get_by_label("Comment", exact=False).first).to_have_value(NOTES)
        expect(page.get_by_text("What you wrote is still here; it was not sent.")).to_be_visible()


class TestDeciding:
    def test_twenty_requests_take_at_most_45_keys_and_no_page(self, signed_in, alice, low, undo):
        waiting = low(20)
        page = signed_in(alice, **WINDOW)
        open_first(page)
        loads, keys = count_loads(page), 0
        for number in range(1, 21):
            title(page, number).to_be_visible()
            page.keyboard.press("a")
            page.keyboard.press("Enter")
            keys += 2
        expect(page.get_by_role("heading", name="All clear.")).to_be_visible()
        assert (keys <= 45, loads) == (True, [])
        # Whoever leaves means it: what is held back is sent.
        page.get_by_role("link", name="Back to the inbox").click()
        page.wait_for_url("**/admin/*")
        expect(page.get_by_text("requests show up here automatically")).to_be_visible()
        expect(page.locator("[data-vote]")).to_have_count(0)
        page.wait_for_load_state("networkidle")
        statuses = Approval.objects.values_list("status", flat=True)
        assert list(statuses) == ["approved"] * len(waiting)
        assert Vote.objects.count() == len(waiting)
        assert page.evaluate("Object.keys(sessionStorage)") == []

    def test_two_clicks_after_the_login(self, site, signed_in, alice, low):
        [first, _] = low(2)
        page = signed_in(alice)
        page.get_by_role("link", name="Refund number 1.", exact=True).click()
        page.get_by_role("button", name="Approve").click()
        is_sent(page)
        title(page, 2).to_be_visible()
        assert Approval.objects.get(pk=first.pk).status == "approved"

    def test_the_place_counts_what_was_decided(self, signed_in, alice, low, undo):
        low(3)
        page = signed_in(alice, **WINDOW)
        open_first(page)
        page.wait_for_load_state("networkidle")
        page.keyboard.press("a")
        page.keyboard.press("Enter")
        title(page, 2).to_be_visible()
        expect(page.get_by_role("navigation", name="Queue")).to_contain_text("1 of 2")
        expect(page.get_by_role("link", name="Previous request")).to_have_count(0)

    def test_what_was_passed_over_comes_back_at_the_end(self, signed_in, alice, low, undo):
        low(3)
        page = signed_in(alice, **WINDOW)
        open_first(page)
        page.keyboard.press("j")
        for number in (2, 3):
            title(page, number).to_be_visible()
            page.keyboard.press("a")
            page.keyboard.press("Enter")
        title(page, 1).to_be_visible()
        page.keyboard.press("a")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", name="All clear.")).to_be_visible()

    def test_what_came_meanwhile_is_next(self, signed_in, alice, bot, low):
        low(1)
        page = signed_in(alice)
        open_first(page)
        TaskFactory(agent=bot, description="Refund number 2.", data=PLAIN)
        page.get_by_role("button", name="Approve").click()
        title(page, 2).to_be_visible()

    def test_a_refusal_keeps_the_page_and_the_words(self, signed_in, alice, low):
        low(2)
        page = signed_in(alice)
        open_first(page)
        page.get_by_text("More actions").click()
        page.get_by_label("Delegate this to").fill("nobody")
        page.get_by_label("Comment").fill(NOTES)
        page.get_by_role("button", name="Delegate").click()
        expect(page.get_by_role("alert")).to_be_visible()
        expect(page.get_by_label("Delegate this to")).to_be_focused()
        title(page, 1).to_be_visible()
        expect(page.get_by_label("Comment")).to_have_value(NOTES)


class TestUndo:
    def test_z_brings_the_page_back_with_its_note(self, signed_in, alice, low, undo):
        [first, _] = low(2)
        page = signed_in(alice, **WINDOW)
        open_first(page)
        page.get_by_label("Comment").fill(NOTES)
        page.get_by_role("button", name="Approve").click()
        title(page, 2).to_be_visible()
        told = page.get_by_role("status").filter(has_text="Approved: Refund number 1.")
        expect(told).to_have_count(1)
        expect(page.get_by_role("button", name="Undo")).to_be_visible()
        assert violations(page) == []
        page.keyboard.press("z")
        title(page, 1).to_be_focused()
        expect(page.get_by_label("Comment")).to_have_value(NOTES)
        expect(page.get_by_role("button", name="Undo")).to_have_count(0)
        assert page.url.split("?")[0].endswith(url(first))
        page.get_by_role("button", name="Reject").click()
        page.goto("/admin/")
        expect(page.get_by_role("row", name="Refund number 1.")).to_have_count(0)
        assert Vote.objects.get().choice == "no"

    def test_it_is_sent_when_the_time_is_over(self, signed_in, alice, low, undo):
        [first, _] = low(2)
        page = signed_in(alice)
        page.clock.install()
        open_first(page)
        page.get_by_role("button", name="Approve").click()
        title(page, 2).to_be_visible()
        assert Vote.objects.count() == 0
        page.clock.run_for(9_000)
        is_sent(page)
        expect(page.get_by_role("button", name="Undo")).to_have_count(0)
        assert Approval.objects.get(pk=first.pk).status == "approved"
        assert page.evaluate("Object.keys(sessionStorage)") == []

    def test_a_vote_left_over_is_sent_by_the_next_page(self, signed_in, alice, low, undo):
        [first, _] = low(2)
        page = signed_in(alice)
        open_first(page)
        page.get_by_label("Comment").fill(NOTES)
        leave_over(page)
        page.reload()
        is_sent(page)
        vote = Vote.objects.get()
        assert (vote.approval_id, vote.notes) == (first.pk, NOTES)

    def test_a_vote_sent_twice_counts_once_and_nobody_is_refused(self, signed_in, alice, low, undo):
        [first, _] = low(2)
        page = signed_in(alice)
        open_first(page)
        page.get_by_role("button", name="Approve").click()
        title(page, 2).to_be_visible()
        kept = page.evaluate("({...sessionStorage})")
        page.goto("/admin/")
        expect(page.get_by_role("row", name="Refund number 1.")).to_have_count(0)
        page.wait_for_load_state("networkidle")
        page.evaluate("kept => Object.assign(sessionStorage, kept)", kept)
        page.reload()
        expect(page.get_by_text("Your vote is recorded.")).to_be_visible()
        assert Vote.objects.get().approval_id == first.pk

    def test_somebody_else_sends_nothing(self, signed_in, alice, bob, low, undo):
        [_, second] = low(2)
        page = signed_in(alice)
        open_first(page)
        leave_over(page)
        Session.objects.all().delete()
        page.goto(url(second))
        page.get_by_label("Username").fill("bob")
        page.get_by_label("Password").fill("bob")
        page.get_by_role("button", name="Log in").click()
        title(page, 2).to_be_visible()
        page.wait_for_load_state("networkidle")
        assert page.evaluate("Object.keys(sessionStorage)") == []
        assert Vote.objects.count() == 0

    def test_a_session_that_ended_keeps_it_until_the_next(self, signed_in, alice, low, undo):
        low(2)
        page = signed_in(alice)
        page.clock.install()
        open_first(page)
        page.get_by_role("button", name="Approve").click()
        title(page, 2).to_be_visible()
        Session.objects.all().delete()
        page.clock.run_for(9_000)
        expect(page.get_by_text("You were signed out. Not sent: Approved")).to_be_visible()
        page.get_by_role("link", name="Sign in to send it").click()
        page.get_by_label("Username").fill("alice")
        page.get_by_label("Password").fill("alice")
        page.get_by_role("button", name="Log in").click()
        is_sent(page)
        assert Vote.objects.get().choice == "yes"

    def test_a_refusal_that_comes_late_is_told_and_leads_back(
        self, signed_in, alice, bob, low, undo
    ):
        [first, _] = low(2)
        page = signed_in(alice)
        page.clock.install()
        open_first(page)
        page.get_by_label("Comment").fill(NOTES)
        page.get_by_role("button", name="Approve").click()
        title(page, 2).to_be_visible()
        operations.reject(
            first.pk, by=Actor.human(bob), payload_digest=first.payload_digest, notes="Twice."
        )
        page.clock.run_for(9_000)
        notice = page.locator("[data-vote]")
        expect(notice).to_contain_text("Not recorded: Approved: Refund number 1")
        expect(notice).to_contain_text("bob rejected this")
        assert violations(page) == []
        notice.get_by_role("link", name="Open it").click()
        expect(page.get_by_label("Your comment (not sent)")).to_have_value(NOTES)

    def test_a_server_that_is_away_is_asked_again(self, signed_in, alice, low, undo):
        low(2)
        page = signed_in(alice)
        page.clock.install()
        open_first(page)
        page.get_by_role("button", name="Approve").click()
        title(page, 2).to_be_visible()
        page.context.set_offline(True)
        page.clock.run_for(9_000)
        expect(
            page.get_by_text("Not sent yet: Approved: Refund number 1. Retrying.")
        ).to_be_visible()
        page.context.set_offline(False)
        page.clock.run_for(16_000)
        is_sent(page)
        expect(page.locator("[data-vote]")).to_have_count(0)


class TestHighRisk:
    def test_it_asks_once_more_and_enter_alone_goes_back(self, signed_in, alice, bot, undo):
        policy("large", asks="1 finance", risk="high")
        approval = the_approval(TaskFactory(agent=bot))
        page = signed_in(alice)
        page.goto(url(approval))
        page.keyboard.press("a")
        page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog", name="Approve this high-risk request?")
        expect(dialog).to_contain_text("Payment of 42.50 EUR")
        expect(dialog.get_by_role("definition")).to_have_text("42.50 EUR")
        assert violations(page) == []
        page.keyboard.press("Enter")
        expect(dialog).to_have_count(0)
        expect(page.get_by_role("button", name="Approve")).to_be_focused()
        assert Vote.objects.count() == 0
        page.keyboard.press("Enter")
        dialog.get_by_role("button", name="Approve").click()
        is_sent(page, "Approved: Payment of 42.50 EUR.")
        expect(page.get_by_role("button", name="Undo")).to_have_count(0)


class TestOthers:
    """What others do replaces the buttons of an open page, and leaves what was written."""

    @pytest.fixture
    def open_page(self, signed_in, alice, low):
        def open_page():
            [first] = low(1)
            page = signed_in(alice)
            page.clock.install()
            page.goto(url(first))
            page.get_by_label("Comment").fill(NOTES)
            return page, first

        return open_page

    def test_a_decision(self, open_page, bob):
        page, first = open_page()
        vote = {"payload_digest": first.payload_digest, "notes": "Twice."}
        operations.reject(first.pk, by=Actor.human(bob), **vote)
        page.clock.run_for(6_000)
        expect(page.get_by_role("alert")).to_contain_text("bob rejected this")
        expect(page.get_by_role("button", name="Approve")).to_be_disabled()
        expect(page.get_by_role("button", name="Reject")).to_be_disabled()
        expect(page.get_by_label("Comment")).to_have_value(NOTES)
        assert violations(page) == []

    def test_a_request_for_changes(self, open_page, bob):
        page, first = open_page()
        vote = {"payload_digest": first.payload_digest, "message": "Name the order."}
        operations.request_changes(first.pk, by=Actor.human(bob), **vote)
        page.clock.run_for(6_000)
        expect(page.get_by_role("alert")).to_contain_text("bob requested changes")
        expect(page.get_by_role("button", name="Approve")).to_be_disabled()
        expect(page.get_by_role("button", name="Reject")).to_be_enabled()


class TestNotNow:
    def test_a_request_is_snoozed_and_the_next_opens(self, signed_in, alice, low):
        low(2)
        page = signed_in(alice)
        open_first(page)
        page.keyboard.press("h")
        expect(page.get_by_role("button", name="1 hour")).to_be_focused()
        assert violations(page) == []
        page.keyboard.press("Enter")
        expect(page.get_by_text("Snoozed: 1 hour.")).to_be_visible()
        title(page, 2).to_be_visible()
        page.goto("/admin/")
        expect(page.get_by_role("row", name="Refund number 1.")).to_have_count(0)
        page.get_by_role("link", name="1 snoozed").click()
        expect(page.get_by_role("row", name="Refund number 1.")).to_be_visible()

    def test_bob_sees_that_alice_has_it(self, signed_in, alice, bob, low):
        [first] = low(1)
        page = signed_in(alice)
        page.goto(url(first))
        page.keyboard.press("t")
        page.keyboard.press("Enter")
        expect(page.get_by_text("You have this since")).to_be_visible()
        his = signed_in(bob)
        expect(his.get_by_role("row", name="Refund number 1.")).to_contain_text("alice has this")
        his.goto(url(first))
        expect(his.get_by_text("alice has this since")).to_be_visible()
        his.get_by_role("button", name="Approve").click()
        is_sent(his)

    def test_a_comment_keeps_what_was_written_for_the_vote(self, signed_in, alice, low):
        [first] = low(1)
        page = signed_in(alice)
        page.goto(url(first))
        page.get_by_label("Comment (required").fill(NOTES)
        page.get_by_text("Activity", exact=True).click()
        page.get_by_label("Add to the conversation").fill("Which order is it?")
        page.get_by_role("button", name="Add comment").click()
        expect(page.get_by_text("Comment added.")).to_be_visible()
        expect(page.locator("#comments").get_by_text("Which order is it?")).to_be_visible()
        expect(page.get_by_label("Comment (required")).to_have_value(NOTES)
        expect(page.get_by_label("Add to the conversation")).to_have_value("")
        assert violations(page) == []


class TestKeys:
    def test_only_what_works_is_listed_and_close_has_the_focus(self, signed_in, alice, low):
        low(2)
        page = signed_in(alice)
        page.keyboard.press("?")
        dialog = page.get_by_role("dialog", name="Keys")
        expect(dialog.get_by_role("button", name="Close")).to_be_focused()
        expect(dialog).to_contain_text("Select or deselect")
        expect(dialog).not_to_contain_text("Focus Approve")
        page.keyboard.press("Space")
        expect(dialog).to_have_count(0)
        open_first(page)
        page.keyboard.press("?")
        expect(dialog).to_contain_text("Focus Approve")
        expect(dialog).to_contain_text("Next request")
        expect(dialog).not_to_contain_text("Previous request")
        expect(dialog).not_to_contain_text("Select or deselect")

    def test_slash_goes_to_the_search_of_the_payload(self, signed_in, alice, bot):
        lines = {f"line {n}": {"price": n} for n in range(20)}
        approval = the_approval(TaskFactory(agent=bot, data=lines))
        page = signed_in(alice)
        page.goto(url(approval))
        page.keyboard.press("/")
        expect(page.get_by_role("searchbox").first).to_be_focused()


class TestPane:
    """Beside the list, in a wide window, requests are decided without opening them."""

    def test_j_shows_the_request_and_two_keys_decide_it(self, signed_in, alice, low, undo):
        low(3)
        page = signed_in(alice, **WINDOW)
        loads = count_loads(page)
        page.keyboard.press("j")
        pane = page.get_by_role("complementary", name="Preview")
        expect(pane.get_by_role("heading", name="Refund number 1.")).to_be_visible()
        assert violations(page) == []
        for number in (1, 2):
            expect(pane.get_by_role("heading", name=f"Refund number {number}.")).to_be_visible()
            page.keyboard.press("a")
            page.keyboard.press("Enter")
        expect(pane.get_by_role("heading", name="Refund number 3.")).to_be_visible()
        expect(page.locator("tr[data-key]:visible")).to_have_count(1)
        page.keyboard.press("z")
        expect(pane.get_by_role("heading", name="Refund number 2.")).to_be_visible()
        expect(page.locator("tr[data-key]:visible")).to_have_count(2)
        expect(page.get_by_role("link", name="Refund number 2.")).to_be_focused()
        assert loads == []
        page.keyboard.press("Enter")
        page.wait_for_url("**/change/**")
        page.wait_for_load_state("networkidle")
        assert Vote.objects.count() == 1

    @pytest.mark.parametrize("width", [1150, 1440])
    def test_the_list_keeps_what_names_a_request_and_the_pane_covers_nothing(
        self, signed_in, alice, bot, width
    ):
        data = {"amount": "249.90", "currency": "EUR", "order": "2026-1000"}
        TaskFactory(agent=bot, description="Refund number 1.", data=data)
        page = signed_in(alice, width=width, colors="light")
        page.keyboard.press("j")
        pane = page.get_by_role("complementary", name="Preview")
        expect(pane.get_by_role("heading", name="What will happen")).to_be_visible()
        row = page.locator("tr[data-key]")
        columns = [each for each in page.locator(".o-queue thead th").all() if each.is_visible()]
        assert [each.inner_text() for each in columns][1:] == ["Request", "Due"]
        assert row.locator("th").bounding_box()["width"] > 250
        facts = pane.locator(".o-summary").bounding_box()
        box = pane.locator(".o-decide").bounding_box()
        assert facts["width"] == box["width"]
        assert facts["y"] + facts["height"] <= box["y"]

    def test_a_click_shows_it_too(self, signed_in, alice, low):
        [first, _] = low(2)
        page = signed_in(alice, **WINDOW)
        page.get_by_role("row", name="Refund number 1.").hover()
        page.get_by_role("button", name="Preview").click()
        pane = page.get_by_role("complementary", name="Preview")
        pane.get_by_label("Comment").fill(NOTES)
        pane.get_by_role("button", name="Reject").click()
        is_sent(page, "Rejected: Refund number 1.")
        expect(pane.get_by_role("heading", name="Refund number 2.")).to_be_visible()
        assert Approval.objects.get(pk=first.pk).notes == NOTES

    def test_a_narrow_window_has_none(self, signed_in, alice, low):
        low(1)
        page = signed_in(alice, width=1024)
        page.keyboard.press("j")
        expect(page.get_by_role("link", name="Refund number 1.")).to_be_focused()
        page.wait_for_load_state("networkidle")
        expect(page.get_by_role("complementary", name="Preview")).to_have_count(0)
