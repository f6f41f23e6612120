"""Durations as operators write them: ``45s``, ``30m``, ``12h``, ``7d``."""

import re
from datetime import timedelta

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def parse_duration(text: str) -> timedelta:
    """Parse ``"7d"``. Raises ValueError with one plain sentence for anything else."""
    match = re.fullmatch(r"(\d{1,6})([smhd])", text.strip())
    if match is None or match[1].strip("0") == "":
        raise ValueError(
            f"{text!r} is not a length of time: write a whole number above 0 and s, m, h or d, "
            "for example 7d."
        )
    return timedelta(**{_UNITS[match[2]]: int(match[1])})
