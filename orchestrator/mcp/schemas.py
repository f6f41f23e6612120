"""What the tools take and give: the shapes of the REST API, as JSON Schema."""

import functools
import json
from typing import Any

from drf_spectacular.generators import SchemaGenerator
from rest_framework import serializers

from approvals_app.api.serializers import RequestApprovalSerializer
from approvals_app.api.task_serializers import RouteTaskSerializer
from audit_app.serializers import (
    IdField,
    NameField,
    RequestSerializer,
    TextField,
    WholeNumberField,
)
from sessions_app.models import ROLE_LENGTH

LONGEST_WAIT = 300
USUAL_WAIT = 60
PRIORITIES = ("low", "normal", "high")
OBJECT = {"type": "object", "additionalProperties": True}
ID = {"type": "string", "format": "uuid"}
ROLE = {"type": "string", "minLength": 1, "maxLength": ROLE_LENGTH}
KEY = {
    "type": "string",
    "minLength": 1,
    "maxLength": 255,
    "pattern": "^[ -~]+$",
    "description": "Repeat the call with the same key and arguments, and it is done only once.",
}
SESSION = {**ID, "description": "The caller's open session that this belongs to."}


class SendTaskSerializer(RouteTaskSerializer):
    session_id = IdField(required=False)
    idempotency_key = TextField(required=False, max_length=255)


class NotifySerializer(RequestSerializer):
    target = NameField(max_length=ROLE_LENGTH)
    message = TextField(max_length=20_000)
    priority = serializers.ChoiceField(
        PRIORITIES,
        required=False,
        error_messages={"invalid_choice": f"It must be one of {', '.join(PRIORITIES)}."},
    )
    session_id = IdField(required=False)
    idempotency_key = TextField(required=False, max_length=255)


class FetchStatusSerializer(RequestSerializer):
    task_id = IdField(required=False)
    session_id = IdField(required=False)

    def validate(self, given: dict[str, Any]) -> dict[str, Any]:
        if len(given) != 1:
            reason = "Give a task_id or a session_id, and not both."
            raise serializers.ValidationError({"task_id": [reason]}, code="invalid")
        return given


class WaitSerializer(RequestSerializer):
    task_id = IdField()
    timeout_seconds = WholeNumberField(min_value=1, max_value=LONGEST_WAIT, required=False)


TAKES: dict[str, type[serializers.Serializer[Any]]] = {
    "send_task": SendTaskSerializer,
    "request_approval": RequestApprovalSerializer,
    "notify": NotifySerializer,
    "fetch_status": FetchStatusSerializer,
    "wait_for_decision": WaitSerializer,
}

INPUT: dict[str, dict[str, Any]] = {
    "send_task": {
        "required": ["target", "task"],
        "properties": {
            "target": {**ROLE, "description": "The role that executes the task."},
            "task": {
                "type": "object",
                "required": ["task_type"],
                "additionalProperties": False,
                "properties": {
                    "task_type": {"type": "string", "minLength": 1, "maxLength": 150},
                    "description": {"type": "string", "maxLength": 20_000},
                    "data": {**OBJECT, "description": "What exactly is asked for."},
                },
            },
            "context": {**OBJECT, "description": "What a reviewer should know about it."},
            "on_behalf_of": {
                "type": "string",
                "minLength": 1,
                "maxLength": 254,
                "description": "The person who is asked for, by username or e-mail.",
            },
            "session_id": SESSION,
            "idempotency_key": KEY,
        },
    },
    "request_approval": {
        "required": ["task_id", "approver_role"],
        "properties": {
            "task_id": ID,
            "approver_role": {**ROLE, "description": "The group of people that is asked."},
            "reason": {"type": "string", "maxLength": 2_000},
        },
    },
    "notify": {
        "required": ["target", "message"],
        "properties": {
            "target": {**ROLE, "description": "The role that is told."},
            "message": {"type": "string", "minLength": 1, "maxLength": 20_000},
            "priority": {"enum": list(PRIORITIES)},
            "session_id": SESSION,
            "idempotency_key": KEY,
        },
    },
    "fetch_status": {
        "properties": {"task_id": ID, "session_id": ID},
        "minProperties": 1,
        "maxProperties": 1,
    },
    "wait_for_decision": {
        "required": ["task_id"],
        "properties": {
            "task_id": ID,
            "timeout_seconds": {
                "type": "integer",
                "minimum": 1,
                "maximum": LONGEST_WAIT,
                "default": USUAL_WAIT,
            },
        },
    },
}


def input_schema(tool: str) -> dict[str, Any] | None:
    """What ``tool`` takes, and nothing else."""
    if tool not in INPUT:
        return None
    return {"type": "object", "additionalProperties": False, **INPUT[tool]}


def output_schema(tool: str) -> dict[str, Any]:
    """What ``tool`` gives, or the problem that it answers with: some clients hold a refusal against
    the schema, too."""
    return _outputs()[tool]


@functools.cache
def _outputs() -> dict[str, dict[str, Any]]:
    approvals, tasks = ({"type": "array", "items": _named(n)} for n in ("Approval", "Task"))
    status = {
        "state": {"type": "string"},
        "session": {"anyOf": [_named("Session"), {"type": "null"}]},
        "tasks": tasks,
        "total": {"type": "integer", "description": "Tasks there are, of which the newest are."},
        "approvals": approvals,
    }
    decision = {
        "decided": {"type": "boolean", "description": "Whether the task waits for nobody now."},
        "changes_requested": {"type": "boolean", "description": "A reviewer wants a revision."},
        "task": _named("Task"),
    }
    return {
        "send_task": _standing_alone(_named("RoutedTask")),
        "notify": _standing_alone(_named("RoutedTask")),
        "request_approval": _standing_alone(_named("Approval")),
        "fetch_status": _standing_alone(_object(status)),
        "wait_for_decision": _standing_alone(_object(decision)),
    }


def _named(component: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{component}"}


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties)}


def _standing_alone(schema: dict[str, Any]) -> dict[str, Any]:
    """``schema`` with the components of the OpenAPI document that it refers to."""
    known = _components()
    schema = {"type": "object", "anyOf": [schema, _named("Problem")]}
    needed: dict[str, Any] = {}
    unread = [schema]
    while unread:
        for name in _referred(unread.pop()) - needed.keys():
            needed[name] = known[name]
            unread.append(known[name])
    text = json.dumps({**schema, "$defs": needed})
    alone: dict[str, Any] = json.loads(text.replace("#/components/schemas/", "#/$defs/"))
    return alone


def _referred(schema: Any) -> set[str]:
    if isinstance(schema, dict):
        own = {schema["$ref"].rpartition("/")[2]} if "$ref" in schema else set()
        return own.union(*map(_referred, schema.values()))
    if isinstance(schema, list):
        return set[str]().union(*map(_referred, schema))
    return set()


@functools.cache
def _components() -> dict[str, Any]:
    document = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    schemas: dict[str, Any] = json.loads(json.dumps(document, default=str))["components"]["schemas"]
    return schemas
