"""Two roles: the application, whoever took it over, can do nothing to the tables themselves."""

import json
import os
from urllib.parse import urlsplit

import psycopg
import pytest
from psycopg import errors, sql

from tests.database import as_superuser, database_url

TABLES = ("agents", "sessions", "tasks", "approvals", "audit_events", "request_receipts")


@pytest.fixture
def application():
    with psycopg.connect(database_url(), autocommit=True) as connection:
        yield connection


@pytest.mark.parametrize(
    "statement",
    [
        *(f"TRUNCATE {table}" for table in TABLES),
        *(f"ALTER TABLE {table} DISABLE TRIGGER ALL" for table in TABLES),
        *(f"DROP TABLE {table}" for table in TABLES),
        "ALTER TABLE approvals DROP CONSTRAINT approvals_pkey",
        "DROP TRIGGER tasks_check_transition ON tasks",
        "CREATE TRIGGER mine BEFORE INSERT ON tasks EXECUTE FUNCTION audit_refuse()",
        "CREATE OR REPLACE FUNCTION audit_check_transition() RETURNS trigger LANGUAGE plpgsql "
        "AS 'BEGIN END'",
        "CREATE FUNCTION mine() RETURNS int LANGUAGE sql AS 'SELECT 1'",
        "CREATE TABLE mine (id int)",
        "CREATE TEMPORARY TABLE approvals (id int)",
        "CREATE SCHEMA mine",
        "UPDATE audit_events SET entry = entry",
        "DELETE FROM audit_events",
        "DELETE FROM agents",
        "DELETE FROM agent_keys",
        "UPDATE django_migrations SET applied = now()",
        "UPDATE schema_objects SET checksum = ''",
        "SET session_replication_role = replica",
        "CREATE ROLE mine",
        "ALTER ROLE CURRENT_USER SUPERUSER",
        "COPY tasks TO PROGRAM 'cat'",
        "SELECT pg_read_file('/etc/passwd')",
    ],
)
def test_the_application_is_not_allowed(application, statement):
    with pytest.raises(errors.InsufficientPrivilege):
        application.execute(statement)


def test_it_can_not_become_the_owner(application):
    owner = application.info.dbname + "_owner"
    with pytest.raises(errors.InsufficientPrivilege):
        application.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(owner)))


def test_its_limits_hold_without_asking_for_them(application):
    shown = [
        application.execute(f"SHOW {name}").fetchone()[0]
        for name in ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
    ]
    assert shown == ["5s", "1min", "1min"]


def test_the_check_is_content(manage):
    answer = json.loads(read_output(manage("database_roles", "--check", "--format", "json")))
    assert (answer["least_privilege"], answer["shortcomings"]) == (True, [])


@pytest.mark.parametrize(
    ("given", "taken", "sentence"),
    [
        ("ALTER ROLE {me} CREATEROLE", "ALTER ROLE {me} NOCREATEROLE", "attribute CREATEROLE."),
        ("GRANT {owner} TO {me}", "REVOKE {owner} FROM {me}", "member of the role {owner}."),
        ("GRANT TRUNCATE ON tasks TO {me}", "REVOKE TRUNCATE ON tasks FROM {me}", "TRUNCATE on"),
        (
            "GRANT DELETE ON audit_events TO PUBLIC",
            "REVOKE DELETE ON audit_events FROM PUBLIC",
            "It has DELETE on audit_events.",
        ),
        ("CREATE TABLE m(); ALTER TABLE m OWNER TO {me}", "DROP TABLE m", "It owns table m."),
        (
            "GRANT CREATE ON SCHEMA public TO PUBLIC",
            "REVOKE CREATE ON SCHEMA public FROM PUBLIC",
            "create objects in the schema public.",
        ),
        (
            "GRANT TEMPORARY ON DATABASE {here} TO {me}",
            "REVOKE TEMPORARY ON DATABASE {here} FROM {me}",
            "It has TEMPORARY on the database.",
        ),
    ],
    ids=["attribute", "member", "truncate", "trail", "owns", "schema", "temporary"],
)
def test_the_check_says_what_is_too_much(manage, given, taken, sentence):
    here = urlsplit(database_url()).path[1:]
    names = {"me": f'"{here}_app"', "owner": f'"{here}_owner"', "here": f'"{here}"'}
    with as_superuser() as admin:
        admin.execute(given.format(**names))
    try:
        process = manage("database_roles", "--check")
        out, err = process.communicate()
        assert (process.returncode, out) == (1, "")
        assert sentence.format(owner=f"{here}_owner") in err
        process = manage("database_roles", "--check", "--format", "json")
        assert json.loads(process.communicate()[0])["least_privilege"] is False
    finally:
        with as_superuser() as admin:
            admin.execute(taken.format(**names))


@pytest.fixture
def fresh():
    """The URLs of an empty database, by administrator, owner and application."""
    name = f"{urlsplit(database_url()).path[1:]}_fresh"
    admin_url = database_url(superuser=True, name=name)
    place = urlsplit(admin_url)
    roles = {who: f"{name}_{who}" for who in ("owner", "app")}
    urls = {
        who: place._replace(netloc=f"{role}:p%40ss@{place.hostname}:{place.port}").geturl()
        for who, role in roles.items()
    }
    everywhere = database_url(superuser=True, name="postgres")
    with psycopg.connect(everywhere, autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
        yield {
            "DATABASE_ADMIN_URL": admin_url,
            "DATABASE_OWNER_URL": urls["owner"],
            "DATABASE_URL": urls["app"],
        }
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
        for role in roles.values():
            admin.execute(f'DROP ROLE IF EXISTS "{role}"')


def read_output(process):
    out, err = process.communicate()
    assert process.returncode == 0, err
    return out


def test_from_an_empty_database_by_three_commands(manage, fresh):
    read_output(manage("database_roles", **fresh))
    read_output(manage("migrate", "-v0", **fresh))
    assert "can do no more" in read_output(manage("database_roles", "--check", **fresh))
    without_owner = fresh | {"DATABASE_OWNER_URL": "", "DATABASE_ADMIN_URL": ""}
    assert "key: ork_" in read_output(
        manage("create_agent", "bot", "--role", "finance", **without_owner)
    )


def test_what_was_installed_with_one_role_is_handed_over(manage, fresh):
    alone = {"DATABASE_URL": fresh["DATABASE_ADMIN_URL"], "DATABASE_OWNER_URL": ""}
    read_output(manage("migrate", "-v0", **alone))
    read_output(manage("create_agent", "bot", "--role", "finance", **alone))
    for _ in range(2):
        assert "can do no more" in read_output(manage("database_roles", **fresh))
    read_output(manage("rotate_agent_key", "bot", **fresh))
    with psycopg.connect(fresh["DATABASE_OWNER_URL"]) as owner:
        owner.execute("ALTER TABLE tasks ADD COLUMN later int")  # as a migration might
        owner.rollback()


def test_one_role_is_not_two(manage, fresh):
    fresh["DATABASE_OWNER_URL"] = fresh["DATABASE_URL"]
    process = manage("database_roles", **fresh)
    assert "must name different roles" in process.communicate()[1]
    assert process.returncode == 1


def test_what_is_missing_is_named(manage):
    process = manage("database_roles", DATABASE_ADMIN_URL="", DATABASE_OWNER_URL="")
    _, err = process.communicate()
    assert (process.returncode, err.count("\n")) == (1, 1)
    assert "DATABASE_OWNER_URL must be set" in err


def test_the_password_is_in_no_message(manage, fresh):
    wrong = fresh | {"DATABASE_ADMIN_URL": fresh["DATABASE_URL"]}
    process = manage("database_roles", **wrong)
    _, err = process.communicate()
    assert process.returncode == 1
    assert "p%40ss" not in err
    assert "p@ss" not in err
    assert os.linesep not in err.strip()
