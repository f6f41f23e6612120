"""Sessions and tasks to read; agents and their keys to manage."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group, User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from unfold.admin import ModelAdmin
from unfold.forms import AdminPasswordChangeForm, UserChangeForm, UserCreationForm
from unfold.widgets import UnfoldAdminSelectWidget, UnfoldAdminTextInputWidget

from audit_app.admin import ReadOnlyAdmin, actor_of
from audit_app.errors import OrchestratorError
from sessions_app import identities
from sessions_app.models import ROLE_LENGTH, Agent, AgentSession, Task


@admin.register(AgentSession)
class SessionAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "agent", "role", "status", "task_id", "updated_at")
    list_filter = ("status", "role", "created_at")
    list_select_related = ("agent",)
    search_fields = ("id", "task_id")
    search_help_text = "A session's id, or what it works on"
    fields = (
        "id", "agent", "role", "status", "task_id", "metadata", "trace_id", "version",
        "created_at", "updated_at",
    )  # fmt: skip


@admin.register(Task)
class TaskAdmin(ReadOnlyAdmin):
    list_display = ("created_at", "task_type", "description", "from_role", "to_role", "status")
    list_filter = ("status", "to_role", "task_type", "created_at")
    search_fields = ("id", "description", "trace_id", "payload")
    search_help_text = "A task's or a trace's id, or words of its description or payload"
    fields = (
        "id", "task_type", "description", "status", "agent", "from_role", "to_role", "session",
        "data", "context", "payload_digest", "revision", "claimed_by", "lease_expires_at",
        "result", "error", "trace_id", "idempotency_key", "created_at", "updated_at",
    )  # fmt: skip


class AgentForm(forms.Form):
    """What an administrator says of a new agent."""

    name = forms.CharField(max_length=150, widget=UnfoldAdminTextInputWidget)
    roles = forms.CharField(
        help_text="Separated by commas; the first is the one it speaks as by default.",
        widget=UnfoldAdminTextInputWidget,
    )
    owner = forms.ModelChoiceField(
        User.objects.filter(is_active=True).order_by("username"),
        required=False,
        help_text="Who answers for it, and so can't approve its tasks.",
        widget=UnfoldAdminSelectWidget,
    )

    def clean_roles(self) -> list[str]:
        roles = [role.strip() for role in self.cleaned_data["roles"].split(",") if role.strip()]
        if not roles or any(len(role) > ROLE_LENGTH for role in roles):
            raise forms.ValidationError("At least one role is needed, each short enough.")
        return roles


@admin.register(Agent)
class AgentAdmin(ReadOnlyAdmin):
    list_display = ("name", "roles", "owner", "status", "created_at")
    list_filter = ("status",)
    list_select_related = ("owner",)
    search_fields = ("name",)
    fields = ("id", "name", "roles", "owner", "subject", "status", "created_at", "updated_at")
    change_form_template = "admin/sessions_app/agent.html"

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) or self._may_manage(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self._may_manage(request)

    def _may_manage(self, request: HttpRequest) -> bool:
        return request.user.has_perm("sessions_app.change_agent")

    def get_urls(self) -> list[URLPattern]:
        act = self.admin_site.admin_view(self.act)
        return [
            path("<uuid:pk>/<str:deed>", act, name="sessions_app_agent_act"),
            *super().get_urls(),
        ]

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Create an agent, and show its key this once."""
        if not self._may_manage(request):
            raise PermissionDenied
        form = AgentForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            given = form.cleaned_data
            owner = given["owner"]
            try:
                agent, key = identities.create_agent(
                    given["name"],
                    by=actor_of(request),
                    roles=given["roles"],
                    owner_id=owner.pk if owner else None,
                )
            except OrchestratorError as error:
                form.add_error("name", str(error))
            else:
                return self._show_key(request, agent, key.text)
        context = {**self.admin_site.each_context(request), "title": "Add an agent", "form": form}
        return TemplateResponse(
            request, "admin/sessions_app/new_agent.html", context | {"opts": self.opts}
        )

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        more = {"may_manage": self._may_manage(request), "keys": None}
        agent = self.get_object(request, object_id)
        if agent is not None:
            more["keys"] = agent.keys.all()
        response: HttpResponse = super().change_view(request, object_id, form_url, more)
        return response

    def act(self, request: HttpRequest, pk: Any, deed: str) -> HttpResponse:
        """Rotate an agent's key, or revoke the agent: by POST, through the operation."""
        if request.method != "POST" or not self._may_manage(request):
            raise PermissionDenied
        try:
            if deed == "rotate":
                key = identities.rotate_key(pk, by=actor_of(request))
                return self._show_key(request, Agent.objects.get(pk=pk), key.text)
            if deed == "revoke":
                identities.revoke_agent(pk, by=actor_of(request))
                messages.success(request, "The agent and its keys are revoked.")
        except OrchestratorError as error:
            messages.error(request, str(error))
        return redirect(reverse("admin:sessions_app_agent_change", args=[pk]))

    def _show_key(self, request: HttpRequest, agent: Agent, key: str) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": f"The key of {agent.name}",
            "agent": agent,
            "key": key,
            "opts": self.opts,
        }
        response = TemplateResponse(request, "admin/sessions_app/key.html", context)
        response.headers["Cache-Control"] = "no-store"
        return response


admin.site.unregister(User)
admin.site.unregister(Group)


@admin.register(User)
class UserAdmin(BaseUserAdmin, ModelAdmin):  # type: ignore[misc,type-arg]  # untyped library
    form = UserChangeForm
    add_form = UserCreationForm
    change_password_form = AdminPasswordChangeForm


@admin.register(Group)
class GroupAdmin(BaseGroupAdmin, ModelAdmin):  # type: ignore[misc]  # untyped library
    """A group is an approver role: its members decide what asks for it."""
