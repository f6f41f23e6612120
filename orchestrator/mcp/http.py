"""/mcp: the streamable HTTP transport."""

import asyncio
from functools import partial
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.db import connection
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import PermissionDenied, UnsupportedMediaType
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.request import Request
from rest_framework.views import APIView

from audit_app.live.long_poll import is_supported
from orchestrator.mcp.messages import check_message
from orchestrator.mcp.rest import Rest
from sessions_app.auth.authentication import BearerAuthentication

WITHHELD_HEADERS = {"authorization", "cookie", "content-length"}


class AnyAccepted(BaseContentNegotiation):
    """Ignores Accept, which the transport checks itself. A GET for a stream must get 405, which
    clients take for "no stream"; 406 they take for a failure."""

    def select_parser(self, request: Any, parsers: Any) -> Any:
        return parsers[0]

    def select_renderer(self, request: Any, renderers: Any, format_suffix: Any = None) -> Any:
        return renderers[0], renderers[0].media_type


@extend_schema(exclude=True)
class Mcp(APIView):
    """Answers one JSON-RPC message. Stateless, so any process can answer.

    A tool call counts against the caller's rate limit through the requests that it makes.
    """

    authentication_classes = (BearerAuthentication,)
    content_negotiation_class = AnyAccepted
    throttle_classes = ()

    def post(self, request: Request) -> Any:
        _refuse_other_origins(request)
        if request.content_type.partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMediaType(request.content_type)
        body = check_message(request._request.body)
        rest = Rest.of(request._request, str(request.user))
        connection.close()  # the call may wait long, and does not use this one
        return _respond(request, body, rest)


def _refuse_other_origins(request: Request) -> None:
    """Refuse calls from other sites' pages (DNS rebinding, as the transport's specification says).

    Raises PermissionDenied.
    """
    origin = request.headers.get("Origin")
    if origin is None or origin in settings.CSRF_TRUSTED_ORIGINS:
        return
    if urlsplit(origin).netloc != request.get_host():
        raise PermissionDenied("A page of another origin may not call this.")


def _scope(request: Request, rest: Rest) -> dict[str, Any]:
    headers = ((name.lower(), value) for name, value in request.headers.items())
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": request.scheme,
        "path": request.path,
        "raw_path": request.path.encode(),
        "root_path": "",
        "query_string": b"",
        "headers": [
            (name.encode("latin-1"), value.encode("latin-1"))
            for name, value in headers
            if name not in WITHHELD_HEADERS
        ],
        "client": None,
        "server": None,
        "rest": rest,
    }


def _respond(request: Request, body: bytes, rest: Rest) -> HttpResponse:
    """Answer in the server's event loop, or here if the server does not support that."""
    # Imported late: the SDK takes a second, which commands and servers without MCP save.
    from orchestrator.mcp import serving

    answer = partial(serving.answer, _scope(request, rest), body)
    if not is_supported(request._request):
        return asyncio.run(_collect(answer))
    response = HttpResponse()
    response.asgi_response = answer  # type: ignore[attr-defined]  # read by server/long_poll.py
    return response


async def _collect(answer: Any) -> HttpResponse:
    response = HttpResponse()

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            response.status_code = message["status"]
            response.headers = {n.decode(): v.decode() for n, v in message["headers"]}  # type: ignore[assignment]
        else:
            response.write(message.get("body", b""))

    await answer(send)
    return response
