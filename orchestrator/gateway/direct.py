"""Answers ``tools/call`` without the SDK's server.

That one keeps a transport, streams and five tasks for each request, three times as much as a long
poll, and thousands of calls may wait. All other messages are the SDK's, and what it would refuse.
"""

from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import mcp_types as types
import orjson
import structlog
from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import (
    MCP_PROTOCOL_VERSION_HEADER,
    InboundModernRoute,
    classify_inbound_request,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS
from pydantic import ValidationError

from orchestrator.mcp.tasks import EXTENSION

log = structlog.get_logger("orchestrator.gateway")

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]
Json = dict[str, Any]
DEFAULT_VERSION = "2025-03-26"
"""The version of requests without the header, as the protocol says."""

JSON, STREAM = b"application/json", b"text/event-stream"


@dataclass(slots=True)
class Exchange:
    """One call and its response: JSON, or a stream once there is progress to tell.

    It is the context and the session that a handler of the SDK's server gets.
    """

    scope: MutableMapping[str, Any]
    message: Json
    send: Send
    is_streaming: bool = False
    protocol_version: str = DEFAULT_VERSION
    client_capabilities: None = None
    """None that would change the answer."""

    meta: Json = field(default_factory=dict)

    @property
    def request(self) -> "Exchange":
        return self

    @property
    def session(self) -> "Exchange":
        return self

    @property
    def params(self) -> Json:
        params: Json = self.message["params"]
        return params

    async def report_progress(
        self, progress: float, total: float | None = None, message: str | None = None
    ) -> None:
        """Tell the client, if it gave a token."""
        token = self.meta.get("progressToken")
        if token is None:
            return
        told = {"progressToken": token, "progress": progress, "total": total, "message": message}
        params = {name: value for name, value in told.items() if value is not None}
        if not self.is_streaming:
            self.is_streaming = True
            await self._start(200, STREAM)
        notice = {"jsonrpc": "2.0", "method": "notifications/progress", "params": params}
        await self._send_event(notice, more=True)

    async def finish(self, outcome: Json) -> None:
        """Send the result or the error, and end the response."""
        answer = {"jsonrpc": "2.0", "id": self.message["id"], **outcome}
        if self.is_streaming:
            await self._send_event(answer, more=False)
            return
        await self._start(200, JSON)
        await self.send({"type": "http.response.body", "body": orjson.dumps(answer)})

    async def _start(self, status: int, content_type: bytes) -> None:
        headers = [(b"content-type", content_type), (b"cache-control", b"no-cache, no-transform")]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})

    async def _send_event(self, message: Json, *, more: bool) -> None:
        event = b"event: message\ndata: " + orjson.dumps(message) + b"\n\n"
        await self.send({"type": "http.response.body", "body": event, "more_body": more})


Handler = Callable[[Any, types.CallToolRequestParams], Awaitable[Any]]


def find_call(scope: MutableMapping[str, Any], body: bytes) -> Json | None:
    """The message in ``body``, if it is a call that can be answered here."""
    headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
    version = headers.get(MCP_PROTOCOL_VERSION_HEADER, DEFAULT_VERSION)
    accept = headers.get("accept", "").encode("latin-1")
    if JSON not in accept or STREAM not in accept:
        return None
    message = orjson.loads(body)
    if not isinstance(message, dict) or message.get("method") != "tools/call":
        return None
    is_call = message.get("jsonrpc") == "2.0" and isinstance(message.get("params"), dict)
    if not is_call or type(message.get("id")) not in (int, str):
        return None
    if version in HANDSHAKE_PROTOCOL_VERSIONS:
        return message
    route = classify_inbound_request(message, headers=headers)
    if not isinstance(route, InboundModernRoute) or _speaks_tasks(message):
        return None
    return message


def _speaks_tasks(message: Json) -> bool:
    """Whether the client declares the Tasks extension: what it may be answered with, the SDK's
    server knows."""
    capabilities = message["params"]["_meta"][types.CLIENT_CAPABILITIES_META_KEY]
    extensions = capabilities.get("extensions") if isinstance(capabilities, dict) else None
    return isinstance(extensions, dict) and EXTENSION in extensions


async def answer_call(
    scope: MutableMapping[str, Any], message: Json, handle: Handler, send: Send
) -> None:
    """Answer the call in ``message`` as ``handle`` does."""
    # Only what the handler looks for: the rest of the scope would be kept while the call waits.
    exchange = Exchange({"visit": scope["visit"]}, message, send)
    try:
        params = types.CallToolRequestParams.model_validate(message["params"], by_name=False)
        exchange.meta = message["params"].get("_meta") or {}
        result = (await handle(exchange, params)).model_dump(
            by_alias=True, mode="json", exclude_none=True
        )
        outcome: Json = {"result": result}
    except ValidationError:
        outcome = _error(types.INVALID_PARAMS, "Invalid request parameters")
    except MCPError as error:
        outcome = {"error": error.error.model_dump(mode="json", exclude_none=True)}
    except Exception:
        log.exception("gateway")
        outcome = _error(types.INTERNAL_ERROR, "Internal server error")
    await exchange.finish(outcome)


def _error(code: int, message: str) -> Json:
    return {"error": {"code": code, "message": message}}
