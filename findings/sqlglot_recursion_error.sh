#!/usr/bin/env bash
# sqlglot 30.30.0: valid SQL raises RecursionError, which is no SqlglotError.
#
# The parser's own errors derive from SqlglotError. It descends by recursion, though: some hundred brackets around a
# number, which PostgreSQL takes, raise RecursionError, and code that catches SqlglotError fails on what others wrote.
# A chain of ORs is parsed, as deep a tree; what then goes down it by recursion fails. "WHERE CURRENT OF", which is
# PostgreSQL's, raises ParseError.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check sqlglot==30.30.0
"$place/venv/bin/python" - <<'PROGRAM'
import sqlglot
from sqlglot.errors import ParseError, SqlglotError


def outcome(sql):
    try:
        sqlglot.parse(sql, read="postgres")
    except Exception as error:
        return error
    return None


brackets = outcome("SELECT " + "(" * 500 + "1" + ")" * 500)
chain = outcome("SELECT * FROM a WHERE " + "b = 1 OR " * 2_000 + "b = 2")
cursor = outcome("DELETE FROM a WHERE CURRENT OF c")
print("sqlglot", sqlglot.__version__)
print("500 brackets:", type(brackets).__name__)
print("2,000 ORs:", type(chain).__name__)
print("WHERE CURRENT OF:", type(cursor).__name__)
assert isinstance(brackets, RecursionError) and not isinstance(brackets, SqlglotError)
assert chain is None
assert isinstance(cursor, ParseError)
PROGRAM
