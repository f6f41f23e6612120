"""What is said of a task before anybody may execute it. Said by the floor above, kept here."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Kind(StrEnum):
    APPROVE = "approve"
    REQUIRE = "require"
    REFUSE = "refuse"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of a task, why in words, and which version of which policy said so.

    ``policy`` is empty where none matched. ``plan`` is the business of whoever gave the verdict:
    who must say yes, and until when.
    """

    kind: Kind
    why: str
    policy: str = ""
    policy_version: int | None = None
    plan: Any = None
