"""Serializer fields for requests and responses. Unknown fields of a request are refused by name."""

import re
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers
from rest_framework.validators import ProhibitSurrogateCharactersValidator

from audit_app.base.events import AGENT_EVENT
from audit_app.base.text_safety import UNSEEN

S = TypeVar("S", bound=serializers.Serializer[Any])

UUID_TEXT = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}")
"""RFC 9562's form, and none of the others that Python takes."""
no_surrogates = ProhibitSurrogateCharactersValidator()
UNKNOWN_NAMED = 20
"""The most unknown fields that a response names: a body can have thousands."""


@cache
def shared_instance(serializer: type[S]) -> S:
    """Return the one instance of ``serializer``, which keeps no state: making one costs more than
    validating with it."""
    return serializer()


class RequestSerializer(serializers.Serializer[Any]):
    """A request body: nothing but the declared fields. Null for an optional one is absence."""

    def get_fields(self) -> dict[str, Any]:
        fields: dict[str, Any] = super().get_fields()
        for field in fields.values():
            # For the published schema, in which a JSON value may be null anyway.
            if not field.required and not isinstance(field, JSONValueField):
                field.allow_null = True
        return fields

    def to_internal_value(self, data: Any) -> Any:
        if isinstance(data, dict):
            if None in data.values():
                data = {
                    name: value
                    for name, value in data.items()
                    if value is not None or name not in self.fields or self.fields[name].required
                }
            unknown = [name[:100] for name in data if name not in self.fields][:UNKNOWN_NAMED]
            if unknown:
                said = {name: ["There is no such field."] for name in unknown}
                raise serializers.ValidationError(said, code="unknown_field")
        return super().to_internal_value(data)


class TextField(serializers.CharField):
    """Text, kept as it is; other types are refused, not converted."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(trim_whitespace=False, **kwargs)
        # It checks each character in Python; to_internal_value runs it for what is not ASCII.
        kind = ProhibitSurrogateCharactersValidator
        self.validators = [each for each in self.validators if not isinstance(each, kind)]

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            raise serializers.ValidationError("Not a text.", code="invalid")
        if not data.isascii():
            no_surrogates(data)
        return super().to_internal_value(data)


class NameField(TextField):
    """A name or a role: one line of visible characters, so that no two look the same."""

    def to_internal_value(self, data: Any) -> str:
        name = super().to_internal_value(data)
        if UNSEEN.search(name) or name != " ".join(name.split()):
            raise serializers.ValidationError(
                "It must be one line of visible characters, with single spaces between.",
                code="invalid",
            )
        return name


class IdField(serializers.UUIDField):
    """A UUID in its usual form; DRF's field takes integers and other forms as well."""

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str) or not UUID_TEXT.fullmatch(data):
            self.fail("invalid", value=str(data)[:36])
        return UUID(data)


class WholeNumberField(serializers.IntegerField):
    """A JSON number; text that looks like one is refused."""

    def to_internal_value(self, data: Any) -> int:
        if isinstance(data, bool) or not isinstance(data, int | float):
            self.fail("invalid")
        number: int = super().to_internal_value(data)
        return number


class TrueFalseField(serializers.BooleanField):
    """A JSON boolean; text and numbers that mean one are refused."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


@extend_schema_field({"type": "object", "additionalProperties": True})
class JSONObjectField(serializers.Field[Any, Any, Any, Any]):
    """A JSON object, as it is; the parser has checked what is in it."""

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
