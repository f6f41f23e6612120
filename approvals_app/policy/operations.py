"""Policies are made, changed and retired: one at a time in the admin, or all of a file at once."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection

from approvals_app.errors import PolicyAdministratorsOnly, PolicyNameTaken, PolicyUnknown
from approvals_app.models import ApprovalPolicy
from approvals_app.policy import evaluation
from approvals_app.policy.language import Policy
from audit_app.base.actors import Actor, may_administer
from audit_app.base.errors import StaleVersion
from audit_app.base.events import EventType
from audit_app.trail.operation import operation
from audit_app.trail.recording import create, perform

COLUMNS = ("name", "priority", "description")
LOCK = "SELECT pg_advisory_xact_lock(hashtext('approval_policies'))"


@dataclass(frozen=True, slots=True)
class Change:
    """What ``apply`` would do, or did, to one policy: create, change, retire or restore it."""

    what: str
    name: str
    before: Policy | None
    after: Policy | None


@operation("policy.create")
def create_policy(rule: Policy, *, by: Actor) -> ApprovalPolicy:
    """Put a new policy in force. Raises PolicyAdministratorsOnly, PolicyNameTaken."""
    _check_may_change(by)
    _lock_all()
    if ApprovalPolicy.objects.filter(name=rule.name).exists():
        raise PolicyNameTaken(name=rule.name)
    return _create(rule, by=by)


@operation("policy.change")
def change_policy(
    rule: Policy, *, by: Actor, expected_version: int | None = None
) -> ApprovalPolicy:
    """Make the policy of this name say what ``rule`` says. Nothing is recorded where it does.

    Raises PolicyAdministratorsOnly, PolicyUnknown, StaleVersion.
    """
    _check_may_change(by)
    policy = _lock_policy(rule.name)
    if expected_version is not None and policy.version != expected_version:
        raise StaleVersion(policy, what="policy")
    if evaluation.compile_policy(policy).as_document() != rule.as_document():
        _change(policy, rule, by=by)
    return policy


@operation("policy.retire")
def retire_policy(name: str, *, by: Actor) -> ApprovalPolicy:
    """Take a policy out of force; it stays, with its history, and its name stays taken.

    Raises PolicyAdministratorsOnly, PolicyUnknown, InvalidTransition.
    """
    _check_may_change(by)
    policy = _lock_policy(name)
    perform(policy.retire, by=by, details=_describe_policy(policy))
    return policy


@operation("policy.restore")
def restore_policy(name: str, *, by: Actor) -> ApprovalPolicy:
    """Put a retired policy in force again, as it was. Raises as ``retire_policy`` does."""
    _check_may_change(by)
    policy = _lock_policy(name)
    perform(policy.restore, by=by, details=_describe_policy(policy))
    return policy


@operation("policy.apply")
def apply_policies(rules: Iterable[Policy], *, by: Actor) -> list[Change]:
    """Make the policies in force exactly ``rules``, all at once or not at all; return what changed.

    Raises PolicyAdministratorsOnly.
    """
    _check_may_change(by)
    _lock_all()
    wanted = {rule.name: rule for rule in rules}
    changes = plan_changes(wanted.values())
    for change in changes:
        if change.what == "create":
            _create(wanted[change.name], by=by)
            continue
        policy = _lock_policy(change.name)
        if change.what == "restore":
            perform(policy.restore, by=by, details=_describe_policy(policy))
        if (
            change.after
            and evaluation.compile_policy(policy).as_document() != change.after.as_document()
        ):
            _change(policy, change.after, by=by)
        if change.what == "retire":
            perform(policy.retire, by=by, details=_describe_policy(policy))
    return changes


def plan_changes(rules: Iterable[Policy]) -> list[Change]:
    """What ``apply_policies`` would do now, in the order of names; empty: nothing."""
    wanted = {rule.name: rule for rule in rules}
    there = {policy.name: policy for policy in ApprovalPolicy.objects.all()}
    changes = []
    for name in sorted(wanted.keys() | there.keys()):
        after, policy = wanted.get(name), there.get(name)
        before = evaluation.compile_policy(policy) if policy else None
        active = policy is not None and policy.status == ApprovalPolicy.Status.ACTIVE
        if policy is None:
            changes.append(Change("create", name, None, after))
        elif after is None:
            changes += [Change("retire", name, before, None)] if active else []
        elif not active:
            changes.append(Change("restore", name, before, after))
        elif before and before.as_document() != after.as_document():
            changes.append(Change("change", name, before, after))
    return changes


def _check_may_change(by: Actor) -> None:
    if not may_administer(by, "approvals_app.change_approvalpolicy"):
        raise PolicyAdministratorsOnly


def _lock_all() -> None:
    """Policies as a whole have no row to lock."""
    with connection.cursor() as cursor:
        cursor.execute(LOCK)


def _lock_policy(name: str) -> ApprovalPolicy:
    policy = ApprovalPolicy.objects.select_for_update(no_key=True).filter(name=name).first()
    if policy is None:
        raise PolicyUnknown(name=name)
    return policy


def _create(rule: Policy, *, by: Actor) -> ApprovalPolicy:
    policy = ApprovalPolicy(
        name=rule.name, priority=rule.priority, description=rule.description, rule=_build_rule(rule)
    )
    return create(policy, EventType.POLICY_CREATED, by=by, details=_describe_policy(policy))


def _change(policy: ApprovalPolicy, rule: Policy, *, by: Actor) -> None:
    after = {"priority": rule.priority, "description": rule.description, "rule": _build_rule(rule)}
    perform(policy.change, by=by, details={"name": policy.name, **after}, **after)


def _describe_policy(policy: ApprovalPolicy) -> dict[str, object]:
    return {name: getattr(policy, name) for name in (*COLUMNS, "rule")}


def _build_rule(rule: Policy) -> dict[str, object]:
    """What is kept as one: everything but what is a column of its own."""
    return {name: value for name, value in rule.as_document().items() if name not in COLUMNS}
