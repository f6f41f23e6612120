"""The admin's first page, which is the inbox, what keeps it up to date, and the sidebar."""

import hashlib
from collections.abc import Callable
from typing import Any
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
from approvals_app.review import inbox, presence
from approvals_app.review.policy_views import CHANGE
from audit_app.base import csv_export
from audit_app.http.serializers import UUID_TEXT
from audit_app.ui.admin_base import actor_of, may_read
from audit_app.webhooks.admin import may_see_webhooks
from sessions_app.admin import may_change_agents

READING = (
    ("Approvals", "approval_delegation", "approvals_app_approval"),
    ("Tasks", "task", "sessions_app_task"),
    ("Sessions", "manage_history", "sessions_app_agentsession"),
    ("Audit events", "receipt_long", "audit_app_event"),
)
WEBHOOKS = (("Webhooks", "webhook", "audit_app_webhook"),)
AGENTS = (("Agents", "smart_toy", "sessions_app_agent"),)
PEOPLE = (("People", "person", "auth_user"), ("Groups", "group", "auth_group"))


def staff(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Whoever may see the admin's first page."""
    wrapped: Callable[..., HttpResponseBase] = admin.site.admin_view(view)
    return wrapped


def inbox_page(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The admin's first page is the inbox (UNFOLD["DASHBOARD_CALLBACK"])."""
    actor, filters = actor_of(request), _filters(request.GET)
    told = {
        "overrides": inbox.overrides(actor),
        "views": presence.saved(request.user),
        "most_views": presence.MOST_VIEWS,
        "longest_name": models.LONGEST_NAME,
        "longest_words": inbox.LONGEST_WORDS,
        "ages": {name: words for name, (words, _) in inbox.AGES.items()},
        "tabs": _tabs(filters),
    }
    if filters.tab == "waiting":
        told["offered"] = inbox.offered(actor)
    return context | told | _listed(request, filters) | {"title": "Inbox"}


def inbox_list(request: HttpRequest) -> HttpResponse:
    """What the inbox lists now, for a page that is open; 304 where it has all of that."""
    if request.method not in ("GET", "HEAD"):
        raise PermissionDenied
    found = _listed(request, _filters(request.GET))
    content = render_to_string("admin/approvals_app/inbox/list.html", found, request).encode()
    etag = quote_etag(hashlib.sha256(content).hexdigest())
    answer = get_conditional_response(request, etag=etag, response=HttpResponse(content))
    assert answer is not None  # there was a response to choose from
    answer.headers["ETag"] = etag
    return answer


def inbox_csv(request: HttpRequest) -> HttpResponseBase:
    """What a tab of the inbox lists, all of it, as a file."""
    if request.method not in ("GET", "HEAD"):
        raise PermissionDenied
    filters = _filters(request.GET)
    rows, columns = inbox.exported(actor_of(request), filters)
    return csv_export.download(rows, columns, time="created_at", name=f"inbox-{filters.tab}")


def inbox_views(request: HttpRequest) -> HttpResponse:
    """Give a name to what the inbox shows, or forget one."""
    if request.method != "POST":
        raise PermissionDenied
    given = request.POST
    if "forget" in given:
        if not UUID_TEXT.fullmatch(given["forget"]):
            raise Http404
        presence.forget(request.user, UUID(given["forget"]))
        messages.success(request, "View removed.")
        return _to_inbox(_filters(QueryDict(given.get("query", ""))))
    filters, name = _filters(QueryDict(given.get("query", ""))), given.get("name", "").strip()
    if not name or len(name) > models.LONGEST_NAME or not name.isprintable():
        messages.error(request, f"The name of a view has 1 to {models.LONGEST_NAME} characters.")
    elif len(filters.query) > models.LONGEST_QUERY:
        messages.error(request, "These filters are too long to save.")
    else:
        try:
            presence.keep(request.user, name, filters.query)
        except presence.TooManyViews:
            most = f"You already have {presence.MOST_VIEWS} views; remove one first."
            messages.error(request, most)
        else:
            messages.success(request, "View saved. Only you can see it.")
    return _to_inbox(filters)


def looking(request: HttpRequest, approval_id: UUID) -> HttpResponse:
    """The reader has this decision's page open still; who else has is told."""
    if request.method != "GET" or not may_read(request):
        raise PermissionDenied
    if not Approval.objects.filter(pk=approval_id).visible_to(actor_of(request)).exists():
        raise Http404
    presence.looked(approval_id, request.user)
    others = presence.others([approval_id], request.user).get(approval_id, [])
    return JsonResponse({"looking": others})


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The sidebar (UNFOLD["SIDEBAR"]): what waits, what can be read, and who there is."""
    if not request.user.is_authenticated:
        return []
    items = [_inbox_item(request)]
    if may_read(request):
        items += _items(READING)
        items.append(
            {"title": "Dashboards", "icon": "bar_chart", "link": reverse("pages:dashboards")}
        )
        items.append({"title": "Delegation", "icon": "sync_alt", "link": reverse("pages:away")})
    items.append(
        {
            "title": "Notifications",
            "icon": "notifications",
            "link": reverse("pages:notifications"),
        }
    )
    if may_read(request) or request.user.has_perm(CHANGE):
        items.append({"title": "Policies", "icon": "rule", "link": reverse("pages:policies")})
    if may_read(request) or may_change_agents(request):
        items += _items(AGENTS)
    if may_see_webhooks(request):
        items += _items(WEBHOOKS)
    if request.user.has_perm("auth.view_user"):
        items += _items(PEOPLE)
    return [{"items": items}]


def _items(pages: tuple[tuple[str, str, str], ...]) -> list[dict[str, Any]]:
    return [
        {"title": title, "icon": icon, "link": reverse(f"admin:{name}_changelist")}
        for title, icon, name in pages
    ]


def _inbox_item(request: HttpRequest) -> dict[str, Any]:
    item = {"title": "Inbox", "icon": "inbox", "link": reverse("admin:index")}
    if count := _waiting(request):
        item |= {"badge": _counted(count), "badge_variant": "primary"}
    return item


def _listed(request: HttpRequest, filters: inbox.Filters) -> dict[str, Any]:
    """What the list shows, on the whole page as on its own."""
    actor = actor_of(request)
    count = _waiting(request)
    page = inbox.page(actor, filters)
    return {
        "page": page,
        "filters": filters,
        "roles": actor.roles,
        "waiting": _counted(count) if count else "",
        "back": inbox.BACK,
        "previous": filters.to_page(page.previous_number),
        "next": filters.to_page(page.next_number),
    }


def _tabs(filters: inbox.Filters) -> list[dict[str, Any]]:
    return [
        {"name": words, "query": inbox.Filters(tab=tab).query, "current": tab == filters.tab}
        for tab, words in inbox.Filters.TABS.items()
    ]


def _waiting(request: HttpRequest) -> int:
    """How much waits for the reader, asked of the database once a request."""
    known: int | None = getattr(request, "waiting_count", None)
    if known is None:
        known = inbox.waiting(actor_of(request))
        request.waiting_count = known  # type: ignore[attr-defined]
    return known


def _counted(count: int) -> str:
    return str(count) if count <= inbox.COUNTED else f"{inbox.COUNTED}+"


def _filters(given: QueryDict) -> inbox.Filters:
    try:
        return inbox.Filters.of(given)
    except ValueError:
        raise BadRequest("The inbox can't search for that.") from None


def _to_inbox(filters: inbox.Filters) -> HttpResponse:
    query = f"?{filters.query}" if filters.query else ""
    return redirect(reverse("admin:index") + query)


app_name = "inbox"
urlpatterns = [
    path("inbox/", staff(inbox_list), name="list"),
    path("inbox/csv/", staff(inbox_csv), name="csv"),
    path("inbox/views/", staff(inbox_views), name="views"),
    path("inbox/looking/<uuid:approval_id>/", staff(looking), name="looking"),
]
