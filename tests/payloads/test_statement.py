"""SQL: what each statement does, dangers first; the lock by the table that was measured."""

from typing import Any

import pytest

from approvals_app.payload.facts import find
from approvals_app.payload.kinds import _ddl, statement
from approvals_app.payload.kinds._sql_text import cut_statements, normalize
from tests.payloads.reading import facts_of, load, say, summarize_data

pytestmark = pytest.mark.pure


def say_sql(sql: Any, **members: Any) -> list[str]:
    return [say(fact) for fact in summarize_data({"sql": sql, **members}).facts]


def dangers_of(sql: Any, **members: Any) -> list[str]:
    return [each for each in say_sql(sql, **members) if each.startswith("danger ")]


def test_every_member_with_sql_is_read_the_dangerous_one_first() -> None:
    facts = facts_of("sql_and_query")
    assert facts[0] == "danger drops: TABLE orders"
    assert "plain reads: SELECT count(*) FROM orders" in facts
    assert "plain database: prod" in facts
    assert facts_of("sql_query_no_db")[0] == "danger drops: TABLE orders"
    assert facts_of("sql_query_no_db")[-1] == "plain connection: prod"


@pytest.mark.parametrize(
    ("name", "first"),
    [
        ("sql_rds_data_api", "danger deletes every row: carts (its WHERE is always true)"),
        ("sql_redshift_batch", "danger empties: staging"),
        ("sql_athena_query", "danger drops: TABLE logs.raw_events"),
        ("sql_mysql_comment", "danger drops: TABLE orders"),
        ("sql_do_block", "danger deletes every row: orders (no WHERE)"),
        ("sql_bigquery_job", "danger changes every row: shop.items (its WHERE is always true)"),
        (
            "sql_migration_up_down",
            "notice blocks (PostgreSQL): orders: AccessExclusive lock (blocks reads and writes),"
            " rewrites the table",
        ),
    ],
)
def test_further_shapes(name: str, first: str) -> None:
    assert facts_of(name)[0] == first


def test_a_migration_that_is_not_run_is_no_danger() -> None:
    assert summarize_data(load("sql_migration_up_down")).traits["destroys"] == 0


def test_graphql_is_no_sql() -> None:
    assert statement.read(load("sql_graphql"), ()) is None


@pytest.mark.parametrize(
    ("sql", "danger"),
    [
        ("DELETE FROM a", "deletes every row: a (no WHERE)"),
        (
            "DELETE FROM a WHERE (1 = 1) OR id = 3",
            "deletes every row: a (its WHERE is always true)",
        ),
        ("UPDATE a SET b = (SELECT 1 FROM c WHERE c.id = 2)", "changes every row: a (no WHERE)"),
        (
            "WITH gone AS (DELETE FROM a RETURNING *) SELECT * FROM gone",
            "deletes every row: a (no WHERE)",
        ),
        ("EXPLAIN ANALYZE DELETE FROM a", "deletes every row: a (no WHERE)"),
        ("TRUNCATE a, b CASCADE", "empties: a, b"),
        ("DROP TABLE IF EXISTS a, s.b", "drops: TABLE a, TABLE s.b"),
        ("ALTER TABLE a DROP COLUMN b, ADD COLUMN c int", "drops: COLUMN a.b"),
        ("DROP OWNED BY bob", "drops: OWNED BY bob"),
        ("GRANT ALL ON a TO public", "opens to everyone: GRANT ALL ON a TO public"),
        ("ALTER ROLE bob SUPERUSER", "gives all rights: ALTER ROLE bob SUPERUSER"),
        ("COPY a TO PROGRAM 'nc x 1'", "runs a program: COPY a TO PROGRAM 'nc x 1'"),
        ("DELETE FROM [dbo].[a]", "deletes every row: dbo.a (no WHERE)"),
        ("DELETE FROM `a`", "deletes every row: a (no WHERE)"),
    ],
)
def test_dangers(sql: str, danger: str) -> None:
    assert f"danger {danger}" in dangers_of(sql)
    assert f"danger {danger}" in dangers_of(f"SELECT 1; /* a; b */ -- c;\n{sql}; SELECT 'x;y'")


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT * FROM a WHERE b = 'DROP TABLE c'",
        "EXPLAIN DELETE FROM a",
        "UPDATE a SET b = 1 WHERE id = %s",
        "ALTER TABLE a ALTER b DROP NOT NULL",
        "-- DROP TABLE a;\nSELECT 1",
        "INSERT INTO a VALUES ('DELETE FROM b')",
    ],
)
def test_no_dangers(sql: str) -> None:
    assert not dangers_of(sql)
    assert summarize_data({"sql": sql}).traits["destroys"] == 0


def test_what_ends_a_text_is_read_both_ways_if_the_database_is_unknown() -> None:
    """``'\\'`` is a whole text in PostgreSQL, and the start of one in MySQL."""
    standard, mysql = "SELECT '\\'; DROP TABLE a; --'", "SELECT 'a\\''; DROP TABLE a; -- '"
    assert dangers_of(standard)
    assert dangers_of(mysql)
    assert dangers_of(mysql, engine="mysql")
    assert not dangers_of(standard, engine="mysql")
    assert not dangers_of(mysql, engine="postgres")


def test_what_cannot_be_parsed_is_said_and_read_by_its_words() -> None:
    facts = say_sql("DELETE FROM a WHERE CURRENT OF c")
    assert facts == [
        "notice deletes rows: a",
        "notice not parsed: DELETE FROM a WHERE CURRENT OF c",
    ]
    assert say_sql("(" * 9_000)[0].startswith("notice not parsed: (((")


def test_the_last_of_many_statements_is_found() -> None:
    sql = "INSERT INTO a VALUES (1);\n" * 5_000 + "UPDATE b SET c = 1 WHERE id = 2;\n" * 5_000
    assert dangers_of(sql + "DROP TABLE a")[0] == "danger drops: TABLE a"
    assert "danger not read in full" in " ".join(dangers_of(sql))


def test_many_drops_are_counted_beyond_what_is_parsed() -> None:
    summary = summarize_data({"sql": "".join(f"DROP TABLE a{n};" for n in range(5_000))})
    assert summary.traits["destroys"] == 5_000


def test_a_long_chain_of_ors_is_followed() -> None:
    chain = "DELETE FROM a WHERE " + "b = 2 OR " * 700 + "1 = 1"
    assert dangers_of(chain) == ["danger deletes every row: a (its WHERE is always true)"]


def test_a_verb_on_a_later_line_counts_without_a_semicolon() -> None:
    assert dangers_of("SELECT 1\nDELETE FROM a") == ["danger deletes every row: a (no WHERE)"]


def test_sql_as_a_command() -> None:
    facts = [say(each) for each in summarize_data({"command": "DROP TABLE a"}).facts]
    assert facts[0] == "danger drops: TABLE a"
    assert statement.read({"command": "truncate -s 0 a"}, ()) is None


def test_no_danger_is_dropped_where_there_are_too_many() -> None:
    sql = (
        "DROP TABLE a; TRUNCATE b; DELETE FROM c; UPDATE d SET e = 1; GRANT ALL ON f TO public;"
        "CREATE ROLE g SUPERUSER; ALTER TABLE h DISABLE ROW LEVEL SECURITY; COPY i TO PROGRAM 'x'"
    )
    said = " ".join(dangers_of(sql))
    for name in ("TABLE a", "b", "c (no", "d (no", "GRANT", "ROLE g", "row security", "COPY i"):
        assert name in said


def test_a_long_comment_hides_nothing() -> None:
    sql = f"/* {'all is well ' * 40} */ GRANT ALL ON a TO public"
    assert dangers_of(sql) == ["danger opens to everyone: GRANT ALL ON a TO public"]


def test_each_added_danger_changes_the_summary() -> None:
    for name in ("sql_and_query", "sql_redshift_batch", "sql_do_block"):
        data = load(name)
        before = summarize_data(data)
        for member in ("statements", "sql", "query", "migration"):
            old = data.get(member)
            added = (
                f"{old}; DROP TABLE invoices" if isinstance(old, str) else ["DROP TABLE invoices"]
            )
            after = summarize_data({**data, member: added})
            assert after.traits["destroys"] == before.traits["destroys"] + 1
            assert "invoices" in after.facts[0].value


def test_locks_differ_by_version_and_depend_on_the_schema() -> None:
    virtual = say_sql("ALTER TABLE a ADD COLUMN b int GENERATED ALWAYS AS (c * 2) VIRTUAL")
    assert any("PostgreSQL 15: no such statement; PostgreSQL 18: Acc" in each for each in virtual)
    wider = " ".join(say_sql("ALTER TABLE a ALTER b TYPE bigint"))
    assert "a rewrite depends on what is there now; measured: int->bigint: yes" in wider
    null = " ".join(say_sql("ALTER TABLE a ALTER b SET NOT NULL"))
    assert "AccessExclusive lock (blocks reads and writes), may read all rows" in null
    unknown = say_sql("ALTER TABLE a ADD COLUMN b jsonb DEFAULT '{}'::jsonb")
    assert any("lock not measured (PostgreSQL)" in each for each in unknown)
    assert not any("lock" in each for each in say_sql("ALTER TABLE a ADD b int", engine="mysql"))


def test_each_line_of_the_table_is_found_by_its_own_statement() -> None:
    for line in _ddl.read_measurements():
        assert _ddl.find_keys(normalize(line.sql)) == [line.key], line.sql
        assert _ddl.find_effect(line.key) is not None


def test_each_action_of_alter_table_counts() -> None:
    keys = _ddl.find_keys(normalize("ALTER TABLE a ADD b numeric(4, 2), ALTER c SET NOT NULL"))
    assert keys == ["add column", "set not null"]


def test_statements_are_cut_outside_texts_names_and_comments() -> None:
    sql = (
        """SELECT 'a;b'; DELETE FROM "c;d"; DO $x$ BEGIN; END $x$; -- e; f\n/* g; h */ ; SELECT 1"""
    )
    assert [each.split()[0] for each in cut_statements(sql, False, 9)[0]] == [
        "SELECT",
        "DELETE",
        "DO",
        "SELECT",
    ]


@pytest.mark.parametrize("name", ["sql_and_query", "sql_redshift_batch", "sql_migration_up_down"])
def test_the_path_of_each_fact_is_there(name: str) -> None:
    data = {"outer": {"inner": load(name)}}
    for fact in summarize_data(data).facts:
        assert fact.path[:2] == ("outer", "inner")
        find(data, fact.path)
