"""What the floor above must hear of inside the transaction: one signal for each need."""

from django.dispatch import Signal

task_judging = Signal()
"""``task``, not saved as it is now: the one receiver returns the Verdict on it."""

task_revising = Signal()
"""``task``, locked, about to be revised: a receiver that refuses raises."""

task_judged = Signal()
"""``task``, just created or revised, locked; ``verdict``, as answered to task_judging; ``by``."""

task_closed = Signal()
"""``task``, locked, that nobody needs to decide on any more; ``by``; ``why``."""
