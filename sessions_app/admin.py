"""Sessions, agents, users and groups in the admin."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.admin import GroupAdmin as BaseGroupAdmin
from django.contrib.auth.admin import UserAdmin as BaseUserAdmin
from django.contrib.auth.models import Group, User
from django.contrib.postgres.expressions import ArraySubquery
from django.core.exceptions import PermissionDenied, ValidationError
from django.db.models import OuterRef, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString
from unfold.forms import AdminPasswordChangeForm, UserChangeForm

from audit_app.base.actors import Actor
from audit_app.base.csv_export import show, show_state
from audit_app.base.errors import NotFound, OrchestratorError
from audit_app.base.text_safety import Link, badge, in_a_list, moment, reveal, visible
from audit_app.ui.admin_base import (
    ReadOnlyAdmin,
    RecentFilter,
    RoleFilter,
    StrictAdmin,
    actor_of,
    change_url,
    trace_link,
)
from audit_app.ui.confirmation import TypedConfirmationForm
from audit_app.ui.state_diagram import build_state_diagram, list_past_states
from sessions_app import agents, freeze_admin, people  # noqa: F401  # registers Freeze
from sessions_app.api_keys import NewKey
from sessions_app.models import ROLE_LENGTH, Agent, AgentSession

CHANGE_AGENTS = "sessions_app.change_agent"


def link_to(row: Any, actor: Actor) -> Link | str | None:
    """A link to ``row`` if ``actor`` may see it, else its name; None for no row."""
    if row is None:
        return None
    is_visible = type(row).objects.visible_to(actor).filter(pk=row.pk).exists()
    return Link(str(row), change_url(type(row), row.pk)) if is_visible else str(row)


@admin.register(AgentSession)
class SessionAdmin(ReadOnlyAdmin):
    """Sessions of agents, newest first."""

    list_display = ("session", "who", "works_on", "state", "opened_at")
    list_filter = ("status", RoleFilter, RecentFilter)
    exported = (
        # As AgentSession.__str__ has it.
        show("Session", "role", "id", format=lambda role, pk: f"{role} {str(pk)[:8]}"),
        show("Agent", "agent__name"),
        show("Works on", "task_id"),
        show_state("State", "status"),
        show("Opened", "created_at"),
        "updated_at",
        "role",
        "id",
        "trace_id",
    )
    search_fields = ("task_id",)
    search_help_text = "Task id"

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        return super().get_queryset(request).select_related("agent")

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> tuple["QuerySet[Any]", bool]:
        term = search_term.strip()
        # Exact, since task_id has an index and a substring search would read the whole table.
        return (queryset.filter(task_id=term) if term else queryset), False

    @admin.display(description="Session")
    def session(self, session: AgentSession) -> SafeString:
        return visible(session)

    @admin.display(description="Agent")
    def who(self, session: AgentSession) -> SafeString:
        return visible(session.agent.name)

    @admin.display(description="Works on")
    def works_on(self, session: AgentSession) -> SafeString:
        return in_a_list(session.task_id or "")

    @admin.display(description="State")
    def state(self, session: AgentSession) -> SafeString:
        return badge(session.status)

    @admin.display(description="Opened")
    def opened_at(self, session: AgentSession) -> SafeString:
        return moment(session.created_at)

    def detail(self, request: HttpRequest, row: AgentSession) -> dict[str, Any]:
        actor = actor_of(request)
        return {
            "title": f"Session of {row.agent.name}",
            "state": row.status,
            "facts": [
                ("Agent", link_to(row.agent, actor)),
                ("Role", row.role),
                ("Works on", row.task_id),
                ("Opened", row.created_at),
                ("Last change", row.updated_at),
                ("Session", row.pk),
                ("Trace", trace_link(row.trace_id)),
            ],
            "documents": [("Metadata", row.metadata)],
            "machine": build_state_diagram(row, list_past_states(row)),
            "timeline": ("session", row.pk),
        }


class AgentForm(forms.Form):
    """An agent's roles and owner."""

    roles = forms.CharField(
        max_length=2_000,
        widget=forms.Textarea(attrs={"rows": 3}),
        help_text="One per line. The first is the default.",
    )
    owner = forms.ModelChoiceField(
        User.objects.filter(is_active=True).order_by("username"),
        required=False,
        help_text="Responsible for the agent; can't decide on its tasks.",
    )

    def clean_roles(self) -> list[str]:
        roles = [line.strip() for line in self.cleaned_data["roles"].splitlines() if line.strip()]
        if not roles:
            raise forms.ValidationError("An agent needs a role.")
        if any(len(role) > ROLE_LENGTH for role in roles):
            raise forms.ValidationError(f"A role has at most {ROLE_LENGTH} characters.")
        return roles


class NewAgentForm(AgentForm):
    """Also asks for the name of a new agent."""

    name = forms.CharField(max_length=150)
    field_order = ("name", "roles", "owner")


class ChangeAgentForm(AgentForm):
    """Also asks for the subject of its tokens."""

    subject = forms.CharField(
        max_length=255,
        required=False,
        label="OIDC subject",
        help_text="The sub of its tokens, if it uses an issuer.",
    )


class RotationForm(forms.Form):
    """How long the present keys of an agent still work."""

    overlap = forms.TypedChoiceField(
        label="The present keys end",
        choices=[("1h", "in 1 hour"), ("24h", "in 24 hours"), ("0", "now (the key has leaked)")],
        initial="1h",
        coerce=lambda value: timedelta(hours=int(value.rstrip("h"))),
    )


@admin.register(Agent)
class AgentAdmin(ReadOnlyAdmin):
    """Agents and their keys. Administrators create, change and revoke them by operations."""

    list_display = ("agent", "role_names", "owned_by", "state")
    exported = (
        show("Agent", "name"),
        show("Roles", "roles"),
        show("Owner", "owner__username"),
        show_state("State", "status"),
        "created_at",
        "id",
    )
    list_filter = ("status",)
    search_fields = ("name",)
    search_help_text = "A name"
    detail_template = "admin/sessions_app/agent.html"

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        rows = super().get_queryset(request)
        if may_change_agents(request):
            rows = Agent.objects.order_by("name")
        return rows.select_related("owner")

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return super().has_view_permission(request, obj) or may_change_agents(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_change_agents(request)

    def get_urls(self) -> list[URLPattern]:
        def route(action: str, view: Callable[..., HttpResponse]) -> URLPattern:
            admin_view: Callable[..., HttpResponse] = self.admin_site.admin_view(view)
            return path(
                f"<uuid:agent_id>/{action}", admin_view, name=f"sessions_app_agent_{action}"
            )

        return [
            route("roles", self.roles_view),
            route("rotate", self.rotate_view),
            route("revoke", self.revoke_view),
            *super().get_urls(),
        ]

    @admin.display(description="Agent")
    def agent(self, agent: Agent) -> SafeString:
        return visible(agent.name)

    @admin.display(description="Roles")
    def role_names(self, agent: Agent) -> SafeString:
        return reveal(", ".join(agent.roles))

    @admin.display(description="Owner")
    def owned_by(self, agent: Agent) -> SafeString:
        return reveal(agent.owner or "")

    @admin.display(description="State")
    def state(self, agent: Agent) -> SafeString:
        return badge(agent.status)

    def detail(self, request: HttpRequest, row: Agent) -> dict[str, Any]:
        return {
            "title": row.name,
            "state": row.status,
            "agent": row,
            "facts": [
                ("Roles", ", ".join(row.roles)),
                ("Owner", row.owner and row.owner.get_username()),
                ("OIDC subject", row.subject),
                ("Created", row.created_at),
                ("Last change", row.updated_at),
                ("Agent", row.pk),
            ],
            "timeline": ("agent", row.name),
            "keys": row.keys.order_by("-created_at")[:50],
            "can_change": may_change_agents(request) and row.status == Agent.Status.ACTIVE,
        }

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NewAgentForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            owner = form.cleaned_data["owner"]
            try:
                agent, key = agents.create_agent(
                    form.cleaned_data["name"],
                    by=actor_of(request),
                    roles=form.cleaned_data["roles"],
                    owner_id=owner.pk if owner else None,
                )
            except OrchestratorError as error:
                form.add_error("name", str(error))
            else:
                return self._key_page(request, agent, key)
        return self.page(
            request,
            "admin/orchestrator/form.html",
            title="Add an agent",
            lead="The API key is shown once, on the next page.",
            button="Create agent",
            form=form,
        )

    def roles_view(self, request: HttpRequest, agent_id: UUID) -> HttpResponse:
        """Change the roles, the owner and the OIDC subject."""
        if not may_change_agents(request):
            raise PermissionDenied
        agent = get_object_or_404(Agent, pk=agent_id)
        present = {"roles": "\n".join(agent.roles), "owner": agent.owner, "subject": agent.subject}
        form = ChangeAgentForm(request.POST if request.method == "POST" else None, initial=present)
        if form.is_valid():
            owner, subject = form.cleaned_data["owner"], form.cleaned_data["subject"]
            try:
                agents.change_agent(
                    agent_id,
                    by=actor_of(request),
                    roles=form.cleaned_data["roles"],
                    owner_id=owner.pk if owner else None,
                    subject=subject or None,
                )
            except OrchestratorError as error:
                form.add_error(None, str(error))
            else:
                messages.success(request, f"{agent.name} is saved.")
                return redirect("admin:sessions_app_agent_change", agent_id)
        return self.page(
            request,
            "admin/orchestrator/form.html",
            status=400 if request.method == "POST" else 200,
            title=f"Change {agent.name}",
            lead="Existing tasks and keys are not affected.",
            button="Save",
            form=form,
        )

    def rotate_view(self, request: HttpRequest, agent_id: UUID) -> HttpResponse:
        """Ask how long the present keys still work; then issue a new one and show it once."""
        agent = _get_changeable(request, agent_id)
        form = RotationForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            try:
                key = agents.rotate_key(
                    agent_id, by=actor_of(request), overlap=form.cleaned_data["overlap"]
                )
            except OrchestratorError as error:
                return _back_to(request, agent_id, error)
            return self._key_page(request, agent, key)
        return self.confirm_page(
            request,
            agent,
            form,
            title=f"Rotate the key of {agent.name}?",
            button="Rotate key",
            consequences=[
                "A new key is issued, and shown once on the next page.",
                f"{_count(agents.count_live_keys(agent), 'present key')} will end.",
            ],
        )

    def revoke_view(self, request: HttpRequest, agent_id: UUID) -> HttpResponse:
        """Ask for the agent's name and a reason; then revoke it and its keys for good."""
        agent = _get_changeable(request, agent_id)
        form = TypedConfirmationForm(
            request.POST if request.method == "POST" else None, expected=agent.name
        )
        if form.is_valid():
            try:
                agents.revoke_agent(
                    agent_id, by=actor_of(request), reason=form.cleaned_data["reason"]
                )
            except OrchestratorError as error:
                return _back_to(request, agent_id, error)
            messages.success(request, f"{agent.name} and its keys are revoked.")
            return redirect("admin:sessions_app_agent_change", agent_id)
        ended = agents.preview_revocation(agent)
        tasks = (
            f"{_count(ended.waiting, 'pending task')} and {_count(ended.approved, 'approved task')}"
        )
        return self.confirm_page(
            request,
            agent,
            form,
            title=f"Revoke {agent.name}?",
            button="Revoke agent",
            consequences=[
                f"This cancels {tasks} that nobody has claimed.",
                f"This ends {_count(ended.keys, 'key')} at once.",
                "It can't be undone. The name can't be used again.",
            ],
        )

    def _key_page(self, request: HttpRequest, agent: Agent, key: NewKey) -> HttpResponse:
        note = "Copy it now. Only its hash is stored; it is not shown again."
        return self.secret_page(
            request,
            agent,
            key.text,
            tab="New key",
            title=f"The key of {agent.name}",
            label="API key",
            note=note,
        )


def may_change_agents(request: HttpRequest) -> bool:
    """Whether to offer changes. The operations check again."""
    return request.user.has_perm(CHANGE_AGENTS)


def _get_changeable(request: HttpRequest, agent_id: UUID) -> Agent:
    """The agent, for an administrator. Raises PermissionDenied, Http404."""
    if request.method not in ("GET", "POST") or not may_change_agents(request):
        raise PermissionDenied
    return get_object_or_404(Agent, pk=agent_id)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _back_to(request: HttpRequest, agent_id: UUID, error: OrchestratorError) -> HttpResponse:
    if isinstance(error, NotFound):
        raise Http404(str(error))
    messages.error(request, str(error))
    return redirect(reverse("admin:sessions_app_agent_change", args=[agent_id]))


admin.site.unregister(User)
admin.site.unregister(Group)


class NewReviewerForm(forms.Form):
    """Who reviews, and for which groups."""

    username = forms.CharField(max_length=150)
    email = forms.EmailField(
        max_length=254, required=False, label="E-mail", help_text="For notifications."
    )
    groups = forms.ModelMultipleChoiceField(
        Group.objects.order_by("name"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text="They decide on these groups' requests.",
    )
    new_group = forms.CharField(max_length=150, required=False, help_text="Created if given.")

    def clean(self) -> dict[str, Any]:
        names = [group.name for group in self.cleaned_data.get("groups", ())]
        if new := self.cleaned_data.get("new_group"):
            names.append(new)
        if not names:
            raise forms.ValidationError("Choose at least one group, or name a new one.")
        return self.cleaned_data | {"roles": list(dict.fromkeys(names))}


@admin.register(User)
class UserAdmin(BaseUserAdmin, StrictAdmin):  # type: ignore[misc,type-arg]  # untyped library
    """People. What matters about them is what groups they are in."""

    add_noun = "reviewer"
    actions = None  # no bulk deletion of people
    list_display = ("username", "name", "email", "group_names", "is_active", "seen_at")
    list_filter = ("groups", "is_active", "is_superuser")
    exported_by = "date_joined"
    exported = (
        show("Username", "username"),
        show("Name", "first_name", "last_name", format=lambda *names: " ".join(names).strip()),
        show("Email address", "email"),
        show("Groups", "names_of_groups", format=", ".join),
        show("Active", "is_active"),
        show("Last login", "last_login", format=lambda at: at or "never"),
        "is_staff",
        "is_superuser",
        "date_joined",
        "id",
    )
    form = UserChangeForm
    change_password_form = AdminPasswordChangeForm

    class Media:
        js = ("audit/choosers.js",)

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        names = Group.objects.filter(user=OuterRef("pk")).order_by("name").values("name")
        rows: QuerySet[Any] = super().get_queryset(request)
        annotated: QuerySet[Any] = rows.annotate(names_of_groups=ArraySubquery(names))
        return annotated

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        return super().changelist_view(request, {"title": "People", **(extra_context or {})})

    @admin.display(description="Name")
    def name(self, person: User) -> SafeString:
        return visible(person.get_full_name())

    @admin.display(description="Groups")
    def group_names(self, person: Any) -> SafeString:
        return in_a_list(", ".join(person.names_of_groups))

    @admin.display(description="Last login")
    def seen_at(self, person: User) -> SafeString | str:
        return moment(person.last_login) if person.last_login else "never"

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Create a reviewer, as ``create_reviewer`` does, and show the first password once."""
        # Whoever creates people puts them in groups, which is to change them.
        if not (self.has_add_permission(request) and self.has_change_permission(request)):
            raise PermissionDenied
        form = NewReviewerForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            password, chosen = people.make_password(), form.cleaned_data
            try:
                person = people.create_reviewer(
                    chosen["username"],
                    roles=chosen["roles"],
                    password=password,
                    email=chosen["email"],
                )
            except ValidationError as error:
                form.add_error(None, error.messages)
            else:
                return self.secret_page(
                    request,
                    person,
                    password,
                    tab="New reviewer",
                    title=f"The first password of {person.username}",
                    label="Password",
                    note="Copy it now. It is not shown again; they can change it after signing in.",
                )
        return self.page(
            request,
            "admin/orchestrator/form.html",
            status=400 if request.method == "POST" else 200,
            title="Add reviewer",
            lead="A reviewer can decide on the requests of their groups, and nothing else. The "
            "first password is shown once, on the next page.",
            button="Create reviewer",
            form=form,
        )


@admin.register(Group)
class GroupAdmin(BaseGroupAdmin, StrictAdmin):  # type: ignore[misc]  # untyped library
    """A group is an approver role: its members decide its approvals."""

    actions = None
    exported_by = "name"
    exported = (show("Group", "name"), "id")

    class Media:
        js = ("audit/choosers.js",)
