"""Indexes that are built while the application writes, for migrations with ``atomic = False``; and
how soon tables are vacuumed."""

from django.contrib.postgres.operations import AddIndexConcurrently
from django.db.migrations.operations.base import Operation
from django.db.migrations.operations.special import RunSQL
from django.db.models import Index


def build_index(model: str, index: Index) -> list[Operation]:
    """Build ``index`` without holding writers up. What an interrupted try left behind is no index
    that anything could use: it is removed first, so that the migration can be run again."""
    leftover = RunSQL(f"DROP INDEX CONCURRENTLY IF EXISTS {index.name}", RunSQL.noop)
    return [leftover, AddIndexConcurrently(model, index)]


def vacuumed_soon(*tables: str) -> list[Operation]:
    """Let autovacuum come at two rows of a hundred, changed or added, and not at twenty: of five
    million rows those are a million, during which counts read the table beside the index, and
    estimates are of what was."""
    names = ("vacuum", "vacuum_insert", "analyze")
    change = ", ".join(f"autovacuum_{name}_scale_factor = 0.02" for name in names)
    undo = ", ".join(f"autovacuum_{name}_scale_factor" for name in names)
    return [
        RunSQL(f"ALTER TABLE {table} SET ({change})", f"ALTER TABLE {table} RESET ({undo})")
        for table in tables
    ]
