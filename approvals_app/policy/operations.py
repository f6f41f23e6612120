"""Creates, changes and retires policies: one at a time, or all of a file at once."""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import connection

from approvals_app.errors import (
    PolicyAdministratorsOnly,
    PolicyNameTaken,
    PolicyUnknown,
    SimulationOutdated,
)
from approvals_app.models import ApprovalPolicy
from approvals_app.policy import evaluation
from approvals_app.policy.language import Policy
from audit_app.base.actors import Actor, may_administer
from audit_app.base.canonical import canonical, digest
from audit_app.base.errors import StaleVersion
from audit_app.base.events import EventType
from audit_app.trail.operation import operation
from audit_app.trail.recording import create, perform

COLUMNS = ("name", "priority", "description")
LOCK = "SELECT pg_advisory_xact_lock(hashtext('approval_policies'))"


@dataclass(frozen=True, slots=True)
class Change:
    """One step of applying a file; ``what`` is create, change, retire or restore."""

    what: str
    name: str
    before: Policy | None
    after: Policy | None


@operation("policy.create")
def create_policy(policy: Policy, *, by: Actor, in_force: str | None = None) -> ApprovalPolicy:
    """Put a new policy in force, if ``in_force`` still names the policies in force, or is None.

    Raises PolicyAdministratorsOnly, SimulationOutdated, PolicyNameTaken.
    """
    _check_may_change(by)
    _lock_all(in_force)
    if ApprovalPolicy.objects.filter(name=policy.name).exists():
        raise PolicyNameTaken(name=policy.name)
    return _create(policy, by=by)


@operation("policy.change")
def change_policy(
    policy: Policy, *, by: Actor, expected_version: int | None = None, in_force: str | None = None
) -> ApprovalPolicy:
    """Change the stored policy of this name to ``policy``; record nothing if it is the same.

    A retired one is put in force again. ``in_force`` as in ``create_policy``.
    Raises PolicyAdministratorsOnly, SimulationOutdated, PolicyUnknown, StaleVersion.
    """
    _check_may_change(by)
    _lock_all(in_force)
    stored = _lock_policy(policy.name)
    if expected_version is not None and stored.version != expected_version:
        raise StaleVersion(stored, what="policy")
    _put_in_force(stored, policy, by=by)
    return stored


@operation("policy.retire")
def retire_policy(name: str, *, by: Actor) -> ApprovalPolicy:
    """Take a policy out of force. Its row, history and name are kept.

    Raises PolicyAdministratorsOnly, PolicyUnknown, InvalidTransition.
    """
    _check_may_change(by)
    _lock_all()
    policy = _lock_policy(name)
    perform(policy.retire, by=by, details=_describe_policy(policy))
    return policy


@operation("policy.apply")
def apply_policies(policies: Iterable[Policy], *, by: Actor) -> list[Change]:
    """Make ``policies`` the policies in force, all or none; return the changes.

    Raises PolicyAdministratorsOnly.
    """
    _check_may_change(by)
    _lock_all()
    wanted = {policy.name: policy for policy in policies}
    changes = plan_changes(wanted.values())
    for change in changes:
        if change.what == "create":
            _create(wanted[change.name], by=by)
            continue
        stored = _lock_policy(change.name)
        if change.after:
            _put_in_force(stored, change.after, by=by)
        else:
            perform(stored.retire, by=by, details=_describe_policy(stored))
    return changes


def plan_changes(policies: Iterable[Policy]) -> list[Change]:
    """The changes that ``apply_policies`` would make now, by name."""
    wanted = {policy.name: policy for policy in policies}
    stored = {row.name: row for row in ApprovalPolicy.objects.all()}
    changes = []
    for name in sorted(wanted.keys() | stored.keys()):
        after, row = wanted.get(name), stored.get(name)
        before = evaluation.compile_policy(row) if row else None
        active = row is not None and row.status == ApprovalPolicy.Status.ACTIVE
        if row is None:
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


def name_in_force(policies: Iterable[Policy]) -> str:
    """A digest that names ``policies``, stored ones, and their versions."""
    return digest(canonical(sorted([each.id, each.version] for each in policies)))


def _lock_all(in_force: str | None = None) -> None:
    # A new policy has no row to lock yet, and what is in force is more than one row: everybody who
    # changes a policy meets here.
    with connection.cursor() as cursor:
        cursor.execute(LOCK)
    if in_force is not None and in_force != name_in_force(evaluation.load_policies()):
        raise SimulationOutdated


def _lock_policy(name: str) -> ApprovalPolicy:
    policy = ApprovalPolicy.objects.select_for_update(no_key=True).filter(name=name).first()
    if policy is None:
        raise PolicyUnknown(name=name)
    return policy


def _create(policy: Policy, *, by: Actor) -> ApprovalPolicy:
    row = ApprovalPolicy(
        name=policy.name,
        priority=policy.priority,
        description=policy.description,
        rule=_build_rule(policy),
    )
    return create(row, EventType.POLICY_CREATED, by=by)


def _put_in_force(stored: ApprovalPolicy, policy: Policy, *, by: Actor) -> None:
    if stored.status == ApprovalPolicy.Status.RETIRED:
        perform(stored.restore, by=by, details=_describe_policy(stored))
    if evaluation.compile_policy(stored).as_document() == policy.as_document():
        return
    after = {
        "priority": policy.priority,
        "description": policy.description,
        "rule": _build_rule(policy),
    }
    perform(stored.change, by=by, details={"name": stored.name, **after}, **after)


def _describe_policy(policy: ApprovalPolicy) -> dict[str, object]:
    return {name: getattr(policy, name) for name in (*COLUMNS, "rule")}


def _build_rule(policy: Policy) -> dict[str, object]:
    """The column ``rule``: the members of the document that have no column of their own."""
    return {name: value for name, value in policy.as_document().items() if name not in COLUMNS}
