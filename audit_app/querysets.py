"""Named reads of the ground floor."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Self, TypeVar, cast
from uuid import UUID

from django.db import models
from django.db.models.functions import Coalesce, Concat, Now

from audit_app.base.actors import Actor
from audit_app.base.errors import NotFound
from audit_app.base.prepared import Prepared

if TYPE_CHECKING:
    from audit_app.models import Delivery, Event, Subject, Webhook  # noqa: F401  # forward references

S = TypeVar("S", bound="Subject")

FEW = 10_000
"""Tasks that are looked up for a list; whoever knows of more finds some wherever they look."""

_known: dict[tuple[Any, bool], Prepared[Any]] = {}

STABLE = """(audit_events.xid < pg_snapshot_xmin(pg_current_snapshot())
    OR audit_events.xid < (SELECT public.audit_settled_before()))"""
"""The first alone would do; the second looks closer where the cluster has other databases."""


class SubjectQuerySet(models.QuerySet[S]):
    """Reads that every audited table has: what a caller may see, and one row under its lock."""

    def visible_to(self, actor: Actor) -> Self:
        """Only the rows that ``actor`` may know of; anything else does not exist for them."""
        raise TypeError(f"{self.model.__name__} does not say who may see it.")

    def looked_up(self, actor: Actor) -> Self:
        """The same rows, found from the tasks that ``actor`` may know of instead of asked each by
        itself: for somebody who knows of no more than FEW."""
        return self.visible_to(actor)

    def listed_to(self, actor: Actor) -> Self:
        """The same rows, for a page of a list: in whichever of the two ways is quick."""
        from audit_app.models import Subject

        if seen_in_one_way(actor):
            return self.visible_to(actor)
        few = Subject.kinds()["task"].objects.are_few(actor, FEW)
        return self.looked_up(actor) if few else self.visible_to(actor)

    def get_visible(self, actor: Actor, pk: UUID) -> S:
        """``visible_to(actor).one(pk)``, prepared. Raises NotFound."""
        return self._read_visible(actor, pk, locked=False)

    def lock_visible(self, actor: Actor, pk: UUID) -> S:
        """``visible_to(actor).lock(pk)``, prepared. Raises NotFound, and Busy as ``lock``."""
        return self._read_visible(actor, pk, locked=True)

    def _read_visible(self, actor: Actor, pk: UUID, *, locked: bool) -> S:
        model = self.model
        if (model, locked) not in _known:

            def build(actor: Actor, pk: UUID) -> Any:
                rows = model.objects.visible_to(actor).filter(pk=pk).order_by()
                if model.shown_with:
                    rows = rows.select_related(*model.shown_with)
                return rows.select_for_update(no_key=True, of=("self",)) if locked else rows

            _known[model, locked] = Prepared(build)
        for row in _known[model, locked](actor, pk=pk):
            return cast("S", row)
        raise NotFound(what=model.subject_type)

    def one(self, pk: UUID | str) -> S:
        """The row, unlocked. Raises NotFound."""
        try:
            return self.get(pk=pk)
        except self.model.DoesNotExist:
            raise NotFound(what=self.model.subject_type) from None

    def lock(self, pk: UUID | str, **lock: Any) -> S:
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

    def up_to(self, xid: int, position: int) -> Self:
        """What comes before that event, in the order of tail.py, and the event itself."""
        rows: Any = self.extra(
            where=["(audit_events.xid, audit_events.position) <= (%s::xid8, %s)"],
            params=[str(xid), position],
        )
        return cast("Self", rows)

    def stable(self) -> Self:
        """What nothing can be committed before any more: see tail.py."""
        rows: Any = self.extra(where=[STABLE])  # noqa: S610  # querysets know no snapshots
        return cast("Self", rows)

    def visible_to(self, actor: Actor) -> Self:
        """An auditor sees every event; others those of the subjects that they can see, asked of
        each event by itself."""
        from audit_app.models import Subject

        if actor.auditor:
            return self
        seen = _by(actor)
        for kind, model in Subject.kinds().items():
            subject = model.objects.visible_to(actor).filter(pk=models.OuterRef("subject_id"))
            seen |= models.Q(subject_type=kind) & models.Q(there_is(subject))
        return self.filter(seen)

    def of_few(self, actor: Actor, most: int) -> Self | None:
        """The same, by the ids of everything that ``actor`` may see; None where there are more
        than ``most``."""
        from audit_app.models import Subject

        kinds = Subject.kinds()
        if not kinds["task"].objects.are_few(actor, most):
            return None
        first, *others = (
            model.objects.looked_up(actor).order_by().values("pk")[: most + 1]
            for model in kinds.values()
        )
        together = first.union(*others, all=True).order_by()  # or the first one's order is theirs
        seen = [row["pk"] for row in together[: most + 1]]
        if len(seen) > most:
            return None
        return self.filter(models.Q(subject_id__in=seen) | _by(actor))

    def listed_to(self, actor: Actor) -> Self:
        """The same, for a page of a list: in whichever of the two ways is quick."""
        few = None if actor.auditor else self.of_few(actor, FEW)
        return self.visible_to(actor) if few is None else few


class WebhookQuerySet(SubjectQuerySet["Webhook"]):
    def visible_to(self, actor: Actor) -> Self:
        """Whoever may read everything sees where everything goes."""
        return self if actor.auditor else self.none()


def seen_in_one_way(actor: Actor) -> bool:
    """Whether a list of ``actor``'s is quick in one way, however much they may know of."""
    return actor.auditor or actor.is_agent


def related_manager(rows: "models.QuerySet[Any]", name: str) -> Any:
    """The manager of the model that the relation ``name`` of ``rows`` leads to: for querysets,
    which their models import."""
    model: Any = rows.model._meta.get_field(name).related_model
    return model.objects


def there_is(rows: "models.QuerySet[Any]") -> Coalesce:
    """``Exists(rows)``, asked of each outer row by itself: for EXISTS, PostgreSQL rather reads all
    that ``rows`` are among, even for one page."""
    found = models.Subquery(rows.order_by().values(found=models.Value(True))[:1])
    return Coalesce(found, False, output_field=models.BooleanField())


def _by(actor: Actor) -> models.Q:
    # Put together by PostgreSQL, so that a prepared queryset finds the name as it was given.
    written = Concat(models.Value(f"{actor.kind}:"), models.Value(actor.name))
    return models.Q(actor_id=actor.id, actor=written)


class DeliveryQuerySet(models.QuerySet["Delivery"]):
    def replaying(self) -> Self:
        """Deliveries of a replay that are still to be sent."""
        return self.filter(status="waiting", replayed=True)

    def awaiting_retry(self, subjects: Iterable[UUID]) -> Self:
        """Deliveries of ``subjects`` that wait for their next attempt, which is not due yet."""
        return self.filter(status="waiting", subject_id__in=subjects, next_attempt_at__gt=Now())
