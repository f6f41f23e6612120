"""Named reads of the ground floor."""

from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from uuid import UUID

from django.db import models

from audit_app.actors import Actor
from audit_app.errors import NotFound

if TYPE_CHECKING:
    from audit_app.models import Event, Subject, Webhook  # noqa: F401  # forward references

S = TypeVar("S", bound="Subject")

SETTLED = """(audit_events.xid < pg_snapshot_xmin(pg_current_snapshot())
    OR audit_events.xid < (SELECT public.audit_settled_before()))"""
"""The first alone would do; the second looks closer where the cluster has other databases."""


class SubjectQuerySet(models.QuerySet[S]):
    """Reads that every audited table has: what a caller may see, and one row under its lock."""

    def visible_to(self, actor: Actor) -> Self:
        """Only the rows that ``actor`` may know of; anything else does not exist for them."""
        raise TypeError(f"{self.model.__name__} does not say who may see it.")

    def one(self, pk: UUID | str) -> S:
        """The row, unlocked. Raises NotFound."""
        try:
            return self.get(pk=pk)
        except self.model.DoesNotExist:
            raise NotFound(what=self.model.subject_type) from None

    def locked(self, pk: UUID | str, **lock: Any) -> S:
        """The row under FOR NO KEY UPDATE: who comes second waits, then sees what the first did.

        Raises NotFound, and Busy (from @operation) when the wait passes ``lock_timeout``.
        """
        return self.select_for_update(no_key=True, of=("self",), **lock).one(pk)


class EventQuerySet(models.QuerySet["Event"]):
    def behind(self, xid: int, position: int) -> Self:
        """What comes after that event of that transaction, in the order of tail.py."""
        rows: Any = self.extra(  # a comparison of rows, which querysets can't say
            where=["(audit_events.xid, audit_events.position) > (%s::xid8, %s)"],
            params=[str(xid), position],
        )
        return cast("Self", rows)

    def settled(self) -> Self:
        """What nothing can be committed before any more: see tail.py."""
        rows: Any = self.extra(where=[SETTLED])  # noqa: S610  # querysets know no snapshots
        return cast("Self", rows)

    def visible_to(self, actor: Actor) -> Self:
        """An auditor sees every event; others those of the subjects that they can see."""
        if actor.auditor:
            return self
        from audit_app.models import Subject

        seen = models.Q(actor_id=actor.id, actor=str(actor))
        for kind, model in Subject.kinds().items():
            visible = model.objects.visible_to(actor).values("pk")
            seen |= models.Q(subject_type=kind, subject_id__in=visible)
        return self.filter(seen)


class WebhookQuerySet(SubjectQuerySet["Webhook"]):
    def visible_to(self, actor: Actor) -> Self:
        """Whoever may read everything sees where everything goes."""
        return self if actor.auditor else self.none()
