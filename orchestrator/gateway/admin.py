"""Upstreams in the admin: what is behind the gateway, and what administrators can do."""

import shlex
from collections.abc import Callable
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.utils.safestring import SafeString

from audit_app.base import ssrf
from audit_app.base.connections import release_connection
from audit_app.base.csv_export import show, show_state
from audit_app.base.errors import Invalid, OrchestratorError
from audit_app.base.text_safety import badge, in_a_list, reveal
from audit_app.ui.admin_base import MAX_GROUPS, ReadOnlyAdmin, actor_of, change_url
from audit_app.ui.confirmation import ConfirmationForm
from orchestrator.gateway import operations
from orchestrator.gateway.models import NAME_LENGTH, Upstream
from sessions_app.models import ROLE_LENGTH

ACTIONS = ("edit", "credentials", "enable", "disable", "test")
MAX_ROLES = 50


class CredentialsForm(forms.Form):
    """HTTP headers, one a line."""

    credentials = forms.CharField(
        required=False,
        max_length=8000,
        label="Headers",
        widget=forms.Textarea(
            attrs={"rows": 3, "autocomplete": "off", "spellcheck": "false"},
        ),
        help_text="One per line, such as “Authorization: Bearer …”. Sent with every request, "
        "stored encrypted and not shown again.",
    )

    def clean_credentials(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for number, line in enumerate(self.cleaned_data["credentials"].splitlines(), 1):
            name, colon, value = line.partition(":")
            # The line itself is a secret: errors do not repeat it.
            if not colon:
                raise forms.ValidationError(f"Line {number}: write “Name: value”.")
            headers[name.strip()] = value.strip()
            try:
                operations.check_secrets(Upstream.Kind.HTTP, {name.strip(): value.strip()})
            except Invalid:
                raise forms.ValidationError(f"Line {number}: this header can't be set.") from None
        return headers


class ReplaceForm(CredentialsForm):
    """The headers that replace the present ones, or none."""

    remove = forms.BooleanField(required=False, label="Remove all headers instead")

    def clean(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        given = bool(cleaned.get("credentials"))
        if not self.errors and given == bool(cleaned.get("remove")):
            raise forms.ValidationError("Write the new headers, or tick to remove all.")
        return cleaned


class UpstreamForm(forms.Form):
    """Where an upstream is, who may use it, and who is asked about its tools."""

    url = forms.CharField(max_length=2000, label="Address", help_text="The URL of the MCP server.")
    role = forms.ChoiceField(
        label="Approver group",
        help_text="Approves tool calls that no policy matches.",
    )
    agent_roles = forms.CharField(
        required=False,
        label="Agents",
        help_text="Roles of the agents that may use it, separated by commas. Empty means all.",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        present = (kwargs.get("initial") or {}).get("role", "")
        names = set(Group.objects.order_by("name").values_list("name", flat=True)[:MAX_GROUPS])
        choices = sorted({*names, present} - {""})
        field: Any = self.fields["role"]
        field.choices = [(name, name) for name in choices]

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"]
        try:
            operations.require_url(url)
            # A name server may take its time: hold no connection meanwhile.
            release_connection()
            ssrf.check_destination(url, allowed=settings.GATEWAY_ALLOWED_NETWORKS)
        except Invalid as error:
            raise forms.ValidationError(str(error)) from None
        except ssrf.DestinationRefused as refused:
            hint = "GATEWAY_ALLOWED_NETWORKS can allow it."
            raise forms.ValidationError(f"{refused} {hint}") from None
        return url

    def clean_agent_roles(self) -> list[str]:
        roles = [each.strip() for each in self.cleaned_data["agent_roles"].split(",")]
        roles = list(dict.fromkeys(filter(None, roles)))
        if len(roles) > MAX_ROLES or any(len(role) > ROLE_LENGTH for role in roles):
            raise forms.ValidationError(
                f"At most {MAX_ROLES} roles of at most {ROLE_LENGTH} characters."
            )
        return roles


class ProgramForm(UpstreamForm):
    """The same for a program, whose command the admin can't change."""

    url = None  # type: ignore[assignment]  # removes the field


class NewUpstreamForm(UpstreamForm, CredentialsForm):
    """Also asks for the name and the headers of a new upstream."""

    name = forms.RegexField(
        rf"\A{operations.NAME.pattern}\Z",
        max_length=NAME_LENGTH,
        help_text="Lowercase letters, digits and hyphens. Policies match mcp.NAME.TOOL.",
        error_messages={"invalid": "Use lowercase letters, digits and hyphens."},
    )
    field_order = ("name", "url", "role", "agent_roles", "credentials")


@admin.register(Upstream)
class UpstreamAdmin(ReadOnlyAdmin):
    """Auditors read; administrators change upstreams, each change by its operation."""

    list_display = ("upstream", "address", "approvers", "agents", "state")
    exported = (
        show("Upstream", "name"),
        show("Address", "url"),
        show("Command", "command", format=shlex.join),
        show("Approver group", "role"),
        show("Agents", "agent_roles", format=lambda roles: ", ".join(roles) or "all"),
        show_state("State", "status"),
        "kind",
        "created_at",
        "id",
    )
    list_filter = ("status",)
    search_fields = ("name",)
    search_help_text = "A name"
    detail_template = "admin/gateway/upstream.html"

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        if may_change(request):
            return Upstream.objects.order_by("name")
        return super().get_queryset(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_see_upstreams(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_change(request)

    def get_urls(self) -> list[URLPattern]:
        def view(action: str, function: Callable[..., HttpResponse]) -> URLPattern:
            admin_view: Callable[..., HttpResponse] = self.admin_site.admin_view(function)
            name = f"gateway_upstream_{action}"
            return path(f"<uuid:upstream_id>/{action}", admin_view, name=name)

        actions = [view(action, getattr(self, f"{action}_view")) for action in ACTIONS]
        return [*actions, *super().get_urls()]

    @admin.display(description="Upstream")
    def upstream(self, upstream: Upstream) -> SafeString:
        return reveal(upstream.name)

    @admin.display(description="Address or command")
    def address(self, upstream: Upstream) -> SafeString:
        return in_a_list(upstream.url or shlex.join(upstream.command))

    @admin.display(description="Approver group")
    def approvers(self, upstream: Upstream) -> SafeString:
        return reveal(upstream.role)

    @admin.display(description="Agents")
    def agents(self, upstream: Upstream) -> SafeString:
        return in_a_list(", ".join(upstream.agent_roles) or "all")

    @admin.display(description="State")
    def state(self, upstream: Upstream) -> SafeString:
        return badge(upstream.status)

    def detail(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        is_program = row.kind == Upstream.Kind.STDIO
        names = ", ".join(row.secret_names) or "none"
        return {
            "title": row.name,
            "author": "ours",
            "state": row.status,
            "upstream": row,
            "facts": [
                ("Address for agents", request.build_absolute_uri(f"/gateway/{row.name}/mcp")),
                ("Command", shlex.join(row.command)) if is_program else ("Address", row.url),
                ("Variables" if is_program else "Headers", names),
                ("Approver group", row.role),
                ("Agents", ", ".join(row.agent_roles) or "all"),
                ("Policies match", f"mcp.{row.name}.*"),
                ("Created", row.created_at),
                ("Last change", row.updated_at),
                ("Upstream", row.pk),
            ],
            "timeline": None,
            "can_change": may_change(request),
        }

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NewUpstreamForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            given = dict(form.cleaned_data)
            secrets = given.pop("credentials")
            try:
                upstream = operations.create_upstream(
                    by=actor_of(request), secrets=secrets, **given
                )
            except OrchestratorError as error:
                form.add_error(_field(error, form), str(error))
            else:
                messages.success(request, f"{upstream.name} is added.")
                return _page_of(upstream.pk)
        return self._form(
            request,
            form,
            title="Add an upstream",
            lead="An MCP server that agents reach through the gateway. Servers that run as a "
            "program on this host are added with manage.py create_upstream.",
            button="Add upstream",
        )

    def edit_view(self, request: HttpRequest, upstream_id: UUID) -> HttpResponse:
        """Change the address, who may use it and who is asked."""
        upstream = _get_changeable(request, upstream_id)
        present = {
            "url": upstream.url,
            "role": upstream.role,
            "agent_roles": ", ".join(upstream.agent_roles),
        }
        form_class = ProgramForm if upstream.kind == Upstream.Kind.STDIO else UpstreamForm
        form = form_class(request.POST if request.method == "POST" else None, initial=present)
        if form.is_valid():
            try:
                operations.change_upstream(upstream_id, by=actor_of(request), **form.cleaned_data)
            except OrchestratorError as error:
                form.add_error(_field(error, form), str(error))
            else:
                messages.success(request, f"{upstream.name} is saved.")
                return _page_of(upstream_id)
        return self._form(
            request,
            form,
            title=f"Change {upstream.name}",
            lead="Calls that wait go to the new address. If the host changes, the headers are "
            "removed and must be set again."
            if upstream.kind == Upstream.Kind.HTTP
            else "The command and its variables can be changed only on the server.",
            button="Save",
        )

    def credentials_view(self, request: HttpRequest, upstream_id: UUID) -> HttpResponse:
        """Replace the headers."""
        upstream = _get_changeable(request, upstream_id)
        if upstream.kind == Upstream.Kind.STDIO:
            raise PermissionDenied
        form = ReplaceForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            secrets = form.cleaned_data["credentials"]
            try:
                operations.replace_secrets(upstream_id, by=actor_of(request), secrets=secrets)
            except OrchestratorError as error:
                form.add_error(None, str(error))
            else:
                messages.success(request, f"The headers of {upstream.name} are replaced.")
                return _page_of(upstream_id)
        return self._form(
            request,
            form,
            title=f"Replace the headers of {upstream.name}",
            lead="All present headers are replaced.",
            button="Replace headers",
        )

    def enable_view(self, request: HttpRequest, upstream_id: UUID) -> HttpResponse:
        """Pass calls again."""
        if request.method != "POST":
            raise PermissionDenied
        upstream = _get_changeable(request, upstream_id)
        try:
            operations.enable(upstream_id, by=actor_of(request))
        except OrchestratorError as error:
            messages.error(request, str(error))
        else:
            messages.success(request, f"{upstream.name} is enabled.")
        return _page_of(upstream_id)

    def disable_view(self, request: HttpRequest, upstream_id: UUID) -> HttpResponse:
        """Ask why; then pass nothing on any more."""
        upstream = _get_changeable(request, upstream_id)
        form = ConfirmationForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            try:
                operations.disable(
                    upstream_id, by=actor_of(request), why=form.cleaned_data["reason"]
                )
            except OrchestratorError as error:
                messages.error(request, str(error))
            else:
                messages.success(request, f"{upstream.name} is disabled.")
            return _page_of(upstream_id)
        return self.confirm_page(
            request,
            upstream,
            form,
            title=f"Disable {upstream.name}?",
            button="Disable upstream",
            consequences=[
                "Agents can't list or call its tools until it is enabled.",
                "Approved calls that have not run can run once it is enabled, until their "
                "approval expires.",
                "Calls that are running now finish.",
            ],
        )

    def test_view(self, request: HttpRequest, upstream_id: UUID) -> HttpResponse:
        """Connect to it, and show its tools."""
        if request.method != "POST":
            raise PermissionDenied
        upstream = _get_changeable(request, upstream_id)
        release_connection()  # an upstream may take its time
        from orchestrator.gateway.pool import UpstreamAway
        from orchestrator.gateway.probe import probe

        try:
            found = probe(upstream)
        except UpstreamAway as away:
            messages.error(request, f"{upstream.name} can't be reached: {away}")
            return _page_of(upstream_id)
        return self.page(
            request,
            "admin/gateway/tools.html",
            title=f"Tools of {upstream.name}",
            server=found.server,
            tools=found.tools,
            back=change_url(Upstream, upstream.pk),
        )

    def _form(self, request: HttpRequest, form: forms.Form, **context: Any) -> HttpResponse:
        status = 400 if request.method == "POST" else 200
        template = "admin/orchestrator/form.html"
        return self.page(request, template, status=status, form=form, **context)


def may_see_upstreams(request: HttpRequest) -> bool:
    """Whether the person is an auditor or may change upstreams."""
    return may_change(request) or bool(request.user.is_staff and actor_of(request).auditor)


def may_change(request: HttpRequest) -> bool:
    """Whether to offer changes. The operations check again."""
    return bool(request.user.is_active and request.user.has_perm(operations.CHANGE_UPSTREAMS))


def _get_changeable(request: HttpRequest, upstream_id: UUID) -> Upstream:
    """The upstream, for an administrator. Raises PermissionDenied, Http404."""
    if request.method not in ("GET", "POST") or not may_change(request):
        raise PermissionDenied
    return get_object_or_404(Upstream, pk=upstream_id)


def _page_of(upstream_id: UUID) -> HttpResponse:
    return redirect("admin:gateway_upstream_change", upstream_id)


def _field(error: OrchestratorError, form: forms.Form) -> str | None:
    """The form's field that caused ``error``; None for the whole form."""
    name = error.data.get("field", "name")
    return name if name in form.fields else None
