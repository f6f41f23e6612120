"""The admin's first page, which is the inbox, and its sidebar."""

from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from approvals_app import inbox
from approvals_app.pages import CHANGE
from audit_app.admin import actor_of, may_read
from sessions_app.admin import may_change_agents

LAST_PAGE = 10_000
READING = (
    ("Approvals", "approval_delegation", "approvals_app_approval"),
    ("Tasks", "task", "sessions_app_task"),
    ("Sessions", "manage_history", "sessions_app_agentsession"),
    ("Audit events", "receipt_long", "audit_app_event"),
)
AGENTS = (("Agents", "smart_toy", "sessions_app_agent"),)
PEOPLE = (("People", "person", "auth_user"), ("Groups", "group", "auth_group"))


def inbox_page(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """The admin's first page is the inbox (UNFOLD["DASHBOARD_CALLBACK"])."""
    actor = actor_of(request)
    page = inbox.page(actor, _page_number(request))
    told = {"overrides": inbox.overrides(actor), "roles": actor.roles}
    return context | told | {"title": "Inbox", "page": page}


def navigation(request: HttpRequest) -> list[dict[str, Any]]:
    """The sidebar (UNFOLD["SIDEBAR"]): what waits, what can be read, and who there is."""
    if not request.user.is_authenticated:
        return []
    items = [_inbox_item(request)]
    if may_read(request):
        items += _items(READING)
        items.append({"title": "Standing in", "icon": "sync_alt", "link": reverse("pages:away")})
    if may_read(request) or request.user.has_perm(CHANGE):
        items.append({"title": "Policies", "icon": "rule", "link": reverse("pages:policies")})
    if may_read(request) or may_change_agents(request):
        items += _items(AGENTS)
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
    if count := inbox.waiting(actor_of(request)):
        number = str(count) if count <= inbox.COUNTED else f"{inbox.COUNTED}+"
        item |= {"badge": number, "badge_variant": "primary"}
    return item


def _page_number(request: HttpRequest) -> int:
    given = request.GET.get("page", "1")
    if not given.isascii() or not given.isdigit() or len(given) > len(str(LAST_PAGE)):
        return 1
    return min(max(int(given), 1), LAST_PAGE)
