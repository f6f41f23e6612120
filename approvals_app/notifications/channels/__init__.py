"""The channels by which people are notified: one module each, found by itself.

A module here defines CHANNELS, its instances of ``base.Channel``; nothing else names it.
"""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

from approvals_app.notifications.channels.base import Channel


@cache
def load_channels() -> dict[str, Channel]:
    """All channels, by the prefix of their destinations."""
    modules = [import_module(f"{__name__}.{name}") for _, name, _ in iter_modules(__path__)]
    channels = [each for module in modules for each in getattr(module, "CHANNELS", ())]
    return {channel.prefix: channel for channel in channels}


def find_channel(destination: str) -> Channel | None:
    """The channel of a stored destination; None if it was removed from the code since."""
    return load_channels().get(destination.partition(":")[0])
