"""The base of the admin pages of every app."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, ClassVar
from uuid import UUID

from django import forms
from django.contrib import admin
from django.contrib.admin.views.main import SEARCH_VAR, ChangeList
from django.contrib.auth.models import Group
from django.core.exceptions import BadRequest, PermissionDenied
from django.db.models import Model, QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from unfold.admin import ModelAdmin
from unfold.paginator import InfinitePaginator

from audit_app.base import csv_export
from audit_app.base.actors import Actor
from audit_app.base.connections import release_connection
from audit_app.base.text_safety import Link
from audit_app.models import Event, Subject

MAX_GROUPS = 100


MAX_SEARCH_LENGTH = 200


MAX_SEARCHED_ROWS = 4_000
"""Text search covers this many of the newest rows that the filters leave: no index has words."""


def actor_of(request: HttpRequest) -> Actor:
    """The signed-in person as an Actor, read once per request."""
    actor: Actor | None = getattr(request, "actor", None)
    if actor is None:
        actor = Actor.human(request.user)
        request.actor = actor  # type: ignore[attr-defined]
        request.actor_name = str(actor)  # type: ignore[attr-defined]  # for the log line
    return actor


def may_read(request: HttpRequest) -> bool:
    """Whether the person is a reviewer (staff in a group) or an auditor."""
    user = request.user
    if not (user.is_active and user.is_staff):
        return False
    actor = actor_of(request)
    return bool(actor.roles) or actor.auditor


def change_url(model: type[Model], pk: Any) -> str:
    """The URL of a row's page."""
    return reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[pk])


def trace_link(trace_id: UUID | None) -> Link | None:
    """A link to all events of a trace."""
    if trace_id is None:
        return None
    return Link(str(trace_id), f"{reverse('admin:audit_app_event_changelist')}?q={trace_id}")


def render_page(
    request: HttpRequest, template: str, *, status: int = 200, **context: Any
) -> TemplateResponse:
    """A page inside the admin's layout, whose rendering holds no database connection."""
    frame = admin.site.each_context(request)
    _run_queries(context)
    return TemplateResponse(request, template, frame | context, status=status)


def _run_queries(context: dict[str, Any]) -> None:
    """Run the queries of ``context`` now, and return the connection to the pool.

    Rendering takes long where there is much to escape and to mark. A query that a template starts
    by itself takes a connection again.
    """
    for value in context.values():
        if isinstance(value, QuerySet):
            len(value)
        elif isinstance(value, ChangeList):
            len(value.result_list)
    release_connection()


class StrictAdmin(ModelAdmin):  # type: ignore[misc]  # untyped library
    """Lists that only their own filters narrow.

    Django would apply any lookup in the query string: ``?status__regex=(`` is an error in
    PostgreSQL, and ``?roles__contains=`` reads a column that the list does not offer.
    """

    change_list_template = "admin/orchestrator/list.html"
    exported: ClassVar[tuple[csv_export.Column | str, ...]]
    """The columns of the CSV download: those of the list, then others that programs need."""
    exported_by: ClassVar[str] = "created_at"

    def get_urls(self) -> list[URLPattern]:
        view: Callable[..., HttpResponse] = self.admin_site.admin_view(self.csv_view)
        name = f"{self.opts.app_label}_{self.opts.model_name}_csv"
        return [path("csv/", view, name=name), *super().get_urls()]

    def csv_view(self, request: HttpRequest) -> HttpResponseBase:
        """Download all rows that the list shows with these filters."""
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied
        require_valid_search(request)
        rows = self.get_changelist_instance(request).get_queryset(request)
        name = str(self.opts.verbose_name_plural)
        return csv_export.download(rows, self.exported, time=self.exported_by, name=name)

    def page(
        self, request: HttpRequest, template: str, *, status: int = 200, **context: Any
    ) -> HttpResponse:
        """Render ``template`` inside the admin's layout."""
        return render_page(request, template, status=status, **{"opts": self.opts} | context)

    def secret_page(
        self, request: HttpRequest, row: Model, secret: str, **words: Any
    ) -> HttpResponse:
        """Show ``row``'s new ``secret``, once. ``words``: a tab, a title, a label and a note.

        As on all admin pages, no browser stores it.
        """
        back = change_url(type(row), row.pk)
        what = self.opts.verbose_name
        template = "admin/orchestrator/secret.html"
        return self.page(request, template, key=secret, back=back, what=what, **words)

    def confirm_page(
        self, request: HttpRequest, row: Model, form: forms.Form, **words: Any
    ) -> HttpResponse:
        """Ask before an action on ``row`` that can't be undone.

        ``words``: a title, the button and the consequences, a sentence each.
        """
        back = change_url(type(row), row.pk)
        status = 400 if request.method == "POST" else 200
        template = "admin/orchestrator/confirm.html"
        return self.page(request, template, status=status, form=form, back=back, **words)

    def lookup_allowed(self, lookup: str, value: Any, request: Any = None) -> bool:
        return any(lookup in _lookups(offered) for offered in self.list_filter)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        require_valid_search(request)
        title = {"title": self.opts.verbose_name_plural.capitalize(), **(extra_context or {})}
        response: HttpResponse = super().changelist_view(request, title)
        if isinstance(response, TemplateResponse):
            _run_queries({"cl": (response.context_data or {}).get("cl")})
        return response

    def history_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        # Django looks for the row before it checks the permission, which reveals that it exists.
        if not self.has_view_or_change_permission(request):
            raise PermissionDenied
        response: HttpResponse = super().history_view(request, object_id, extra_context)
        return response


def require_valid_search(request: HttpRequest) -> None:
    """Raise BadRequest if the query string can't be searched for."""
    # PostgreSQL has no NUL in text and would answer with an error.
    if any("\x00" in value for values in request.GET.lists() for value in values[1]):
        raise BadRequest("A text can't hold the character NUL.")
    if len(request.GET.get(SEARCH_VAR, "")) > MAX_SEARCH_LENGTH:
        raise BadRequest("The search is too long.")  # each word costs a condition


def _lookups(offered: Any) -> tuple[str, ...]:
    """The query parameters of one entry of ``list_filter``: a filter class or a field's name."""
    if isinstance(offered, str):
        return f"{offered}__exact", f"{offered}__id__exact"
    return (offered.parameter_name,)


class ReadOnlyAdmin(StrictAdmin):
    """Rows that people may read and nobody may edit: every change is an operation, for superusers
    too."""

    actions = None
    list_per_page = 50
    # Lists must not read whole tables: no count, no facets, no order without an index.
    paginator = InfinitePaginator
    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    detail_template: ClassVar[str] = "admin/orchestrator/detail.html"

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.has_view_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_read(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        rows: Any = super().get_queryset(request)
        visible: QuerySet[Any] = rows.listed_to(actor_of(request))
        return visible

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """The page of one row, for reading only."""
        if request.method not in ("GET", "HEAD") or not self.has_view_permission(request):
            raise PermissionDenied
        row = self.get_readable(request, object_id)
        return self.page(request, self.detail_template, **self.detail(request, row))

    def get_readable(self, request: HttpRequest, object_id: str) -> Any:
        """The row, if the reader may see it. Raises Http404."""
        try:
            row = self.get_queryset(request).filter(pk=UUID(object_id)).first()
        except ValueError:
            row = None
        if row is None:
            raise Http404(f"No {self.opts.verbose_name} here.")
        return row

    def detail(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """The context of ``detail_template`` for ``row``: title, facts, documents, …"""
        raise NotImplementedError

    def add_view(self, *args: Any, **kwargs: Any) -> HttpResponse:
        raise PermissionDenied

    def delete_view(self, *args: Any, **kwargs: Any) -> HttpResponse:
        raise PermissionDenied

    def history_view(self, *args: Any, **kwargs: Any) -> HttpResponse:
        raise Http404("The trail is the history.")

    def changeform_view(self, *args: Any, **kwargs: Any) -> HttpResponse:
        raise PermissionDenied

    def save_model(self, *args: Any, **kwargs: Any) -> None:
        raise PermissionDenied

    def delete_model(self, *args: Any, **kwargs: Any) -> None:
        raise PermissionDenied


class WordsAdmin(ReadOnlyAdmin):
    """A list whose ``search_fields`` are sentences, which no index has."""

    search_help_text = f"Words, in the newest {MAX_SEARCHED_ROWS:,}"
    list_select_related: ClassVar[tuple[str, ...]]

    def get_search_results(
        self, request: HttpRequest, queryset: "QuerySet[Any]", search_term: str
    ) -> tuple["QuerySet[Any]", bool]:
        if search_term.strip():
            # Visibility is checked in the subquery; joined to the search, it would take seconds.
            newest = queryset.order_by("-created_at", "-id").values("pk")[:MAX_SEARCHED_ROWS]
            rows = self.model._default_manager.filter(pk__in=newest)
            queryset = rows.select_related(*self.list_select_related)
        results: tuple[QuerySet[Any], bool]
        results = super().get_search_results(request, queryset, search_term)
        return results


class ExactFilter(admin.SimpleListFilter):
    """Filter by one value of ``field``, chosen from a list that does not grow with the table."""

    field: ClassVar[str]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        return queryset.filter(**{self.field: self.value()}) if self.value() else queryset


class RoleFilter(ExactFilter):
    """Offers the reader's own roles; to an auditor, all groups."""

    title = parameter_name = field = "role"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        actor = actor_of(request)
        names = actor.roles
        if actor.auditor:
            groups = Group.objects.order_by("name").values_list("name", flat=True)
            # A site with very many groups gets no endless menu.
            names = tuple(groups[:MAX_GROUPS])
        return [(name, name) for name in names]


class RecentFilter(admin.SimpleListFilter):
    """Filter by age: a range of an indexed time."""

    title = "time"
    parameter_name = "within"
    field: ClassVar[str] = "created_at"
    spans = {
        "hour": ("The last hour", timedelta(hours=1)),
        "day": ("The last 24 hours", timedelta(days=1)),
        "week": ("The last 7 days", timedelta(days=7)),
        "month": ("The last 30 days", timedelta(days=30)),
    }

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, words) for name, (words, _) in self.spans.items()]

    def queryset(self, request: HttpRequest, queryset: "QuerySet[Any]") -> "QuerySet[Any]":
        if self.value() not in self.spans:
            return queryset
        since = timezone.now() - self.spans[str(self.value())][1]
        return queryset.filter(**{f"{self.field}__gte": since})


def subject_link(event: Event) -> Link | None:
    """A link to the subject of ``event``; None for a kind without a page."""
    model = Subject.kinds().get(event.subject_type)
    if model is None or not admin.site.is_registered(model):
        return None
    subject = event.subject_id
    return Link(f"{event.subject_type} {str(subject)[:8]}", change_url(model, subject))
