"""What can be done on the ground floor: an agent adds to the trail in its own words."""

from typing import Any
from uuid import UUID

from audit_app.base.actors import Actor
from audit_app.base.errors import AgentsOnly, UnknownEvent
from audit_app.base.events import AGENT_EVENT
from audit_app.models import Event
from audit_app.trail import recording
from audit_app.trail.operation import operation


@operation("audit.add")
def add_event(event_type: str, *, by: Actor, metadata: dict[str, Any], trace_id: UUID) -> Event:
    """Record an event of the caller's own, named under ``agent.``.

    Raises AgentsOnly, UnknownEvent, MetadataTooLarge.
    """
    if not by.is_agent:
        raise AgentsOnly(kind=by.kind)
    if not AGENT_EVENT.fullmatch(event_type):
        raise UnknownEvent(
            field="event_type", event_type=event_type, reason="it must be named under agent."
        )
    noted = recording.record_event(event_type, "note", by=by, details=metadata, trace_id=trace_id)
    return Event.objects.get(subject_type="note", subject_id=noted)
