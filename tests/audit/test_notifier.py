"""Waiters are signalled after a commit, and do not only look once a second."""

import time

from audit_app.live.notifier import Notifier, notifier
from tests.factories import SessionFactory


def is_signalled(listening: Notifier, since: int) -> bool:
    """Whether a signal arrives before a minute is over."""
    end = time.monotonic() + 60
    while listening.count_signals() == since and time.monotonic() < end:
        listening.wait(since, 60)
    return listening.count_signals() != since


def test_an_operation_signals_in_every_process(bot):
    elsewhere = Notifier()  # as in another process: its own connection, no thread in common
    try:
        since = elsewhere.count_signals()
        assert is_signalled(elsewhere, since), "it signals once when it begins to listen"
        since = elsewhere.count_signals()

        SessionFactory(agent=bot)

        assert is_signalled(elsewhere, since)
    finally:
        elsewhere.stop()


def test_a_notifier_that_was_stopped_starts_again(bot):
    since = notifier.count_signals()
    notifier.stop()
    SessionFactory(agent=bot)
    assert is_signalled(notifier, since)
