"""Who may vote is one function, vote_obstacle(). Reads it, and what asks it, from sql/."""

from pathlib import Path

from django.db import migrations

SQL = Path(__file__).parents[1] / "sql"
FUNCTIONS = (
    "roles_of",
    "conflict_of_interest",
    "approval_obstacle",
    "vote_obstacle",
    "voting_seats",
    "may_vote",
    "approval_voters",
    "votes_in_favour",
    "votes_eligible",
    "approvals_quorum",
    "overrides_rightful",
)
"""Each after those that it calls."""

FILES = [*(SQL / "functions" / f"{name}.sql" for name in FUNCTIONS)]
FILES.append(SQL / "triggers" / "votes_eligible.sql")
NO_MORE = """
DROP FUNCTION approvals_excluded(tasks, uuid[], integer[]);
DROP FUNCTION approvals_member(integer, text);
"""


class Migration(migrations.Migration):
    dependencies = [
        ("approvals_app", "0011_planned_once"),
        ("sessions_app", "0009_identities"),
    ]

    operations = [
        *(migrations.RunSQL(file.read_text(), migrations.RunSQL.noop) for file in FILES),
        migrations.RunSQL(NO_MORE, migrations.RunSQL.noop),
    ]
