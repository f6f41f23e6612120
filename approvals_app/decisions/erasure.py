"""Erases the payload of a finished task wherever we keep it; its digest and its events stay."""

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final
from uuid import UUID

from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.db.models import F, Q

from approvals_app.errors import AlreadyErased, NoRightToErase, ReviewStillPending
from approvals_app.models import Approval, Comment, Override, Vote
from audit_app.base.actors import Actor
from audit_app.base.errors import InvalidTransition
from audit_app.models import Delivery, RequestReceipt
from audit_app.trail.bulk import ended_states
from audit_app.trail.operation import operation
from audit_app.trail.recording import perform
from sessions_app.models import Task, TaskRevision

RIGHT: Final = "sessions_app.erase_payload"
EMPTY: Final[Mapping[str, Any]] = {
    "description": "",
    "data": {},
    "context": {},
    "payload": None,
    "summary": [],
    "result": None,
    "error": None,
}
"""What the members of a kept answer become that tell of a payload."""


@operation("payload.erase")
def erase_payload(task_id: UUID, *, by: Actor, reason: str, keep_result: bool = False) -> Task:
    """Erase the payload of a task that has finished, with its earlier revisions.

    It goes from the task's row, stored answers, drafts and the receivers' answers to webhooks;
    what was reported of its execution goes too, unless ``keep_result``. What people and agents
    wrote into events (reasons, notes, comments, answers) stays. Raises NotFound, NoRightToErase,
    InvalidTransition, ReviewStillPending, AlreadyErased.
    """
    task = Task.objects.lock_visible(by, task_id)
    check_may_erase(task, by)
    erasure = {"by": by.name, "reason": reason, "payload_digest": task.payload_digest}
    details = {"erasure": erasure, "kept_result": keep_result, **by.assurance.as_details()}
    perform(task.erase, by=by, details=details, erasure=erasure, keep_result=keep_result)
    TaskRevision.objects.filter(task=task).update(
        payload=task.payload, erased_digest=F("payload_digest")
    )
    approvals = list(Approval.objects.filter(task=task).values_list("pk", flat=True))
    _erase_from_answers(task, approvals)
    _erase_from_deliveries(task, approvals)
    _erase_from_drafts({str(pk) for pk in approvals})
    return task


def may_erase(by: Actor) -> bool:
    """Whether ``by`` was given the right to erase payloads, directly or by a group."""
    return by.is_human and RIGHT in by.rights


def check_may_erase(task: Task, by: Actor) -> None:
    """Check that ``by`` may erase the payload of ``task``, and that nobody needs it any more.

    Raises NoRightToErase, AlreadyErased, InvalidTransition, ReviewStillPending.
    """
    if not may_erase(by):
        raise NoRightToErase(task)
    if task.erasure is not None:
        raise AlreadyErased(task)
    if task.status not in ended_states(Task):
        allowed = task.transitions_allowed()
        raise InvalidTransition(
            task, what="task", state=task.status, transition="erase", allowed=allowed
        )
    if Override.objects.filter(task=task, status=Override.Status.OPEN).exists():
        raise ReviewStillPending(task)


def _erase_from_answers(task: Task, approvals: list[UUID]) -> None:
    """Empty the payload in stored answers; each still replays, and runs nothing again."""
    told = Q(subject_id__in=[task.pk, *approvals]) | Q(body__contains=str(task.pk))
    for answer in RequestReceipt.objects.filter(told).select_for_update():
        try:
            body = json.loads(answer.body)
        except ValueError:
            continue
        answer.body = json.dumps(_empty(body, str(task.pk)), separators=(",", ":"))
        answer.save(update_fields=["body"])


def _empty(value: Any, task_id: str) -> Any:
    if isinstance(value, list):
        return [_empty(each, task_id) for each in value]
    if not isinstance(value, dict):
        return value
    emptied = {name: _empty(inner, task_id) for name, inner in value.items()}
    if value.get("task_id") == task_id:
        emptied |= {name: empty for name, empty in EMPTY.items() if name in value}
    return emptied


def _erase_from_deliveries(task: Task, approvals: list[UUID]) -> None:
    """Forget how webhooks' receivers answered: they may have repeated what they fetched."""
    of_approvals = [
        model.objects.filter(approval__in=approvals).values_list("pk", flat=True)
        for model in (Vote, Comment)
    ]
    subjects = [task.pk, *approvals, *(pk for pks in of_approvals for pk in pks)]
    Delivery.objects.filter(subject_id__in=subjects).exclude(response="").update(response="")


def _erase_from_drafts(approvals: set[str]) -> None:
    """Forget what people had written on pages of ``approvals`` and not sent yet."""
    if not approvals:
        return
    for session in Session.objects.iterator():
        values = session.get_decoded()
        kept = dict(_keep_other_drafts(values, approvals))
        if kept != values:
            session.session_data = SessionStore().encode(kept)
            session.save(update_fields=["session_data"])


def _keep_other_drafts(values: Mapping[str, Any], approvals: set[str]) -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if name == "drafts":
            drafts = {page: d for page, d in value.items() if not _is_of(page, approvals)}
            yield name, drafts
        elif name != "draft_signed_out" or not _is_of(value["path"], approvals):
            yield name, value


def _is_of(page: str, approvals: set[str]) -> bool:
    return not approvals.isdisjoint(page.split("/"))
