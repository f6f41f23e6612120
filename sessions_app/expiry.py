"""Bulk expiry: idle sessions, claims whose lease ran out, approvals that nobody used."""

from collections.abc import Iterator
from datetime import timedelta

from audit_app.base.actors import Actor
from audit_app.trail.bulk import in_batches, perform_all
from sessions_app.models import AgentSession, Task

STOPPED_BY_FREEZES = "row.agent_id, row.claimed_by_id, row.from_role, row.to_role"


def expire_sessions(*, by: Actor, older_than: timedelta, batch_size: int) -> Iterator[int]:
    """Expire open sessions unchanged for ``older_than``; yield each batch's size."""

    def batch(limit: int) -> int:
        return perform_all(
            AgentSession,
            AgentSession.expire,
            by=by,
            condition="row.updated_at < clock_timestamp() - %(older_than)s",
            params={"older_than": older_than},
            order="row.updated_at",
            limit=limit,
            details={"reason": "overdue"},
        )

    return in_batches(batch, batch_size)


def release_leases(*, by: Actor, batch_size: int) -> Iterator[int]:
    """Make claimed tasks whose lease ran out claimable again; yield each batch's size."""

    def batch(limit: int) -> int:
        return perform_all(
            Task,
            Task.release,
            by=by,
            condition="row.lease_expires_at < clock_timestamp()"
            f" AND deadline_passed(row.lease_expires_at, row.updated_at, {STOPPED_BY_FREEZES})",
            params={},
            order="row.lease_expires_at",
            limit=limit,
            also="lease_expires_at = NULL",
        )

    return in_batches(batch, batch_size)


def expire_approved(*, by: Actor, batch_size: int) -> Iterator[int]:
    """Expire tasks that nobody claimed while their approval was valid; yield each batch's size.

    Their approvals stay as evidence of what was approved. A task that was claimed in time may have
    been executed: it waits for its report, however late.
    """

    def batch(limit: int) -> int:
        return perform_all(
            Task,
            Task.expire,
            by=by,
            condition="row.status = 'approved' AND row.approved_until < clock_timestamp()"
            " AND row.consumed_by_id IS NULL"
            f" AND deadline_passed(row.approved_until, row.updated_at, {STOPPED_BY_FREEZES})",
            params={},
            order="row.approved_until",
            limit=limit,
            details={"reason": "The approval could be used until then."},
        )

    return in_batches(batch, batch_size)
