"""The database's functions, views and triggers are those of the files, and become so by migrate."""

import threading
from pathlib import Path

import pytest
from django.apps import apps
from django.core.management import call_command
from django.db import DatabaseError, connection, connections

from audit_app import schema_objects
from audit_app.schema_objects import SqlFile

ANSWER = """
CREATE OR REPLACE FUNCTION the_answer() RETURNS int LANGUAGE sql AS 'SELECT 42';
COMMENT ON FUNCTION the_answer() IS 'It.';
"""
OURS = """
SELECT 'FUNCTION ' || proname FROM pg_proc
WHERE pronamespace = 'public'::regnamespace AND proname !~ '^procrastinate_'
UNION ALL SELECT 'VIEW ' || viewname FROM pg_views WHERE schemaname = 'public'
UNION ALL SELECT format('TRIGGER %s ON %s', tgname, relname)
FROM pg_trigger JOIN pg_class ON pg_class.oid = tgrelid
WHERE relnamespace = 'public'::regnamespace AND NOT tgisinternal AND relname !~ '^procrastinate_'
"""

pytestmark = pytest.mark.usefixtures("superuser", "as_it_was")


@pytest.fixture
def as_it_was(superuser):
    """Afterwards everything is as the files say."""
    yield
    schema_objects.apply()


def rows(statement, *params):
    with connection.cursor() as cursor:
        cursor.execute(statement, params or None)
        return [row if len(row) > 1 else row[0] for row in cursor.fetchall()]


def run(statement):
    with connection.cursor() as cursor:
        cursor.execute(statement)


def applied_at(name):
    return rows("SELECT applied_at FROM schema_objects WHERE name = %s", name)


def with_file(text):
    return [*schema_objects.read_files(), SqlFile(text)]


def test_the_database_has_what_the_files_define_and_nothing_else():
    assert sorted(rows(OURS)) == sorted(schema_objects.object_names())


def test_nothing_is_defined_twice():
    defined = [name for file in schema_objects.read_files() for name in file.objects]
    assert len(defined) == len(set(defined))


def test_a_file_is_named_after_what_it_defines():
    for app in apps.get_app_configs():
        for path in Path(app.path).glob("sql/*/*.sql"):
            kind, name = path.parent.name, path.stem
            if kind == "triggers":
                table = name.removesuffix("_transitions")
                triggers = [o for o in SqlFile(path.read_text()).objects if o.startswith("TRIGGER")]
                assert triggers, path
                assert all(f" {table}_" in o or o.endswith(f" ON {table}") for o in triggers), path
            else:
                assert SqlFile(path.read_text()).objects == [f"{kind[:-1].upper()} {name}"], path


def test_functions_and_views_carry_a_comment():
    assert not rows(
        """SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        AND proname !~ '^procrastinate_' AND obj_description(oid, 'pg_proc') IS NULL
        UNION ALL SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace
        AND relkind = 'v' AND obj_description(oid, 'pg_class') IS NULL"""
    )


def test_nothing_is_done_where_nothing_changed():
    before = rows("SELECT name, xmin::text, applied_at FROM schema_objects ORDER BY name")
    assert not schema_objects.is_outdated()
    assert schema_objects.apply() == 0
    assert rows("SELECT name, xmin::text, applied_at FROM schema_objects ORDER BY name") == before


def test_a_new_file_is_run_and_a_file_that_is_gone_drops_its_object():
    assert schema_objects.apply(with_file(ANSWER)) == 1
    assert rows("SELECT the_answer()") == [42]
    assert schema_objects.is_outdated()

    assert schema_objects.apply() == 1
    assert not rows("SELECT FROM pg_proc WHERE proname = 'the_answer'")
    assert not applied_at("FUNCTION the_answer")


def test_a_changed_file_is_run_again_and_no_other():
    schema_objects.apply(with_file(ANSWER))
    other = applied_at("VIEW active_sessions")
    assert schema_objects.apply(with_file(ANSWER.replace("42", "43"))) == 1
    assert rows("SELECT the_answer()") == [43]
    assert applied_at("VIEW active_sessions") == other


def test_a_function_of_other_arguments_replaces_the_one_before():
    schema_objects.apply(with_file(ANSWER))
    schema_objects.apply(with_file(ANSWER.replace("the_answer()", "the_answer(question text)")))
    assert rows("SELECT oid::regprocedure::text FROM pg_proc WHERE proname = 'the_answer'") == [
        "the_answer(text)"
    ]


def test_a_function_may_call_one_of_a_later_file():
    schema_objects.apply(
        [
            *schema_objects.read_files(),
            SqlFile(ANSWER.replace("'SELECT 42'", "'SELECT the_question()'")),
            SqlFile(ANSWER.replace("the_answer", "the_question")),
        ]
    )
    assert rows("SELECT the_answer()") == [42]


def test_triggers_go_before_the_function_that_they_call():
    trigger = """
    CREATE OR REPLACE FUNCTION let_pass() RETURNS trigger LANGUAGE plpgsql AS
        'BEGIN RETURN NEW; END';
    CREATE TRIGGER tasks_let_pass BEFORE INSERT ON tasks
        FOR EACH ROW EXECUTE FUNCTION let_pass();
    """.replace("\n    ", "\n")
    assert SqlFile(trigger).objects == [
        "FUNCTION let_pass",
        "TRIGGER tasks_let_pass ON tasks",
    ]
    schema_objects.apply(with_file(trigger))
    assert schema_objects.apply() == 2
    assert not rows("SELECT FROM pg_trigger WHERE tgname = 'tasks_let_pass'")


def test_what_somebody_dropped_is_there_again():
    run("DROP VIEW active_sessions")
    run("DROP TRIGGER tasks_check_transition ON tasks")
    assert schema_objects.is_outdated()
    assert schema_objects.apply() == 2
    assert sorted(rows(OURS)) == sorted(schema_objects.object_names())


@pytest.mark.parametrize(
    "text",
    [
        "CREATE OR REPLACE VIEW wrong AS SELECT FROM missing;",
        "CREATE OR REPLACE FUNCTION wrong() RETURNS int LANGUAGE sql AS 'SELECT missing()';",
        """CREATE OR REPLACE FUNCTION wrong() RETURNS int LANGUAGE plpgsql AS
        'BEGIN missing THEN; END';""",
    ],
    ids=["view", "sql", "plpgsql"],
)
def test_a_file_that_can_not_be_run_changes_nothing(text):
    run("UPDATE schema_objects SET checksum = ''")
    with pytest.raises(DatabaseError, match="missing"):
        schema_objects.apply(with_file(text))
    assert sorted(rows(OURS)) == sorted(schema_objects.object_names())
    assert rows("SELECT DISTINCT checksum FROM schema_objects") == [""]


def test_two_hosts_at_once_apply_each_file_once():
    run("UPDATE schema_objects SET checksum = '' WHERE name LIKE 'FUNCTION votes%'")
    run("DROP TRIGGER tasks_check_transition ON tasks")
    together, numbers = threading.Barrier(2), []

    def migrate():
        together.wait()
        numbers.append(schema_objects.apply())
        connections.close_all()

    hosts = [threading.Thread(target=migrate) for _ in range(2)]
    for host in hosts:
        host.start()
    for host in hosts:
        host.join()

    assert sorted(numbers)[0] == 0
    assert not schema_objects.is_outdated()


def test_migrate_applies_and_its_check_notices(capsys):
    call_command("migrate", check_unapplied=True)
    run("DROP VIEW active_sessions")
    with pytest.raises(SystemExit) as ended:
        call_command("migrate", check_unapplied=True)
    assert ended.value.code == 1
    assert "not those of */sql" in capsys.readouterr().err

    call_command("migrate", plan=True, verbosity=0)
    call_command("migrate", "audit_app", verbosity=0)
    assert schema_objects.is_outdated()

    call_command("migrate", verbosity=1)
    assert "1 applied or dropped" in capsys.readouterr().out
    assert not schema_objects.is_outdated()
