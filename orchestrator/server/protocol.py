"""One connection of the server: gunicorn's, with a deadline for headers and errors as problems.

gunicorn waits for ever for the headers of a connection's first request, and answers what it can't
parse as plain text. The methods overridden here are its own and not documented: the version is
locked, and tests/protocol/test_connections.py shows whether they still do this.
"""

import asyncio
import json
from functools import partial
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from gunicorn.asgi.protocol import ASGIProtocol  # type: ignore[import-untyped]

HEADERS_SECONDS = 10.0
"""Seconds until the headers of a request have to be complete."""

CODES = {
    400: "malformed_request",
    408: "request_timeout",
    414: "uri_too_long",
    431: "headers_too_large",
    501: "not_implemented",
}
TOO_LATE = f"The headers did not arrive within {HEADERS_SECONDS:.0f} seconds."


class Protocol(ASGIProtocol):  # type: ignore[misc]  # untyped library
    """gunicorn's protocol for HTTP/1.1."""

    _headers_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        if self._headers_timer is None and not self._request_ready.is_set():
            self._await_headers()  # of the next request on this connection
        super().data_received(data)
        if self._request_ready.is_set():
            self._stop_waiting()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _await_headers(self) -> None:
        # Counted from the first byte, so that a header line now and then does not prolong it.
        self._headers_timer = self.worker.loop.call_later(HEADERS_SECONDS, self._give_up)

    def _stop_waiting(self) -> None:
        if self._headers_timer is not None:
            self._headers_timer.cancel()
            self._headers_timer = None

    def _give_up(self) -> None:
        self._headers_timer = None
        if self._closed or self._request_ready.is_set():
            return
        self._send_error_response(408, TOO_LATE)
        self._close_transport()
        # Wakes the task that waits for the request, which then sees that it is over.
        self._request_ready.set()

    def _send_error_response(
        self, status: int, message: str, extra_headers: tuple[tuple[str, str], ...] = ()
    ) -> None:
        code, phrase = CODES.get(status, "internal_error"), HTTPStatus(status).phrase
        problem = {
            "type": f"urn:orchestrator:problem:{code}",
            "title": phrase,
            "status": status,
            "detail": message,
            "code": code,
            "trace_id": str(uuid4()),
        }
        body = json.dumps(problem).encode()
        headers = (
            ("Content-Type", "application/problem+json"),
            ("Content-Length", str(len(body))),
            ("X-Content-Type-Options", "nosniff"),
            *extra_headers,
            ("Connection", "close"),
        )
        lines = (f"HTTP/1.1 {status} {phrase}", *(f"{name}: {value}" for name, value in headers))
        self._safe_write("\r\n".join((*lines, "", "")).encode("latin-1") + body)


def use_protocol(worker: Any, *, backlog: int) -> None:
    """Make ``worker`` serve with Protocol, and let ``backlog`` connections queue."""
    create_server = worker.loop.create_server

    def create(_: Any, **given: Any) -> Any:
        return create_server(partial(Protocol, worker), backlog=backlog, **given)

    worker.loop.create_server = create
