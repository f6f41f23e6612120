"""Serializers of requests about approvals; those of responses are in task_serializers.py."""

from typing import Any

from rest_framework import serializers

from approvals_app.api.task_serializers import ApprovalSerializer, ReviseTaskSerializer
from approvals_app.decisions.recall import Then
from approvals_app.models import Delegation, Override
from audit_app.http.serializers import (
    IdField,
    JSONObjectField,
    JSONValueField,
    NameField,
    RequestSerializer,
    TextField,
    TrueFalseField,
)
from sessions_app.models import ROLE_LENGTH

LONGEST_NOTES = 20_000
MAX_BULK = 100


class RequestApprovalSerializer(RequestSerializer):
    task_id = IdField()
    approver_role = NameField(max_length=ROLE_LENGTH)
    reason = TextField(required=False, allow_blank=True, max_length=2_000)


class DigestField(serializers.RegexField):
    """The SHA-256 of the payload that the caller saw, in lowercase hex."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(
            r"^[0-9a-f]{64}$",
            trim_whitespace=False,
            max_length=64,  # $ alone would let a newline follow
            help_text="SHA-256 of the payload that the caller saw.",
            error_messages={"invalid": "It must be the lowercase hex SHA-256 of the payload."},
            **kwargs,
        )


class AssertionField(JSONObjectField):
    """The signature of a passkey of the caller's."""

    def __init__(self) -> None:
        super().__init__(
            required=False,
            help_text="The caller's passkey's signature of the vote, where it must be signed: "
            "credential_id, authenticator_data, client_data_json and signature, in base64url. "
            "docs/reviewing.md says what is signed.",
        )


class DecisionSerializer(RequestSerializer):
    payload_digest = DigestField()
    notes = TextField(required=False, allow_blank=True, max_length=LONGEST_NOTES)
    assertion = AssertionField()


class ApproveSerializer(DecisionSerializer):
    answer = JSONValueField(
        required=False, help_text="Required if the task is a question: valid by its schema."
    )
    typed = TextField(
        required=False,
        allow_blank=True,
        max_length=LONGEST_NOTES,
        help_text="Required if the policy asks to type a member of the payload: its value.",
    )
    confirmed = TrueFalseField(
        required=False,
        help_text="That the caller followed the policy's instruction; kept with the vote, and must "
        "be true if the policy has instructions.",
    )


class RequestChangesSerializer(RequestSerializer):
    payload_digest = DigestField()
    message = TextField(max_length=LONGEST_NOTES)
    assertion = AssertionField()


class WithdrawVoteSerializer(RequestSerializer):
    reason = TextField(required=False, allow_blank=True, max_length=2_000)


class EditSerializer(ReviseTaskSerializer):
    payload_digest = DigestField()
    notes = TextField(required=False, allow_blank=True, max_length=LONGEST_NOTES)


class DelegateSerializer(RequestSerializer):
    to = NameField(max_length=150, help_text="The username of a staff user.")
    reason = TextField(required=False, allow_blank=True, max_length=2_000)


class DelegationSerializer(serializers.Serializer[Any]):
    delegation_id = serializers.UUIDField(source="id")
    delegator = serializers.CharField(source="delegator.username")
    delegate = serializers.CharField(source="delegate.username")
    approval_id = serializers.UUIDField(allow_null=True)
    starts_at = serializers.DateTimeField()
    ends_at = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField()
    status = serializers.ChoiceField(Delegation.Status.choices)
    created_at = serializers.DateTimeField()


class BreakGlassSerializer(RequestSerializer):
    payload_digest = DigestField()
    reason = TextField(max_length=2_000)


class RecallSerializer(RequestSerializer):
    reason = TextField(max_length=2_000)
    then = serializers.ChoiceField(
        [str(each) for each in Then],
        help_text="cancel ends the task; wait requests the same approvals again.",
    )


class OverrideSerializer(serializers.Serializer[Any]):
    override_id = serializers.UUIDField(source="id")
    task_id = serializers.UUIDField()
    revision = serializers.IntegerField()
    opened_by = serializers.CharField(source="opened_by.username")
    reason = serializers.CharField()
    review_due_at = serializers.DateTimeField()
    status = serializers.ChoiceField(Override.Status.choices)
    created_at = serializers.DateTimeField()


class BulkItemSerializer(DecisionSerializer):
    approval_id = IdField()
    decision = serializers.ChoiceField(
        ["approve", "reject"], error_messages={"invalid_choice": "It must be approve or reject."}
    )


class BulkSerializer(RequestSerializer):
    decisions = serializers.ListField(
        child=BulkItemSerializer(), allow_empty=False, min_length=1, max_length=MAX_BULK
    )


class BulkResultSerializer(serializers.Serializer[Any]):
    approval_id = serializers.UUIDField()
    approval = ApprovalSerializer(required=False)
    problem = JSONObjectField(required=False, help_text="Why this one was refused (RFC 9457).")


class BulkResultsSerializer(serializers.Serializer[Any]):
    results = BulkResultSerializer(many=True)
