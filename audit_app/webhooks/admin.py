"""Webhooks in the admin: their deliveries, and what administrators can do."""

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import Count, OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect
from django.urls import URLPattern, path
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString

from audit_app.base import ssrf
from audit_app.base.connections import release_connection
from audit_app.base.csv_export import show, show_state
from audit_app.base.errors import Invalid, NotFound, OrchestratorError
from audit_app.base.text_safety import badge, in_a_list, moment, reveal
from audit_app.live import event_log
from audit_app.models import Delivery, Webhook
from audit_app.ui.admin_base import ReadOnlyAdmin, actor_of
from audit_app.ui.confirmation import ConfirmationForm
from audit_app.webhooks import operations, sending

MAX_DELIVERIES = 50
"""Deliveries on the page of a webhook, newest first."""

SPANS = {
    "hour": ("the last hour", timedelta(hours=1)),
    "day": ("the last 24 hours", timedelta(days=1)),
    "week": ("the last 7 days", timedelta(days=7)),
}
UNDELIVERED = (Delivery.Status.WAITING, Delivery.Status.HELD)
ACTIONS = ("rotate", "pause", "resume", "disable", "replay", "again", "test")


class WebhookForm(forms.Form):
    """The URL of a webhook and the events that it receives."""

    url = forms.CharField(
        max_length=2000, label="Address", help_text="The URL that receives deliveries."
    )
    event_types = forms.CharField(
        required=False,
        label="Events",
        help_text="Event types, such as task.* or approval.approved. Empty means all.",
    )
    roles = forms.CharField(
        required=False, label="Roles", help_text="Roles; * matches any characters. Empty means all."
    )

    def clean_url(self) -> str:
        url: str = self.cleaned_data["url"]
        try:
            ssrf.require_webhook_url(url, plain=settings.TRIAL)
            # A name server may take its time: hold no connection meanwhile.
            release_connection()
            ssrf.check_destination(url, allowed=settings.WEBHOOK_ALLOWED_NETWORKS)
        except Invalid as error:
            raise forms.ValidationError(str(error)) from None
        except ssrf.DestinationRefused as refused:
            hint = "WEBHOOK_ALLOWED_NETWORKS can allow it."
            raise forms.ValidationError(f"{refused} {hint}") from None
        return url

    def clean_event_types(self) -> list[str]:
        return _globs(self.cleaned_data["event_types"], "event_types")

    def clean_roles(self) -> list[str]:
        return _globs(self.cleaned_data["roles"], "roles")


class NewWebhookForm(WebhookForm):
    """Also asks for the name of a new webhook."""

    name = forms.CharField(max_length=150)
    field_order = ("name", "url", "event_types", "roles")


def _globs(text: str, field: str) -> list[str]:
    try:
        return operations.parse_globs(text, field)
    except Invalid as error:
        raise forms.ValidationError(str(error)) from None


@admin.register(Webhook)
class WebhookAdmin(ReadOnlyAdmin):
    """Auditors read; administrators change webhooks, each change by its operation."""

    list_display = ("webhook", "address", "events", "state", "last_delivery", "open")
    exported = (
        show("Webhook", "name"),
        show("Address", "url"),
        show("Events", "event_types", format=lambda types: " ".join(types) or "everything"),
        show_state("State", "status"),
        show("Last delivered", "last", format=lambda at: at or "never"),
        show("Waiting", "open_"),
        "roles",
        "created_at",
        "id",
    )
    list_filter = ("status",)
    search_fields = ("name",)
    search_help_text = "A name"
    detail_template = "admin/audit_app/webhook.html"

    def get_queryset(self, request: HttpRequest) -> "QuerySet[Any]":
        rows = super().get_queryset(request)
        if may_change(request):
            rows = Webhook.objects.order_by("name")
        # One index lookup per row; delivered rows are never counted, since they keep growing.
        deliveries = Delivery.objects.filter(webhook=OuterRef("pk"))
        arrived = deliveries.filter(delivered_at__isnull=False).order_by("-delivered_at")
        undelivered = deliveries.filter(status__in=UNDELIVERED)
        number = undelivered.order_by().values("webhook").annotate(number=Count("pk"))
        annotated: QuerySet[Any] = rows.annotate(
            last=Subquery(arrived.values("delivered_at")[:1]),
            open_=Coalesce(Subquery(number.values("number")), 0),
        )
        return annotated

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_see_webhooks(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return may_change(request)

    def get_urls(self) -> list[URLPattern]:
        def view(action: str, function: Callable[..., HttpResponse]) -> URLPattern:
            admin_view: Callable[..., HttpResponse] = self.admin_site.admin_view(function)
            return path(
                f"<uuid:webhook_id>/{action}", admin_view, name=f"audit_app_webhook_{action}"
            )

        actions = [view(action, getattr(self, f"{action}_view")) for action in ACTIONS]
        return [view("edit", self.edit_view), *actions, *super().get_urls()]

    @admin.display(description="Webhook")
    def webhook(self, webhook: Webhook) -> SafeString:
        return reveal(webhook.name)

    @admin.display(description="Address")
    def address(self, webhook: Webhook) -> SafeString:
        return in_a_list(webhook.url)

    @admin.display(description="Events")
    def events(self, webhook: Webhook) -> SafeString:
        return in_a_list(" ".join(webhook.event_types) or "everything")

    @admin.display(description="State")
    def state(self, webhook: Webhook) -> SafeString:
        return badge(webhook.status)

    @admin.display(description="Last delivered")
    def last_delivery(self, webhook: Any) -> SafeString | str:
        return moment(webhook.last) if webhook.last else "never"

    @admin.display(description="Waiting")
    def open(self, webhook: Any) -> str:
        return str(webhook.open_)

    def detail(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        outcome = request.GET.get("outcome", "")
        log = row.deliveries.order_by("-pk")
        # The value comes from the address; anything else shows all deliveries.
        if outcome in Delivery.Status.values:
            log = log.filter(status=outcome)
        return {
            "title": row.name,
            "author": "ours",
            "state": row.status,
            "webhook": row,
            "facts": [
                ("Address", row.url),
                ("Events", " ".join(row.event_types) or "all"),
                ("Roles", " ".join(row.roles) or "all"),
                ("Last delivered", row.last),
                ("Waiting", row.open_),
                ("Old secret signs until", _format_future(row.old_secret_until)),
                ("Public key", operations.public_key(row)),
                ("Created", row.created_at),
                ("Last change", row.updated_at),
                ("Webhook", row.pk),
            ],
            "log": log[:MAX_DELIVERIES],
            "logged": MAX_DELIVERIES,
            "outcome": outcome,
            "outcomes": Delivery.Status.values,
            "spans": [(name, words) for name, (words, _) in SPANS.items()],
            "can_change": may_change(request),
        }

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NewWebhookForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            try:
                webhook, secret = operations.create_webhook(
                    by=actor_of(request), **form.cleaned_data
                )
            except OrchestratorError as error:
                form.add_error(_field(error, form), str(error))
            else:
                return self._secret_page(request, webhook, secret)
        return self._form(
            request,
            form,
            title="Add a webhook",
            lead="The signing secret is shown once, on the next page.",
            button="Create webhook",
        )

    def edit_view(self, request: HttpRequest, webhook_id: UUID) -> HttpResponse:
        """Change the URL and the filters."""
        if not may_change(request):
            raise PermissionDenied
        webhook = get_object_or_404(Webhook, pk=webhook_id)
        present = {
            "url": webhook.url,
            "event_types": " ".join(webhook.event_types),
            "roles": " ".join(webhook.roles),
        }
        form = WebhookForm(request.POST if request.method == "POST" else None, initial=present)
        if form.is_valid():
            try:
                operations.change_webhook(webhook_id, by=actor_of(request), **form.cleaned_data)
            except OrchestratorError as error:
                form.add_error(_field(error, form), str(error))
            else:
                messages.success(request, f"{webhook.name} is saved.")
                return _page_of(webhook_id)
        return self._form(
            request,
            form,
            title=f"Change {webhook.name}",
            lead="Waiting deliveries go to the new address.",
            button="Save",
        )

    def rotate_view(self, request: HttpRequest, webhook_id: UUID) -> HttpResponse:
        """Ask; then create a new secret and show it once."""
        webhook = _get_changeable(request, webhook_id)
        if request.method == "POST" and "confirmed" in request.POST:
            webhook, secret = operations.rotate_secret(webhook_id, by=actor_of(request))
            return self._secret_page(request, webhook, secret)
        return self.confirm_page(
            request,
            webhook,
            forms.Form(),
            title=f"Rotate the secret of {webhook.name}?",
            button="Rotate secret",
            consequences=[
                "A new secret is created, and shown once on the next page.",
                "The present secret also signs for 24 hours. Replace it at the receiver by then.",
                "A secret that was replaced before stops signing now.",
            ],
        )

    def pause_view(self, request: HttpRequest, webhook_id: UUID) -> HttpResponse:
        """Hold its deliveries."""
        return _run(request, webhook_id, operations.pause, "is paused. Its deliveries are held.")

    def resume_view(self, request: HttpRequest, webhook_id: UUID) -> HttpResponse:
        """Send its held deliveries."""
        return _run(
            request, webhook_id, operations.resume, "is resumed. Held deliveries are sent first."
        )

    def disable_view(self, request: HttpRequest, webhook_id: UUID) -> HttpResponse:
        """Ask why; then stop sending to it."""
        webhook = _get_changeable(request, webhook_id)
        form = ConfirmationForm(request.POST if request.method == "POST" else None)
        if form.is_valid():
            try:
                operations.disable(
                    webhook_id, by=actor_of(request), why=form.cleaned_data["reason"]
                )
            except OrchestratorError as error:
                messages.error(request, str(error))
            else:
                messages.success(request, f"{webhook.name} is disabled.")
            return _page_of(webhook_id)
        waiting = webhook.deliveries.filter(status__in=UNDELIVERED).count()
        deliveries = "1 delivery waits" if waiting == 1 else f"{waiting} deliveries wait"
        return self.confirm_page(
            request,
            webhook,
            form,
            title=f"Disable {webhook.name}?",
            button="Disable webhook",
            consequences=[
                "Nothing is sent to it until it is resumed.",
                f"{deliveries} now; they are held.",
                "Events that happen meanwhile are not delivered later; resend them by hand.",
            ],
        )

    def replay_view(self, request: HttpRequest, webhook_id: UUID) -> HttpResponse:
        """Send the events of a time span again."""
        _administrators_post(request)
        if request.POST.get("span") not in SPANS:
            messages.error(request, "Choose a time span.")
            return _page_of(webhook_id)
        since = timezone.now() - SPANS[str(request.POST["span"])][1]
        before = event_log.find_last_before(since)
        after = event_log.cursor_of(before) if before else event_log.START
        try:
            number = operations.replay(webhook_id, by=actor_of(request), after=after)
        except NotFound as error:
            raise Http404(str(error)) from None
        messages.success(request, f"{number} events are sent again.")
        return _page_of(webhook_id)

    def test_view(self, request: HttpRequest, webhook_id: UUID) -> HttpResponse:
        """Send a test event and show the answer."""
        if request.method != "POST":
            raise PermissionDenied
        webhook = _get_changeable(request, webhook_id)
        outcome = sending.send_test(webhook, by=actor_of(request))
        took = f"{outcome.milliseconds} ms"
        if outcome.is_success:
            messages.success(request, f"Test delivered: {outcome.status} in {took}.")
        else:
            answer = reveal(outcome.answer)
            status = outcome.status or "no answer"
            words = format_html("Test failed: {} after {}. {}", status, took, answer)
            messages.error(request, words)
        return _page_of(webhook_id)

    def again_view(self, request: HttpRequest, webhook_id: UUID) -> HttpResponse:
        """Send one delivery again."""
        _administrators_post(request)
        text = request.POST.get("delivery", "")
        number = int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0
        delivery = get_object_or_404(Delivery, pk=number, webhook_id=webhook_id)
        operations.send_again(delivery.pk, by=actor_of(request))
        messages.success(request, f"{delivery.event_type} is sent again.")
        return _page_of(webhook_id)

    def _form(self, request: HttpRequest, form: forms.Form, **context: Any) -> HttpResponse:
        status = 400 if request.method == "POST" else 200
        template = "admin/orchestrator/form.html"
        return self.page(request, template, status=status, form=form, **context)

    def _secret_page(self, request: HttpRequest, webhook: Webhook, secret: str) -> HttpResponse:
        note = (
            "Copy it now. It is stored encrypted and not shown again. A previous secret also "
            "signs for 24 hours."
        )
        return self.secret_page(
            request,
            webhook,
            secret,
            tab="New secret",
            title=f"The secret of {webhook.name}",
            label="Signing secret",
            note=note,
        )


def may_see_webhooks(request: HttpRequest) -> bool:
    """Whether the person is an auditor or may change webhooks."""
    return may_change(request) or bool(request.user.is_staff and actor_of(request).auditor)


def may_change(request: HttpRequest) -> bool:
    """Whether to offer changes. The operations check again."""
    return bool(request.user.is_active and request.user.has_perm(operations.CHANGE_WEBHOOKS))


def _administrators_post(request: HttpRequest) -> None:
    if request.method != "POST" or not may_change(request):
        raise PermissionDenied


def _get_changeable(request: HttpRequest, webhook_id: UUID) -> Webhook:
    """The webhook, for an administrator. Raises PermissionDenied, Http404."""
    if request.method not in ("GET", "POST") or not may_change(request):
        raise PermissionDenied
    return get_object_or_404(Webhook, pk=webhook_id)


def _format_future(until: datetime | None) -> str | None:
    """A future time as text; None for a past one."""
    return f"{until:%Y-%m-%d %H:%M} UTC" if until and until > timezone.now() else None


def _run(
    request: HttpRequest, webhook_id: UUID, operation: Callable[..., Webhook], what: str
) -> HttpResponse:
    _administrators_post(request)
    try:
        webhook = operation(webhook_id, by=actor_of(request))
    except NotFound as error:
        raise Http404(str(error)) from None
    except OrchestratorError as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{webhook.name} {what}")
    return _page_of(webhook_id)


def _page_of(webhook_id: UUID) -> HttpResponse:
    return redirect("admin:audit_app_webhook_change", webhook_id)


def _field(error: OrchestratorError, form: forms.Form) -> str | None:
    """The form's field that caused ``error``; None for the whole form."""
    name = error.data.get("field", "name")
    return name if name in form.fields else None
