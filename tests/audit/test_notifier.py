"""Whoever waits hears of a commit, and not only because they look once a second."""

import time

from audit_app.live.notifier import Bell, bell
from tests.factories import SessionFactory


def rings(listening: Bell, since: int) -> bool:
    """Whether the bell rings before a minute is over."""
    end = time.monotonic() + 60
    while listening.rung() == since and time.monotonic() < end:
        listening.wait(since, 60)
    return listening.rung() != since


def test_an_operation_signals_the_notifier_in_every_process(bot):
    elsewhere = Bell()  # as another process has it: a connection of its own, no thread in common
    try:
        since = elsewhere.rung()
        assert rings(elsewhere, since), "it rings once when it begins to listen"
        since = elsewhere.rung()

        SessionFactory(agent=bot)

        assert rings(elsewhere, since)
    finally:
        elsewhere.stop()


def test_a_notifier_that_was_stopped_starts_again(bot):
    since = bell.rung()
    bell.stop()
    SessionFactory(agent=bot)
    assert rings(bell, since)
