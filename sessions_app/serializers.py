"""Sessions as JSON."""

from typing import Any

from rest_framework import serializers

from audit_app.http.serializers import (
    JSONObjectField,
    NameField,
    RequestSerializer,
    TextField,
)
from sessions_app.models import ROLE_LENGTH, AgentSession


class SessionSerializer(serializers.Serializer[Any]):
    session_id = serializers.UUIDField(source="id")
    agent_role = serializers.CharField(source="role")
    state = serializers.ChoiceField(AgentSession.Status.choices, source="status")
    metadata = JSONObjectField()
    task_id = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class OpenSessionSerializer(RequestSerializer):
    agent_role = NameField(max_length=ROLE_LENGTH)
    task_id = TextField(max_length=255, required=False)
    metadata = JSONObjectField(required=False)


class OpenedSessionSerializer(serializers.Serializer[Any]):
    session_id = serializers.UUIDField(source="id")
    status = serializers.ChoiceField(AgentSession.Status.choices)


class UpdateSessionSerializer(RequestSerializer):
    task_id = TextField(max_length=255, required=False)
    status = serializers.ChoiceField(
        AgentSession.Status.choices,
        required=False,
        error_messages={
            "invalid_choice": f"It must be one of {', '.join(AgentSession.Status.values)}."
        },
    )
    metadata = JSONObjectField(required=False, help_text="Merged as RFC 7396 says.")
