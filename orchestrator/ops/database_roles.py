"""Two PostgreSQL roles: an owner that migrates, and an application that owns nothing.

An attacker who takes over the application can only write rows that the triggers check. They can't
disable a trigger, alter or empty a table, shadow one by a temporary table or change the trail: all
of that takes the owner or a privilege that ``grant`` does not give.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql
from psycopg.rows import scalar_row

TIMEOUTS = {
    "lock_timeout": "5s",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "60s",
}
"""Set at connect and stored with the role, since a pooler may drop what is set at connect."""

DEFAULT_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE")
RESTRICTED = {
    "audit_events": ("SELECT", "INSERT (entry)"),
    "audit_checkpoints": ("SELECT", "INSERT"),
    "audit_log_epochs": ("SELECT", "INSERT"),
    "audit_log_leaves": (
        "SELECT",
        "INSERT",
        "UPDATE (positions, epoch, last_xid, last_position)",
    ),
    "audit_log_tiles": ("SELECT", "INSERT", "UPDATE (hashes)"),
    "agents": ("SELECT", "INSERT", "UPDATE"),
    "agent_keys": ("SELECT", "INSERT", "UPDATE"),
    "django_migrations": ("SELECT",),
    "schema_objects": ("SELECT",),
    "django_content_type": ("SELECT",),
    "auth_permission": ("SELECT",),
}
"""Tables with fewer privileges; all others get DEFAULT_PRIVILEGES. Of an event the application
writes only the text: PostgreSQL sets its position and its transaction. Tiles of the log grow."""

RELATIONS = """
    SELECT c.relname, c.relkind::text, pg_get_userbyid(c.relowner)
    FROM pg_class c
    WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p', 'v', 'm', 'S')
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = c.oid AND d.deptype IN ('e', 'i', 'a')
                      AND d.classid = 'pg_class'::regclass)
"""
FUNCTIONS = """
    SELECT p.oid::regprocedure::text FROM pg_proc p
    WHERE p.pronamespace = 'public'::regnamespace AND pg_get_userbyid(p.proowner) <> %s
      AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
"""
ALTER_KEYWORDS = {"v": "VIEW", "m": "MATERIALIZED VIEW", "S": "SEQUENCE"}

# Each is queried as the application's role; the sentence describes one row of the result.
CHECKS = (
    (
        """SELECT attribute FROM pg_roles r, LATERAL (VALUES ('SUPERUSER', rolsuper),
            ('CREATEROLE', rolcreaterole), ('CREATEDB', rolcreatedb),
            ('REPLICATION', rolreplication), ('BYPASSRLS', rolbypassrls)) AS a (attribute, held)
        WHERE rolname = current_user AND held""",
        "It has the attribute {}.",
    ),
    (
        """SELECT r.rolname FROM pg_auth_members m JOIN pg_roles r ON r.oid = m.roleid
        JOIN pg_roles me ON me.oid = m.member WHERE me.rolname = current_user""",
        "It is a member of the role {}.",
    ),
    (
        """SELECT pg_describe_object(classid, objid, objsubid) FROM pg_shdepend
        WHERE deptype = 'o' AND refobjid = current_user::regrole
          AND dbid IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
        ORDER BY 1""",
        "It owns {}.",
    ),
    (
        """SELECT privilege FROM unnest(ARRAY['CREATE', 'TEMPORARY']) AS p (privilege)
        WHERE has_database_privilege(current_database(), privilege)""",
        "It has {} on the database.",
    ),
    (
        """SELECT nspname FROM pg_namespace
        WHERE nspname !~ '^pg_' AND has_schema_privilege(oid, 'CREATE') ORDER BY 1""",
        "It may create objects in the schema {}.",
    ),
    (
        """SELECT privilege || ' on ' || relname FROM pg_class,
            unnest(ARRAY['TRUNCATE', 'TRIGGER', 'REFERENCES']) AS p (privilege)
        WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
          AND has_table_privilege(oid, privilege) ORDER BY 1""",
        "It has {}.",
    ),
)


@dataclass(frozen=True, slots=True)
class Login:
    """A role and its password, as a database URL names them."""

    name: str
    password: str | None

    @classmethod
    def of(cls, url: str) -> "Login":
        """The login in a database URL."""
        parts = urlsplit(url)
        return cls(unquote(parts.username or ""), unquote(parts.password or "") or None)


def create_roles(admin: "psycopg.Connection[Any]", *, owner: Login, application: Login) -> None:
    """Create both roles, or correct them, and give the owner all existing objects.

    ``admin`` is connected to the database as a superuser, or as a role that may create roles and
    owns the objects. Passwords are set to those given. Safe to repeat. Raises psycopg.Error.
    """
    with admin.transaction():
        for login in (owner, application):
            _create_role(admin, login)
        role = sql.Identifier(owner.name)
        if not _is_superuser(admin):
            _run(admin, "GRANT {} TO CURRENT_USER", role)  # ALTER … OWNER TO needs membership
        _run(admin, "GRANT USAGE, CREATE ON SCHEMA public TO {}", role)
        _transfer_ownership(admin, owner.name)
        database = sql.Identifier(admin.info.dbname)
        me = sql.Identifier(application.name)
        _run(admin, "REVOKE TEMPORARY, CREATE ON DATABASE {} FROM PUBLIC, {}", database, me)
        _run(admin, "GRANT CONNECT ON DATABASE {} TO {}, {}", database, role, me)
        for name, value in TIMEOUTS.items():
            setting = sql.Identifier(name)
            _run(
                admin,
                "ALTER ROLE {} IN DATABASE {} SET {} = {}",
                me,
                database,
                setting,
                sql.Literal(value),
            )
        grant(admin, application.name)


def grant(owner: "psycopg.Connection[Any]", application: str) -> None:
    """Grant the application what it needs on every present table, and nothing else.

    Run by the owner after each migration. Raises psycopg.Error.
    """
    me = sql.Identifier(application)
    with owner.transaction():
        _run(owner, "REVOKE CREATE ON SCHEMA public FROM PUBLIC, {}", me)
        _run(owner, "GRANT USAGE ON SCHEMA public TO {}", me)
        _run(owner, "REVOKE ALL ON ALL TABLES IN SCHEMA public FROM PUBLIC, {}", me)
        _run(owner, "GRANT USAGE ON ALL SEQUENCES IN SCHEMA public TO {}", me)
        for name, kind, _ in owner.execute(RELATIONS).fetchall():
            privileges = RESTRICTED.get(name, DEFAULT_PRIVILEGES) if kind in "rp" else ("SELECT",)
            if kind != "S":
                given = sql.SQL(", ".join(privileges))
                _run(owner, "GRANT {} ON {} TO {}", given, sql.Identifier(name), me)


def find_excess_privileges(application: "psycopg.Connection[Any]") -> Iterator[str]:
    """Yield a sentence for each privilege that the role of this connection should not have."""
    with application.cursor(row_factory=scalar_row) as cursor:
        for question, sentence in CHECKS:
            for value in cursor.execute(question).fetchall():
                yield sentence.format(value)
        for table, privileges in RESTRICTED.items():
            query = "SELECT has_table_privilege(to_regclass(%s), %s)"
            # INSERT (entry) is a privilege on one column and does not count as one on the table.
            for privilege in sorted(set(DEFAULT_PRIVILEGES) - set(privileges)):
                if cursor.execute(query, [table, privilege]).fetchone():
                    yield f"It has {privilege} on {table}."


def _create_role(admin: "psycopg.Connection[Any]", login: Login) -> None:
    role = sql.Identifier(login.name)
    exists = admin.execute("SELECT FROM pg_roles WHERE rolname = %s", [login.name]).fetchone()
    if exists is None:
        _run(admin, "CREATE ROLE {} LOGIN", role)
    attributes = "LOGIN NOCREATEDB NOCREATEROLE"
    if _is_superuser(admin):
        attributes += " NOSUPERUSER NOREPLICATION NOBYPASSRLS"
    _run(admin, "ALTER ROLE {} " + attributes, role)
    if login.password:
        _run(admin, "ALTER ROLE {} PASSWORD {}", role, sql.Literal(login.password))


def _transfer_ownership(admin: "psycopg.Connection[Any]", owner: str) -> None:
    role = sql.Identifier(owner)
    for name, kind, current_owner in admin.execute(RELATIONS).fetchall():
        if current_owner != owner:
            what = sql.SQL(ALTER_KEYWORDS.get(kind, "TABLE"))
            _run(admin, "ALTER {} {} OWNER TO {}", what, sql.Identifier(name), role)
    for (signature,) in admin.execute(FUNCTIONS, [owner]).fetchall():
        # PostgreSQL has quoted the regprocedure already.
        _run(admin, "ALTER FUNCTION {} OWNER TO {}", sql.SQL(signature), role)


def _is_superuser(connection: "psycopg.Connection[Any]") -> bool:
    return connection.info.parameter_status("is_superuser") == "on"


def _run(connection: "psycopg.Connection[Any]", statement: str, *parts: sql.Composable) -> None:
    connection.execute(sql.SQL(statement).format(*parts))
