"""Operations on sessions."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

from audit_app.base.actors import Actor
from audit_app.base.canonical import canonical_metadata
from audit_app.base.errors import (
    InvalidTransition,
    StaleVersion,
)
from audit_app.base.events import EventType
from audit_app.models import Subject
from audit_app.trail.operation import operation
from audit_app.trail.recording import create, perform
from sessions_app.errors import (
    RoleNotHeld,
    SessionClosed,
    UnknownSession,
)
from sessions_app.models import AgentSession


@operation("session.open")
def open_session(
    *,
    by: Actor,
    agent_role: str,
    trace_id: UUID,
    task_id: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> AgentSession:
    """Open a session in one of the agent's own roles.

    Raises AgentsOnly, RoleNotHeld, MetadataTooLarge.
    """
    by.require_agent()
    _holds(by, agent_role)
    canonical_metadata(metadata or {})
    session = AgentSession(
        agent_id=UUID(by.id),
        role=agent_role,
        task_id=task_id,
        metadata=metadata or {},
        trace_id=trace_id,
    )
    return create(session, EventType.SESSION_OPENED, by=by)


@operation("session.update")
def update_session(
    session_id: UUID,
    *,
    by: Actor,
    status: str | None = None,
    task_id: str | None = None,
    metadata: dict[str, Any] | None = None,
    expected_versions: frozenset[int] | None = None,
) -> AgentSession:
    """Change a session's state or task, and merge ``metadata`` into its own (RFC 7396).

    The row is locked, so of two concurrent merges none is lost. ``expected_versions`` are those
    that If-Match names. Raises NotFound, AgentsOnly, StaleVersion, InvalidTransition,
    MetadataTooLarge.
    """
    by.require_agent()
    session = AgentSession.objects.lock_visible(by, session_id)
    if expected_versions is not None and session.version not in expected_versions:
        raise StaleVersion(session, what="session")
    changes: dict[str, Any] = {}
    if task_id is not None:
        changes["task_id"] = task_id
    if metadata is not None:
        changes["metadata"] = merge_patch(session.metadata, metadata)
        canonical_metadata(changes["metadata"])
    # The event keeps the patch itself; the row has the merged result.
    patch = {"task_id": task_id, "metadata": metadata}
    details = {name: value for name, value in patch.items() if value is not None}
    if status is not None:
        perform(_transition_to(session, status), by=by, details=details, **changes)
    elif changes:
        perform(session.update, by=by, details=details, **changes)
    return session


def _holds(by: Actor, role: str, subject: Subject | None = None) -> None:
    if role not in by.roles:
        raise RoleNotHeld(subject, role=role)


def _open_session_of(by: Actor, session_id: UUID) -> AgentSession:
    """The caller's own open session. Raises UnknownSession, SessionClosed."""
    # Not locked, because a task may outlive the session that it came from.
    session: AgentSession | None = AgentSession.objects.visible_to(by).filter(pk=session_id).first()
    if session is None:
        raise UnknownSession(field="X-Session-Id")
    if session.status not in AgentSession.OPEN:
        raise SessionClosed(session, state=session.status)
    return session


def _transition_to(session: AgentSession, status: str) -> Callable[..., None]:
    transitions: dict[str, Callable[..., None]] = {
        AgentSession.Status.ACTIVE: session.activate,
        AgentSession.Status.COMPLETED: session.complete,
        AgentSession.Status.FAILED: session.fail,
        AgentSession.Status.EXPIRED: session.expire,
    }
    if status not in transitions:
        raise InvalidTransition(
            session,
            what="session",
            state=session.status,
            transition=f"become {status}",
            allowed=session.transitions_allowed(),
        )
    return transitions[status]


def merge_patch(target: Any, patch: Any) -> Any:
    """Merge ``patch`` into a copy of ``target`` (RFC 7396): null removes a member, objects merge,
    anything else replaces."""
    if not isinstance(patch, dict):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            merged.pop(name, None)
        else:
            merged[name] = merge_patch(merged.get(name), value)
    return merged
