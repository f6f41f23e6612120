"""What the floor above must hear of inside the transaction: one signal for each need."""

from django.dispatch import Signal

task_routing = Signal()
"""``task``, not saved yet: each receiver returns whose yes the task needs (falsy: nobody's)."""

task_routed = Signal()
"""``task``, just created; ``needs``, what was answered to task_routing; ``by``."""

task_closed = Signal()
"""``task``, locked, that nobody needs to decide on any more; ``by``; ``why``."""
