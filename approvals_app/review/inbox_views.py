"""The inbox page, and the fragments that keep it up to date."""

import hashlib
from collections.abc import Callable
from itertools import groupby
from typing import Any
from urllib.parse import urlencode
from uuid import UUID

from django.contrib import admin, messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse, QueryDict
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.loader import render_to_string
from django.urls import path, reverse
from django.utils.cache import get_conditional_response
from django.utils.http import quote_etag

from approvals_app import models
from approvals_app.models import Approval
from approvals_app.review import attention, dashboards, drafts, flow, inbox, presence
from audit_app.base import csv_export
from audit_app.http.serializers import UUID_TEXT
from audit_app.ui.admin_base import actor_of, may_read
from sessions_app import freezes
from sessions_app.freeze_admin import may_freeze


def staff_only(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Allow whoever may see the admin's index."""
    wrapped: Callable[..., HttpResponseBase] = admin.site.admin_view(view)
    return wrapped


def inbox_page(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The context of the admin's index, which is the inbox (UNFOLD["DASHBOARD_CALLBACK"])."""
    actor, filters = actor_of(request), _parse_filters(request.GET)
    page_context = {
        "done": drafts.pop_sent(request),
        "views": presence.list_saved_views(request.user),
        "most_views": presence.MAX_SAVED_VIEWS,
        "longest_name": models.LONGEST_NAME,
        "longest_words": inbox.LONGEST_SEARCH,
        "ages": {name: words for name, (words, _) in inbox.AGES.items()},
        "tabs": _build_tabs(filters),
        "frozen": freezes.list_concerning(actor),
        "can_thaw": may_freeze(request),
    }
    if filters.tab == "waiting":
        page_context["offered"] = inbox.list_filter_options(actor)
        page_context["expired"] = inbox.list_expired(actor)
    if actor.auditor:
        page_context["alarm"] = dashboards.describe_stopped_jobs()
    title = inbox.Filters.TABS["decided"] if filters.tab == "decided" else "Inbox"
    return context | page_context | _build_list_context(request, filters) | {"title": title}


def inbox_list(request: HttpRequest) -> HttpResponse:
    """The list of the inbox, for an open page to refresh itself; 304 where nothing changed."""
    if request.method not in ("GET", "HEAD"):
        raise PermissionDenied
    list_context = _build_list_context(request, _parse_filters(request.GET))
    content = render_to_string(
        "admin/approvals_app/inbox/list.html", list_context, request
    ).encode()
    # The ETag is of the rendered text: relative times in it go stale like everything else.
    etag = quote_etag(hashlib.sha256(content).hexdigest())
    response = get_conditional_response(request, etag=etag, response=HttpResponse(content))
    assert response is not None  # there was a response to choose from
    response.headers["ETag"] = etag
    return response


def inbox_csv(request: HttpRequest) -> HttpResponseBase:
    """All rows of a tab of the inbox, as a CSV file."""
    if request.method not in ("GET", "HEAD"):
        raise PermissionDenied
    filters = _parse_filters(request.GET)
    rows, columns = inbox.select_for_export(actor_of(request), filters)
    return csv_export.download(rows, columns, time="created_at", name=f"inbox-{filters.tab}")


def saved_views(request: HttpRequest) -> HttpResponse:
    """Save the present filters under a name, or remove a saved view."""
    if request.method != "POST":
        raise PermissionDenied
    form = request.POST
    if "forget" in form:
        if not UUID_TEXT.fullmatch(form["forget"]):
            raise Http404
        presence.delete_view(request.user, UUID(form["forget"]))
        messages.success(request, "View removed.")
        return _redirect_to_inbox(_parse_filters(QueryDict(form.get("query", ""))))
    filters, name = _parse_filters(QueryDict(form.get("query", ""))), form.get("name", "").strip()
    if not name or len(name) > models.LONGEST_NAME or not name.isprintable():
        messages.error(request, f"The name of a view has 1 to {models.LONGEST_NAME} characters.")
    elif len(filters.query) > models.LONGEST_QUERY:
        messages.error(request, "These filters are too long to save.")
    else:
        try:
            presence.save_view(request.user, name, filters.query)
        except presence.TooManyViews:
            message = f"You already have {presence.MAX_SAVED_VIEWS} views; remove one first."
            messages.error(request, message)
        else:
            messages.success(request, "View saved. Only you can see it.")
    return _redirect_to_inbox(filters)


def viewers(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """Record that the reader still has this decision's page open; return who else has, and what
    others did to it meanwhile."""
    if request.method != "GET" or not may_read(request):
        raise PermissionDenied
    # 404 for both unknown and invisible approvals, so that ids can't be probed.
    actor = actor_of(request)
    visible = Approval.objects.filter(pk=approval_id).visible_to(actor)
    approval = visible.select_related("decided_by").first()
    if approval is None:
        raise Http404
    presence.record_view(approval_id, request.user)
    others = presence.list_other_viewers([approval_id], request.user).get(approval_id, [])
    return JsonResponse({"looking": others, **flow.load_news(approval, actor)})


def _build_list_context(request: HttpRequest, filters: inbox.Filters) -> dict[str, Any]:
    """The context of the list, both inside the page and on its own."""
    actor = actor_of(request)
    count = count_waiting(request)
    page = inbox.load_page(actor, filters)
    listed = _list_with_places(filters, page)
    return {
        "page": page,
        "listed": listed,
        "groups": _group_rows(listed) if filters.tab == "waiting" else [],
        "place": filters.to_page(page.number),
        "filters": filters,
        "snoozed": attention.count_snoozed(request.user) if filters.tab == "waiting" else 0,
        "roles": actor.roles,
        "waiting": format_count(count) if count else "",
        "back": inbox.MAX_HISTORY,
        "previous": filters.to_page(page.previous_number),
        "next": filters.to_page(page.next_number),
    }


def _list_with_places(filters: inbox.Filters, page: inbox.Page) -> list[tuple[Any, str]]:
    """Each row with the query of its link, by which ``inbox_url`` leads back to where it was."""
    keys = [row.key for row in page.rows]
    # What is decided leaves the tab, and the row below it takes its place.
    places = [*keys[1:], *keys[-2:-1]] if filters.tab == "waiting" else keys
    back = filters.to_page(page.number)
    queries = [urlencode({"inbox": back, "row": key}) for key in places]
    # The only row has no neighbour.
    queries += [urlencode({"inbox": back})] * (len(keys) - len(queries))
    return list(zip(page.rows, queries, strict=True))


def _group_rows(listed: list[tuple[inbox.WaitingRow, str]]) -> list[dict[str, Any]]:
    """The parts of the list that are on the page, each with its rows."""
    blocked = len(inbox.GROUPS) - 1
    return [
        {
            "number": number,
            "name": inbox.GROUPS[number],
            "is_folded": number == blocked,
            "rows": list(rows),
        }
        for number, rows in groupby(listed, key=lambda pair: pair[0].group)
    ]


def inbox_url(request: HttpRequest) -> str:
    """The address of the inbox as it was when the reader opened the present page from it: its tab,
    filters, page and row."""
    try:
        filters = inbox.Filters.parse(QueryDict(request.GET.get("inbox", "")))
    except ValueError:
        filters = inbox.Filters()
    query = filters.to_page(filters.page)
    row = request.GET.get("row", "")
    fragment = f"#row-{row}" if UUID_TEXT.fullmatch(row) else ""
    return reverse("admin:index") + (f"?{query}" if query else "") + fragment


def _build_tabs(filters: inbox.Filters) -> list[dict[str, Any]]:
    return [
        {"name": words, "query": inbox.Filters(tab=tab).query, "current": tab == filters.tab}
        for tab, words in inbox.Filters.TABS.items()
    ]


def count_waiting(request: HttpRequest) -> int:
    """How many approvals wait for the reader."""
    # The sidebar and the page both need it: count once per request.
    count: int | None = getattr(request, "waiting_count", None)
    if count is None:
        count = inbox.count_waiting(actor_of(request))
        request.waiting_count = count  # type: ignore[attr-defined]
    return count


def format_count(count: int) -> str:
    return str(count) if count <= inbox.MAX_COUNT else f"{inbox.MAX_COUNT}+"


def _parse_filters(query: QueryDict) -> inbox.Filters:
    try:
        return inbox.Filters.parse(query)
    except ValueError:
        raise BadRequest("The inbox can't search for that.") from None


def _redirect_to_inbox(filters: inbox.Filters) -> HttpResponse:
    query = f"?{filters.query}" if filters.query else ""
    return redirect(reverse("admin:index") + query)


app_name = "inbox"
urlpatterns = [
    path("inbox/", staff_only(inbox_list), name="list"),
    path("inbox/csv/", staff_only(inbox_csv), name="csv"),
    path("inbox/views/", staff_only(saved_views), name="views"),
    path("inbox/looking/<uuid:approval_id>/", staff_only(viewers), name="looking"),
    path("inbox/snooze/<uuid:approval_id>/", staff_only(attention.snooze_view), name="snooze"),
    path("inbox/claim/<uuid:approval_id>/", staff_only(attention.claim_view), name="claim"),
    path("inbox/comment/<uuid:approval_id>/", staff_only(attention.comment_view), name="comment"),
]
