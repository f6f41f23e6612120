"""The admin's sidebar, which of its entries a page belongs to, and the breadcrumbs."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest
from django.urls import reverse

from approvals_app.review.inbox_views import count_waiting, format_count, inbox_url
from approvals_app.review.policy_views import CHANGE
from audit_app.ui.admin_base import actor_of, may_read
from audit_app.webhooks.admin import may_see_webhooks
from sessions_app.admin import may_change_agents
from sessions_app.freeze_admin import may_see_freezes

FROM_HISTORY = "from"
"""The query parameter by which a decision page knows that it was opened from the history."""


def _is_open(request: HttpRequest) -> bool:
    return True


def _may_read_policies(request: HttpRequest) -> bool:
    return may_read(request) or request.user.has_perm(CHANGE)


def _may_read_agents(request: HttpRequest) -> bool:
    return may_read(request) or may_change_agents(request)


def _may_read_people(request: HttpRequest) -> bool:
    return request.user.has_perm("auth.view_user")


def _may_read_groups(request: HttpRequest) -> bool:
    return request.user.has_perm("auth.view_group")


def _may_read_upstreams(request: HttpRequest) -> bool:
    may_change = request.user.has_perm("gateway.change_upstream")
    return may_change or bool(request.user.is_staff and actor_of(request).auditor)


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the sidebar. ``views``: what the names of its pages' views start with."""

    title: str
    icon: str
    link: str
    views: tuple[str, ...]
    is_allowed: Callable[[HttpRequest], bool] = may_read


INBOX = Entry(
    "Inbox", "inbox", "admin:index", ("admin:index", "admin:approvals_app_approval_"), _is_open
)
HISTORY = Entry(
    "History",
    "history",
    "admin:approvals_app_approval_changelist",
    ("admin:approvals_app_approval_changelist", "admin:sessions_app_task_", "pages:timeline"),
)
DAILY = (
    INBOX,
    HISTORY,
    Entry("Delegation", "sync_alt", "pages:away", ("pages:away",)),
    Entry("Dashboards", "bar_chart", "pages:dashboards", ("pages:dashboards",)),
)


def _of_model(
    title: str, icon: str, model: str, is_allowed: Callable[[HttpRequest], bool] = may_read
) -> Entry:
    return Entry(title, icon, f"admin:{model}_changelist", (f"admin:{model}_",), is_allowed)


POLICY_VIEWS = ("pages:policies", "pages:policy", "pages:new_policy", "pages:simulation")
ADMINISTRATION = (
    Entry("Policies", "rule", "pages:policies", POLICY_VIEWS, _may_read_policies),
    _of_model("Agents", "smart_toy", "sessions_app_agent", _may_read_agents),
    _of_model("Freezes", "ac_unit", "sessions_app_freeze", may_see_freezes),
    _of_model("MCP upstreams", "hub", "gateway_upstream", _may_read_upstreams),
    _of_model("Webhooks", "webhook", "audit_app_webhook", may_see_webhooks),
    _of_model("People", "person", "auth_user", _may_read_people),
    _of_model("Groups", "group", "auth_group", _may_read_groups),
    _of_model("Audit events", "receipt_long", "audit_app_event"),
    _of_model("Sessions", "manage_history", "sessions_app_agentsession"),
)
HISTORY_TABS = (
    ("Approvals", "admin:approvals_app_approval_changelist", ""),
    ("Tasks", "admin:sessions_app_task_changelist", ""),
    ("My decisions", "admin:index", "?tab=decided"),
)


def list_entries(request: HttpRequest) -> list[dict[str, Any]]:
    """The sidebar (UNFOLD["SIDEBAR"]): the pages that the person may open."""
    if not request.user.is_authenticated:
        return []
    current = find_entry(request)
    groups: list[dict[str, Any]] = [{"items": _list_allowed(request, DAILY, current)}]
    if items := _list_allowed(request, ADMINISTRATION, current):
        is_open = current in ADMINISTRATION
        groups.append({"title": "Administration", "items": items, "open": is_open})
    return groups


def find_entry(request: HttpRequest) -> Entry | None:
    """The entry that the page belongs to; None for pages of one's own account."""
    name = request.resolver_match.view_name if request.resolver_match else ""
    if _is_from_history(request, name):
        return HISTORY
    # A list belongs to the history, the decisions in it to the inbox: history's names come first.
    return next(
        (
            entry
            for entry in (HISTORY, *DAILY, *ADMINISTRATION)
            if name.startswith(entry.views) and entry.is_allowed(request)
        ),
        None,
    )


def frame_context(request: HttpRequest) -> dict[str, Any]:
    """What every page's frame needs (UNFOLD["GLOBAL_CALLBACK"])."""
    return {"breadcrumbs": list_breadcrumbs(request)}


def list_breadcrumbs(request: HttpRequest) -> list[tuple[str, str]]:
    """The pages above this one, each with its address ("" where there is no page)."""
    entry = find_entry(request)
    if entry is INBOX:
        return [] if request.path == reverse("admin:index") else [("Inbox", inbox_url(request))]
    inbox = [("Inbox", reverse("admin:index"))]
    if entry is None:
        return inbox
    above = [("Administration", "")] if entry in ADMINISTRATION else inbox
    link = reverse(entry.link)
    return above if request.path == link else [*above, (entry.title, link)]


def list_history_tabs(request: HttpRequest) -> list[dict[str, Any]]:
    """The tabs of the history, as lists show them."""
    return [
        {"name": name, "link": reverse(view) + query, "current": request.path == reverse(view)}
        for name, view, query in HISTORY_TABS
    ]


def _is_from_history(request: HttpRequest, name: str) -> bool:
    if name == "admin:index":
        return request.GET.get("tab") == "decided"
    return name.startswith(INBOX.views) and request.GET.get(FROM_HISTORY) == "history"


def _list_allowed(
    request: HttpRequest, entries: tuple[Entry, ...], current: Entry | None
) -> list[dict[str, Any]]:
    return [
        {
            "title": entry.title,
            "icon": entry.icon,
            "link": reverse(entry.link),
            "active": entry is current,
            **(_count_inbox(request) if entry is INBOX else {}),
        }
        for entry in entries
        if entry.is_allowed(request)
    ]


def _count_inbox(request: HttpRequest) -> dict[str, str]:
    count = count_waiting(request)
    return {"badge": format_count(count), "badge_variant": "primary"} if count else {}
