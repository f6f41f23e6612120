"""Calls the REST API in this process, as one caller."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast
from urllib.parse import urlencode
from uuid import UUID, uuid4

import orjson
from django.conf import settings
from django.core.handlers.base import BaseHandler
from django.core.handlers.wsgi import WSGIRequest
from django.db import connections
from django.http import HttpRequest, HttpResponse

from audit_app.base import tracing
from orchestrator.web import problems

FORWARDED = (
    "HTTP_AUTHORIZATION",
    "HTTP_HOST",
    "HTTP_X_FORWARDED_FOR",
    "HTTP_X_FORWARDED_PROTO",
    "REMOTE_ADDR",
    "SERVER_NAME",
    "SERVER_PORT",
    "wsgi.url_scheme",
)
"""The parts of the original request that are passed on; cookies are not."""


class Refused(Exception):
    """The API refused; ``problem`` is its answer (RFC 9457), given before if at ``answered_at``."""

    def __init__(self, problem: dict[str, Any], answered_at: str | None = None) -> None:
        self.problem, self.answered_at = problem, answered_at
        super().__init__(problem["detail"])

    @classmethod
    def from_error(cls, error: Exception) -> "Refused":
        """The API's answer to ``error``. Raises ``error`` itself if it has none."""
        response = problems.response_to(error)
        if response is None:
            raise error
        return cls(orjson.loads(response.content))


@dataclass(frozen=True, slots=True)
class Rest:
    """The API for one caller. Call it in a thread; the thread then holds no database connection."""

    caller: str
    """The name under which its long polls are counted."""

    environ: Mapping[str, Any]
    trace_id: UUID | None = None

    @classmethod
    def of(cls, request: HttpRequest, caller: str) -> "Rest":
        """Call as whoever sent ``request``."""
        environ = {name: request.META[name] for name in FORWARDED if name in request.META}
        return cls(caller, environ, tracing.current.get(None))

    @classmethod
    def with_key(cls, key: str) -> "Rest":
        """Call as the agent with this API key, from this machine."""
        host = settings.ALLOWED_HOSTS[0].lstrip(".")
        environ = {
            "HTTP_AUTHORIZATION": f"Bearer {key}",
            "HTTP_HOST": host,
            "REMOTE_ADDR": "127.0.0.1",
            "SERVER_NAME": host,
            "SERVER_PORT": "443",
            "wsgi.url_scheme": "https",
        }
        return cls("stdio", environ)

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """GET ``path``. Raises Refused."""
        return self._request("GET", path, urlencode(query), b"", {})

    def post(self, path: str, body: Any, headers: Mapping[str, str]) -> dict[str, Any]:
        """POST ``body`` to ``path``. Raises Refused."""
        return self._request("POST", path, "", orjson.dumps(body), headers)

    def _request(
        self, method: str, path: str, query: str, body: bytes, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        extra = {f"HTTP_{name.upper().replace('-', '_')}": text for name, text in headers.items()}
        environ = {
            **self.environ,
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": "application/json" if body else "",
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_ACCEPT": "application/json",
            # All requests of one tool call belong to one trace.
            "HTTP_X_TRACE_ID": str(tracing.current.get(None) or uuid4()),
            "wsgi.input": BytesIO(body),
            **extra,
        }
        try:
            response = cast("HttpResponse", _handler().get_response(WSGIRequest(environ)))
            content, status = response.content, response.status_code
            response.close()
        finally:
            # The thread belongs to a pool that other calls share; it must not keep a connection.
            connections.close_all()
        answer: dict[str, Any] = orjson.loads(content)
        if status >= 400:
            raise Refused(answer, response.headers.get("Idempotent-Answered-At"))
        return answer


@functools.cache
def _handler() -> BaseHandler:
    handler = BaseHandler()
    handler.load_middleware()
    return handler
