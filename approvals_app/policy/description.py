"""What a policy does, in one sentence: the same on every page, in messages and in documents."""

from datetime import timedelta
from typing import Final

from django.conf import settings

from approvals_app.policy.language import (
    HIGH,
    LOW,
    NO,
    REJECT,
    REQUIRED,
    TO_ROLE,
    WHEN_POSSIBLE,
    Policy,
    Requirement,
    join,
)
from sessions_app.gate import Outcome

TARGET_GROUP: Final = "the target group"
UNITS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))
SIGNED: Final = {
    REQUIRED: "Votes are signed with a passkey.",
    WHEN_POSSIBLE: "Votes of people with a passkey are signed.",
}
WITHOUT_A_HUMAN: Final = "Approves without a human."


def describe_policy(policy: Policy) -> str:
    """What ``policy`` does about the tasks that it matches.

    ``Asks 2 of finance and 1 of legal, 24 h, then rejects.``
    """
    if policy.kind is Outcome.APPROVE:
        return WITHOUT_A_HUMAN
    if policy.kind is Outcome.REFUSE:
        return "Refuses."
    deadline = policy.deadline or settings.APPROVAL_TTL
    steps = [
        f"{join([_name_group(each) for each in policy.approvals])}, {describe_length(deadline)}"
    ]
    for step in policy.escalate:
        group = _name_group(Requirement(step.role, step.count))
        steps.append(f"{group}, {describe_length(step.deadline)}")
    steps.append("rejects" if policy.on_timeout == REJECT else "approves without a human")
    return " ".join((f"Asks {', then '.join(steps)}.", *_describe_care(policy)))


def describe_match(policy: Policy) -> str:
    """The tasks that ``policy`` matches: ``wire_* to finance, where data.urgent``."""
    words = "any task" if policy.task_type == "*" else policy.task_type
    words += f" from {policy.from_role}" if policy.from_role != "*" else ""
    words += f" to {policy.to_role}" if policy.to_role != "*" else ""
    return words + (f", where {policy.condition}" if policy.condition else "")


def describe_default() -> str:
    """What happens to a task that no policy matches."""
    if settings.APPROVAL_DEFAULT == "require":
        return "If none matches, one approval from the target group is needed."
    return (
        "If none matches, approvals and questions need one approval from the target group; "
        "other tasks pass without a human."
    )


def describe_length(length: timedelta) -> str:
    """``length`` in the largest unit that divides it, hours up to two days: ``24 h``, ``7 d``."""
    seconds = int(length.total_seconds())
    size, unit = next((size, unit) for size, unit in UNITS if seconds % size == 0)
    if unit == "d" and seconds < 2 * size:
        size, unit = 3_600, "h"
    return f"{seconds // size} {unit}"


def _describe_care(policy: Policy) -> list[str]:
    """Sentences on what an approver must do and know."""
    sentences = []
    if policy.deny_threshold > 1:
        sentences.append(f"{policy.deny_threshold} rejections end it.")
    care = [f"look for {describe_length(policy.look_for)}"] if policy.look_for else []
    care += [f"type {policy.type_out}"] if policy.type_out else []
    if care:
        sentences.append(f"Approvers {join(care)}.")
    if policy.signed != NO:
        sentences.append(SIGNED[policy.signed])
    if policy.risk in (HIGH, LOW):
        sentences.append(f"{policy.risk.capitalize()} risk.")
    return sentences


def _name_group(requirement: Requirement) -> str:
    role = TARGET_GROUP if requirement.role == TO_ROLE else requirement.role
    return f"{requirement.count} of {role}"
