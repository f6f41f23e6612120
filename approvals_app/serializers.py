"""Shapes of approvals on the wire: what is asked; what is answered is one floor below."""

from rest_framework import serializers

from audit_app.serializers import IdField, NameField, RequestSerializer, TextField
from sessions_app.models import ROLE_LENGTH


class RequestApprovalSerializer(RequestSerializer):
    task_id = IdField()
    approver_role = NameField(max_length=ROLE_LENGTH)
    reason = TextField(required=False, allow_blank=True, max_length=2_000)


class DecisionSerializer(RequestSerializer):
    payload_digest = serializers.RegexField(
        r"^[0-9a-f]{64}$",
        trim_whitespace=False,
        max_length=64,  # $ alone would let a newline follow
        help_text="Of the payload that was seen.",
        error_messages={"invalid": "It must be the lowercase hex SHA-256 of the payload."},
    )
    notes = TextField(required=False, allow_blank=True, max_length=20_000)
