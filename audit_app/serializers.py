"""Shapes on the wire. A request's unknown field is refused by name."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from audit_app.events import AGENT_EVENT


class RequestSerializer(serializers.Serializer[Any]):
    """A request body: nothing but the declared fields."""

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            unknown = {
                name[:100]: ["There is no such field."] for name in data if name not in self.fields
            }
            if unknown:
                raise serializers.ValidationError(unknown, code="unknown_field")
        return super().to_internal_value(data)


class TextField(serializers.CharField):
    """Text, and nothing that is turned into text; kept as it is."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("Not a text.", code="invalid")
        return super().to_internal_value(data)


@extend_schema_field({"type": "object", "additionalProperties": True})
class JSONObjectField(serializers.Field[Any, Any, Any, Any]):
    """A JSON object, as it is. What may be in it was judged by the parser."""

    def to_internal_value(self, data: Any) -> dict[str, Any]:
        if not isinstance(data, dict):
            raise serializers.ValidationError("Not a JSON object.", code="invalid")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


@extend_schema_field({})
class JSONValueField(serializers.Field[Any, Any, Any, Any]):
    """Any JSON value, as it is, null included."""

    def validate_empty_values(self, data: Any) -> tuple[bool, Any]:
        return (True, None) if data is None else super().validate_empty_values(data)

    def to_internal_value(self, data: Any) -> Any:
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class EventSerializer(serializers.Serializer[Any]):
    event_id = serializers.UUIDField(source="id")
    event_type = serializers.CharField()
    actor = serializers.CharField(help_text="Who did it, as kind:name.")
    role = serializers.CharField(allow_null=True)
    subject_type = serializers.CharField()
    subject_id = serializers.UUIDField()
    from_state = serializers.CharField(allow_null=True)
    to_state = serializers.CharField(allow_null=True)
    seq = serializers.IntegerField(help_text="Gapless count of the subject's events.")
    timestamp = serializers.DateTimeField()
    trace_id = serializers.UUIDField(allow_null=True)
    metadata = JSONObjectField()


class AddEventSerializer(RequestSerializer):
    event_type = serializers.RegexField(
        f"^{AGENT_EVENT.pattern}$",
        trim_whitespace=False,
        max_length=150,
        help_text="A name of the agent's own, under agent.",
        error_messages={"invalid": "It must be lowercase words under agent., as in agent.noted."},
    )
    metadata = JSONObjectField(required=False)
