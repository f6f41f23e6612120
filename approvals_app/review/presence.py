"""Saved views of the inbox, and who has which decision page open.

Neither is audited: these are conveniences, not facts about a decision.
"""

from collections.abc import Iterable
from datetime import timedelta
from uuid import UUID

from django.contrib.auth.models import AnonymousUser, User
from django.db import connection, transaction
from django.db.models.functions import Now

from approvals_app.models import SavedView, Viewer

Person = User | AnonymousUser
MAX_SAVED_VIEWS = 30
PRESENCE_TIMEOUT = timedelta(seconds=90)
"""How long after their page last reported somebody is still shown as a viewer."""
CLAIM_LASTS = timedelta(minutes=30)
"""How long after somebody took an approval others are told so."""

# Written at most every 20 seconds per viewer; a pause of ten minutes starts the view time anew.
# Each call also deletes up to 100 rows that are older than an hour, so no sweeper is needed.
RECORD_VIEW_SQL = """
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
    """The person already has MAX_SAVED_VIEWS saved views."""


def record_view(approval_id: UUID, user: Person) -> timedelta:
    """Record that ``user`` has the page of an approval open; return for how long without a break.

    Zero for the first view.
    """
    with connection.cursor() as cursor:
        cursor.execute(RECORD_VIEW_SQL, {"approval": approval_id, "user": require_id(user)})
        view_time: timedelta = cursor.fetchone()[0]
    return max(view_time, timedelta())


def list_other_viewers(ids: Iterable[UUID], user: Person) -> dict[UUID, list[str]]:
    """Who else has the pages of ``ids`` open now: usernames by approval id, where there are any."""
    names: dict[UUID, list[str]] = {}
    viewers = (
        Viewer.objects.filter(approval_id__in=list(ids), seen_at__gt=Now() - PRESENCE_TIMEOUT)
        .exclude(user_id=require_id(user))
        .order_by("user__username")
    )
    for approval_id, name in viewers.values_list("approval_id", "user__username"):
        names.setdefault(approval_id, []).append(name)
    return names


def list_saved_views(user: Person) -> list[SavedView]:
    return list(SavedView.objects.filter(user_id=require_id(user))[:MAX_SAVED_VIEWS])


def save_view(user: Person, name: str, query: str) -> None:
    """Save ``query`` under ``name``, replacing a view of that name. Raises TooManyViews."""
    with transaction.atomic():
        # Lock the person's row: two windows saving at once must not exceed the limit together.
        User.objects.select_for_update(no_key=True).get(pk=require_id(user))
        mine = SavedView.objects.filter(user_id=require_id(user))
        if mine.count() >= MAX_SAVED_VIEWS and not mine.filter(name=name).exists():
            raise TooManyViews
        mine.update_or_create(user_id=require_id(user), name=name, defaults={"query": query})


def delete_view(user: Person, pk: UUID) -> None:
    """Delete one of ``user``'s own views; nothing happens where it is another's or gone."""
    SavedView.objects.filter(user_id=require_id(user), pk=pk).delete()


def require_id(user: Person) -> int:
    """The id of ``user``, who is signed in."""
    assert user.pk is not None, "nobody is signed in"
    return user.pk
