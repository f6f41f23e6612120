"""Where a decision page stands in its reader's inbox, and what is decided before and after it."""

from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpRequest, QueryDict
from django.urls import reverse

from approvals_app.models import Approval
from approvals_app.review import inbox
from audit_app.http.serializers import UUID_TEXT
from audit_app.ui.admin_base import actor_of

WINDOW = inbox.MAX_COUNT
"""How many approvals are looked at from the inbox's page on; a longer queue is "99+"."""


@dataclass(frozen=True, slots=True)
class Queue:
    """The place of one approval among those that wait for the reader.

    ``position`` counts from 1; 0: it does not wait for them, or is further down than WINDOW.
    ``previous`` and ``next`` are addresses of decision pages, "" where there is none.
    """

    position: int
    count: str
    previous: str
    next: str


def load_queue(
    request: HttpRequest, approval: Approval, leave_out: Collection[UUID]
) -> Queue | None:
    """The place of ``approval`` in the inbox that its page was opened from, in one query.

    ``leave_out`` are approvals whose decision is under way. None where the page was opened from
    another tab of the inbox, or nothing is to be decided on it.
    """
    query = request.GET.get("inbox")
    if query is None and approval.status != Approval.Status.PENDING:
        return None
    try:
        filters = inbox.Filters.parse(QueryDict(query or ""))
    except ValueError:
        filters = inbox.Filters()
    if filters.tab != "waiting":
        return None
    # One more before the page, which is its first row's previous one.
    start = max(0, (filters.page - 1) * inbox.PAGE_SIZE - 1)
    found = list(inbox.list_waiting(actor_of(request), filters, start, start + WINDOW + 1))
    if start == 0 and not filters.is_narrowed:
        request.waiting_count = len(found)  # type: ignore[attr-defined]  # the sidebar's number
    ids = [pk for pk in found if pk not in leave_out]
    count = start + len(ids)
    place = _find_place(request, ids, approval.pk)
    is_waiting = place < len(ids) and ids[place] == approval.pk
    after = place + 1 if is_waiting else place

    def link(index: int) -> str:
        return _page_url(filters, ids, index, start) if 0 <= index < len(ids) else ""

    return Queue(
        position=start + place + 1 if is_waiting else 0,
        count=f"{count - 1}+" if len(found) > WINDOW else str(count),
        previous=link(place - 1),
        next=link(after),
    )


def parse_ids(text: str) -> set[UUID]:
    """The ids in a list that is separated by commas; what is none is ignored."""
    return {UUID(each) for each in text.split(",")[:WINDOW] if UUID_TEXT.fullmatch(each)}


def _find_place(request: HttpRequest, ids: list[UUID], pk: UUID) -> int:
    """The index of ``pk``; where it does not wait any more, that of what took its place."""
    if pk in ids:
        return ids.index(pk)
    row = request.GET.get("row", "")
    neighbour = UUID(row) if UUID_TEXT.fullmatch(row) else None
    return ids.index(neighbour) if neighbour in ids else 0


def _page_url(filters: inbox.Filters, ids: list[UUID], index: int, start: int) -> str:
    """The page of ``ids[index]``, with the query that leads back to its place in the inbox."""
    page = (start + index) // inbox.PAGE_SIZE + 1
    query = {"inbox": filters.to_page(page)}
    # Once it is decided, the row below it is where the reader comes back to.
    neighbours = ids[index + 1 : index + 2] or ids[max(index - 1, 0) : index]
    if neighbours:
        query["row"] = str(neighbours[0])
    path = reverse("admin:approvals_app_approval_change", args=[ids[index]])
    return f"{path}?{urlencode(query)}"
