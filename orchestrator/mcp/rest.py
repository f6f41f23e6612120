"""The REST API as a tool reaches it: in this process, as one caller."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from io import BytesIO
from typing import Any, cast
from urllib.parse import urlencode
from uuid import UUID

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
"""What the API needs to know of the request that brought the call; cookies are not among it."""


class Refused(Exception):
    """The API said no; ``problem`` is what it said (RFC 9457)."""

    def __init__(self, problem: dict[str, Any]) -> None:
        self.problem = problem
        super().__init__(problem["detail"])

    @classmethod
    def from_error(cls, error: Exception) -> "Refused":
        """What the API would say of ``error``. Raises ``error`` where nobody foresaw it."""
        response = problems.response_to(error)
        if response is None:
            raise error
        return cls(orjson.loads(response.content))


@dataclass(frozen=True, slots=True)
class Rest:
    """The API, asked by one caller. Its answers come from a thread that holds no connection to the
    database afterwards."""

    caller: str
    """As whom waits are counted."""

    environ: Mapping[str, Any]
    trace_id: UUID | None = None

    @classmethod
    def of(cls, request: HttpRequest, caller: str) -> "Rest":
        """As whoever sent ``request``."""
        environ = {name: request.META[name] for name in FORWARDED if name in request.META}
        return cls(caller, environ, tracing.current())

    @classmethod
    def with_key(cls, key: str) -> "Rest":
        """As the agent whose key it is, from this machine."""
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
        """What is at ``path``. Raises Refused."""
        return self._request("GET", path, urlencode(query), b"", {})

    def post(self, path: str, body: Any, headers: Mapping[str, str]) -> dict[str, Any]:
        """The answer to ``body``. Raises Refused."""
        return self._request("POST", path, "", orjson.dumps(body), headers)

    def _request(
        self, method: str, path: str, query: str, body: bytes, headers: Mapping[str, str]
    ) -> dict[str, Any]:
        given = {f"HTTP_{name.upper().replace('-', '_')}": text for name, text in headers.items()}
        environ = {
            **self.environ,
            "REQUEST_METHOD": method,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": "application/json" if body else "",
            "CONTENT_LENGTH": str(len(body)),
            "SERVER_PROTOCOL": "HTTP/1.1",
            "HTTP_ACCEPT": "application/json",
            "HTTP_X_TRACE_ID": str(tracing.ensure()),
            "wsgi.input": BytesIO(body),
            **given,
        }
        try:
            response = cast("HttpResponse", _handler().get_response(WSGIRequest(environ)))
            content, status = response.content, response.status_code
            response.close()
        finally:
            connections.close_all()
        answer: dict[str, Any] = orjson.loads(content)
        if status >= 400:
            raise Refused(answer)
        return answer


@functools.cache
def _handler() -> BaseHandler:
    handler = BaseHandler()
    handler.load_middleware()
    return handler
