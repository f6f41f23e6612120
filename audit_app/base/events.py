"""The types of all events; recording an unknown one is an error."""

import re
from collections.abc import Callable
from typing import Any, Final, TypeVar

from django.db import models

F = TypeVar("F", bound=Callable[..., Any])


class EventType(models.TextChoices):
    SESSION_OPENED = "session.opened"
    SESSION_ACTIVATED = "session.activated"
    SESSION_UPDATED = "session.updated"
    SESSION_COMPLETED = "session.completed"
    SESSION_FAILED = "session.failed"
    SESSION_EXPIRED = "session.expired"
    SESSION_PURGED = "session.purged"

    TASK_ROUTED = "task.routed"
    TASK_REVISED = "task.revised"
    TASK_APPROVED = "task.approved"
    TASK_REJECTED = "task.rejected"
    TASK_EXPIRED = "task.expired"
    TASK_CLAIMED = "task.claimed"
    TASK_LEASE_EXTENDED = "task.lease_extended"
    TASK_RELEASED = "task.released"
    TASK_COMPLETED = "task.completed"
    TASK_FAILED = "task.failed"
    TASK_CANCELLED = "task.cancelled"
    TASK_RECALLED = "task.recalled"
    TASK_PURGED = "task.purged"

    PAYLOAD_ERASED = "payload.erased"

    APPROVAL_REQUESTED = "approval.requested"
    APPROVAL_APPROVED = "approval.approved"
    APPROVAL_APPROVED_BY_DEADLINE = "approval.approved_by_deadline"
    APPROVAL_REJECTED = "approval.rejected"
    APPROVAL_EXPIRED = "approval.expired"
    APPROVAL_WITHDRAWN = "approval.withdrawn"
    APPROVAL_REMINDED = "approval.reminded"
    APPROVAL_SENSITIVE_SHOWN = "approval.sensitive_shown"
    APPROVAL_PURGED = "approval.purged"

    VOTE_CAST = "vote.cast"
    VOTE_WITHDRAWN = "vote.withdrawn"
    VOTE_PURGED = "vote.purged"

    COMMENT_ADDED = "comment.added"
    COMMENT_PURGED = "comment.purged"

    DELEGATION_GRANTED = "delegation.granted"
    DELEGATION_ENDED = "delegation.ended"
    DELEGATION_PURGED = "delegation.purged"

    OVERRIDE_OPENED = "override.opened"
    OVERRIDE_UPHELD = "override.upheld"
    OVERRIDE_CONDEMNED = "override.condemned"
    OVERRIDE_PURGED = "override.purged"

    POLICY_CREATED = "policy.created"
    POLICY_CHANGED = "policy.changed"
    POLICY_RETIRED = "policy.retired"
    POLICY_RESTORED = "policy.restored"

    IDENTITY_CREATED = "identity.created"
    IDENTITY_CHANGED = "identity.changed"
    IDENTITY_REVOKED = "identity.revoked"
    KEY_ISSUED = "key.issued"
    KEY_REVOKED = "key.revoked"

    FREEZE_BEGAN = "freeze.began"
    FREEZE_LIFTED = "freeze.lifted"

    PASSKEY_REGISTERED = "passkey.registered"
    PASSKEY_RENAMED = "passkey.renamed"
    PASSKEY_REVOKED = "passkey.revoked"

    WEBHOOK_CREATED = "webhook.created"
    WEBHOOK_CHANGED = "webhook.changed"
    WEBHOOK_SECRET_ROTATED = "webhook.secret_rotated"  # noqa: S105  # a name, no secret
    WEBHOOK_PAUSED = "webhook.paused"
    WEBHOOK_RESUMED = "webhook.resumed"
    WEBHOOK_DISABLED = "webhook.disabled"

    UPSTREAM_CREATED = "upstream.created"
    UPSTREAM_CHANGED = "upstream.changed"
    UPSTREAM_SECRETS_REPLACED = "upstream.secrets_replaced"
    UPSTREAM_ENABLED = "upstream.enabled"
    UPSTREAM_DISABLED = "upstream.disabled"

    OPERATION_REFUSED = "operation.refused"


AGENT_EVENT: Final = re.compile(r"agent\.[a-z0-9_]+(\.[a-z0-9_]+)*")
"""The types that agents may record themselves: lowercase words under ``agent.``."""


def recorded_as(event: EventType) -> Callable[[F], F]:
    """Mark a model's method as a change that ``recording.perform`` records as ``event``."""

    def mark(method: F) -> F:
        method.recorded_as = event  # type: ignore[attr-defined]  # read by trail.perform
        return method

    return mark
