"""Pages of the admin beside its models' own: policies, delegations, dashboards and timelines."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django import forms
from django.contrib import admin, messages
from django.contrib.auth.models import Group
from django.core.exceptions import BadRequest, PermissionDenied
from django.core.signing import BadSignature, Signer
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import path
from django.utils import timezone

from approvals_app.decisions import delegations
from approvals_app.errors import PolicyNotSimulated
from approvals_app.models import Approval, ApprovalPolicy, Delegation
from approvals_app.notifications.views import notifications
from approvals_app.policy import evaluation, operations
from approvals_app.policy.checking import find_warnings
from approvals_app.policy.description import describe_default, describe_match, describe_policy
from approvals_app.policy.files import FileInvalid, dump, dump_file, parse_file
from approvals_app.policy.language import APPROVE_WITHOUT_A_HUMAN, Policy
from approvals_app.policy.simulation import simulate
from approvals_app.review import decision, timelines
from approvals_app.review.dashboards import WINDOWS, load_figures
from approvals_app.review.policy_form import FORM, YAML, Draft, DraftInvalid, suggest_priority
from approvals_app.review.policy_report import describe_report
from audit_app.base import csv_export
from audit_app.base.actors import Actor
from audit_app.base.canonical import canonical, digest
from audit_app.base.csv_export import show
from audit_app.base.errors import InvalidTransition, NotFound, OrchestratorError, StaleVersion
from audit_app.http.serializers import UUID_TEXT
from audit_app.models import Event
from audit_app.ui.admin_base import actor_of, may_read, render_page
from sessions_app.gate import Outcome
from sessions_app.models import Task

CHANGE = "approvals_app.change_approvalpolicy"
SIMULATION_DAYS = (1, 7, 30, 90)
MAX_SIMULATED_TASKS = 100_000
LONGEST_TEXT = 100_000
MAX_VERSIONS = 50
MAX_GROUPS = 500
RETIREMENT_DAYS = 30
SIMULATED = Signer(salt="policies.simulation")
"""Signs that a draft was simulated, and beside which policies in force."""


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
        active=[
            (policy, rule, describe_policy(rule))
            for policy, rule in rows
            if policy.status == ApprovalPolicy.Status.ACTIVE
        ],
        retired=[policy for policy, _ in rows if policy.status != ApprovalPolicy.Status.ACTIVE],
        default=describe_default(),
        can_change=request.user.has_perm(CHANGE),
    )


def _describe_when(name: str, rule: dict[str, Any]) -> str:
    return describe_match(Policy.parse({"name": name} | rule, version=1))


def _describe_then(name: str, rule: dict[str, Any]) -> str:
    return describe_policy(Policy.parse({"name": name} | rule, version=1))


CSV_COLUMNS = (
    show("Priority", "priority"),
    show("Policy", "name"),
    show("When", "name", "rule", format=_describe_when),
    show("Then", "name", "rule", format=_describe_then),
    show("Version", "version"),
    "updated_at",
    "created_at",
    "status",
    "description",
    "rule",
    "id",
)
"""The columns of the policies' CSV file: those of the list, then others that programs need."""


def policy_csv(request: HttpRequest) -> HttpResponseBase:
    """Every policy, retired ones included, as a CSV file."""
    if request.method not in ("GET", "HEAD"):
        raise PermissionDenied
    rows = ApprovalPolicy.objects.all()
    return csv_export.download(rows, CSV_COLUMNS, time="created_at", name="policies")


def policy(request: HttpRequest, policy_id: UUID | None = None) -> HttpResponse:
    """One policy with its history; a POST simulates a draft of it, activates it, or shows it as
    YAML or in the form."""
    record = _load_record(policy_id) if policy_id else None
    may_change = request.user.has_perm(CHANGE)
    if not record and not may_change:
        raise PermissionDenied
    draft, shown, refusal, field, status = Draft(), dict[str, Any](), "", "", 200
    if request.method == "POST":
        draft = _read_draft(request)
        try:
            answer = _run_action(request, record, draft)
            if isinstance(answer, HttpResponse):
                return answer
            shown = answer
        except DraftInvalid as error:
            refusal, field, status = str(error), error.field, 400
        except OrchestratorError as error:
            refusal, status = str(error), 409 if may_change else 403
    else:
        draft = _start_draft(record, may_change=may_change)
    draft = shown.pop("draft", draft)
    return _render_page(
        request,
        "policy.html",
        status=status,
        title=record.name if record else "New policy",
        policy=record,
        draft=draft,
        refusal=refusal,
        wrong={field: refusal} if field else {},
        versions=_list_versions(record) if record else [],
        groups=Group.objects.order_by("name").values_list("name", flat=True)[:MAX_GROUPS],
        days=SIMULATION_DAYS,
        chosen=_parse_days(request),
        default=describe_default(),
        can_change=may_change,
        **_describe_draft(draft),
        **shown,
    )


def policy_description(request: HttpRequest) -> HttpResponse:
    """What the posted draft does, in one sentence, or what it lacks; as JSON."""
    if request.method != "POST" or not request.user.has_perm(CHANGE):
        raise PermissionDenied
    return JsonResponse(_describe_draft(_read_draft(request)))


def policy_retirement(request: HttpRequest, policy_id: UUID) -> HttpResponse:
    """What retiring a policy does; a POST with its name retires it."""
    if not request.user.has_perm(CHANGE):
        raise PermissionDenied
    record, refusal, status = _load_record(policy_id), "", 200
    if request.method == "POST":
        if request.POST.get("name", "").strip() == record.name:
            return _retire(request, record)
        refusal, status = "Type the policy's name to retire it. Nothing was changed.", 400
    since = timezone.now() - timedelta(days=RETIREMENT_DAYS)
    return _render_page(
        request,
        "policy_retirement.html",
        status=status,
        title=f"Retire {record.name}",
        policy=record,
        refusal=refusal,
        pending=Approval.objects.pending().filter(task__policy=record.name).count(),
        matched=Task.objects.filter(policy=record.name, created_at__gte=since).count(),
        days=RETIREMENT_DAYS,
        default=describe_default(),
    )


def policy_simulation(request: HttpRequest) -> HttpResponse:
    """Simulate the active policies, or a whole file of them, on the tasks of the last days."""
    refusal, status, report = "", 200, dict[str, Any]()
    without = request.GET.get("without", "")
    text = dump_file([each for each in evaluation.load_policies() if each.id != without])
    if request.method == "POST":
        text = _read_text(request)
        try:
            policies = parse_file(text)
        except FileInvalid as error:
            refusal, status = str(error), 400
        else:
            report = _simulate(request, policies)
    return _render_page(
        request,
        "simulation.html",
        status=status,
        title="Simulate policies",
        text=text,
        refusal=refusal,
        days=SIMULATION_DAYS,
        chosen=_parse_days(request),
        **report,
    )


class DelegationForm(forms.Form):
    """A delegation of the reader's votes, from one day to another in their time zone, both
    inclusive."""

    to = forms.CharField(max_length=150)
    starts = forms.DateField()
    ends = forms.DateField()
    reason = forms.CharField(required=False, max_length=2_000)

    def clean(self) -> dict[str, Any]:
        data = self.cleaned_data
        if {"starts", "ends"} <= data.keys():
            today = timezone.now().astimezone(UTC).date()
            if data["ends"] < max(data["starts"], today):
                message = "The last day must not be before the first, or in the past."
                raise forms.ValidationError(message)
        return data


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
        today=timezone.localdate().isoformat(),
        refusal=refusal,
        now=timezone.now(),
    )


def _create_delegation(request: HttpRequest) -> str:
    form = DelegationForm(request.POST)
    if not form.is_valid():
        wrong = form.non_field_errors() or ["Choose a delegate and both days."]
        raise forms.ValidationError(list(wrong))
    data = form.cleaned_data
    try:
        starts = _begin_day(data["starts"])
        ends = _begin_day(data["ends"] + timedelta(days=1))
    except OverflowError:  # the first and last days of the calendar
        raise forms.ValidationError("Choose other days.") from None
    delegations.grant_delegation(
        by=actor_of(request),
        to=data["to"],
        starts_at=starts,
        ends_at=ends,
        reason=data["reason"],
    )
    return f"{data['to']} votes for you from {data['starts']} to {data['ends']}."


def _begin_day(day: date) -> datetime:
    """The first moment of ``day`` in the reader's time zone, in UTC."""
    return datetime.combine(day, time.min, timezone.get_current_timezone()).astimezone(UTC)


def _end_delegation(request: HttpRequest) -> str:
    if not UUID_TEXT.fullmatch(request.POST["end"]):
        raise Http404
    delegations.end_delegation(UUID(request.POST["end"]), by=actor_of(request))
    return "Delegation ended."


def _load_record(policy_id: UUID) -> ApprovalPolicy:
    record = ApprovalPolicy.objects.filter(pk=policy_id).first()
    if record is None:
        raise Http404("There is no such policy.")
    return record


def _start_draft(record: ApprovalPolicy | None, *, may_change: bool) -> Draft:
    """What is written when the page opens; whoever may not change it reads it as YAML."""
    if record is None:
        return Draft.start(suggest_priority(evaluation.load_policies()))
    return Draft.of(evaluation.compile_policy(record), FORM if may_change else YAML)


def _read_draft(request: HttpRequest) -> Draft:
    try:
        return Draft.read(request.POST)
    except DraftInvalid as error:
        raise BadRequest(str(error)) from None


def _describe_draft(draft: Draft) -> dict[str, Any]:
    """What ``draft`` does, or what it lacks, as texts; ``warns`` if it may ask nobody."""
    try:
        policy = draft.parse()
    except DraftInvalid as error:
        return {"sentence": "", "problem": str(error), "warns": False}
    warns = policy.kind is Outcome.APPROVE or policy.on_timeout == APPROVE_WITHOUT_A_HUMAN
    return {"sentence": describe_policy(policy), "problem": "", "warns": warns}


def _run_action(
    request: HttpRequest, record: ApprovalPolicy | None, draft: Draft
) -> HttpResponse | dict[str, Any]:
    """Do what the button says; return what the page shows then. Raises DraftInvalid."""
    action = request.POST.get("action", "")
    if action in (FORM, YAML):
        return {"draft": draft.switch(action)}
    policy = draft.parse()
    if record and policy.name != record.name:
        reason = "A policy's name can't change. Create a new policy and retire this one."
        raise DraftInvalid(reason, "name")
    if action == "activate":
        return _activate(request, record, policy)
    # Simulate what activation would put in force: this policy in place of its present version.
    in_force = evaluation.load_policies()
    others = [other for other in in_force if other.name != policy.name]
    for warning in find_warnings(policy):
        messages.warning(request, warning)
    simulated = SIMULATED.sign(_name_draft(policy, operations.name_in_force(in_force)))
    return _simulate(request, [*others, policy]) | {"simulated": simulated}


def _simulate(request: HttpRequest, policies: Sequence[Policy]) -> dict[str, Any]:
    report = simulate(policies, days=_parse_days(request), most=MAX_SIMULATED_TASKS)
    return describe_report(report, actor_of(request))


def _activate(request: HttpRequest, record: ApprovalPolicy | None, policy: Policy) -> HttpResponse:
    """Put ``policy`` in force, if exactly this was simulated."""
    by, in_force = actor_of(request), _find_simulated_with(request, policy)
    if record is None:
        record = operations.create_policy(policy, by=by, in_force=in_force)
    else:
        version = _parse_version(request)
        operations.change_policy(policy, by=by, expected_version=version, in_force=in_force)
    messages.success(request, f"{policy.name} is active.")
    for warning in find_warnings(policy):
        messages.warning(request, warning)
    return redirect("pages:policy", record.pk)


def _find_simulated_with(request: HttpRequest, policy: Policy) -> str:
    """The name of what was in force when ``policy`` was simulated. Raises PolicyNotSimulated."""
    try:
        name = SIMULATED.unsign(request.POST.get("simulated", ""))
    except BadSignature:
        raise PolicyNotSimulated from None
    in_force = name.rpartition(" ")[2]
    if name != _name_draft(policy, in_force):
        raise PolicyNotSimulated
    return in_force


def _name_draft(policy: Policy, in_force: str) -> str:
    return f"{digest(canonical(policy.as_document()))} {in_force}"


def _retire(request: HttpRequest, record: ApprovalPolicy) -> HttpResponse:
    try:
        operations.retire_policy(record.name, by=actor_of(request))
    except InvalidTransition as error:
        messages.error(request, str(error))
    else:
        messages.success(request, f"{record.name} is retired.")
    return redirect("pages:policy", record.pk)


def _parse_version(request: HttpRequest) -> int | None:
    text = request.POST.get("version", "")
    # isdigit() alone accepts digits of every script; nine fit into an integer column.
    if not text.isascii() or not text.isdigit() or len(text) > 9:
        raise StaleVersion(what="policy")
    return int(text)


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


def _render_page(
    request: HttpRequest, template: str, *, status: int = 200, **context: Any
) -> HttpResponse:
    return render_page(request, f"admin/approvals_app/{template}", status=status, **context)


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
    path("policies/describe/", readers_only(policy_description), name="policy_description"),
    path("policies/<uuid:policy_id>/", readers_only(policy), name="policy"),
    path(
        "policies/<uuid:policy_id>/retire/", readers_only(policy_retirement), name="retire_policy"
    ),
    path("dashboards/", readers_only(dashboards), name="dashboards"),
    path("timeline/<slug:kind>/<path:name>/", readers_only(timeline), name="timeline"),
    path("away/", readers_only(away), name="away"),
    path("notifications/", admin.site.admin_view(notifications), name="notifications"),
]
