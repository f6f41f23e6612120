"""Several requests on one page, to be decided with one click."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from approvals_app.models import Approval
from approvals_app.review.inbox import WaitingRow, add_up

MOST_NAMES = 3
"""Types and agents that are named one by one."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What a reviewer selected."""

    rows: list[WaitingRow]

    @property
    def held_back(self) -> dict[UUID, str]:
        """Why some of them can't be approved here, by their ids."""
        reasons = {row.approval.pk: row.why_not_in_bulk for row in self.rows}
        return {pk: reason for pk, reason in reasons.items() if reason}

    @property
    def approvable(self) -> int:
        return len(self.rows) - len(self.held_back)

    @property
    def types(self) -> str:
        """``all refund approval``, or ``2 credit, 1 wire transfer``."""
        return _count_names(row.approval.task.task_type.replace("_", " ") for row in self.rows)

    @property
    def is_mixed(self) -> bool:
        """Whether what can be approved here is of several types."""
        held_back = self.held_back
        rows = [row for row in self.rows if row.approval.pk not in held_back]
        return len({row.approval.task.task_type for row in rows}) > 1

    @property
    def sentence(self) -> str:
        """``3 selected, 22.50 EUR in total, all credit, all from support-bot``."""
        total = add_up(self.rows)
        without = sum(row.sum is None for row in self.rows)
        agents = _count_names((row.approval.task.agent.name for row in self.rows), " from")
        parts = [
            f"{len(self.rows)} selected",
            total and f"{total} in total",
            f"{without} without an amount" if total and without else "",
            self.types,
            agents,
        ]
        return ", ".join(filter(None, parts))


def describe_outcomes(
    decision: str, outcomes: Mapping[UUID, str], rows: Iterable[WaitingRow]
) -> str:
    """``4 approved, 3 not approved (still waiting)``.

    ``outcomes`` has why each was refused, "" where it was not; ``rows`` are as they are now.
    """
    verb = "approved" if decision == "approve" else "rejected"
    refused = {pk for pk, reason in outcomes.items() if reason}
    pending = Approval.Status.PENDING
    waiting = sum(row.approval.pk in refused and row.approval.status == pending for row in rows)
    told = f"{len(outcomes) - len(refused)} {verb}"
    if not refused:
        return told
    still = "" if waiting == len(refused) else f"{waiting} "
    return f"{told}, {len(refused)} not {verb}" + (f" ({still}still waiting)" if waiting else "")


def _count_names(names: Iterable[str], word: str = "") -> str:
    counts = Counter(names)
    if len(counts) == 1:
        return f"all{word} {next(iter(counts))}"
    common = counts.most_common(MOST_NAMES)
    rest = counts.total() - sum(count for _, count in common)
    named = [f"{count}{word} {name}" for name, count in common]
    return ", ".join([*named, *([f"{rest}{word} others"] if rest else [])])
