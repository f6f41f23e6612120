"""/hooks/claude-code: decides on the tool calls of Claude Code, by its HTTP hooks."""

import json
import logging
from typing import Any

import orjson
from django.http import HttpResponse
from drf_spectacular.utils import extend_schema
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from approvals_app.api.reads import subscription_keys
from audit_app.base import tracing
from audit_app.base.actors import Actor
from audit_app.live import long_poll
from orchestrator.hooks import claude_code
from orchestrator.hooks.claude_code import Behavior, Call, CallSerializer
from orchestrator.hooks.decisions import Verdict, decide
from sessions_app.auth.authentication import BearerAuthentication

logger = logging.getLogger(__name__)

MAX_WAIT = 3_600
"""Seconds that an answer is held by ``?wait=N``; a longer wait is cut to this."""


@extend_schema(exclude=True)  # the protocol is Claude Code's, and refuses with 200
class ClaudeCode(APIView):
    """Answers one hook."""

    authentication_classes = (BearerAuthentication,)
    content = b""
    """The body, or what stands for it where it cannot be read."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        """Read the body before anything may fail: a denial needs its event."""
        self.content = request._request.body
        super().initial(request, *args, **kwargs)

    def post(self, request: Request) -> Response:
        """Decide on a tool call (PreToolUse, PermissionRequest)."""
        serializer = CallSerializer(data=request.data)
        serializer.is_valid(raise_exception=True)
        call = Call.read(serializer.validated_data)
        actor: Any = request.user
        verdict = decide(call, by=actor, trace_id=tracing.current.get())
        content = claude_code.answer(
            call.event, verdict.behavior, verdict.reason, updated_input=verdict.updated_input
        )
        response = Response(content)
        if verdict.waits:
            self._hold(request, response, verdict, actor)
        return response

    def _hold(self, request: Request, response: Response, verdict: Verdict, actor: Actor) -> None:
        seconds = _parse_wait(request.query_params.get("wait", ""))
        if seconds and long_poll.is_supported(request._request):
            held = long_poll.LongPoll(frozenset(subscription_keys(verdict.task)), seconds)
            long_poll.hold(request._request, response, held, caller=str(actor))

    def handle_exception(self, exc: Exception) -> Any:
        """Deny what cannot be decided, whatever the reason."""
        if isinstance(exc, MethodNotAllowed):
            return super().handle_exception(exc)
        detail = _describe(exc, self.get_exception_handler_context())
        reason = f"The orchestrator does not allow this call: {detail}"
        content = claude_code.answer(_guess_event(self.content), Behavior.DENY, reason)
        # Not by a renderer: what failed may be their choice.
        return HttpResponse(orjson.dumps(content), content_type="application/json")


def _describe(error: Exception, context: dict[str, Any]) -> str:
    problem = context["view"].get_exception_handler()(error, context)
    if problem is not None:
        return str(orjson.loads(problem.content)["detail"])
    logger.error("A hook failed.", exc_info=error)
    return f"internal error, trace {tracing.current.get()}."


def _guess_event(content: bytes) -> Any:
    """The event of a body that may be anything."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return body.get("hook_event_name") if isinstance(body, dict) else None


def _parse_wait(text: str) -> int:
    """0 for what is no number: the answer comes at once then."""
    return min(int(text), MAX_WAIT) if text.isascii() and text.isdigit() and len(text) < 9 else 0
