"""What the policies in force say of a task."""

import functools
import time
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings

from approvals_app.errors import NotJudgedYet
from approvals_app.models import ApprovalPolicy
from approvals_app.payload import questions
from approvals_app.policy import language
from audit_app.base.errors import OrchestratorError
from audit_app.base.prepared import Prepared
from sessions_app.gate import Kind, Verdict
from sessions_app.models import Task

_compiled: dict[UUID, language.Policy] = {}
"""Each policy as this process last read it; used while its version is still the present one."""


EVALUATION_LIMIT = 5.0
"""Seconds after which no further task of several is judged: conditions on hostile payloads take
long, and a transaction waits meanwhile."""


def evaluate_task(
    task: Task,
    read: Callable[[], Sequence[language.Policy]] | None = None,
    names: dict[UUID, str] | None = None,
) -> Verdict:
    """What the policies in force say of ``task`` as it is asked for now: exactly one verdict.

    ``read`` gives the policies and ``names`` remembers those of agents, where several are judged.
    """
    if task.task_type == Task.NOTIFICATION:
        return Verdict(Kind.APPROVE, "A notification asks for nothing.")
    facts = _TaskFacts(task, {} if names is None else names)
    return language.evaluate((read or load_policies)(), facts, settings.APPROVAL_DEFAULT)


def evaluate_tasks(tasks: Sequence[Task]) -> list[Verdict | OrchestratorError]:
    """The verdict on each of ``tasks``, all by the same policies in force, or what refuses it:
    QuestionInvalid, or NotJudgedYet once JUDGING_LIMIT has passed."""
    read, names, until = functools.cache(load_policies), dict[UUID, str](), time.monotonic()
    until += EVALUATION_LIMIT
    said: list[Verdict | OrchestratorError] = []
    for task in tasks:
        try:
            questions.check_question(task)
            if said and time.monotonic() > until:
                raise NotJudgedYet
            said.append(evaluate_task(task, read, names))
        except OrchestratorError as refusal:
            said.append(refusal)
    return said


def load_policies() -> list[language.Policy]:
    """The active policies, first one first. Which they are is asked of the database every time, so
    that a change needs no restart; a policy is read and compiled once a version."""
    active = _active()
    stale = [
        pk for pk, version in active if pk not in _compiled or _compiled[pk].version != version
    ]
    if stale:
        for policy in ApprovalPolicy.objects.filter(pk__in=stale):
            _compiled[policy.pk] = compile_policy(policy)
    found = [_compiled[pk] for pk, _ in active if pk in _compiled]
    return sorted(found, key=lambda rule: (rule.priority, rule.name))


_active: Prepared[tuple[UUID, int]] = Prepared(
    lambda: ApprovalPolicy.objects.active().order_by().values_list("pk", "version")
)


def compile_policy(policy: ApprovalPolicy) -> language.Policy:
    """The policy, compiled. Raises RuleInvalid, which no saved policy does."""
    return language.Policy.parse(policy.document, version=policy.version, id=str(policy.pk))


class _TaskFacts(dict[str, Any]):
    """What a condition may ask of a task; the agent's name is only read where one does."""

    def __init__(self, task: Task, names: dict[UUID, str]) -> None:
        super().__init__({name: getattr(task, name) for name in Task.PAYLOAD_FIELDS})
        self._task, self._names = task, names

    def __missing__(self, name: str) -> str:
        if name != "agent":
            raise KeyError(name)
        agent = self._task.agent_id
        if agent not in self._names:
            self._names[agent] = self._task.agent.name
        self["agent"] = self._names[agent]
        return self._names[agent]
