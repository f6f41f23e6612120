"""The shapes of the API. Written by generate.py from docs/openapi.json."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict


class AddEventRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    event_type: str
    """A name of the agent's own, under agent."""

    metadata: NotRequired[dict[str, Any] | None]


class Approval(TypedDict):
    """An approval, on its own or within its task."""

    approval_id: str
    task_id: str
    approver_role: str
    status: Literal["pending", "approved", "rejected", "expired", "withdrawn"]
    reason: str
    notes: str
    decided_by: NotRequired[str | None]
    """A username."""

    decision_at: str | None
    expires_at: str
    payload_digest: str
    """Lowercase hex SHA-256."""

    revision: int
    """The revision of the task that is decided on."""

    needed: int
    """How many members of the role must approve."""

    deny_threshold: int
    """How many noes reject the task."""

    votes: list[Vote]
    escalated_to: str | None
    """The approval that replaces it."""

    override_id: str | None
    """The break-glass override that it reviews."""

    created_at: str


class ApprovalPage(TypedDict):
    approvals: list[Approval]
    total: NotRequired[int]
    total_is_estimate: NotRequired[bool]
    """Whether there are more than 10,000, and total is the planner's guess."""

    page: NotRequired[int]
    page_size: NotRequired[int]
    next_cursor: NotRequired[str | None]


class ApproveRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    payload_digest: str
    """SHA-256 of the payload that the caller saw."""

    notes: NotRequired[str | None]
    assertion: NotRequired[dict[str, Any] | None]
    """The caller's passkey's signature of the vote, where it must be signed: credential_id,
    authenticator_data, client_data_json and signature, in base64url. docs/reviewing.md says what is
    signed."""

    answer: NotRequired[Any]
    """Required if the task is a question: valid by its schema."""

    typed: NotRequired[str | None]
    """Required if the policy asks to type a member of the payload: its value."""

    confirmed: NotRequired[bool | None]
    """That the caller followed the policy's instruction; kept with the vote, and must be true if
    the policy has instructions."""


class BatchTaskRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    target: str
    task: TaskBodyRequest
    context: NotRequired[dict[str, Any] | None]
    on_behalf_of: NotRequired[str | None]
    """Username or e-mail of the person on whose behalf it asks; can't approve it."""

    idempotency_key: str
    """One task per key, over this path and /tasks/route."""


class BreakGlassRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    payload_digest: str
    """SHA-256 of the payload that the caller saw."""

    reason: str


class BulkItemRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    payload_digest: str
    """SHA-256 of the payload that the caller saw."""

    notes: NotRequired[str | None]
    assertion: NotRequired[dict[str, Any] | None]
    """The caller's passkey's signature of the vote, where it must be signed: credential_id,
    authenticator_data, client_data_json and signature, in base64url. docs/reviewing.md says what is
    signed."""

    approval_id: str
    decision: Literal["approve", "reject"]


class BulkRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    decisions: list[BulkItemRequest]


class BulkResult(TypedDict):
    approval_id: str
    approval: NotRequired[Approval]
    problem: NotRequired[dict[str, Any]]
    """Why this one was refused (RFC 9457)."""


class BulkResults(TypedDict):
    results: list[BulkResult]


class CancelRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    reason: NotRequired[str | None]


class CompleteRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    result: NotRequired[Any]


class DecisionRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    payload_digest: str
    """SHA-256 of the payload that the caller saw."""

    notes: NotRequired[str | None]
    assertion: NotRequired[dict[str, Any] | None]
    """The caller's passkey's signature of the vote, where it must be signed: credential_id,
    authenticator_data, client_data_json and signature, in base64url. docs/reviewing.md says what is
    signed."""


class DelegateRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    to: str
    """The username of a staff user."""

    reason: NotRequired[str | None]


class Delegation(TypedDict):
    delegation_id: str
    delegator: str
    delegate: str
    approval_id: str | None
    starts_at: str
    ends_at: str | None
    reason: str
    status: Literal["active", "ended"]
    created_at: str


class DetailedTask(TypedDict):
    """A task by itself, with what its payload asks for, the most dangerous first."""

    task_id: str
    task_type: str
    description: str
    from_role: str
    to_role: str
    status: Literal[
        "awaiting_approval",
        "approved",
        "rejected",
        "expired",
        "cancelled",
        "claimed",
        "completed",
        "failed",
    ]
    data: dict[str, Any]
    context: dict[str, Any]
    session_id: str | None
    trace_id: str
    idempotency_key: str
    payload_digest: str
    """SHA-256 of the RFC 8785 text of the object of context, data, description, from_role,
    task_type and to_role."""

    revision: int
    edited_by: NotRequired[str | None]
    """A username."""

    on_behalf_of: str
    policy: PolicyOfTask
    approvals: list[Approval]
    approved_until: str | None
    receipt: str | None
    """Where the decision's signed receipt is, once there is one."""

    claimed_by: NotRequired[str | None]
    lease_expires_at: str | None
    result: Any
    error: Any
    erased: Erasure | None
    """Set once the payload was erased: description, data and context are empty then."""

    created_at: str
    updated_at: str
    summary: list[Fact]
    """At most seven facts, drawn from data."""


class EditRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    description: NotRequired[str | None]
    data: NotRequired[dict[str, Any] | None]
    context: NotRequired[dict[str, Any] | None]
    payload_digest: str
    """SHA-256 of the payload that the caller saw."""

    notes: NotRequired[str | None]


class EraseRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    reason: str
    """Why; it is in the trail for good."""

    keep_result: NotRequired[bool | None]
    """Keep the result, or why the task failed."""


class Erasure(TypedDict):
    """Who erased a payload, when and why."""

    by: str
    """A username."""

    at: str
    reason: str


class Event(TypedDict):
    event_id: str
    event_type: str
    actor: str
    """Who did it, as kind:name."""

    role: str | None
    subject_type: str
    subject_id: str
    from_state: str | None
    to_state: str | None
    seq: int
    """Gapless count of the subject's events."""

    timestamp: str
    trace_id: str | None
    metadata: dict[str, Any]


class EventPage(TypedDict):
    events: list[Event]
    next_cursor: str | None


class Fact(TypedDict):
    """One fact of a payload's summary."""

    label: str
    value: str
    level: Literal["danger", "notice", "plain"]
    path: str
    """The member of data it comes from."""


class FailRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    error: NotRequired[Any]


class Health(TypedDict):
    status: Literal["ok", "unavailable"]
    version: str
    database: Literal["ok", "unavailable", "overloaded", "writes fail", "not asked"]


class LeaseRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    lease_seconds: NotRequired[int | None]


class OpenSessionRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    agent_role: str
    task_id: NotRequired[str | None]
    metadata: NotRequired[dict[str, Any] | None]


class OpenedSession(TypedDict):
    session_id: str
    status: Literal["pending", "active", "completed", "failed", "expired"]


class Override(TypedDict):
    override_id: str
    task_id: str
    revision: int
    opened_by: str
    reason: str
    review_due_at: str
    status: Literal["open", "upheld", "condemned"]
    created_at: str


class PolicyOfTask(TypedDict):
    """The policy that decided on the present revision, and why."""

    name: str
    """Empty if none matched."""

    version: int | None
    verdict: Literal["approve", "require", "refuse", ""]
    why: str


class Problem(TypedDict):
    """RFC 9457. The data of some errors come along as further members."""

    type: str
    title: str
    status: int
    detail: str
    code: str
    """Stable; see docs/errors.md."""

    trace_id: str | None
    errors: NotRequired[list[dict[str, Any]]]


class RecallRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    reason: str
    then: Literal["cancel", "wait"]


class RequestApprovalRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    task_id: str
    approver_role: str
    reason: NotRequired[str | None]


class RequestChangesRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    payload_digest: str
    """SHA-256 of the payload that the caller saw."""

    message: str
    assertion: NotRequired[dict[str, Any] | None]
    """The caller's passkey's signature of the vote, where it must be signed: credential_id,
    authenticator_data, client_data_json and signature, in base64url. docs/reviewing.md says what is
    signed."""


class ReviseTaskRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    description: NotRequired[str | None]
    data: NotRequired[dict[str, Any] | None]
    context: NotRequired[dict[str, Any] | None]


class Revision(TypedDict):
    """One revision of a task's payload."""

    revision: int
    payload: dict[str, Any] | None
    """Null once it was erased."""

    payload_digest: str
    edited_by: NotRequired[str | None]
    replaced_at: NotRequired[str | None]
    """Null for the present revision."""


class Revisions(TypedDict):
    revisions: list[Revision]


class RouteBatchRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    tasks: list[BatchTaskRequest]


class RouteTaskRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    target: str
    task: TaskBodyRequest
    context: NotRequired[dict[str, Any] | None]
    on_behalf_of: NotRequired[str | None]
    """Username or e-mail of the person on whose behalf it asks; can't approve it."""


class RoutedBatch(TypedDict):
    results: list[RoutedOfMany]
    """In the order of the tasks."""


class RoutedOfMany(TypedDict):
    status: int
    """The status that POST /tasks/route would have returned."""

    task: NotRequired[RoutedTask]
    problem: NotRequired[dict[str, Any]]
    """Why this one was refused (RFC 9457)."""

    replayed: NotRequired[bool]
    """True if this key was used before and this is its first answer."""

    answered_at: NotRequired[str]
    """When that first answer was given."""


class RoutedTask(TypedDict):
    task_id: str
    status: Literal[
        "awaiting_approval",
        "approved",
        "rejected",
        "expired",
        "cancelled",
        "claimed",
        "completed",
        "failed",
    ]
    trace_id: str
    eligible: int | None
    """How many people may decide now, counted up to 100, for the approval with the fewest; 0:
    nobody can. Null where nobody is asked."""


class Session(TypedDict):
    session_id: str
    agent_role: str
    state: Literal["pending", "active", "completed", "failed", "expired"]
    metadata: dict[str, Any]
    task_id: str | None
    created_at: str
    updated_at: str


class SessionPage(TypedDict):
    sessions: list[Session]
    total: NotRequired[int]
    total_is_estimate: NotRequired[bool]
    """Whether there are more than 10,000, and total is the planner's guess."""

    page: NotRequired[int]
    page_size: NotRequired[int]
    next_cursor: NotRequired[str | None]


class Task(TypedDict):
    task_id: str
    task_type: str
    description: str
    from_role: str
    to_role: str
    status: Literal[
        "awaiting_approval",
        "approved",
        "rejected",
        "expired",
        "cancelled",
        "claimed",
        "completed",
        "failed",
    ]
    data: dict[str, Any]
    context: dict[str, Any]
    session_id: str | None
    trace_id: str
    idempotency_key: str
    payload_digest: str
    """SHA-256 of the RFC 8785 text of the object of context, data, description, from_role,
    task_type and to_role."""

    revision: int
    edited_by: NotRequired[str | None]
    """A username."""

    on_behalf_of: str
    policy: PolicyOfTask
    approvals: list[Approval]
    approved_until: str | None
    receipt: str | None
    """Where the decision's signed receipt is, once there is one."""

    claimed_by: NotRequired[str | None]
    lease_expires_at: str | None
    result: Any
    error: Any
    erased: Erasure | None
    """Set once the payload was erased: description, data and context are empty then."""

    created_at: str
    updated_at: str


class TaskBodyRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    task_type: str
    description: NotRequired[str | None]
    data: NotRequired[dict[str, Any] | None]


class TaskPage(TypedDict):
    tasks: list[Task]
    total: NotRequired[int]
    total_is_estimate: NotRequired[bool]
    """Whether there are more than 10,000, and total is the planner's guess."""

    page: NotRequired[int]
    page_size: NotRequired[int]
    next_cursor: NotRequired[str | None]


class UpdateSessionRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    task_id: NotRequired[str | None]
    status: NotRequired[Literal["pending", "active", "completed", "failed", "expired", None]]
    metadata: NotRequired[dict[str, Any] | None]
    """Merged as RFC 7396 says."""


class Vote(TypedDict):
    """One person's vote on an approval; withdrawn votes are only in the audit trail."""

    voter: str
    seat_of: str
    """The seat it is cast in; usually the voter's own."""

    choice: Literal["yes", "no", "changes"]
    notes: str
    answer: Any
    """Where the task is a question."""

    at: str


class WithdrawVoteRequest(TypedDict):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    reason: NotRequired[str | None]
