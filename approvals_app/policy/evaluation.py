"""Evaluates the policies in force on tasks."""

import functools
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

from approvals_app.errors import NotJudgedYet
from approvals_app.models import ApprovalPolicy
from approvals_app.payload import questions
from approvals_app.policy import language
from approvals_app.policy.evaluator import keep_answers
from approvals_app.policy.facts import MATCHED, PayloadFacts
from audit_app.base.canonical import canonical
from audit_app.base.connections import release_connection
from audit_app.base.errors import OrchestratorError
from audit_app.base.prepared import Prepared
from sessions_app.gate import Outcome, PolicyDecision
from sessions_app.models import Task

_compiled: dict[UUID, language.Policy] = {}
"""Compiled policies by id; an entry is used as long as its version is the current one."""

_latest: list[language.Policy] = []
"""The policies that were in force when a task was evaluated last."""


EVALUATION_LIMIT = 5.0
"""Seconds after which no further task of a batch is evaluated: conditions on hostile payloads take
long, and a transaction is open meanwhile."""


def evaluate_tasks(tasks: Sequence[Task]) -> list[PolicyDecision | OrchestratorError]:
    """The decision on each of ``tasks``, or the error that refuses it, in order.

    The errors are QuestionInvalid, and NotJudgedYet once EVALUATION_LIMIT has passed; the first
    task is always evaluated. All tasks are evaluated by the same policies.
    """
    # Cached: the policies are read once for the batch.
    read, names, until = functools.cache(load_policies), dict[UUID, str](), time.monotonic()
    until += EVALUATION_LIMIT
    decisions: list[PolicyDecision | OrchestratorError] = []
    for task in tasks:
        try:
            if questions.is_question(task.task_type):
                questions.check_question(task)
            if decisions and time.monotonic() > until:
                raise NotJudgedYet
            if task.task_type == Task.NOTIFICATION:
                decisions.append(
                    PolicyDecision(Outcome.APPROVE, "A notification asks for nothing.")
                )
                continue
            facts = _TaskFacts(task, names)
            decisions.append(language.evaluate(read(), facts, settings.APPROVAL_DEFAULT))
        except OrchestratorError as refusal:
            decisions.append(refusal)
    return decisions


def evaluate_ahead(tasks: Iterable[Mapping[str, Any]]) -> None:
    """Evaluate the conditions that may take long on new tasks, before their transaction begins.

    Each of ``tasks`` holds the fields of the payload and the agent's name, as far as the caller
    knows them. Reads no row: where a policy changed meanwhile, or a field differs, the transaction
    evaluates.
    """
    policies = _latest
    if not any(policy.may_take_long() for policy in policies):
        return
    release_connection()
    until = time.monotonic() + EVALUATION_LIMIT
    with keep_answers():
        for task in tasks:
            if time.monotonic() > until:
                return
            payload = canonical({name: task[name] for name in Task.PAYLOAD_FIELDS})
            known = {name: task[name] for name in (*MATCHED, "agent")}
            facts = PayloadFacts(payload, known, payer=task["agent"])
            language.evaluate(policies, facts, settings.APPROVAL_DEFAULT)


def evaluate_revision_ahead(tasks: "QuerySet[Task]", changes: Mapping[str, Any]) -> None:
    """Evaluate ahead the one task in ``tasks`` as ``changes`` would revise it.

    A member that is None stays as it is, as in ``operations.edit`` and ``operations.revise_task``.
    """
    if not any(policy.may_take_long() for policy in _latest):
        return
    task = tasks.select_related("agent").first()
    if task is None:
        return  # the operation says so
    fields = {name: getattr(task, name) for name in Task.PAYLOAD_FIELDS}
    given = {name: changes[name] for name in fields.keys() & changes if changes[name] is not None}
    evaluate_ahead([{**fields, **given, "agent": task.agent.name}])


def load_policies() -> list[language.Policy]:
    """The active policies, in order of evaluation."""
    # Ids and versions are read every time, so that a change applies at once in every process.
    active = _active()
    stale = [
        pk for pk, version in active if pk not in _compiled or _compiled[pk].version != version
    ]
    if stale:
        for policy in ApprovalPolicy.objects.filter(pk__in=stale):
            _compiled[policy.pk] = compile_policy(policy)
    global _latest  # what this process knows to be in force
    policies = [_compiled[pk] for pk, _ in active if pk in _compiled]
    _latest = sorted(policies, key=lambda policy: (policy.priority, policy.name))
    return _latest


_active: Prepared[tuple[UUID, int]] = Prepared(
    lambda: ApprovalPolicy.objects.active().order_by().values_list("pk", "version")
)


def compile_policy(policy: ApprovalPolicy) -> language.Policy:
    """``policy`` as the language has it. Raises RuleInvalid, which no saved policy does."""
    return language.Policy.parse(policy.document, version=policy.version, id=str(policy.pk))


class _TaskFacts(PayloadFacts):
    """The variables of conditions on a task, whose payload is sealed.

    The agent's name is read when a condition asks for it.
    """

    def __init__(self, task: Task, names: dict[UUID, str]) -> None:
        known = {name: getattr(task, name) for name in MATCHED}
        super().__init__(task.payload, known, payer=str(task.agent_id))
        self._task, self._names = task, names

    def __missing__(self, name: str) -> Any:
        if name != "agent":
            return super().__missing__(name)
        agent = self._task.agent_id
        if agent not in self._names:
            self._names[agent] = self._task.agent.name
        self["agent"] = self._names[agent]
        return self._names[agent]
