"""MCP's Tasks extension (SEP-2663), for each MCP server that we run.

A tool call that has to wait for people is answered at once with a handle, and the client asks
``tasks/get`` for the result. Nothing is kept for a handle: a TaskStore derives its state from rows,
so any process answers, and who asks is checked each time. What the extension calls a task stands
for one tool call; ours is what people decide about.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, Protocol

import mcp_types as types
from mcp.server import Server, ServerRequestContext
from mcp.server.mcpserver.server import require_client_extension
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

Json = dict[str, Any]
Context = ServerRequestContext[Any, Any]
Status = Literal["working", "input_required", "completed", "failed", "cancelled"]

EXTENSION: Final = "io.modelcontextprotocol/tasks"

POLL_MS: Final = 5_000
"""Milliseconds between two polls of a client, which may heed it."""


class UnknownTask(Exception):
    """The caller has no such task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskState:
    """What a client learns of a task."""

    task_id: str
    status: Status
    created_at: str
    """RFC 3339, as ``updated_at``."""

    updated_at: str
    message: str = ""
    """For people and models: who is waited for, what went wrong."""

    result: types.CallToolResult | None = None
    """The answer of the tool, which may be a refusal; with ``completed`` and with nothing else."""

    error: types.ErrorData | None = None
    """The protocol's error that ended the call; with ``failed`` and with nothing else."""

    input_requests: Mapping[str, Json] | None = None
    """What the client is asked for; with ``input_required`` and with nothing else."""

    ttl_ms: int | None = None
    """Milliseconds after ``created_at`` until it may be forgotten; None where it is kept."""

    poll_ms: int = POLL_MS

    def as_handle(self) -> Json:
        """The answer to the tool call (CreateTaskResult)."""
        return {"resultType": "task", **self._describe()}

    def as_details(self) -> Json:
        """The answer to ``tasks/get`` (DetailedTask)."""
        details = {"resultType": "complete", **self._describe()}
        if self.result is not None:
            details["result"] = _dump(self.result)
        if self.error is not None:
            details["error"] = _dump(self.error)
        if self.input_requests is not None:
            details["inputRequests"] = dict(self.input_requests)
        return details

    def _describe(self) -> Json:
        message = {"statusMessage": self.message} if self.message else {}
        return {
            "taskId": self.task_id,
            "status": self.status,
            **message,
            "createdAt": self.created_at,
            "lastUpdatedAt": self.updated_at,
            "ttlMs": self.ttl_ms,
            "pollIntervalMs": self.poll_ms,
        }


class TaskStore(Protocol):
    """The tasks of one server. Each method checks that the caller of ``ctx`` may see the task, and
    raises UnknownTask where there is none for them, or MCPError."""

    async def get(self, ctx: Context, task_id: str) -> TaskState:
        """Its present state."""

    async def cancel(self, ctx: Context, task_id: str) -> None:
        """The client wants no result any more. Nothing has to happen, and not at once."""

    async def update(self, ctx: Context, task_id: str, responses: Json) -> None:
        """The client answers ``input_requests``. Answers that nobody asked for are ignored."""


class TaskParams(types.RequestParams):
    task_id: str


class UpdateParams(TaskParams):
    input_responses: Json


def are_offered(ctx: Context) -> bool:
    """Whether this request may be answered with a handle: its client speaks the extension."""
    capabilities = ctx.session.client_capabilities
    extensions = (capabilities.extensions if capabilities else None) or {}
    return ctx.protocol_version in MODERN_PROTOCOL_VERSIONS and EXTENSION in extensions


def require_offer(ctx: Context) -> None:
    """For a call that can only be answered with a handle. Raises MCPError where its client does not
    speak the extension."""
    require_client_extension(ctx, EXTENSION)


def offer_tasks(server: Server[Any], store: TaskStore) -> None:
    """Have ``server`` announce the extension, and answer its methods from ``store``."""

    async def get(ctx: Context, params: TaskParams) -> Json:
        return (await store.get(ctx, params.task_id)).as_details()

    async def update(ctx: Context, params: UpdateParams) -> Json:
        await store.update(ctx, params.task_id, params.input_responses)
        return {}

    async def cancel(ctx: Context, params: TaskParams) -> Json:
        await store.cancel(ctx, params.task_id)
        return {}

    server.add_request_handler("tasks/get", TaskParams, _check_client("tasks/get", get))
    server.add_request_handler("tasks/update", UpdateParams, _check_client("tasks/update", update))
    server.add_request_handler("tasks/cancel", TaskParams, _check_client("tasks/cancel", cancel))
    server.extensions[EXTENSION] = {}


def _check_client(method: str, handler: Any) -> Any:
    """``handler`` for clients that speak the extension, with the protocol's own errors."""

    async def handle(ctx: Context, params: Any) -> Json:
        if ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            raise MCPError(types.METHOD_NOT_FOUND, "Method not found", method)
        require_client_extension(ctx, EXTENSION)
        _check_name(ctx, params.task_id)
        try:
            answer: Json = await handler(ctx, params)
        except UnknownTask:
            raise MCPError(types.INVALID_PARAMS, "You have no such task.") from None
        return answer

    return handle


def _check_name(ctx: Context, task_id: str) -> None:
    """Over HTTP the header Mcp-Name repeats the id for what routes requests, and must be equal."""
    if ctx.request is None:
        return
    if decode_header_value(ctx.request.headers.get(MCP_NAME_HEADER)) != task_id:
        message = f"The header {MCP_NAME_HEADER} is not the request's taskId."
        raise MCPError(types.HEADER_MISMATCH, message)


def _dump(model: Any) -> Json:
    dumped: Json = model.model_dump(by_alias=True, mode="json", exclude_none=True)
    return dumped
