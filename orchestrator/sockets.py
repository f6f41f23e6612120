"""What a socket has for us, without waiting and without taking it."""

import select


def something_came(descriptor: int) -> bool:
    """Whether reading, or accepting, would not have to wait."""
    look = select.poll()
    look.register(descriptor, select.POLLIN)
    return bool(look.poll(0))
