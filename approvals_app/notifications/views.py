"""A person's own notification page: preferences, channels, and what could not be delivered."""

from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import admin, messages
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils import timezone

from approvals_app.notifications import channels, recipients, schedule, web_push
from approvals_app.notifications.channels import apprise
from approvals_app.notifications.channels.email import EMAIL
from approvals_app.notifications.channels.push import PUSH
from approvals_app.notifications.models import (
    Notice,
    NoticeChannel,
    NoticeKind,
    NoticeSettings,
    PushSubscription,
)
from approvals_app.notifications.time_zones import find_time_zone
from audit_app.http.serializers import UUID_TEXT

MOST_CHANNELS = 5
MOST_DEVICES = 10
SHOWN = 20
NOT_YOURS = "You have no such channel or device."
WORKER = Path(__file__).parents[1] / "static" / "approvals" / "sw.js"
RECENT = timedelta(days=7)
HOURS = [(hour, f"{hour:02}:00") for hour in range(24)]


class PreferencesForm(forms.Form):
    """The preferences of one person; ``kinds`` are those that are not switched off."""

    by_email = forms.BooleanField(required=False)
    kinds = forms.MultipleChoiceField(
        choices=[(kind.value, kind.label) for kind in NoticeKind.list_selectable()], required=False
    )
    time_zone = forms.CharField(max_length=64)
    quiet_from = forms.TimeField(required=False)
    quiet_until = forms.TimeField(required=False)
    urgent_at_once = forms.BooleanField(required=False)
    digest = forms.ChoiceField(choices=NoticeSettings.Digest.choices)
    digest_hour = forms.TypedChoiceField(choices=HOURS, coerce=int)

    def clean_time_zone(self) -> str:
        given: str = self.cleaned_data["time_zone"]
        if given not in schedule.list_time_zones():
            raise forms.ValidationError("Choose a time zone from the list, such as Europe/Berlin.")
        return given

    def clean(self) -> dict[str, Any]:
        given: dict[str, Any] = self.cleaned_data
        if (given.get("quiet_from") is None) != (given.get("quiet_until") is None):
            raise forms.ValidationError("Quiet hours need a start and an end, or neither.")
        return given


class ChannelForm(forms.Form):
    url = forms.CharField(max_length=apprise.LONGEST)


def notifications(request: HttpRequest) -> HttpResponse:
    """Show the page, and save what was submitted. 400 with the reason if it is refused."""
    assert isinstance(request.user, User), "the admin lets nobody else in"
    person, error = request.user, ""
    form = PreferencesForm(request.POST if request.POST.get("action") == "save" else None)
    if request.method == "POST":
        try:
            messages.success(request, _run_action(request, person, form))
            return redirect("pages:notifications")
        except (forms.ValidationError, apprise.ChannelRefused) as refusal:
            error = " ".join(getattr(refusal, "messages", [str(refusal)]))
    preferences = NoticeSettings.load(person)
    if preferences._state.adding:  # nothing is stored: their browser's zone is offered
        preferences.time_zone = find_time_zone(request)
    own = list(NoticeChannel.objects.filter(person=person)[:MOST_CHANNELS])
    context = {
        "title": "Notifications",
        "error": error,
        "values": _build_form_values(preferences, form),
        "kinds": NoticeKind.list_selectable(),
        "digests": NoticeSettings.Digest.choices,
        "hours": HOURS,
        "zones": schedule.list_time_zones(),
        "email": person.email,
        "mail_is_sent": settings.EMAIL_CONFIGURED,
        "channels": own,
        "services": apprise.list_services(),
        "is_reached": recipients.is_reached(person, preferences),
        "full": len(own) >= MOST_CHANNELS,
        "devices": PushSubscription.objects.filter(person=person)[:MOST_DEVICES],
        "push_key": web_push.get_public_key(),
        "undelivered": _find_undelivered(person),
        "unreachable": _find_unreachable() if person.is_superuser else [],
        "with_details": settings.NOTICE_DETAILS,
    }
    frame = admin.site.each_context(request)
    template = "admin/approvals_app/notifications.html"
    return TemplateResponse(request, template, frame | context, status=400 if error else 200)


def _run_action(request: HttpRequest, person: User, form: PreferencesForm) -> str:
    match request.POST.get("action"):
        case "save":
            return _save_preferences(person, form)
        case "add":
            return _add_channel(person, ChannelForm(request.POST))
        case "remove":
            if not NoticeChannel.objects.filter(
                person=person, pk=_parse_id(request, "channel")
            ).delete()[0]:
                raise Http404(NOT_YOURS)
            return "Removed."
        case "test_email" if person.email and settings.EMAIL_CONFIGURED:
            recipients.send_test(person, EMAIL.destination_of(person))
            return "A test is on its way to your e-mail."
        case "test":
            channel = NoticeChannel.objects.filter(
                person=person, pk=_parse_id(request, "channel")
            ).first()
            if channel is None:
                raise Http404(NOT_YOURS)
            recipients.send_test(person, f"channel:{channel.pk}")
            return f"A test is on its way to {channel.service}."
        case "add_device":
            return _add_device(request, person)
        case "remove_device":
            _find_device(request, person).delete()
            return "Removed."
        case "test_device":
            device = _find_device(request, person)
            recipients.send_test(person, f"{PUSH.prefix}:{device.pk}")
            return f"A test is on its way to {device.device}."
    raise forms.ValidationError("This action is not available.")


def _save_preferences(person: User, form: PreferencesForm) -> str:
    if not form.is_valid():
        errors = [str(text) for texts in form.errors.values() for text in texts]
        raise forms.ValidationError(errors)
    values = dict(form.cleaned_data)
    kinds = values.pop("kinds")
    without = [kind.value for kind in NoticeKind.list_selectable() if kind.value not in kinds]
    NoticeSettings.objects.update_or_create(person=person, defaults=values | {"without": without})
    return "Saved. This applies to new events."


def _add_channel(person: User, form: ChannelForm) -> str:
    if not form.is_valid():
        raise apprise.ChannelRefused(apprise.NOT_KNOWN)
    url = form.cleaned_data["url"]
    plugin = apprise.parse_url(url)
    with transaction.atomic():
        # Two requests at once would both pass the limit: they take turns at the person's row.
        User.objects.select_for_update(no_key=True).get(pk=person.pk)
        if NoticeChannel.objects.filter(person=person).count() >= MOST_CHANNELS:
            message = f"You already have {MOST_CHANNELS} channels; remove one first."
            raise apprise.ChannelRefused(message)
        NoticeChannel.objects.create(
            person=person,
            sealed=apprise.encrypt_url(url),
            masked=apprise.mask_url(url),
            service=str(plugin.service_name)[:100],
        )
    return "Added. Send a test to check it."


def _add_device(request: HttpRequest, person: User) -> str:
    try:
        subscription = web_push.Subscription.parse(request.POST.get("subscription", ""))
    except web_push.SubscriptionInvalid:
        message = "This browser's subscription was not understood. Try again."
        raise forms.ValidationError(message) from None
    with transaction.atomic():
        # As in _add_channel.
        User.objects.select_for_update(no_key=True).get(pk=person.pk)
        others = PushSubscription.objects.filter(person=person)
        others = others.exclude(endpoint_digest=subscription.endpoint_digest)
        if others.count() >= MOST_DEVICES:
            message = f"You already have {MOST_DEVICES} devices; remove one first."
            raise forms.ValidationError(message)
        # A browser has one address for all its users: it notifies the last one who allowed it.
        PushSubscription.objects.update_or_create(
            endpoint_digest=subscription.endpoint_digest,
            defaults={
                "person": person,
                "sealed": subscription.encrypt(),
                "device": web_push.describe_device(request.headers.get("User-Agent", "")),
            },
        )
    return "Added. Send a test to check it."


def _find_device(request: HttpRequest, person: User) -> PushSubscription:
    pk = _parse_id(request, "device")
    device = PushSubscription.objects.filter(person=person, pk=pk).first()
    if device is None:
        raise Http404(NOT_YOURS)
    return device


def service_worker(request: HttpRequest) -> HttpResponse:
    """The script that shows pushed messages, at a path whose scope are the admin's pages."""
    # Not as a static file: the scope of a worker is the folder of its URL.
    response = HttpResponse(WORKER.read_bytes(), "text/javascript")
    response.headers["Cache-Control"] = "no-cache"
    return response


def _parse_id(request: HttpRequest, name: str) -> UUID:
    given = request.POST.get(name, "")
    # UUID() also accepts braces and urn:uuid:.
    if not UUID_TEXT.fullmatch(given):
        raise Http404(NOT_YOURS)
    return UUID(given)


def _build_form_values(preferences: NoticeSettings, form: PreferencesForm) -> dict[str, Any]:
    """What the form shows: what was submitted if it was refused, else what is stored."""
    if form.is_bound:
        given = cast("QueryDict", form.data)
        return {name: given.get(name, "") for name in form.fields} | {
            "kinds": given.getlist("kinds"),
            "digest_hour": _hour(given.get("digest_hour", "")),
        }
    return {name: getattr(preferences, name) for name in form.fields if name != "kinds"} | {
        "kinds": [
            kind.value for kind in NoticeKind.list_selectable() if kind not in preferences.without
        ],
        "quiet_from": f"{preferences.quiet_from:%H:%M}" if preferences.quiet_from else "",
        "quiet_until": f"{preferences.quiet_until:%H:%M}" if preferences.quiet_until else "",
    }


def _hour(given: str) -> int:
    return next((hour for hour, _ in HOURS if str(hour) == given), 0)


def _find_undelivered(person: User) -> list[dict[str, Any]]:
    """Recent notices that failed and were not sent since, newest first; SHOWN at most."""
    since = timezone.now() - RECENT
    rows = Notice.objects.filter(
        Q(given_up_at__isnull=False) | Q(sent_at=None, dropped_at=None, failures__gt=0),
        person=person,
        created_at__gt=since,
    )
    labels: dict[str, str] = {}
    for channel in channels.load_channels().values():
        labels |= channel.labels(person)
    return [
        {
            "where": labels.get(row.place, "removed"),
            "what": NoticeKind(row.kind).label,
            "at": row.created_at,
            "why": row.failure,
            "over": row.given_up_at is not None,
            "again_at": row.due_at,
        }
        for row in rows[:SHOWN]
    ]


def _find_unreachable() -> list[dict[str, Any]]:
    """People to whom notices were given up lately, each destination once, for administrators."""
    since = timezone.now() - RECENT
    rows = Notice.objects.filter(
        created_at__gt=since, given_up_at__isnull=False, person__is_active=True
    )
    last = rows.order_by("person__username", "place", "-given_up_at")
    distinct = last.distinct("person__username", "place").select_related("person")[:SHOWN]
    return [
        {
            "who": row.person.get_username() if row.person else "",
            "where": row.place.partition(":")[0],
            "at": row.given_up_at,
            "why": row.failure,
        }
        for row in distinct
    ]
