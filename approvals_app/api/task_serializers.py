"""Serializers of tasks, with their approvals and votes."""

import re
from typing import Any

from rest_framework import serializers

from approvals_app.models import Approval, Vote
from approvals_app.payload.facts import Level
from audit_app.http.batch_viewsets import PartsField
from audit_app.http.serializers import (
    JSONObjectField,
    JSONValueField,
    NameField,
    RequestSerializer,
    TextField,
    WholeNumberField,
)
from sessions_app.models import ROLE_LENGTH, Task

MAX_LEASE_SECONDS = 3600
MAX_BATCH = 500
KEY = re.compile(r"[ -~]{1,255}")


class VoteSerializer(serializers.Serializer[Any]):
    """One person's vote on an approval; withdrawn votes are only in the audit trail."""

    voter = serializers.CharField(source="voter.username")
    seat_of = serializers.CharField(
        source="seat_of.username", help_text="The seat it is cast in; usually the voter's own."
    )
    choice = serializers.ChoiceField(Vote.Choice.values)
    notes = serializers.CharField()
    answer = JSONValueField(help_text="Where the task is a question.")
    at = serializers.DateTimeField(source="created_at")


class ApprovalSerializer(serializers.Serializer[Any]):
    """An approval, on its own or within its task."""

    approval_id = serializers.UUIDField(source="id")
    task_id = serializers.UUIDField()
    approver_role = serializers.CharField()
    status = serializers.ChoiceField(Approval.Status.values)
    reason = serializers.CharField()
    notes = serializers.CharField()
    decided_by = serializers.CharField(
        source="decided_by.username", default=None, allow_null=True, help_text="A username."
    )
    decision_at = serializers.DateTimeField(allow_null=True)
    expires_at = serializers.DateTimeField()
    payload_digest = serializers.CharField(help_text="Lowercase hex SHA-256.")
    revision = serializers.IntegerField(help_text="The revision of the task that is decided on.")
    needed = serializers.IntegerField(help_text="How many members of the role must approve.")
    deny_threshold = serializers.IntegerField(help_text="How many noes reject the task.")
    votes = VoteSerializer(many=True, source="votes_cast")
    escalated_to = serializers.UUIDField(
        source="escalated_to_id", allow_null=True, help_text="The approval that replaces it."
    )
    override_id = serializers.UUIDField(
        allow_null=True, help_text="The break-glass override that it reviews."
    )
    created_at = serializers.DateTimeField()


class PolicyOfTaskSerializer(serializers.Serializer[Any]):
    """The policy that decided on the present revision, and why."""

    name = serializers.CharField(source="policy", help_text="Empty if none matched.")
    version = serializers.IntegerField(source="policy_version", allow_null=True)
    verdict = serializers.ChoiceField(["approve", "require", "refuse", ""])
    why = serializers.CharField()


class ErasureSerializer(serializers.Serializer[Any]):
    """Who erased a payload, when and why."""

    by = serializers.CharField(help_text="A username.")
    at = serializers.DateTimeField()
    reason = serializers.CharField()


class TaskSerializer(serializers.Serializer[Any]):
    task_id = serializers.UUIDField(source="id")
    task_type = serializers.CharField()
    description = serializers.CharField()
    from_role = serializers.CharField()
    to_role = serializers.CharField()
    status = serializers.ChoiceField(Task.Status.choices)
    data = JSONObjectField()  # type: ignore[assignment]  # a field, not the property
    context = JSONObjectField()  # type: ignore[assignment]
    session_id = serializers.UUIDField(allow_null=True)
    trace_id = serializers.UUIDField()
    idempotency_key = serializers.CharField()
    payload_digest = serializers.CharField(
        help_text="SHA-256 of the RFC 8785 text of the object of context, data, description, "
        "from_role, task_type and to_role."
    )
    revision = serializers.IntegerField()
    edited_by = serializers.CharField(
        source="edited_by.username", default=None, allow_null=True, help_text="A username."
    )
    on_behalf_of = serializers.CharField()
    policy = PolicyOfTaskSerializer(source="*")
    approvals = ApprovalSerializer(many=True)
    approved_until = serializers.DateTimeField(allow_null=True)
    receipt = serializers.CharField(
        allow_null=True, help_text="Where the decision's signed receipt is, once there is one."
    )
    claimed_by = serializers.CharField(source="claimed_by.name", default=None, allow_null=True)
    lease_expires_at = serializers.DateTimeField(allow_null=True)
    result = JSONValueField()
    error = JSONValueField()
    erased = ErasureSerializer(
        allow_null=True,
        help_text="Set once the payload was erased: description, data and context are empty then.",
    )
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class FactSerializer(serializers.Serializer[Any]):
    """One fact of a payload's summary."""

    label = serializers.CharField()  # type: ignore[assignment]  # a field, not the property
    value = serializers.CharField()
    level = serializers.ChoiceField([level.value for level in Level])
    path = serializers.CharField(source="where", help_text="The member of data it comes from.")


class DetailedTaskSerializer(TaskSerializer):
    """A task by itself, with what its payload asks for, the most dangerous first."""

    summary = FactSerializer(many=True, help_text="At most seven facts, drawn from data.")


class TaskBodySerializer(RequestSerializer):
    task_type = NameField(max_length=150)
    description = TextField(required=False, allow_blank=True, max_length=20_000)
    data = JSONObjectField(required=False)  # type: ignore[assignment]


class RouteTaskSerializer(RequestSerializer):
    # Validates to the fields of sessions_app.tasks.routing.NewTask.
    target = NameField(max_length=ROLE_LENGTH, source="to_role")
    task = TaskBodySerializer(source="*")
    context = JSONObjectField(required=False)  # type: ignore[assignment]
    on_behalf_of = NameField(
        required=False,
        max_length=254,
        help_text="Username or e-mail of the person on whose behalf it asks; can't approve it.",
    )


class KeyField(TextField):
    """An Idempotency-Key, as in the header but without quotes."""

    default_error_messages = {"invalid": "It must be 1 to 255 visible ASCII characters."}

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_length=255, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        key = super().to_internal_value(data)
        if not KEY.fullmatch(key):
            self.fail("invalid")
        return key


class BatchTaskSerializer(RouteTaskSerializer):
    idempotency_key = KeyField(help_text="One task per key, over this path and /tasks/route.")


class RouteBatchSerializer(RequestSerializer):
    tasks = PartsField(child=BatchTaskSerializer(), min_length=1, max_length=MAX_BATCH)


class ReviseTaskSerializer(RequestSerializer):
    description = TextField(required=False, allow_blank=True, max_length=20_000)
    data = JSONObjectField(required=False)  # type: ignore[assignment]
    context = JSONObjectField(required=False)  # type: ignore[assignment]


class EraseSerializer(RequestSerializer):
    reason = TextField(max_length=2_000, help_text="Why; it is in the trail for good.")
    keep_result = serializers.BooleanField(
        required=False, help_text="Keep the result, or why the task failed."
    )


class RevisionSerializer(serializers.Serializer[Any]):
    """One revision of a task's payload."""

    revision = serializers.IntegerField(source="number")
    payload = JSONObjectField(source="read", allow_null=True, help_text="Null once it was erased.")
    payload_digest = serializers.CharField()
    edited_by = serializers.CharField(source="edited_by.username", default=None, allow_null=True)
    replaced_at = serializers.DateTimeField(
        allow_null=True, default=None, help_text="Null for the present revision."
    )


class RevisionsSerializer(serializers.Serializer[Any]):
    revisions = RevisionSerializer(many=True)


class RoutedTaskSerializer(serializers.Serializer[Any]):
    task_id = serializers.UUIDField(source="id")
    status = serializers.ChoiceField(Task.Status.choices)
    trace_id = serializers.UUIDField()
    eligible = serializers.IntegerField(
        allow_null=True,
        help_text="How many people may decide now, counted up to 100, for the approval with the "
        "fewest; 0: nobody can. Null where nobody is asked.",
    )


class RoutedOfManySerializer(serializers.Serializer[Any]):
    status = serializers.IntegerField(
        help_text="The status that POST /tasks/route would have returned."
    )
    task = RoutedTaskSerializer(required=False)
    problem = JSONObjectField(required=False, help_text="Why this one was refused (RFC 9457).")
    replayed = serializers.BooleanField(
        required=False, help_text="True if this key was used before and this is its first answer."
    )
    answered_at = serializers.DateTimeField(
        required=False, help_text="When that first answer was given."
    )


class RoutedBatchSerializer(serializers.Serializer[Any]):
    results = RoutedOfManySerializer(many=True, help_text="In the order of the tasks.")


class LeaseSerializer(RequestSerializer):
    lease_seconds = WholeNumberField(min_value=1, max_value=MAX_LEASE_SECONDS, required=False)


class CompleteSerializer(RequestSerializer):
    result = JSONValueField(required=False)


class FailSerializer(RequestSerializer):
    error = JSONValueField(required=False)


class CancelSerializer(RequestSerializer):
    reason = TextField(required=False, allow_blank=True, max_length=2_000)
