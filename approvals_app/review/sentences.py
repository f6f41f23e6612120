"""What an event says in a timeline: its actor did this, for that reason."""

from audit_app.base.events import EventType
from audit_app.models import Event

PHRASES: dict[str, str] = {
    EventType.SESSION_OPENED: "opened a session",
    EventType.SESSION_ACTIVATED: "started the session",
    EventType.SESSION_UPDATED: "updated the session",
    EventType.SESSION_COMPLETED: "completed the session",
    EventType.SESSION_FAILED: "ended the session as failed",
    EventType.SESSION_EXPIRED: "ended the session as expired",
    EventType.SESSION_PURGED: "removed the session",
    EventType.TASK_ROUTED: "routed the task",
    EventType.TASK_REVISED: "revised the task",
    EventType.TASK_APPROVED: "approved the task",
    EventType.TASK_REJECTED: "rejected the task",
    EventType.TASK_EXPIRED: "let the task expire",
    EventType.TASK_CLAIMED: "claimed the task",
    EventType.TASK_LEASE_EXTENDED: "extended the lease",
    EventType.TASK_RELEASED: "released the task",
    EventType.TASK_COMPLETED: "completed the task",
    EventType.TASK_FAILED: "reported that the task failed",
    EventType.TASK_CANCELLED: "cancelled the task",
    EventType.TASK_RECALLED: "recalled the approval",
    EventType.TASK_PURGED: "removed the task",
    EventType.PAYLOAD_ERASED: "erased the payload",
    EventType.APPROVAL_REQUESTED: "requested approval",
    EventType.APPROVAL_APPROVED: "approved",
    EventType.APPROVAL_APPROVED_BY_DEADLINE: "approved automatically at the deadline",
    EventType.APPROVAL_REJECTED: "rejected",
    EventType.APPROVAL_EXPIRED: "let the request expire",
    EventType.APPROVAL_WITHDRAWN: "withdrew the request",
    EventType.APPROVAL_REMINDED: "reminded the reviewers",
    EventType.APPROVAL_SENSITIVE_SHOWN: "had sensitive values shown",
    EventType.APPROVAL_PURGED: "removed the approval",
    EventType.VOTE_WITHDRAWN: "withdrew their vote",
    EventType.VOTE_PURGED: "removed the vote",
    EventType.COMMENT_ADDED: "commented",
    EventType.COMMENT_PURGED: "removed the comment",
    EventType.DELEGATION_GRANTED: "delegated",
    EventType.DELEGATION_ENDED: "ended a delegation",
    EventType.DELEGATION_PURGED: "removed a delegation",
    EventType.OVERRIDE_OPENED: "approved alone (break glass)",
    EventType.OVERRIDE_UPHELD: "upheld the break-glass approval",
    EventType.OVERRIDE_CONDEMNED: "overturned the break-glass approval",
    EventType.OVERRIDE_PURGED: "removed the break-glass record",
    EventType.POLICY_CREATED: "created the policy",
    EventType.POLICY_CHANGED: "changed the policy",
    EventType.POLICY_RETIRED: "retired the policy",
    EventType.POLICY_RESTORED: "activated the policy again",
    EventType.IDENTITY_CREATED: "created the agent",
    EventType.IDENTITY_CHANGED: "changed the agent",
    EventType.IDENTITY_REVOKED: "revoked the agent",
    EventType.KEY_ISSUED: "issued a key",
    EventType.KEY_REVOKED: "ended keys",
    EventType.FREEZE_BEGAN: "froze",
    EventType.FREEZE_LIFTED: "lifted the freeze",
    EventType.PASSKEY_REGISTERED: "registered a passkey",
    EventType.PASSKEY_RENAMED: "renamed a passkey",
    EventType.PASSKEY_REVOKED: "removed a passkey",
    EventType.WEBHOOK_CREATED: "created the webhook",
    EventType.WEBHOOK_CHANGED: "changed the webhook",
    EventType.WEBHOOK_SECRET_ROTATED: "rotated the webhook's secret",
    EventType.WEBHOOK_PAUSED: "paused the webhook",
    EventType.WEBHOOK_RESUMED: "resumed the webhook",
    EventType.WEBHOOK_DISABLED: "disabled the webhook",
    EventType.UPSTREAM_CREATED: "added the upstream",
    EventType.UPSTREAM_CHANGED: "changed the upstream",
    EventType.UPSTREAM_SECRETS_REPLACED: "replaced the upstream's credentials",
    EventType.UPSTREAM_ENABLED: "enabled the upstream",
    EventType.UPSTREAM_DISABLED: "disabled the upstream",
    EventType.OPERATION_REFUSED: "was refused",
}
VOTES = {"yes": "approved", "no": "rejected", "changes": "requested changes"}
REASONS = ("reason", "notes", "message", "text")
"""The details in which events keep why, the first that is there."""


def describe_event(event: Event) -> str:
    """What the actor of ``event`` did, without the actor: "approved alone (break glass)"."""
    if event.event_type == EventType.VOTE_CAST:
        return VOTES.get(event.metadata.get("choice", ""), "voted")
    # Agents record events of types of their own.
    return PHRASES.get(event.event_type, f"recorded {event.event_type}")


def find_reason(event: Event) -> str:
    """Why, in the words of whoever acted; "" where the event has none."""
    found = (event.metadata.get(name) for name in REASONS)
    return next((text for text in found if text and isinstance(text, str)), "")
