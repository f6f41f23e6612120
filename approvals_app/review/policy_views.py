"""Pages of the admin beside its models' own: policies, delegations, dashboards and timelines."""

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
from approvals_app.policy.checking import find_warnings
from approvals_app.policy.files import FileInvalid, dump, dump_file, parse_file
from approvals_app.policy.language import Policy
from approvals_app.policy.simulation import Report, simulate
from approvals_app.review import decision, timelines
from approvals_app.review.dashboards import WINDOWS, load_figures
from audit_app.base import csv_export
from audit_app.base.actors import Actor
from audit_app.base.errors import NotFound, OrchestratorError, StaleVersion
from audit_app.http.serializers import UUID_TEXT
from audit_app.models import Event
from audit_app.ui.admin_base import actor_of, may_read

CHANGE = "approvals_app.change_approvalpolicy"
SIMULATION_DAYS = (1, 7, 30, 90)
MAX_SIMULATED_TASKS = 100_000
LONGEST_TEXT = 100_000
MAX_VERSIONS = 50
CSV_COLUMNS = (
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
"""The columns of the policies' CSV file."""

NEW_POLICY = """\
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


def readers_only(view: Callable[..., HttpResponseBase]) -> Callable[..., HttpResponseBase]:
    """Allow whoever reviews or may change policies."""

    def check_access(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        if not (may_read(request) or request.user.has_perm(CHANGE)):
            raise PermissionDenied
        return view(request, *args, **kwargs)

    wrapped: Callable[..., HttpResponseBase] = admin.site.admin_view(check_access)
    return wrapped


@dataclass(frozen=True, slots=True)
class Version:
    """One version of a policy; ``difference`` has the changed lines, each with + or -."""

    number: int
    at: datetime
    actor: str
    what: str
    difference: list[tuple[str, str]]


def policy_list(request: HttpRequest) -> HttpResponse:
    """List every policy, in the order in which they are evaluated."""
    rows = [(policy, evaluation.compile_policy(policy)) for policy in ApprovalPolicy.objects.all()]
    return _render_page(
        request,
        "policies.html",
        title="Policies",
        active=[row for row in rows if row[0].status == ApprovalPolicy.Status.ACTIVE],
        retired=[row for row in rows if row[0].status != ApprovalPolicy.Status.ACTIVE],
        can_change=request.user.has_perm(CHANGE),
    )


def policy_csv(request: HttpRequest) -> HttpResponseBase:
    """Every policy, retired ones included, as a CSV file."""
    if request.method not in ("GET", "HEAD"):
        raise PermissionDenied
    rows = ApprovalPolicy.objects.all()
    return csv_export.download(rows, CSV_COLUMNS, time="created_at", name="policies")


def policy(request: HttpRequest, policy_id: UUID | None = None) -> HttpResponse:
    """One policy with its history; a POST saves, retires, restores or simulates it."""
    record = ApprovalPolicy.objects.filter(pk=policy_id).first() if policy_id else None
    if policy_id and record is None:
        raise Http404("There is no such policy.")
    may_change = request.user.has_perm(CHANGE)
    if not record and not may_change:
        raise PermissionDenied
    text, refusal, report, status = _dump_policy(record), "", None, 200
    days = _parse_days(request)
    if request.method == "POST":
        text = _read_text(request)
        try:
            answer = _run_action(request, record, text, days)
            if isinstance(answer, Report):
                report = answer
            else:
                return answer
        except FileInvalid as error:
            refusal, status = str(error), 400
        except OrchestratorError as error:
            refusal, status = str(error), 409 if may_change else 403
    return _render_page(
        request,
        "policy.html",
        status=status,
        title=record.name if record else "New policy",
        policy=record,
        text=text,
        refusal=refusal,
        report=report,
        chart=report and _build_charts(report),
        versions=_list_versions(record) if record else [],
        days=SIMULATION_DAYS,
        chosen=days,
        can_change=may_change,
    )


def policy_simulation(request: HttpRequest) -> HttpResponse:
    """Simulate the active policies, or a whole file of them, on the tasks of the last days."""
    days, refusal, status = _parse_days(request), "", 200
    text, report = dump_file(evaluation.load_policies()), None
    if request.method == "POST":
        text = _read_text(request)
        try:
            report = simulate(parse_file(text), days=days, most=MAX_SIMULATED_TASKS)
        except FileInvalid as error:
            refusal, status = str(error), 400
    return _render_page(
        request,
        "simulation.html",
        status=status,
        title="Simulate policies",
        text=text,
        refusal=refusal,
        report=report,
        chart=report and _build_charts(report),
        days=SIMULATION_DAYS,
        chosen=days,
    )


class DelegationForm(forms.Form):
    """A delegation of the reader's votes, from one day to another (UTC), both inclusive."""

    to = forms.CharField(max_length=150)
    starts = forms.DateField()
    ends = forms.DateField()
    reason = forms.CharField(required=False, max_length=2_000)


def away(request: HttpRequest) -> HttpResponse:
    """The reader's delegations; a POST creates one or ends one."""
    actor, refusal, status = actor_of(request), "", 200
    if request.method == "POST":
        try:
            message = (
                _end_delegation(request) if "end" in request.POST else _create_delegation(request)
            )
        except forms.ValidationError as error:
            refusal, status = " ".join(error.messages), 400
        except NotFound as error:
            raise Http404(str(error)) from error
        except OrchestratorError as error:
            refusal, status = str(error), 409
        else:
            messages.success(request, message)
            return redirect("pages:away")
    visible = Delegation.objects.visible_to(actor).select_related(
        "delegator", "delegate", "approval"
    )
    return _render_page(
        request,
        "away.html",
        status=status,
        title="Delegation",
        delegations=visible.filter(status=Delegation.Status.ACTIVE)[:100],
        people=decision.list_delegates(actor),
        given=request.POST,
        today=timezone.now().date().isoformat(),
        refusal=refusal,
        now=timezone.now(),
    )


def _create_delegation(request: HttpRequest) -> str:
    form = DelegationForm(request.POST)
    if not form.is_valid():
        raise forms.ValidationError("Choose a delegate and both days.")
    data = form.cleaned_data
    starts = datetime.combine(data["starts"], time.min, UTC)
    ends = datetime.combine(data["ends"], time.min, UTC) + timedelta(days=1)
    delegations.grant_delegation(
        by=actor_of(request),
        to=data["to"],
        starts_at=starts,
        ends_at=ends,
        reason=data["reason"],
    )
    return f"{data['to']} votes for you from {data['starts']} to {data['ends']}."


def _end_delegation(request: HttpRequest) -> str:
    if not UUID_TEXT.fullmatch(request.POST["end"]):
        raise Http404
    delegations.end_delegation(UUID(request.POST["end"]), by=actor_of(request))
    return "Delegation ended."


def _run_action(
    request: HttpRequest, record: ApprovalPolicy | None, text: str, days: int
) -> HttpResponse | Report:
    by, action = actor_of(request), request.POST.get("action")
    if action in ("retire", "restore") and record:
        operation = operations.retire_policy if action == "retire" else operations.restore_policy
        operation(record.name, by=by)
        state = "retired" if action == "retire" else "active"
        messages.success(request, f"{record.name} is {state}.")
        return redirect("pages:policy", record.pk)
    policy = _parse_policy(text)
    if action == "try":
        # Simulate what saving would make active: this policy in place of its present version.
        others = [other for other in evaluation.load_policies() if other.name != policy.name]
        for warning in find_warnings(policy):
            messages.warning(request, warning)
        return simulate([*others, policy], days=days, most=MAX_SIMULATED_TASKS)
    if record is None:
        record = operations.create_policy(policy, by=by)
    elif policy.name != record.name:
        raise FileInvalid("A policy's name can't change. Create a new policy and retire this one.")
    else:
        operations.change_policy(policy, by=by, expected_version=_parse_version(request))
    messages.success(request, f"{policy.name} is active.")
    for warning in find_warnings(policy):
        messages.warning(request, warning)
    return redirect("pages:policy", record.pk)


def _parse_version(request: HttpRequest) -> int | None:
    text = request.POST.get("version", "")
    # isdigit() alone accepts digits of every script; nine fit into an integer column.
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise StaleVersion(what="policy")
    return int(text)


def _parse_policy(text: str) -> Policy:
    """Parse ``text``, which is one policy. Raises FileInvalid."""
    # The form has one policy's document; the parser reads files of several.
    indented = "\n".join(f"    {line}" for line in text.splitlines())
    try:
        (policy,) = parse_file(f"policies:\n  -\n{indented}\n")
    except ValueError as error:
        if isinstance(error, FileInvalid):
            raise FileInvalid(_shift_line_number(str(error))) from None
        raise FileInvalid("Write exactly one policy.") from None
    return policy


def _shift_line_number(message: str) -> str:
    """The message, with its line counted from where the reader's own text begins."""
    # _parse_policy puts two lines before it.
    head, _, rest = message.partition(": ")
    if head.startswith("Line ") and head[5:].isdigit():
        return f"Line {max(1, int(head[5:]) - 2)}: {rest}"
    return rest if head.startswith("The policy at line") else message


def _dump_policy(record: ApprovalPolicy | None) -> str:
    return dump(evaluation.compile_policy(record)) if record else NEW_POLICY


def _read_text(request: HttpRequest) -> str:
    text = request.POST.get("text", "").replace("\r\n", "\n")
    if len(text) > LONGEST_TEXT or "\x00" in text:
        raise BadRequest("The text is too long or invalid.")
    return text


def _parse_days(request: HttpRequest) -> int:
    text = request.POST.get("days", "")
    return int(text) if text in {str(days) for days in SIMULATION_DAYS} else 30


def _list_versions(record: ApprovalPolicy) -> list[Version]:
    """The policy's versions, newest first."""
    events = Event.objects.filter(subject_type="policy", subject_id=record.pk).order_by("seq")
    versions, before = [], ""
    for event in events:
        metadata = event.metadata
        document = {name: metadata[name] for name in operations.COLUMNS} | metadata["rule"]
        after = dump(Policy.parse(document, version=event.seq))
        lines = difflib.ndiff(before.splitlines(), after.splitlines())
        difference = [(line[0], line[2:]) for line in lines if line[0] in "+-"]
        action = event.event_type.removeprefix("policy.")
        versions.append(Version(event.seq, event.timestamp, event.actor, action, difference))
        before = after
    return versions[::-1][:MAX_VERSIONS]


def _build_charts(report: Report) -> dict[str, Any]:
    """The bars of the two charts, in the charts' units."""
    hours = report.by_hour()
    busiest_hour = max(*hours, 1)
    roles = report.by_role()
    largest_role = max([*roles.values(), 1])
    return {
        "hours": [
            {
                "x": 10 + hour * 24,
                "y": 110 - round(90 * count / busiest_hour),
                "height": round(90 * count / busiest_hour),
                "label": f"{hour:02}",
                "count": count,
            }
            for hour, count in enumerate(hours)
        ],
        "roles": [
            {"y": index * 28, "text": index * 28 + 16, "name": name, "count": count}
            | {"width": max(2, round(340 * count / largest_role))}
            for index, (name, count) in enumerate(list(roles.items())[:20])
        ],
        "height": 28 * min(len(roles), 20),
    }


def _render_page(
    request: HttpRequest, template: str, *, status: int = 200, **context: Any
) -> HttpResponse:
    frame = admin.site.each_context(request)
    return TemplateResponse(
        request, f"admin/approvals_app/{template}", frame | context, status=status
    )


def dashboards(request: HttpRequest) -> HttpResponse:
    """The dashboards over one of WINDOWS."""
    text = request.GET.get("days", "")
    days = next((window for window in WINDOWS if str(window) == text), WINDOWS[0])
    return _render_page(
        request,
        "dashboards.html",
        title="Dashboards",
        figures=load_figures(actor_of(request), days),
        windows=WINDOWS,
    )


def timeline(request: HttpRequest, kind: str, name: str) -> HttpResponse:
    """The timeline of a trace, session, task, person or agent."""
    subject_type = request.GET.get("of", "")
    before = request.GET.get("before", "")
    page = {
        "of": subject_type if subject_type in timelines.SUBJECT_TYPES else "",
        "before": int(before) if before.isascii() and before.isdigit() and len(before) < 19 else 0,
    }
    try:
        loaded = _load_timeline(kind, name, actor_of(request), page)
    except (NotFound, ValueError):
        raise Http404("There is no such timeline, or it is not yours to read.") from None
    return _render_page(
        request,
        "timeline.html",
        title="Timeline",
        timeline=loaded,
        kinds=timelines.SUBJECT_TYPES,
        chosen=page["of"],
    )


def _load_timeline(kind: str, name: str, actor: Actor, page: dict[str, Any]) -> timelines.Timeline:
    match kind:
        case "trace":
            return timelines.load_trace(UUID(name), actor, **page)
        case "task":
            return timelines.load_task(UUID(name), actor, **page)
        case "session":
            return timelines.load_session(UUID(name), actor, **page)
        case "person":
            return timelines.load_actor("human", name, actor, **page)
        case "agent":
            return timelines.load_actor("agent", name, actor, **page)
    raise NotFound(what="timeline")


app_name = "pages"
urlpatterns = [
    path("policies/", readers_only(policy_list), name="policies"),
    path("policies/csv/", readers_only(policy_csv), name="policies_csv"),
    path("policies/new/", readers_only(policy), name="new_policy"),
    path("policies/simulate/", readers_only(policy_simulation), name="simulation"),
    path("policies/<uuid:policy_id>/", readers_only(policy), name="policy"),
    path("dashboards/", readers_only(dashboards), name="dashboards"),
    path("timeline/<slug:kind>/<path:name>/", readers_only(timeline), name="timeline"),
    path("away/", readers_only(away), name="away"),
    path("notifications/", admin.site.admin_view(notifications), name="notifications"),
]
