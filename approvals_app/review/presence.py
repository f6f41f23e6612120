"""What a person keeps of how they look at their inbox, and who looks at what at the moment.

Neither is a fact of the work: nothing of it is in the trail, and nothing is decided by it.
"""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.db import connection, transaction
from django.db.models.functions import Now

from approvals_app.models import SavedView, Viewer

Person = User | AnonymousUser
MOST_VIEWS = 30
LOOKING = timedelta(seconds=90)
"""For how long after their page last said so somebody is shown as looking."""

LOOK = """
WITH gone AS (
    DELETE FROM viewers WHERE id IN (
        SELECT id FROM viewers WHERE seen_at < now() - interval '1 hour'
        ORDER BY seen_at LIMIT 100 FOR UPDATE SKIP LOCKED)
), noted AS (
    INSERT INTO viewers AS known (approval_id, user_id, seen_at, first_at)
    VALUES (%(approval)s, %(user)s, now(), now())
    ON CONFLICT (approval_id, user_id) DO UPDATE SET seen_at = now(), first_at = CASE
            WHEN known.seen_at < now() - interval '10 minutes' THEN now() ELSE known.first_at END
        WHERE known.seen_at < now() - interval '20 seconds'
    RETURNING first_at
)
SELECT now() - coalesce(
    (SELECT first_at FROM noted),
    (SELECT first_at FROM viewers WHERE approval_id = %(approval)s AND user_id = %(user)s), now())
"""


class TooManyViews(Exception):
    """There are as many saved views as one person may have."""


def looked(approval_id: UUID, user: Person) -> timedelta:
    """``user`` has the page of an approval open: written at most every 20 seconds, and what is
    older than an hour goes with it. For how long they have, without a break."""
    with connection.cursor() as cursor:
        cursor.execute(LOOK, {"approval": approval_id, "user": _id(user)})
        length: timedelta = cursor.fetchone()[0]
    return max(length, timedelta())


def others(ids: Iterable[UUID], user: Person) -> dict[UUID, list[str]]:
    """Who else looks at each of ``ids`` now, by username."""
    found: dict[UUID, list[str]] = {}
    looking = (
        Viewer.objects.filter(approval_id__in=list(ids), seen_at__gt=Now() - LOOKING)
        .exclude(user_id=_id(user))
        .order_by("user__username")
    )
    for approval_id, name in looking.values_list("approval_id", "user__username"):
        found.setdefault(approval_id, []).append(name)
    return found


def saved(user: Person) -> list[SavedView]:
    return list(SavedView.objects.filter(user_id=_id(user))[:MOST_VIEWS])


def keep(user: Person, name: str, query: str) -> None:
    """Name ``query``, in the place of what had the name before.

    Raises TooManyViews. Two windows that save at once take turns at the person's row.
    """
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=_id(user))
        mine = SavedView.objects.filter(user_id=_id(user))
        if mine.count() >= MOST_VIEWS and not mine.filter(name=name).exists():
            raise TooManyViews
        mine.update_or_create(user_id=_id(user), name=name, defaults={"query": query})


def forget(user: Person, pk: UUID) -> None:
    """Remove one of ``user``'s own; what is another's, or gone, stays as it is."""
    SavedView.objects.filter(user_id=_id(user), pk=pk).delete()


def _id(user: Person) -> int:
    assert user.pk is not None, "nobody is signed in"
    return user.pk
