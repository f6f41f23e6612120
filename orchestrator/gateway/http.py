"""/gateway/{name}/mcp: an upstream over streamable HTTP, its tools guarded by the policies."""

import asyncio
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from django.db import connection
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import UnsupportedMediaType
from rest_framework.request import Request
from rest_framework.views import APIView

from audit_app.base import tracing
from audit_app.base.actors import Actor
from audit_app.base.errors import InvalidHeader, NotFound
from audit_app.base.prepared import Prepared
from audit_app.live.long_poll import is_supported
from orchestrator.gateway.errors import UpstreamDisabled
from orchestrator.gateway.models import Upstream
from orchestrator.mcp.http import AnyAccepted, _collect, _refuse_other_origins, _scope
from orchestrator.mcp.messages import check_message
from orchestrator.mcp.rest import Rest
from sessions_app.auth.authentication import BearerAuthentication


@extend_schema(exclude=True)
class Gateway(APIView):
    """Answers one JSON-RPC message. Stateless, so any process can answer. Each message counts
    against the caller's rate limit."""

    authentication_classes = (BearerAuthentication,)
    content_negotiation_class = AnyAccepted

    def post(self, request: Request, name: str) -> Any:
        _refuse_other_origins(request)
        if request.content_type.partition(";")[0].strip().lower() != "application/json":
            raise UnsupportedMediaType(request.content_type)
        actor: Actor = request.user  # type: ignore[assignment]  # our authentication gives an Actor
        upstream = find_upstream(name, actor)
        session_id = _read_session_id(request)
        body = check_message(request._request.body)
        scope = _scope(request, Rest.of(request._request, str(actor)))
        connection.close()  # the call may wait long, and does not use this one
        return _respond(request, body, scope, upstream, actor, session_id)


_named: Prepared[Upstream] = Prepared(lambda name: Upstream.objects.filter(name=name).order_by())


def find_upstream(name: str, actor: Actor) -> Upstream:
    """The upstream of this name, if ``actor`` may use it. Raises AgentsOnly, NotFound,
    UpstreamDisabled."""
    actor.require_agent()
    found = _named(name=name)
    if not found or not found[0].admits(actor):
        raise NotFound(what="upstream")
    (upstream,) = found
    if upstream.status != Upstream.Status.ENABLED:
        raise UpstreamDisabled(name=name)
    return upstream


def _read_session_id(request: Request) -> UUID | None:
    """Raises InvalidHeader."""
    text = request.headers.get("X-Session-Id")
    try:
        return UUID(text) if text else None
    except ValueError:
        raise InvalidHeader(field="X-Session-Id", reason="it must be a UUID.") from None


def _respond(
    request: Request,
    body: bytes,
    scope: dict[str, Any],
    upstream: Upstream,
    actor: Actor,
    session_id: UUID | None,
) -> HttpResponse:
    """Answer in the server's event loop, or here if the server does not support that."""
    # Imported late: the SDK takes a second, which commands and servers without MCP save.
    from orchestrator.gateway import serving
    from orchestrator.gateway.front import Visit

    trace_id = tracing.current.get(None) or uuid4()
    scope["visit"] = Visit(upstream, actor, trace_id, session_id)
    answer = partial(serving.answer, scope, body)
    if not is_supported(request._request):
        return asyncio.run(_collect(answer))
    response = HttpResponse()
    response.asgi_response = answer  # type: ignore[attr-defined]  # read by server/long_poll.py
    return response
