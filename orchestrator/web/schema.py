"""The OpenAPI document says what is true: every operation's problems, headers and key."""

from typing import Any

from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter

PROBLEM: dict[str, Any] = {
    "type": "object",
    "description": "RFC 9457. The data of some errors come along as further members.",
    "required": ["type", "title", "status", "detail", "code", "trace_id"],
    "properties": {
        "type": {"type": "string", "format": "uri"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "Stable; see docs/errors.md."},
        "trace_id": {"type": ["string", "null"], "format": "uuid"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["field", "detail", "code"],
                "properties": {
                    "field": {"type": "string"},
                    "detail": {"type": "string"},
                    "code": {"type": "string"},
                },
            },
        },
    },
}
TRACE = OpenApiParameter(
    "X-Trace-Id", str, OpenApiParameter.HEADER, description="A UUID or a W3C traceparent."
)
KEY = OpenApiParameter(
    "Idempotency-Key",
    OpenApiTypes.STR,
    OpenApiParameter.HEADER,
    description="The same key and request gets the same answer again.",
)
PROBLEM_RESPONSE = {
    "description": "Problem.",
    "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
}
PATTERNS = {
    "X-Trace-Id": r"^([0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}"
    r"|[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})$",
    **dict.fromkeys(("after", "Last-Event-ID"), r"^[0-9]{1,9}\.[0-9]{1,18}\.[0-9]{1,18}$"),
    "Idempotency-Key": r'^("([ !#-\[\]-~]|\\["\\]){1,255}"|[!#-~][!-~]{0,254})$',
}
READ_PROBLEMS = ("400", "401", "403", "404", "406", "429", "503")
WRITE_PROBLEMS = (*READ_PROBLEMS, "409", "412", "413", "415", "422")


class Schema(AutoSchema):
    view: Any

    def get_override_parameters(self) -> list[Any]:
        return [TRACE, KEY] if self.method in ("POST", "PUT") else [TRACE]

    def get_operation_id(self) -> str:
        if hasattr(self.view, "basename"):
            return f"{self.view.basename}_{self.view.action}".replace("-", "_")
        return str(self.view.get_view_name()).lower()

    def _get_paginator(self) -> Any:
        paginator = super()._get_paginator()  # type: ignore[no-untyped-call]
        if paginator is not None:
            # A page's shape has no name of its own in DRF; ours depends on the view.
            paginator.list_name = self.view.list_name
            paginator.cursor_only = self.view.cursor_only
        return paginator

    def get_paginated_name(self, serializer_name: str) -> str:
        return f"{serializer_name}Page"

    def _is_list_view(self, serializer: Any = None) -> bool:
        pages = getattr(self.view, "pagination_class", None)
        return pages is not None and getattr(self.view, "action", None) == "list"


def describe_problems(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """Add to every operation the problems that it may answer with, and what else is refused."""
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    for name, schema in schemas.items():
        if name.endswith("Request"):
            schema["additionalProperties"] = False
    schemas["Problem"] = PROBLEM
    for path in result["paths"].values():
        for method, operation in path.items():
            for parameter in operation.get("parameters", ()):
                _narrow(parameter)
            for status in _problems_of(method, operation):
                operation["responses"].setdefault(status, PROBLEM_RESPONSE)
    return result


def _problems_of(method: str, operation: dict[str, Any]) -> tuple[str, ...]:
    if not operation.get("security"):
        return ("400",)  # open to all, /health and /status can refuse only a bad trace id
    if operation["operationId"] in ("event_list", "event_stream"):
        return (*READ_PROBLEMS, "410")
    if operation["operationId"] in ("event_proof", "task_receipt", "approval_receipt"):
        return (*READ_PROBLEMS, "409")
    return READ_PROBLEMS if method == "get" else WRITE_PROBLEMS


def _narrow(parameter: dict[str, Any]) -> None:
    """Say of a parameter what its type does not say."""
    schema = parameter["schema"]
    if pattern := PATTERNS.get(parameter["name"]):
        schema["pattern"] = pattern
    elif parameter["in"] == "query" and schema == {"type": "string"}:
        # An empty cursor begins to page by key; a filter that is empty or blank is refused.
        if parameter["name"] == "cursor":
            schema["minLength"] = 0
        else:
            schema |= {"minLength": 1, "pattern": r"\S"}
