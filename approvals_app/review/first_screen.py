"""What a decision page says first: title, risk, what silence does, who voted, what blocks a yes."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

from django.conf import settings

from approvals_app.models import Approval, Override, Vote
from approvals_app.payload import questions
from approvals_app.payload.facts import Level
from approvals_app.payload.money import format_amount
from approvals_app.payload.summary import Summary
from approvals_app.policy.language import APPROVE_WITHOUT_A_HUMAN
from audit_app.base.text_safety import shorten
from audit_app.base.times import format_length
from sessions_app.models import Task

LONGEST_TITLE: Final = 200
MOST_CHANGES: Final = 5
LONGEST_VALUE: Final = 120
ABSENT: Final = object()
UNITS: Final = {"d": "day", "h": "hour", "min": "minute", "s": "second"}


@dataclass(frozen=True, slots=True)
class Title:
    """The title of a task. ``is_ours``: drawn from the data, and not in the agent's words."""

    text: str
    is_ours: bool


@dataclass(frozen=True, slots=True)
class Consequence:
    """What the deadline does. ``silence_approves``: nobody's answer is taken for a yes."""

    text: str
    silence_approves: bool = False


@dataclass(frozen=True, slots=True)
class Tally:
    """The votes of one group: who is in favour, who is not, and how many it needs."""

    approval: Approval
    in_favour: list[Vote]
    others: list[Vote]

    @property
    def count(self) -> int:
        return len(self.in_favour)

    @property
    def is_complete(self) -> bool:
        return bool(self.approval.status == Approval.Status.APPROVED)

    @property
    def missing(self) -> int:
        """How many more approvals the group must give."""
        pending = self.approval.status == Approval.Status.PENDING
        return max(0, self.approval.needed - self.count) if pending else 0


@dataclass(frozen=True, slots=True)
class Change:
    """One value that a revision changed; "" where there was none, or is none any more."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, slots=True)
class EditNote:
    """What a reviewer's revision changed, in short, and why in their words."""

    by: str
    changes: list[Change]
    notes: str


@dataclass(frozen=True, slots=True)
class GlassBroken:
    """That one person approved the task alone, and how far its review is."""

    override: Override
    upheld: int
    needed: int

    @property
    def status(self) -> str:
        """In a few words, for a badge."""
        match self.override.status:
            case Override.Status.UPHELD:
                return "approved alone, upheld"
            case Override.Status.CONDEMNED:
                return "approved alone, objected"
            case _:
                return f"approved alone, under review ({self.upheld} of {self.needed})"


def write_title(task: Task, payload: Mapping[str, Any], summary: Summary) -> Title:
    """The title of ``task``: from its data, or in the agent's words where the data has none."""
    if summary.headline:
        return Title(summary.headline, True)
    description = payload["description"].strip()
    # A description was written for the data as the agent sent it: not for that of an editor.
    if description and not task.edited_by_id:
        return Title(shorten(description, LONGEST_TITLE), False)
    return Title(describe_task(payload), True)


def describe_task(payload: Mapping[str, Any]) -> str:
    """``Refund approval, 9020.50 EUR``: its type, and its amount if it has one."""
    words: str = payload["task_type"].replace("_", " ")
    data = payload["data"]
    amount = (
        format_amount(data.get("amount"), data.get("currency")) if isinstance(data, dict) else ""
    )
    return words[:1].upper() + words[1:] + (f", {amount}" if amount else "")


def explain_risk(task: Task, summary: Summary) -> str:
    """Why the risk is high: who says so, and the gravest fact of the payload."""
    reasons = [
        f"{fact.label}: {fact.value}" for fact in summary.facts if fact.level is Level.DANGER
    ]
    return "; ".join([*reasons[:1], *([f"set by the policy {task.policy}"] if task.policy else [])])


def find_consequence(approval: Approval, votes: Iterable[Vote]) -> Consequence:
    """What happens if ``approval`` is not decided in time; ``votes`` are all of its decision."""
    if approval.override_id:
        return Consequence("nobody can break the glass again before this is reviewed")
    terms = approval.at_deadline or {}
    if steps := terms.get("escalate"):
        step = steps[0]
        return Consequence(f"goes to {_count_people(step['count'], step['role'])}")
    objected = any(vote.choice != Vote.Choice.YES for vote in votes)
    is_yes = terms.get("then") == APPROVE_WITHOUT_A_HUMAN
    if is_yes and not objected and not questions.is_question(approval.task.task_type):
        return Consequence("approved automatically", silence_approves=True)
    return Consequence("rejected")


def find_validity(approvals: Iterable[Approval]) -> timedelta:
    """How long the task may be claimed once ``approvals``, all that it needs, are given."""
    lengths = [each.valid_for for each in approvals if each.valid_for]
    return min(lengths, default=settings.APPROVAL_VALID_FOR)


def count_votes(approvals: Iterable[Approval]) -> list[Tally]:
    """The votes on each of ``approvals``, which have theirs prefetched."""
    tallies = []
    for approval in approvals:
        votes = approval.votes_cast
        yes = [vote for vote in votes if vote.choice == Vote.Choice.YES]
        tallies.append(Tally(approval, yes, [vote for vote in votes if vote not in yes]))
    return tallies


def list_changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """The simple values of the data that differ between two payloads, at most MOST_CHANGES."""
    old, new = before["data"], after["data"]
    if not isinstance(old, dict) or not isinstance(new, dict):
        return []
    names = [name for name in {**old, **new} if old.get(name, ABSENT) != new.get(name, ABSENT)]
    changes = [Change(n, _say(old.get(n, ABSENT)), _say(new.get(n, ABSENT))) for n in names]
    simple = [c for c in changes if c.before != c.after]
    return simple[:MOST_CHANGES]


def say_missing(tallies: Sequence[Tally]) -> str:
    """``1 more from sre and 2 more from legal needed``; "" where nothing is missing."""
    parts = [
        f"{tally.missing} more from {tally.approval.approver_role}"
        for tally in tallies
        if tally.missing
    ]
    if not parts:
        return ""
    first = ", ".join(parts[:-1])
    return f"{first} and {parts[-1]} needed" if first else f"{parts[-1]} needed"


def say_length(length: timedelta) -> str:
    """``40 minutes``, ``1 day 12 hours``."""
    parts = format_length(length).split()
    pairs = zip(parts[::2], parts[1::2], strict=True)
    return " ".join(f"{n} {UNITS[unit]}{'' if n == '1' else 's'}" for n, unit in pairs)


def _count_people(count: int, role: str) -> str:
    return f"{count} of {role}" if count > 1 else role


def _say(value: Any) -> str:
    """A simple value as a text; "" for none and for what is not simple."""
    if value is ABSENT or value is None or isinstance(value, dict | list):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    return shorten(str(value), LONGEST_VALUE)
