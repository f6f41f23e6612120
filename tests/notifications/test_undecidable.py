"""Administrators hear of what nobody can decide."""

import pytest

from approvals_app.decisions.deadlines import remind
from approvals_app.models import Approval
from approvals_app.notifications.models import Notice
from tests.factories import OPS, AgentFactory, ReviewerFactory, TaskFactory, policy, set_columns
from tests.notifications.conftest import text, wishes


@pytest.fixture
def root():
    return ReviewerFactory(username="root", email="root@example.com", is_superuser=True)


@pytest.fixture
def ada():
    """The only member of finance."""
    return ReviewerFactory(username="ada", email="ada@example.com", roles=["finance"])


def sentences(mails):
    return sorted((mail["To"], text(mail).splitlines()[0]) for mail in mails)


WORDS = "A request can't be decided: Nobody can decide for finance now."


def test_a_request_without_voters_is_told_to_administrators(tell, ada, root):
    TaskFactory(agent=AgentFactory(name="hers", owner=ada))
    (mail,) = tell()
    assert (mail["To"], text(mail).splitlines()[0]) == ("root@example.com", WORDS)
    assert f"/approvals_app/approval/{Approval.objects.get().pk}/change/" in text(mail)


def test_too_few_voters_are_told_to_them_and_to_administrators(tell, bot, ada, root):
    policy(asks="2 finance")
    TaskFactory(agent=bot)
    (_, work), (whom, words) = sentences(tell())
    assert work.startswith("bot needs a decision from finance by")
    assert (whom, words) == (
        "root@example.com",
        "A request can't be decided: finance still needs 2 approvals, but only 1 can be given now.",
    )


def test_what_somebody_can_decide_is_not_told(tell, bot, ada, root):
    TaskFactory(agent=bot)
    assert [whom for whom, _ in sentences(tell())] == ["ada@example.com"]


def test_what_can_be_decided_by_the_time_it_is_sent_is_dropped(tell, ada, root, bot):
    wishes(root, digest="hourly")
    TaskFactory(agent=AgentFactory(name="hers", owner=ada))
    assert tell() == []
    ReviewerFactory(username="bob", roles=["finance"])
    set_columns(Notice, due_at=Approval.objects.get().created_at)
    assert tell() == []


def test_a_reminder_says_it_again(tell, ada, root):
    policy(asks="1 finance", deadline="4h", reminders=["1h"])
    TaskFactory(agent=AgentFactory(name="hers", owner=ada))
    assert len(tell()) == 1
    set_columns(Approval, remind_at=Approval.objects.get().created_at)
    assert sum(remind(by=OPS, batch_size=9)) == 1
    assert sentences(tell()) == [("root@example.com", WORDS)]


def test_an_administrator_may_not_want_it(tell, ada, root):
    wishes(root, without=["undecidable"])
    TaskFactory(agent=AgentFactory(name="hers", owner=ada))
    assert tell() == []
