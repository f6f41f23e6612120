"""The approval gate: decides on tasks within the transactions of sessions_app."""

from collections.abc import Sequence

from approvals_app.decisions import eligibility, operations, voters
from approvals_app.models import Approval
from approvals_app.policy import evaluation
from approvals_app.querysets import ApprovalQuerySet
from audit_app.base.actors import Actor
from audit_app.base.errors import OrchestratorError
from audit_app.trail.operation import clock
from sessions_app.gate import PolicyDecision
from sessions_app.models import Task


class PolicyGate:
    """Implements ``sessions_app.gate.ApprovalGate`` by the policies in force."""

    request_approvals = staticmethod(operations.create_approvals)
    count_eligible = staticmethod(voters.count_eligible)

    def evaluate(self, tasks: Sequence[Task]) -> list[PolicyDecision | OrchestratorError]:
        return voters.refuse_unknown_roles(tasks, evaluation.evaluate_tasks(tasks))

    def check_revisable(self, task: Task) -> None:
        eligibility.check_deadlines(task, clock())

    def withdraw_approvals(self, task: Task, *, by: Actor, why: str) -> None:
        operations.withdraw_pending(task, None, by=by, why=why)

    def approvals_asking(self, actor: Actor) -> ApprovalQuerySet:
        return Approval.objects.asking(actor)

    def approvals_asking_by_way(self, actor: Actor) -> Sequence[ApprovalQuerySet]:
        return Approval.objects.asking_in_ways(actor)
