"""Pages of the admin that are no table's: policies, and who stands in for whom."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import BadRequest, PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.urls import path
from django.utils import timezone

from approvals_app.decisions import delegations
from approvals_app.models import ApprovalPolicy, Delegation
from approvals_app.notifications.views import notifications
from approvals_app.policy import evaluation, operations
from approvals_app.policy.files import FileInvalid, dump, dump_file, parse_file
from approvals_app.policy.language import Policy
from approvals_app.policy.simulation import Report, simulate
from approvals_app.review import decision, timelines
from approvals_app.review.dashboards import WINDOWS, lately
from audit_app.base import csv_export
from audit_app.base.actors import Actor
from audit_app.base.errors import NotFound, OrchestratorError, StaleVersion
from audit_app.http.serializers import UUID_TEXT
from audit_app.models import Event
from audit_app.ui.admin_base import actor_of, may_read

CHANGE = "approvals_app.change_approvalpolicy"
DAYS = (1, 7, 30, 90)
MOST_SIMULATED = 100_000
LONGEST = 100_000
VERSIONS = 50
EXPORTED = (
    "id",
    "name",
    "priority",
    "description",
    "rule",
    "status",
    "version",
    "created_at",
    "updated_at",
)
"""The columns of the policies as a file."""

NEW = """\
name: large-transfers
priority: 10
description: Why there is this policy.
when:
  task_type: wire_*
  condition: double(data.amount) > 10000.0
then: require
approvals:
  - role: finance
    count: 2
deadline: 4h
reminders: [1h]
"""


def readers(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Whoever reviews or administers may know the rules."""

    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not (may_read(request) or request.user.has_perm(CHANGE)):
            raise PermissionDenied
        return view(request, *args, **kwargs)

    wrapped: Callable[..., HttpResponseBase] = admin.site.admin_view(guarded)
    return wrapped


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a policy, and what it changed."""

    number: int
    at: datetime
    actor: str
    what: str
    difference: list[tuple[str, str]]


def policy_list(request: HttpRequest) -> HttpResponse:
    """Every policy, in the order in which they are asked."""
    rows = [(policy, evaluation.compile_policy(policy)) for policy in ApprovalPolicy.objects.all()]
    return _page(
        request,
        "policies.html",
        title="Policies",
        active=[row for row in rows if row[0].status == ApprovalPolicy.Status.ACTIVE],
        retired=[row for row in rows if row[0].status != ApprovalPolicy.Status.ACTIVE],
        can_change=request.user.has_perm(CHANGE),
    )


def policy_csv(request: HttpRequest) -> HttpResponseBase:
    """Every policy, those out of force as well, as a file."""
    if request.method not in ("GET", "HEAD"):
        raise PermissionDenied
    rows = ApprovalPolicy.objects.all()
    return csv_export.download(rows, EXPORTED, time="created_at", name="policies")


def policy(request: HttpRequest, policy_id: UUID | None = None) -> HttpResponse:
    """One policy: its document, its history; it is changed, retired and tried here."""
    found = ApprovalPolicy.objects.filter(pk=policy_id).first() if policy_id else None
    if policy_id and found is None:
        raise Http404("There is no such policy.")
    may_change = request.user.has_perm(CHANGE)
    if not found and not may_change:
        raise PermissionDenied
    text, refused, report, status = _text_of(found), "", None, 200
    days = _days(request)
    if request.method == "POST":
        text = _given(request)
        try:
            answer = _acted(request, found, text, days)
            if isinstance(answer, Report):
                report = answer
            else:
                return answer
        except FileInvalid as error:
            refused, status = str(error), 400
        except OrchestratorError as error:
            refused, status = str(error), 409 if may_change else 403
    return _page(
        request,
        "policy.html",
        status=status,
        title=found.name if found else "New policy",
        policy=found,
        text=text,
        refused=refused,
        report=report,
        chart=report and _chart(report),
        versions=_versions(found) if found else [],
        days=DAYS,
        chosen=days,
        can_change=may_change,
    )


def policy_simulation(request: HttpRequest) -> HttpResponse:
    """The policies in force, or a whole file, over the tasks of the last days."""
    days, refused, status = _days(request), "", 200
    text, report = dump_file(evaluation.load_policies()), None
    if request.method == "POST":
        text = _given(request)
        try:
            report = simulate(parse_file(text), days=days, most=MOST_SIMULATED)
        except FileInvalid as error:
            refused, status = str(error), 400
    return _page(
        request,
        "simulation.html",
        status=status,
        title="Simulate policies",
        text=text,
        refused=refused,
        report=report,
        chart=report and _chart(report),
        days=DAYS,
        chosen=days,
    )


class AwayForm(forms.Form):
    """Who stands in for the reader, from which day to which (UTC), both whole."""

    to = forms.CharField(max_length=150)
    starts = forms.DateField()
    ends = forms.DateField()
    reason = forms.CharField(required=False, max_length=2_000)


def away(request: HttpRequest) -> HttpResponse:
    """Who votes in whose seat: the reader names a stand-in, and ends what concerns them."""
    actor, refused, status = actor_of(request), "", 200
    if request.method == "POST":
        try:
            said = _ended(request) if "end" in request.POST else _named(request)
        except forms.ValidationError as error:
            refused, status = " ".join(error.messages), 400
        except NotFound as error:
            raise Http404(str(error)) from error
        except OrchestratorError as error:
            refused, status = str(error), 409
        else:
            messages.success(request, said)
            return redirect("pages:away")
    mine = Delegation.objects.visible_to(actor).select_related("delegator", "delegate", "approval")
    return _page(
        request,
        "away.html",
        status=status,
        title="Delegation",
        delegations=mine.filter(status=Delegation.Status.ACTIVE)[:100],
        people=decision.delegates(actor),
        given=request.POST,
        today=timezone.now().date().isoformat(),
        refused=refused,
        now=timezone.now(),
    )


def _named(request: HttpRequest) -> str:
    form = AwayForm(request.POST)
    if not form.is_valid():
        raise forms.ValidationError("Choose a delegate and both days.")
    given = form.cleaned_data
    begins = datetime.combine(given["starts"], time.min, UTC)
    ends = datetime.combine(given["ends"], time.min, UTC) + timedelta(days=1)
    delegations.grant_delegation(
        by=actor_of(request),
        to=given["to"],
        starts_at=begins,
        ends_at=ends,
        reason=given["reason"],
    )
    return f"{given['to']} votes for you from {given['starts']} to {given['ends']}."


def _ended(request: HttpRequest) -> str:
    if not UUID_TEXT.fullmatch(request.POST["end"]):
        raise Http404
    delegations.end_delegation(UUID(request.POST["end"]), by=actor_of(request))
    return "Delegation ended."


def _acted(
    request: HttpRequest, found: ApprovalPolicy | None, text: str, days: int
) -> HttpResponse | Report:
    by, action = actor_of(request), request.POST.get("action")
    if action in ("retire", "restore") and found:
        operation = operations.retire_policy if action == "retire" else operations.restore_policy
        operation(found.name, by=by)
        done = "retired" if action == "retire" else "active"
        messages.success(request, f"{found.name} is {done}.")
        return redirect("pages:policy", found.pk)
    rule = _rule(text)
    if action == "try":
        others = [other for other in evaluation.load_policies() if other.name != rule.name]
        return simulate([*others, rule], days=days, most=MOST_SIMULATED)
    if found is None:
        found = operations.create_policy(rule, by=by)
    elif rule.name != found.name:
        raise FileInvalid("A policy's name can't change. Create a new policy and retire this one.")
    else:
        operations.change_policy(rule, by=by, expected_version=_expected(request))
    messages.success(request, f"{rule.name} is active.")
    return redirect("pages:policy", found.pk)


def _expected(request: HttpRequest) -> int | None:
    given = request.POST.get("version", "")
    if not given.isascii() or not given.isdigit() or len(given) > 9:
        raise StaleVersion(what="policy")
    return int(given)


def _rule(text: str) -> Policy:
    """The one policy that ``text`` is. Raises FileInvalid."""
    indented = "\n".join(f"    {line}" for line in text.splitlines())
    try:
        (rule,) = parse_file(f"policies:\n  -\n{indented}\n")
    except ValueError as error:
        if isinstance(error, FileInvalid):
            raise FileInvalid(_without_lines(str(error))) from None
        raise FileInvalid("Write exactly one policy.") from None
    return rule


def _without_lines(said: str) -> str:
    """Our own two lines stand before what the reader wrote."""
    head, _, rest = said.partition(": ")
    if head.startswith("Line ") and head[5:].isdigit():
        return f"Line {max(1, int(head[5:]) - 2)}: {rest}"
    return rest if head.startswith("The policy at line") else said


def _text_of(found: ApprovalPolicy | None) -> str:
    return dump(evaluation.compile_policy(found)) if found else NEW


def _given(request: HttpRequest) -> str:
    text = request.POST.get("text", "").replace("\r\n", "\n")
    if len(text) > LONGEST or "\x00" in text:
        raise BadRequest("The text is too long or invalid.")
    return text


def _days(request: HttpRequest) -> int:
    given = request.POST.get("days", "")
    return int(given) if given in {str(days) for days in DAYS} else 30


def _versions(found: ApprovalPolicy) -> list[Version]:
    """The policy's history, newest first, each with what it changed."""
    events = Event.objects.filter(subject_type="policy", subject_id=found.pk).order_by("seq")
    versions, before = [], ""
    for event in events:
        said = event.metadata
        document = {name: said[name] for name in operations.COLUMNS} | said["rule"]
        after = dump(Policy.parse(document))
        lines = difflib.ndiff(before.splitlines(), after.splitlines())
        changed = [(line[0], line[2:]) for line in lines if line[0] in "+-"]
        what = event.event_type.removeprefix("policy.")
        versions.append(Version(event.seq, event.timestamp, event.actor, what, changed))
        before = after
    return versions[::-1][:VERSIONS]


def _chart(report: Report) -> dict[str, Any]:
    """Where the bars of the two charts stand, in the units of their drawings."""
    hours = report.by_hour()
    most = max(*hours, 1)
    roles = report.by_role()
    widest = max([*roles.values(), 1])
    return {
        "hours": [
            {
                "x": 10 + hour * 24,
                "y": 110 - round(90 * count / most),
                "height": round(90 * count / most),
                "label": f"{hour:02}",
                "count": count,
            }
            for hour, count in enumerate(hours)
        ],
        "roles": [
            {"y": index * 28, "text": index * 28 + 16, "name": name, "count": count}
            | {"width": max(2, round(340 * count / widest))}
            for index, (name, count) in enumerate(list(roles.items())[:20])
        ],
        "height": 28 * min(len(roles), 20),
    }


def _page(
    request: HttpRequest, template: str, *, status: int = 200, **context: Any
) -> HttpResponse:
    frame = admin.site.each_context(request)
    return TemplateResponse(
        request, f"admin/approvals_app/{template}", frame | context, status=status
    )


def dashboards(request: HttpRequest) -> HttpResponse:
    """How the work goes, over some days."""
    given = request.GET.get("days", "")
    days = next((window for window in WINDOWS if str(window) == given), WINDOWS[0])
    return _page(
        request,
        "dashboards.html",
        title="Dashboards",
        figures=lately(actor_of(request), days),
        windows=WINDOWS,
    )


def timeline(request: HttpRequest, kind: str, name: str) -> HttpResponse:
    """What happened to one thing, or what somebody did."""
    chosen = request.GET.get("of", "")
    before = request.GET.get("before", "")
    page = {
        "of": chosen if chosen in timelines.KINDS else "",
        "before": int(before) if before.isascii() and before.isdigit() and len(before) < 19 else 0,
    }
    try:
        found = _timeline_of(kind, name, actor_of(request), page)
    except (NotFound, ValueError):
        raise Http404("There is no such timeline, or it is not yours to read.") from None
    return _page(
        request,
        "timeline.html",
        title="Timeline",
        timeline=found,
        kinds=timelines.KINDS,
        chosen=page["of"],
    )


def _timeline_of(kind: str, name: str, actor: Actor, page: dict[str, Any]) -> timelines.Timeline:
    match kind:
        case "trace":
            return timelines.of_trace(UUID(name), actor, **page)
        case "task":
            return timelines.of_task(UUID(name), actor, **page)
        case "session":
            return timelines.of_session(UUID(name), actor, **page)
        case "person":
            return timelines.of_actor("human", name, actor, **page)
        case "agent":
            return timelines.of_actor("agent", name, actor, **page)
    raise NotFound(what="timeline")


app_name = "pages"
urlpatterns = [
    path("policies/", readers(policy_list), name="policies"),
    path("policies/csv/", readers(policy_csv), name="policies_csv"),
    path("policies/new/", readers(policy), name="new_policy"),
    path("policies/simulate/", readers(policy_simulation), name="simulation"),
    path("policies/<uuid:policy_id>/", readers(policy), name="policy"),
    path("dashboards/", readers(dashboards), name="dashboards"),
    path("timeline/<slug:kind>/<path:name>/", readers(timeline), name="timeline"),
    path("away/", readers(away), name="away"),
    path("notifications/", admin.site.admin_view(notifications), name="notifications"),
]
