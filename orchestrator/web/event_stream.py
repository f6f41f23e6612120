"""``GET /events``: the trail as server-sent events (WHATWG HTML, 9.2), in the order of its commits.

Each event's ``id`` is its cursor: whoever comes back with it as Last-Event-ID goes on behind it,
without loss or repetition.
"""

from collections.abc import Hashable
from typing import Any
from uuid import UUID

import django_filters
import orjson
from django.db.models import Q, QuerySet
from django.http import HttpResponse
from django_filters.utils import translate_validation
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.exceptions import ValidationError
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request

from approvals_app.models import Approval
from audit_app.base.actors import Actor
from audit_app.base.errors import InvalidHeader
from audit_app.base.prepared import Prepared
from audit_app.http.filters import IdFilter
from audit_app.http.representation import compile_serializer
from audit_app.http.serializers import EventSerializer
from audit_app.http.viewsets import OperationViewSet
from audit_app.live import event_log, long_poll
from audit_app.live.event_log import Cursor
from audit_app.live.long_poll import LongPoll
from audit_app.live.subscriptions import EVERYTHING, stable_key
from audit_app.models import Event, Subject
from sessions_app.models import Task

AT_ONCE = 200
"""Events in one look; there may be more behind them."""

MOST_KEYS = 1000
MOST_TYPES = 100
SAID = {
    "type": "object",
    "description": "Each event of the stream; data is an event as GET /audit/events gives it.",
    "properties": {
        "id": {"type": "string", "description": "Where it stands: for Last-Event-ID."},
        "event": {"type": "string", "description": "Its event_type."},
        "data": {"type": "string", "description": "JSON."},
        "retry": {"type": "integer"},
    },
}
TYPES = "One or more, with commas between."
HUMANS_JUDGED_EVERY = 4.0
TOKENS_JUDGED_EVERY = 30.0
"""Seconds after which it is looked whether a person's session, an issuer's token, is still good. Of
a key that is revoked the trail itself tells."""


class Names(django_filters.BaseInFilter, django_filters.CharFilter):  # type: ignore[misc]
    """Several, with commas between."""


class StreamFilter(django_filters.FilterSet):  # type: ignore[misc]  # untyped library
    task_id = IdFilter(method="of_task", help_text="The task, its approvals and their votes.")
    session_id = IdFilter(method="of_session", help_text="The session, and all of its tasks.")
    trace_id = IdFilter()
    role = django_filters.CharFilter()
    event_type = Names(help_text=TYPES)
    after = django_filters.CharFilter(
        method="nothing", help_text="Where to go on, for who can't send Last-Event-ID."
    )

    class Meta:
        model = Event
        fields: tuple[str, ...] = ()

    def of_task(self, rows: "QuerySet[Event]", name: str, value: UUID) -> "QuerySet[Event]":
        return rows.filter(_of_tasks([value]))

    def of_session(self, rows: "QuerySet[Event]", name: str, value: UUID) -> "QuerySet[Event]":
        return rows.filter(Q(subject_id=value) | _of_tasks(_tasks_of(value)))

    def nothing(self, rows: "QuerySet[Event]", name: str, value: str) -> "QuerySet[Event]":
        return rows


class EventStreamRenderer(BaseRenderer):
    media_type = "text/event-stream"
    format = "sse"
    charset = "utf-8"

    def render(self, data: Any, *_: Any) -> bytes:
        return b"" if data is None else orjson.dumps(data, default=str)


class EventStreamViewSet(OperationViewSet):
    queryset = Event.objects.all()
    serializer_class = EventSerializer
    filterset_class = StreamFilter
    pagination_class = None
    renderer_classes = (EventStreamRenderer,)
    list_name = "events"

    @extend_schema(
        operation_id="event_stream",
        parameters=[
            OpenApiParameter("Last-Event-ID", str, OpenApiParameter.HEADER),
            OpenApiParameter("event_type", str, description=TYPES),
        ],
        responses={(200, "text/event-stream"): SAID},
        filters=True,
    )
    def list(self, request: Request) -> HttpResponse:
        """What happens from now on, or from Last-Event-ID on, as server-sent events: of what the
        caller may see, what the filters ask for. An event's data is what GET /audit/events says."""
        asked = self._parse_filters()
        again: long_poll.Resumption | None = request._request.META.get(long_poll.ENVIRON_KEY)
        begin = Cursor.parse(again.cursor) if again and again.cursor else self._begin()
        event_log.require_retained(begin)
        end, more = event_log.find_scan_end(begin)
        events = _read_events(self.actor, begin, end, asked)
        if len(events) == AT_ONCE:
            end, more = event_log.cursor_of(events[-1]), True
        body = b"".join(map(_format_event, events))
        behind = event_log.cursor_of(events[-1]) if events else begin
        if end != behind or not (again or events):
            body += b"id: %s\n\n" % str(end).encode()
        response = HttpResponse(body, content_type="text/event-stream; charset=utf-8")
        response.headers["Cache-Control"] = "no-store"
        response.headers["X-Accel-Buffering"] = "no"  # nginx would keep it back
        if long_poll.is_supported(request._request):
            keys = frozenset(map(stable_key, self._keys(asked)))
            held = LongPoll(keys, cursor=str(end), more=more, recheck_every=self._judged_every())
            long_poll.hold(request._request, response, held, caller=str(self.actor))
        return response

    def _parse_filters(self) -> dict[str, Any]:
        """What the filters ask for. Raises ValidationError."""
        filters = StreamFilter(self.request.query_params)
        if not filters.is_valid():
            raise translate_validation(filters.errors)
        asked = {name: value for name, value in filters.form.cleaned_data.items() if value}
        if len(asked.get("event_type", ())) > MOST_TYPES:
            raise ValidationError({"event_type": f"It names more than {MOST_TYPES}."})
        asked.pop("after", None)
        return asked

    def _begin(self) -> Cursor:
        header = self.request.headers.get("Last-Event-ID")
        given = self.request.query_params.get("after") if header is None else header
        if given is None:
            return event_log.find_end()
        try:
            return Cursor.parse(given)
        except ValueError:
            said = "it is not the id of an event of this stream."
            if header is not None:
                raise InvalidHeader(field="Last-Event-ID", reason=said) from None
            raise ValidationError({"after": said.capitalize()}) from None

    def _keys(self, asked: dict[str, Any]) -> set[Hashable]:
        """What news this stream is of: the narrowest that its filters name, and its caller."""
        keys: set[Hashable]
        if task := asked.get("task_id"):
            keys = {str(task), *_ids(_approvals(task=task))}
        elif session := asked.get("session_id"):
            tasks, approvals = _tasks(session=session), _approvals_within(session=session)
            keys = {str(session), *_ids(tasks), *_ids(approvals)}
            keys |= {"task.routed", "task.claimed"}
        elif trace := asked.get("trace_id"):
            keys = {str(trace)}
        elif role := asked.get("role"):
            keys = {role}
        elif types := asked.get("event_type"):
            keys = set(types)
        else:
            keys = {EVERYTHING}
        return keys | {self.actor.id}

    def _judged_every(self) -> float | None:
        if not self.actor.is_agent:
            return HUMANS_JUDGED_EVERY
        return TOKENS_JUDGED_EVERY if self.request.auth == "jwt" else None


def _format_event(event: Event) -> bytes:
    data = orjson.dumps(compile_serializer(EventSerializer)(event), default=str)
    cursor = str(event_log.cursor_of(event)).encode()
    return b"id: %s\nevent: %s\ndata: %s\n\n" % (cursor, event.event_type.encode(), data)


def _read_events(actor: Actor, begin: Cursor, end: Cursor, asked: dict[str, Any]) -> list[Event]:
    """Of what was committed behind ``begin`` and up to ``end``, what ``actor`` is told: the first
    AT_ONCE of it."""
    if begin >= end:
        return []
    last = (
        (end.xid, end.position)
        if begin.epoch == end.epoch
        else (event_log.MAX_POSITION, event_log.MAX_POSITION)
    )
    first_position, last_position = event_log.epochs.bounds(begin.epoch)
    return _between(
        actor,
        behind_xid=begin.xid,
        behind=begin.position,
        last_xid=last[0],
        last=last[1],
        first_position=first_position,
        last_position=last_position,
        **asked,
    )


def _news(
    actor: Actor,
    *,
    behind_xid: int,
    behind: int,
    last_xid: int,
    last: int,
    first_position: int,
    last_position: int,
    **asked: Any,
) -> "QuerySet[Event]":
    query = {name: ",".join(v) if isinstance(v, list) else str(v) for name, v in asked.items()}
    rows = StreamFilter(query, Event.objects.visible_to(actor)).qs
    rows = rows.behind(behind_xid, behind).up_to(last_xid, last)
    rows = rows.filter(position__gt=first_position, position__lte=last_position)
    found: QuerySet[Event] = rows.order_by("xid", "position")[:AT_ONCE]
    return found


_between: Prepared[Event] = Prepared(_news)


def _of_tasks(tasks: Any) -> Q:
    """Events of ``tasks`` and of everything that belongs to them."""
    found = Q()
    for kind, model in Subject.kinds().items():
        if model.task_path:
            rows = model.objects.filter(**{f"{model.task_path}__in": tasks})
            found |= Q(subject_type=kind, subject_id__in=rows.values("pk"))
    return found


def _tasks_of(session: Any) -> Any:
    return Task.objects.filter(Q(session_id=session) | Q(claimed_session_id=session))


def _approvals_of(tasks: Any) -> Any:
    return Approval.objects.filter(task_id__in=tasks)


def _newest(rows: Any) -> Any:
    return rows.order_by("-created_at").values_list("pk")[:MOST_KEYS]


_tasks: Prepared[tuple[UUID]] = Prepared(lambda session: _newest(_tasks_of(session)))
_approvals: Prepared[tuple[UUID]] = Prepared(lambda task: _newest(_approvals_of([task])))
_approvals_within: Prepared[tuple[UUID]] = Prepared(
    lambda session: _newest(_approvals_of(_tasks_of(session)))
)


def _ids(rows: list[tuple[UUID]]) -> set[str]:
    return {str(pk) for (pk,) in rows}
