"""Who may vote, how many must, and how else a task can be approved, as the database sees it."""

from pathlib import Path

from django.db import migrations

from audit_app.guard import freeze, guard, judge

APPROVALS = [
    "approval.requested:>pending",
    "approval.reminded:>",
    "approval.approved:pending>approved",
    "approval.approved_by_deadline:pending>approved",
    "approval.rejected:pending>rejected",
    "approval.expired:pending>expired",
    "approval.withdrawn:pending>withdrawn",
    "approval.purged:approved>",
    "approval.purged:rejected>",
    "approval.purged:expired>",
    "approval.purged:withdrawn>",
]
VOTES = [
    "vote.cast:>cast",
    "vote.withdrawn:cast>withdrawn",
    "vote.purged:cast>",
    "vote.purged:withdrawn>",
]
DELEGATIONS = [
    "delegation.granted:>active",
    "delegation.ended:active>ended",
    "delegation.purged:active>",
    "delegation.purged:ended>",
]
OVERRIDES = [
    "override.opened:>open",
    "override.upheld:open>upheld",
    "override.condemned:open>condemned",
    "override.purged:upheld>",
    "override.purged:condemned>",
]
POLICIES = [
    "policy.created:>active",
    "policy.changed:>",
    "policy.retired:active>retired",
    "policy.restored:retired>active",
]
FROZEN = {
    "approvals": [
        "id",
        "task_id",
        "approver_role",
        "needed",
        "deny_threshold",
        "revision",
        "payload_digest",
        "expires_at",
        "at_deadline",
        "reminders",
        "valid_for",
        "override_id",
        "requested_by_id",
        "trace_id",
        "created_at",
    ],
    "votes": [
        "id",
        "approval_id",
        "voter_id",
        "seat_of_id",
        "choice",
        "payload_digest",
        "notes",
        "answer",
        "role",
        "trace_id",
        "created_at",
    ],
    "delegations": [
        "id",
        "delegator_id",
        "delegate_id",
        "approval_id",
        "starts_at",
        "ends_at",
        "reason",
        "created_at",
    ],
    "overrides": [
        "id",
        "task_id",
        "revision",
        "payload_digest",
        "opened_by_id",
        "reason",
        "review_due_at",
        "role",
        "trace_id",
        "created_at",
    ],
    "approval_policies": ["id", "name", "created_at"],
}
RULES = (Path(__file__).parent / "0005_quorum.sql").read_text()


def guarded(table: str, subject_type: str, changes: list[str]) -> list[migrations.RunSQL]:
    pairs = sorted({pair for _, pair in (change.split(":") for change in changes)} - {">"})
    return [
        guard(table, subject_type, pairs),
        judge(table, subject_type, changes),
        freeze(table, FROZEN[table]),
    ]


class Migration(migrations.Migration):
    dependencies = [("approvals_app", "0004_votes"), ("sessions_app", "0005_revised")]

    operations = [
        judge("approvals", "approval", APPROVALS),
        migrations.RunSQL("DROP TRIGGER approvals_freeze ON approvals"),
        freeze("approvals", FROZEN["approvals"]),
        # guard() hangs a function that judge() replaces, and that is gone since 0003.
        migrations.RunSQL(
            "CREATE FUNCTION audit_guard() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN RETURN NULL; END $$"
        ),
        *guarded("votes", "vote", VOTES),
        *guarded("delegations", "delegation", DELEGATIONS),
        *guarded("overrides", "override", OVERRIDES),
        *guarded("approval_policies", "policy", POLICIES),
        migrations.RunSQL(RULES),
    ]
