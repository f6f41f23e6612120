"""What the floor above must hear of inside the transaction: one signal for each need."""

from django.dispatch import Signal

task_judging = Signal()
"""``tasks``, not saved as they are now: the one receiver returns for each the Verdict on it, or the
error that refuses it."""

task_revising = Signal()
"""``task``, locked, about to be revised: a receiver that refuses raises."""

task_judged = Signal()
"""``judged``, tasks just created or revised, locked, each with its Verdict as answered to
task_judging; ``by``."""

task_closed = Signal()
"""``task``, locked, that nobody needs to decide on any more; ``by``; ``why``."""
