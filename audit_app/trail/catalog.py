"""What judges each change — functions, triggers, constraints, unique indexes, generated columns —
compared with what this version of the code creates.

``CATALOG`` is written by `make docs` from a freshly migrated database and is part of the code.
Definitions are told by PostgreSQL's own ``pg_get_…def``; it holds for the major versions in
``VERSIONS``, where they read the same. On others only names are compared.
"""

import json
import re
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Final

from django.apps import apps
from django.db import connection

from audit_app import schema_objects

CATALOG: Final = Path(__file__).parents[1] / "sql" / "catalog.json"
VERSIONS: Final = (15, 16, 17, 18)

Catalog = dict[str, dict[str, str]]
"""By kind of object, by name: its definition, or the SHA-256 of a long one."""

# Each query selects a name, the function or table that it belongs to, and its definition.
OBJECTS: Final = {
    "function": """
        SELECT oid::regprocedure::text, proname::text, pg_get_functiondef(oid) FROM pg_proc
        WHERE pronamespace = 'public'::regnamespace AND prokind = 'f'""",
    "trigger": """
        SELECT t.tgname || ' on ' || c.relname, c.relname::text, pg_get_triggerdef(t.oid)
            || CASE t.tgenabled WHEN 'O' THEN '' WHEN 'A' THEN '' ELSE ' -- disabled' END
        FROM pg_trigger AS t JOIN pg_class AS c ON c.oid = t.tgrelid
        WHERE c.relnamespace = 'public'::regnamespace AND NOT t.tgisinternal""",
    # PostgreSQL 18 lists NOT NULL as constraints, too; the columns tell it everywhere.
    "constraint": """
        SELECT o.conname || ' on ' || c.relname, c.relname::text, pg_get_constraintdef(o.oid)
            || CASE WHEN t.off THEN ' -- disabled' ELSE '' END
        FROM pg_constraint AS o JOIN pg_class AS c ON c.oid = o.conrelid
        CROSS JOIN LATERAL (SELECT coalesce(bool_or(tgenabled = 'D'), false) AS off
            FROM pg_trigger WHERE tgconstraint = o.oid) AS t
        WHERE c.relnamespace = 'public'::regnamespace AND o.contype IN ('c', 'f', 'p', 'u', 'x')""",
    "unique index": """
        SELECT i.indexrelid::regclass::text, c.relname::text, pg_get_indexdef(i.indexrelid)
            || CASE WHEN i.indisvalid THEN '' ELSE ' -- not valid' END
        FROM pg_index AS i JOIN pg_class AS c ON c.oid = i.indrelid
        WHERE c.relnamespace = 'public'::regnamespace AND i.indisunique
          AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = i.indexrelid)""",
    "column": """
        SELECT c.relname || '.' || a.attname, c.relname::text, concat_ws(' ',
            format_type(a.atttypid, a.atttypmod), CASE WHEN a.attnotnull THEN 'NOT NULL' END,
            CASE WHEN a.attgenerated <> '' THEN 'GENERATED AS '
                || pg_get_expr(d.adbin, d.adrelid) END)
        FROM pg_attribute AS a JOIN pg_class AS c ON c.oid = a.attrelid
        LEFT JOIN pg_attrdef AS d ON d.adrelid = a.attrelid AND d.adnum = a.attnum
        WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p')
          AND a.attnum > 0 AND NOT a.attisdropped""",
}
UNEXPECTED: Final = {
    "rule": """
        SELECT rulename || ' on ' || tablename FROM pg_rules
        WHERE schemaname = 'public' AND tablename = ANY(%s)""",
    "event trigger": "SELECT evtname FROM pg_event_trigger WHERE cardinality(%s::text[]) >= 0",
    "privilege": """
        SELECT privilege_type || ' on ' || relname || ' for '
            || CASE grantee WHEN 0 THEN 'everybody' ELSE grantee::regrole::text END
        FROM pg_class, aclexplode(relacl)
        WHERE relnamespace = 'public'::regnamespace AND relname = ANY(%s)
          AND relkind IN ('r', 'p') AND grantee <> relowner
          AND (privilege_type IN ('TRUNCATE', 'TRIGGER', 'REFERENCES')
               OR relname = 'audit_events' AND privilege_type IN ('UPDATE', 'DELETE', 'INSERT'))""",
    "setting": """
        SELECT setting || ' for ' || coalesce(nullif(setrole, 0)::regrole::text, 'everybody')
        FROM pg_db_role_setting, unnest(setconfig) AS setting
        WHERE cardinality(%s::text[]) >= 0 AND starts_with(setting, 'session_replication_role=')
          AND setdatabase IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
    """,
}
"""What must not be there: it would pass over triggers and rights."""
LONG: Final = 200
CASTS: Final = re.compile(r"::(?:character varying|[a-z_]+)(?:\[\])?")
DISABLED: Final = " -- disabled"


def read_catalog() -> Catalog:
    """What judges each change of our tables, in the database that is connected to."""
    names = [name.split() for name in schema_objects.object_names()]
    tables = _list_tables()
    owners = dict.fromkeys(OBJECTS, tables) | {
        "function": {name[1] for name in names if name[0] == "FUNCTION"},
        # Some guard a table of Django's.
        "trigger": tables | {name[3] for name in names if name[0] == "TRIGGER"},
    }
    catalog: Catalog = {}
    with connection.cursor() as cursor:
        for kind, query in OBJECTS.items():
            cursor.execute(query)
            catalog[kind] = {
                name: _normalize(text)
                for name, owner, text in sorted(cursor.fetchall())
                if owner in owners[kind]
            }
    return catalog


def _list_tables() -> set[str]:
    """The tables of the apps that have functions and triggers here."""
    return {
        model._meta.db_table
        for model in apps.get_models(include_auto_created=True)
        if (Path(model._meta.app_config.path) / "sql").is_dir()
    }


def render_catalog() -> str:
    """The text of ``CATALOG``, from the database that is connected to."""
    return json.dumps(read_catalog(), indent=1, sort_keys=True) + "\n"


def find_differences() -> Iterator[tuple[str, str, str]]:
    """Each difference as (changed, removed or inserted; what is so; which object)."""
    expected: Catalog = json.loads(CATALOG.read_text())
    present = read_catalog()
    exact = connection.pg_version // 10_000 in VERSIONS  # type: ignore[attr-defined]
    for kind, objects in expected.items():
        for name, definition in objects.items():
            found = present[kind].get(name)
            if found is None:
                yield "removed", f"the {kind} is missing", name
            elif found.endswith(DISABLED) and found != definition:
                yield "changed", f"the {kind} is disabled", name
            elif exact and found != definition:
                yield "changed", f"the {kind} is not as this version of the code makes it", name
    for name in present["trigger"].keys() - expected["trigger"].keys():
        yield "inserted", "this version of the code makes no such trigger", name
    with connection.cursor() as cursor:
        for kind, query in UNEXPECTED.items():
            cursor.execute(query, [sorted(_list_tables())])
            for (name,) in cursor.fetchall():
                yield "inserted", f"the {kind} passes over what judges changes", name


def _normalize(definition: str) -> str:
    """The definition without parentheses, casts and line breaks, or its SHA-256 where it is long.

    A dump that was restored has other ones of them: PostgreSQL reads back ``IN`` of a varchar as an
    array of casts. A constraint that was not validated judges each change all the same.
    """
    text = " ".join(CASTS.sub("", definition).removesuffix(" NOT VALID").split())
    text = re.sub(r"[()]| (?=[,;])", "", text)
    if len(text) <= LONG:
        return text
    ending = DISABLED if text.endswith(DISABLED) else ""
    return f"sha256:{sha256(text.encode()).hexdigest()}{ending}"
