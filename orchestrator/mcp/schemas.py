"""JSON Schemas of the tools' arguments and results, derived from the REST API's."""

import functools
import json
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from rest_framework import serializers
from rest_framework.fields import empty

from approvals_app.api.serializers import RequestApprovalSerializer
from approvals_app.api.task_serializers import KEY, KeyField, RouteTaskSerializer
from audit_app.http.serializers import (
    IdField,
    JSONObjectField,
    NameField,
    RequestSerializer,
    TextField,
    WholeNumberField,
)
from sessions_app.models import ROLE_LENGTH

MAX_WAIT = 300
# The official JavaScript clients give up after 60 seconds.
DEFAULT_WAIT = 50
PRIORITIES = ("low", "normal", "high")
KEY_HELP = "Repeat the call with the same key and arguments, and it is done only once."
SESSION_HELP = "The caller's open session that this belongs to."
TARGET_HELP = "The role that executes the task."
DESCRIPTIONS = {
    "send_task": {
        "target": TARGET_HELP,
        "data": "What exactly is asked for.",
        "context": "What a reviewer should know about it.",
    },
    "request_approval": {"approver_role": "The group of people that is asked."},
}
"""Descriptions for tools of fields that the API shares."""


class SendTaskSerializer(RouteTaskSerializer):
    session_id = IdField(required=False, help_text=SESSION_HELP)
    idempotency_key = KeyField(required=False, help_text=KEY_HELP)


class NotifySerializer(RequestSerializer):
    target = NameField(max_length=ROLE_LENGTH, help_text="The role that is told.")
    message = TextField(max_length=20_000)
    priority = serializers.ChoiceField(
        PRIORITIES,
        required=False,
        error_messages={"invalid_choice": f"It must be one of {', '.join(PRIORITIES)}."},
    )
    session_id = IdField(required=False, help_text=SESSION_HELP)
    idempotency_key = KeyField(required=False, help_text=KEY_HELP)


class FetchStatusSerializer(RequestSerializer):
    task_id = IdField(required=False)
    session_id = IdField(required=False)
    exactly = 1
    """How many of the fields must be given."""

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if len(given) != self.exactly:
            reason = "Give a task_id or a session_id, and not both."
            raise serializers.ValidationError({"task_id": [reason]}, code="invalid")
        return given


class WaitSerializer(RequestSerializer):
    task_id = IdField()
    timeout_seconds = WholeNumberField(min_value=1, max_value=MAX_WAIT, default=DEFAULT_WAIT)


ARGUMENTS: dict[str, type[serializers.Serializer[Any]]] = {
    "send_task": SendTaskSerializer,
    "request_approval": RequestApprovalSerializer,
    "notify": NotifySerializer,
    "fetch_status": FetchStatusSerializer,
    "wait_for_decision": WaitSerializer,
}


@functools.cache
def input_schema(tool: str) -> dict[str, Any] | None:
    """The schema of the arguments of ``tool``; None if there is no such tool."""
    if tool not in ARGUMENTS:
        return None
    return _schema_of(ARGUMENTS[tool](), DESCRIPTIONS.get(tool, {}))


def _schema_of(field: Any, descriptions: dict[str, str]) -> dict[str, Any]:
    """A serializer field as JSON Schema. Raises TypeError for a kind that no tool uses yet."""
    schema: dict[str, Any]
    if isinstance(field, serializers.Serializer):
        schema = {"type": "object", "additionalProperties": False}
        fields = field.fields.items()
        schema["properties"] = {name: _schema_of(each, descriptions) for name, each in fields}
        if required := [name for name, each in fields if each.required]:
            schema["required"] = required
        if exactly := getattr(field, "exactly", None):
            schema |= {"minProperties": exactly, "maxProperties": exactly}
    elif isinstance(field, JSONObjectField):
        schema = {"type": "object", "additionalProperties": True}
    elif isinstance(field, serializers.UUIDField):
        schema = {"type": "string", "format": "uuid"}
    elif isinstance(field, serializers.ChoiceField):
        schema = {"enum": list(field.choices)}
    elif isinstance(field, serializers.IntegerField):
        schema = {"type": "integer", "minimum": field.min_value, "maximum": field.max_value}
    elif isinstance(field, serializers.CharField):
        schema = {"type": "string", "maxLength": field.max_length}
        if not field.allow_blank:
            schema["minLength"] = 1
        if isinstance(field, KeyField):
            schema["pattern"] = f"^{KEY.pattern}$"
    else:
        raise TypeError(f"{type(field).__name__} is no argument of a tool yet")
    if description := descriptions.get(field.field_name or "") or field.help_text:
        schema["description"] = str(description)
    if field.default is not empty:
        schema["default"] = field.default
    return schema


def output_schema(tool: str) -> dict[str, Any]:
    """What ``tool`` gives, or the problem that it answers with: some clients hold a refusal against
    the schema, too."""
    return _outputs()[tool]


@functools.cache
def _outputs() -> dict[str, dict[str, Any]]:
    approvals, tasks = ({"type": "array", "items": _reference(n)} for n in ("Approval", "Task"))
    status = {
        "state": {"type": "string"},
        "session": {"anyOf": [_reference("Session"), {"type": "null"}]},
        "tasks": tasks,
        "total": {"type": "integer", "description": "Tasks there are, of which the newest are."},
        "approvals": approvals,
    }
    decision = {
        "decided": {"type": "boolean", "description": "Whether the task waits for nobody now."},
        "changes_requested": {"type": "boolean", "description": "A reviewer wants a revision."},
        "task": _reference("Task"),
    }
    return {
        "send_task": _inline_components(_reference("RoutedTask")),
        "notify": _inline_components(_reference("RoutedTask")),
        "request_approval": _inline_components(_reference("Approval")),
        "fetch_status": _inline_components(_object(status)),
        "wait_for_decision": _inline_components(_object(decision)),
    }


def _reference(component: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{component}"}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _inline_components(schema: dict[str, Any]) -> dict[str, Any]:
    """``schema`` together with the OpenAPI components that it refers to."""
    components = _components()
    schema = {"type": "object", "anyOf": [schema, _reference("Problem")]}
    needed: dict[str, Any] = {}
    # Components refer to other components, so references are followed until none is new.
    unread = [schema]
    while unread:
        for name in _find_references(unread.pop()) - needed.keys():
            needed[name] = components[name]
            unread.append(components[name])
    text = json.dumps({**schema, "$defs": needed})
    alone: dict[str, Any] = json.loads(text.replace("#/components/schemas/", "#/$defs/"))
    return alone


def _find_references(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        own = {schema["$ref"].rpartition("/")[2]} if "$ref" in schema else set()
        return own.union(*map(_find_references, schema.values()))
    if isinstance(schema, list):
        return set[str]().union(*map(_find_references, schema))
    return set()


@functools.cache
def _components() -> dict[str, Any]:
    # Built once per process: generating the whole document takes long.
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    schemas: dict[str, Any] = json.loads(json.dumps(document, default=str))["components"]["schemas"]
    return schemas
