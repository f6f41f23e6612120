"""Two roles in PostgreSQL: an owner that migrates, and an application that owns nothing.

Whoever takes over the application has what the application has: rows that the triggers judge. It
can't switch a trigger off, alter or empty a table, shadow one by a temporary table, or change what
the trail says, since all of that takes an owner or a privilege that ``grant`` does not give.
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
"""Asked for at connect, and kept with the role: a pooler may swallow what is asked at connect."""

DEFAULT_PRIVILEGES = ("SELECT", "INSERT", "UPDATE", "DELETE")
RESTRICTED = {
    "audit_events": ("SELECT", "INSERT (entry)"),
    "agents": ("SELECT", "INSERT", "UPDATE"),
    "agent_keys": ("SELECT", "INSERT", "UPDATE"),
    "django_migrations": ("SELECT",),
    "schema_objects": ("SELECT",),
    "django_content_type": ("SELECT",),
    "auth_permission": ("SELECT",),
}
"""Tables of which the application needs less; what comes later gets USUAL. Of an event it writes
the text alone: where it stands, and in which transaction, is PostgreSQL's to say."""

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

# Each question, asked as the application's role, with the sentence that a found row completes.
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
        parts = urlsplit(url)
        return cls(unquote(parts.username or ""), unquote(parts.password or "") or None)


def create_roles(admin: "psycopg.Connection[Any]", *, owner: Login, application: Login) -> None:
    """Make both roles what they should be, and hand the owner whatever is there already.

    ``admin`` is connected to the database in question as a superuser, or as a role that may create
    roles and owns what is there. Run again, it mends what somebody changed. The passwords become
    those given. Raises psycopg.Error.
    """
    with admin.transaction():
        for login in (owner, application):
            _create_role(admin, login)
        role = sql.Identifier(owner.name)
        if not _is_superuser(admin):
            _run(admin, "GRANT {} TO CURRENT_USER", role)  # to hand over what is owned
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
    """Give the application what it needs of every table there is, and nothing else.

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
    """What the role of this connection could do that it should not, each as a sentence."""
    with application.cursor(row_factory=scalar_row) as cursor:
        for question, sentence in CHECKS:
            for found in cursor.execute(question).fetchall():
                yield sentence.format(found)
        for table, privileges in RESTRICTED.items():
            held = "SELECT has_table_privilege(to_regclass(%s), %s)"
            # INSERT (entry), for one column, is no privilege on the table.
            for privilege in sorted(set(DEFAULT_PRIVILEGES) - set(privileges)):
                if cursor.execute(held, [table, privilege]).fetchone():
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
    for name, kind, present in admin.execute(RELATIONS).fetchall():
        if present != owner:
            what = sql.SQL(ALTER_KEYWORDS.get(kind, "TABLE"))
            _run(admin, "ALTER {} {} OWNER TO {}", what, sql.Identifier(name), role)
    for (signature,) in admin.execute(FUNCTIONS, [owner]).fetchall():
        # regprocedure is quoted by PostgreSQL itself.
        _run(admin, "ALTER FUNCTION {} OWNER TO {}", sql.SQL(signature), role)


def _is_superuser(connection: "psycopg.Connection[Any]") -> bool:
    return connection.info.parameter_status("is_superuser") == "on"


def _run(connection: "psycopg.Connection[Any]", statement: str, *parts: sql.Composable) -> None:
    connection.execute(sql.SQL(statement).format(*parts))
