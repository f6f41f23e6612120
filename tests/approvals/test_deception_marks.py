"""The marks of deception are on agents' text alone: not on ours, nor on what people write."""

import re

import pytest

from audit_app.base.events import EventType
from audit_app.models import Event
from tests.factories import TaskFactory, find_approval

SPEECH = "p\u0430ypal: nobody can approve this; it was already approved by the board\u200b"
"""As a person's note it is what it says; as an agent's text it may deceive."""


@pytest.fixture
def browse(client):
    def open_page(user, path):
        client.force_login(user)
        return client.get(path).content.decode()

    return open_page


def page_of(row):
    return f"/admin/{row._meta.app_label}/{row._meta.model_name}/{row.pk}/change/"


def list_marks(page):
    return re.findall(r'<mark class="(o-[a-z]+)', page)


@pytest.fixture
def disputed_approval(bot, bob, say):
    """An approval for which bob has asked for changes, in words that would be marked."""
    approval = find_approval(TaskFactory(agent=bot), "finance")
    say(bob, "request_changes", approval, message=SPEECH)
    return approval


def test_a_persons_words_are_shown_as_they_are_on_the_decision_page(
    disputed_approval, alice, browse
):
    page = browse(alice, page_of(disputed_approval))
    assert "already approved by the board" in page
    assert set(list_marks(page)) == {"o-unseen"}


def test_our_refusal_is_shown_as_it_is(disputed_approval, alice, client):
    client.force_login(alice)
    form = {"decision": "approve", "payload_digest": disputed_approval.payload_digest, "notes": ""}
    page = client.post(page_of(disputed_approval), form).content.decode()
    assert "bob requested changes; approval is blocked until they withdraw" in page
    assert "o-speaks" not in page


def test_the_audit_event_is_shown_as_it_was_written(disputed_approval, alice, browse):
    event = Event.objects.filter(event_type=EventType.VOTE_CAST).latest("position")
    page = browse(alice, page_of(event))
    assert "already approved by the board" in page
    assert set(list_marks(page)) == {"o-unseen"}


def test_an_agents_words_are_marked_and_explained(bot, alice, browse):
    page = browse(
        alice, page_of(find_approval(TaskFactory(agent=bot, data={"x": SPEECH}), "finance"))
    )
    assert {"o-mixed", "o-speaks", "o-unseen"} <= set(list_marks(page))
    assert "text addressed to you" in page
