"""Freezes in the admin: what is frozen, the button that freezes, and the one that thaws."""

from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from audit_app.base.csv_export import show, show_state
from audit_app.base.errors import OrchestratorError
from audit_app.base.text_safety import badge, in_a_list, moment, reveal
from audit_app.ui.admin_base import ReadOnlyAdmin, actor_of, change_url
from audit_app.ui.confirmation import ConfirmationForm
from sessions_app import freezes
from sessions_app.models import Agent, Freeze

MAX_TARGETS = 500


class FreezeForm(ConfirmationForm):
    """What to freeze, and why."""

    target = forms.ChoiceField(label="What to freeze")
    field_order = ("target", "reason")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field: Any = self.fields["target"]
        field.choices = _list_targets()


def _list_targets() -> list[Any]:
    """Everything, the active agents and the roles, as a choice field groups them."""
    active = Agent.objects.filter(status=Agent.Status.ACTIVE).order_by("name")[:MAX_TARGETS]
    agents = [(agent.name, agent.roles) for agent in active]
    groups = Group.objects.order_by("name").values_list("name", flat=True)[:MAX_TARGETS]
    roles = sorted({*groups, *(role for _, held in agents for role in held)})
    return [
        ("everything", "Everything"),
        ("One role", [(f"role:{role}", role) for role in roles]),
        ("One agent", [(f"agent:{name}", name) for name, _ in agents]),
    ]


@admin.register(Freeze)
class FreezeAdmin(ReadOnlyAdmin):
    """Everybody who reviews reads; who has the right freezes and thaws, by operations."""

    list_display = ("target", "why", "who", "began_at", "state")
    exported = (
        show("Scope", "scope"),
        show("Agent", "agent__name"),
        show("Role", "role"),
        show("Reason", "reason"),
        show("Frozen by", "frozen_by"),
        show_state("State", "status"),
        "created_at",
        "updated_at",
        "id",
    )
    list_filter = ("status",)
    detail_template = "admin/sessions_app/freeze.html"

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return Freeze.objects.select_related("agent").order_by("-created_at", "-id")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_see_freezes(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_freeze(request)

    def get_urls(self) -> list[URLPattern]:
        lift: Any = self.admin_site.admin_view(self.lift_view)
        name = "sessions_app_freeze_lift"
        return [path("<uuid:freeze_id>/lift", lift, name=name), *super().get_urls()]

    @admin.display(description="Frozen")
    def target(self, freeze: Freeze) -> SafeString:
        return reveal(freeze.target)

    @admin.display(description="Reason")
    def why(self, freeze: Freeze) -> SafeString:
        return in_a_list(freeze.reason)

    @admin.display(description="By")
    def who(self, freeze: Freeze) -> SafeString:
        return reveal(freeze.frozen_by.partition(":")[2])

    @admin.display(description="Since")
    def began_at(self, freeze: Freeze) -> SafeString:
        return moment(freeze.created_at)

    @admin.display(description="State")
    def state(self, freeze: Freeze) -> SafeString:
        return badge(freeze.status)

    def detail(self, request: HttpRequest, row: Freeze) -> dict[str, Any]:
        is_active = row.status == Freeze.Status.ACTIVE
        return {
            "title": f"{row.target} {'is' if is_active else 'was'} frozen",
            "state": row.status,
            "freeze": row,
            "facts": [
                ("Reason", row.reason),
                ("Frozen by", row.frozen_by.partition(":")[2]),
                ("Since", row.created_at),
                ("Lifted", None if is_active else row.updated_at),
                ("Freeze", row.pk),
            ],
            "timeline": None,
            "can_lift": is_active and may_freeze(request),
        }

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Ask what and why; then freeze it."""
        if request.method not in ("GET", "POST") or not may_freeze(request):
            raise PermissionDenied
        form = FreezeForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            scope, _, name = form.cleaned_data["target"].partition(":")
            try:
                freeze = freezes.begin_freeze(
                    scope,
                    by=actor_of(request),
                    reason=form.cleaned_data["reason"],
                    **({scope: name} if name else {}),
                )
            except OrchestratorError as error:
                form.add_error("target", str(error))
            else:
                messages.success(request, f"{freeze.target} is frozen.")
                return redirect(change_url(Freeze, freeze.pk))
        return self._confirm(
            request,
            form,
            reverse("admin:sessions_app_freeze_changelist"),
            title="Freeze agents?",
            button="Freeze now",
            consequences=[
                "Agents can’t claim tasks, and the gateway passes no calls, until it is thawed.",
                "Work that was claimed before can finish and be reported.",
                "Nothing expires until then. People can still decide.",
            ],
        )

    def lift_view(self, request: HttpRequest, freeze_id: UUID) -> HttpResponse:
        """Ask why; then lift the freeze."""
        if request.method not in ("GET", "POST") or not may_freeze(request):
            raise PermissionDenied
        freeze = get_object_or_404(Freeze.objects.select_related("agent"), pk=freeze_id)
        form = ConfirmationForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            reason = form.cleaned_data["reason"]
            try:
                freezes.lift_freeze(freeze_id, by=actor_of(request), reason=reason)
            except OrchestratorError as error:
                messages.error(request, str(error))
            else:
                messages.success(request, f"{freeze.target}: the freeze is lifted.")
            return redirect(change_url(Freeze, freeze_id))
        others = [each.target for each in freezes.list_active() if each.pk != freeze_id]
        stay = f"Still frozen after that: {', '.join(others)}." if others else ""
        return self._confirm(
            request,
            form,
            change_url(Freeze, freeze_id),
            title=f"Thaw {freeze.target[:1].lower()}{freeze.target[1:]}?",
            button="Thaw",
            consequences=[
                "Agents can claim approved tasks at once.",
                "Leases and unused approvals get the frozen time back. Overdue requests expire.",
                *filter(None, [stay]),
            ],
        )

    def _confirm(
        self, request: HttpRequest, form: forms.Form, back: str, **words: Any
    ) -> HttpResponse:
        status = 400 if request.method == "POST" else 200
        template = "admin/orchestrator/confirm.html"
        return self.page(request, template, status=status, form=form, back=back, **words)


def may_freeze(request: HttpRequest) -> bool:
    """Whether to offer to freeze and thaw. The operations check again."""
    return bool(request.user.is_active and request.user.has_perm(freezes.FREEZE))


def may_see_freezes(request: HttpRequest) -> bool:
    """Whether the person is an auditor or may freeze; what is frozen stands on reviewers' pages."""
    return may_freeze(request) or bool(request.user.is_staff and actor_of(request).auditor)
