"""SQL: every statement, what it does to which table, and the lock that PostgreSQL takes for it."""

import logging
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import sqlglot
from sqlglot import exp

from approvals_app.payload.facts import (
    Data,
    Fact,
    Level,
    Path,
    Reading,
    clip,
    count,
    fit,
    name_some,
    share_path,
)
from approvals_app.payload.kinds._ddl import find_effect, find_keys
from approvals_app.payload.kinds._sql_text import normalize, split_actions, split_statements

ALWAYS_SQL: Final = ("sql", "ddl", "sql_text", "sqlText", "Sql", "Sqls", "sqls")
OFTEN_SQL: Final = (
    *("query", "queries", "statement", "statements", "migration", "migrations"),
    *("QueryString", "queryString", "up", "down", "script"),
)
"""Also GraphQL, a search or a policy: SQL only where the text looks like it."""
WHERE: Final = (
    *("database", "db", "Database", "connection", "host", "engine", "dialect", "schema"),
    *("resourceArn", "clusterIdentifier", "ClusterIdentifier", "WorkGroup", "warehouse"),
)
DIALECTS: Final = {
    "mysql": "mysql",
    "mariadb": "mysql",
    "postgres": "postgres",
    "sqlite": "sqlite",
    "mssql": "tsql",
    "sqlserver": "tsql",
    "tsql": "tsql",
    "oracle": "oracle",
    "snowflake": "snowflake",
    "bigquery": "bigquery",
    "redshift": "redshift",
    "clickhouse": "clickhouse",
}
MEMBERS_OF: Final = {
    "QueryString": "athena",
    "Sqls": "redshift",
    "ClusterIdentifier": "redshift",
    "useLegacySql": "bigquery",
}
"""Members that only the API of one database has."""
MOST_SIGNS: Final = 12_000
"""How much SQL is parsed, the statements that change most first: sqlglot reads 400 kB a second."""
MOST_SKIMMED: Final = 2_000
"""How many statements are looked at, parsed or not; inserts are not counted out."""
MOST_SIGNS_OF_ONE: Final = 8_000
_LOOKS_LIKE_SQL: Final = re.compile(
    r"""(?:^|;|\*/|\n|\(|/\*!\d*)\s*(?:
    select\b[^;]{0,1000}?\bfrom\b | select\s+[\w.]+\s*\( | delete\s+from\b | update\s+\S+\s+set\b
    | insert\s+(?:or\s+\w+\s+)?into\b | merge\s+into\b | truncate\s+\w
    | with\s+(?:recursive\s+)?\S+\s+(?:\([^)]*\)\s*)?as\b
    | (?:drop|alter|create)\s+
      (?:or\s+replace\s+|unique\s+|temp(?:orary)?\s+|materialized\s+|unlogged\s+|global\s+)*
      (?:table|database|schema|view|index|function|procedure|trigger|role|user|type|sequence|policy
      |extension|owned|server|domain|rule|column|materialized|tablespace|aggregate|publication
      |subscription)\b
    | (?:grant|revoke)\s[^;]{1,500}\s(?:to|from)\b | vacuum\b | reindex\b
    | copy\s+\S+\s.{0,500}?\b(?:from|to)\b | do\s+(?:language\s+\w+\s+)?\$
    | explain\s+\S | call\s+[\w.]+\s*\( | lock\s+table\b | refresh\s+materialized\b
    | replace\s+into\b | exec(?:ute)?\s+\w
    )""",
    re.IGNORECASE | re.VERBOSE,
)
_DANGER_LATER: Final = re.compile(
    r"[;)/]\s*(?:drop|truncate|delete\s+from|alter|grant)\s+\w", re.IGNORECASE
)
_LATER_LINE: Final = re.compile(r"\n\s*(?:delete|drop|truncate|update)\s", re.IGNORECASE)
_SQL_AS_COMMAND: Final = re.compile(
    r"\s*(?:(?:drop|truncate|alter|create)\s+(?:table|database|schema|index|view|user|role)\b"
    r"|delete\s+from\s|insert\s+into\s|update\s+\S+\s+set\s)",
    re.IGNORECASE,
)
_TWO_READINGS: Final = re.compile(r"\\['\"]|--\S|#")
"""What ends a text or starts a comment in MySQL, or only elsewhere."""
_ORDER: Final = {
    "DROP": -1,
    "TRUNCATE": -1,
    "ALTER": 1,
    "DELETE": 2,
    "UPDATE": 3,
    "SELECT": 4,
    "INSERT": 5,
}
"""Statements that start with other words are parsed before these."""
_INSERT: Final = re.compile(
    r"""\s*insert\s+(?:ignore\s+)?into\s+((?:"[^"]*"|`[^`]*`|[\w$.])+)\s*"""
    r"""(?:\(|values\b|default\b)""",
    re.IGNORECASE,
)
_VERB: Final = re.compile(
    r"(?>(?:\s|\(|--[^\n]*+\n|/\*(?!!).*?\*/)*)([a-z]+)", re.IGNORECASE | re.DOTALL
)
_NAME: Final = r'((?:"[^"]*"|`[^`]*`|\[\w+\]|[\w$.])+)'
_DANGERS: Final = (
    (r"\b(?:copy|\\copy)\b.*\b(?:to|from) program\b|\bxp_cmdshell\b|^\\ !", "runs a program"),
    (r"\bgrant\b.* to (?:\S+ , )*public\b", "opens to everyone"),
    (
        r"^(?:alter|create) (?:role|user) .*(?<!no)\b(?:superuser|bypassrls|createrole)\b",
        "gives all rights",
    ),
    (r"^grant all\b.* with grant option", "gives all rights"),
    (
        r"\bdisable row level security\b|\bno force row level security\b",
        "switches row security off",
    ),
)
_BY_WORDS: Final = (
    (rf"\btruncate (?:table )?(?:only )?{_NAME}", "empties"),
    (
        r"\bdrop (?:if exists )?(?!constraint\b|not\b|default\b|expression\b|identity\b)\S+ \S.*",
        "drops",
    ),
    (rf"\bdelete from (?:only )?{_NAME}(?!.*\bwhere\b)", "deletes every row"),
    (rf"\bupdate (?:only )?{_NAME}(?: as)?(?: \w+)? set (?!.*\bwhere\b)", "changes every row"),
    (rf"\bdelete from (?:only )?{_NAME}", "deletes rows"),
    (rf"\bupdate (?:only )?{_NAME} set\b", "changes rows"),
)
"""For what sqlglot does not understand, and for code in blocks."""
DESTROYS: Final = ("drops", "empties", "deletes every row")
LEVELS: Final = {
    "drops": Level.DANGER,
    "empties": Level.DANGER,
    "deletes every row": Level.DANGER,
    "changes every row": Level.DANGER,
    "runs a program": Level.DANGER,
    "gives all rights": Level.DANGER,
    "opens to everyone": Level.DANGER,
    "switches row security off": Level.DANGER,
    "not read in full": Level.DANGER,
    "deletes rows": Level.NOTICE,
    "runs code of the database": Level.NOTICE,
    "changes rights": Level.NOTICE,
    "not parsed": Level.NOTICE,
    "blocks (PostgreSQL)": Level.NOTICE,
}
"""In the order in which they are told; all others are plain."""
_RISKY: Final = re.compile(
    r"\b(?:drop|truncate|delete|update|merge|alter|grant|revoke|copy)\b", re.IGNORECASE
)
_CONSTANTS: Final = (exp.Literal, exp.Boolean, exp.Null)
logging.getLogger("sqlglot").setLevel(logging.ERROR)  # what it cannot parse, a fact says


@dataclass(frozen=True, slots=True)
class _Effect:
    label: str
    what: str


@dataclass(slots=True)
class _Found:
    """What was found under one label: the names, and where the first stands."""

    paths: list[Path] = field(default_factory=list)
    names: dict[str, int] = field(default_factory=dict)

    def describe(self) -> str:
        names = list(self.names)
        if len(names) == 1:
            return clip(names[0], 160)
        if not any(" lock" in name for name in names):
            return name_some(names)
        # A rewrite matters more than the lock alone.
        names.sort(key=lambda name: ("rewrite" not in name, "reads" not in name))
        shown = "; ".join(clip(name, 160) for name in names[:2])
        return shown if len(names) == 2 else f"{shown} and {len(names) - 2:,} more"


def read(data: Data, path: Path) -> Reading | None:
    """SQL in members such as ``sql``, ``query`` and ``statements``: texts, or lists of them."""
    texts = list(_find_texts(data))
    if not texts:
        return None
    dialect = _find_dialect(data)
    statements = [
        ((*path, *steps), each) for steps, text in texts for each in _split(text, dialect)
    ]
    if not statements:
        return None
    found, verbs, destroys = _read_all(statements, dialect or "postgres")
    facts = [
        Fact(label, each.describe(), share_path(each.paths), LEVELS.get(label, Level.PLAIN))
        for label, each in found.items()
    ]
    facts.sort(key=lambda fact: _rank(fact.label))
    where = [name for name in WHERE if isinstance(data.get(name), str) and data[name]]
    last = [Fact(_spell(name), clip(data[name]), (*path, name)) for name in where[:2]]
    if len(statements) > 1:
        kinds = ", ".join(f"{number:,} {verb}" for verb, number in list(verbs.items())[:4])
        more = f" and {len(verbs) - 4} other kinds" if len(verbs) > 4 else ""
        last.insert(
            0,
            Fact(
                "statements",
                f"{len(statements):,}: {kinds}{more}",
                share_path([at for at, _ in statements]),
            ),
        )
    used = {str(steps[0]) for steps, _ in texts} | set(where[:2])
    return Reading("statement", fit([*facts, *last]), used, {"destroys": destroys})


def _split(text: str, dialect: str) -> Iterator[str]:
    """The statements of ``text``; read both ways where the dialect decides and is not given."""
    yield from split_statements(text, dialect == "mysql")
    if not dialect and _TWO_READINGS.search(text):
        seen = set(split_statements(text))
        yield from (each for each in split_statements(text, mysql=True) if each not in seen)


def _looks_like_sql(text: str) -> bool:
    return bool(_LOOKS_LIKE_SQL.search(text[:20_000]) or _DANGER_LATER.search(text, 20_000))


def _find_texts(data: Data) -> Iterator[tuple[Path, str]]:
    for name in (*ALWAYS_SQL, *OFTEN_SQL):
        if name == "down" and "up" in data:
            continue  # what would undo it later
        for steps, text in _texts_under(data.get(name), (name,)):
            if name in ALWAYS_SQL or _looks_like_sql(text):
                yield steps, text
    for name in ("command", "cmd"):
        if isinstance(data.get(name), str) and _SQL_AS_COMMAND.match(data[name]):
            yield (name,), data[name]


def _texts_under(value: Any, steps: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str) and value.strip():
        yield steps, value
    elif isinstance(value, list):
        for at, each in enumerate(value):
            if isinstance(each, str) and each.strip():
                yield (*steps, at), each
            elif isinstance(each, Mapping):
                for at_path, text in _find_texts_of_step(each):
                    yield (*steps, at, *at_path), text


def _find_texts_of_step(step: Data) -> Iterator[tuple[Path, str]]:
    for name in (*ALWAYS_SQL, *OFTEN_SQL):
        if name == "down" and "up" in step:
            continue
        text = step.get(name)
        if isinstance(text, str) and (name in ALWAYS_SQL or _looks_like_sql(text)):
            yield (name,), text


def _find_dialect(data: Data) -> str:
    for name in ("engine", "dialect", "driver", "database_type"):
        given = str(data.get(name) or "").lower().replace(" ", "")
        for start, dialect in DIALECTS.items():
            if start in given:
                return dialect
    return next((dialect for name, dialect in MEMBERS_OF.items() if name in data), "")


def _read_all(
    statements: list[tuple[Path, str]], dialect: str
) -> tuple[dict[str, _Found], dict[str, int], int]:
    found: dict[str, _Found] = {}
    verbs: dict[str, int] = {}
    destroys, left = 0, MOST_SIGNS
    for at, (verb, path, text) in enumerate(_order(statements)):
        verbs[verb] = verbs.get(verb, 0) + 1
        if verb == "INSERT" and (insert := _INSERT.match(text)):
            effects = [_Effect("adds rows to", insert[1])]
        elif at >= MOST_SKIMMED:
            effects = [_Effect("not read in full", verb)]
            destroys += verb in ("DROP", "TRUNCATE")
        elif len(text) > min(left, MOST_SIGNS_OF_ONE):
            effects = list(_skim(verb, text, dialect))
        else:
            left -= len(text) + 50  # what a short one costs
            effects = list(_read_one(text, dialect))
        destroys += sum(each.label in DESTROYS for each in effects)
        for each in effects:
            _add(found, each, path)
    if long := found.get("not read in full"):
        number = count(sum(long.names.values()), "statement")
        long.names = {f"{number}, with {name_some(list(long.names), 8)}": 1}
    return found, verbs, destroys


def _add(found: dict[str, _Found], effect: _Effect, path: Path) -> None:
    group = found.setdefault(effect.label, _Found())
    if effect.what not in group.names or effect.label == "not read in full":
        group.paths.append(path)
    group.names[effect.what] = group.names.get(effect.what, 0) + 1


def _order(statements: list[tuple[Path, str]]) -> list[tuple[str, Path, str]]:
    """With their first words, what changes most before what only adds or reads."""
    named = [(_find_verb(text), path, text) for path, text in statements]
    return sorted(named, key=lambda each: _ORDER.get(each[0], 0))


def _find_verb(text: str) -> str:
    found = _VERB.match(text)
    return found[1].upper() if found else "other"


def _rank(label: str) -> int:
    labels = list(LEVELS)
    return labels.index(label) if label in LEVELS else len(labels)


def _spell(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).lower().replace("_", " ")


def _skim(verb: str, text: str, dialect: str) -> Iterator[_Effect]:
    """What is too long to parse: its words, of which some may be harmless."""
    if _ORDER.get(verb, 0) <= 0 or (verb in ("DELETE", "UPDATE") and "where" not in text.lower()):
        yield from _read_words(normalize(text[:500], dialect == "mysql"))
    found = (verb,) if verb in ("ALTER", "DELETE", "UPDATE") else _RISKY.findall(text, 0, 100_000)
    words = dict.fromkeys(word.upper() for word in found)
    yield _Effect(
        "not read in full" if words else "not parsed", ", ".join(words) or clip(text[:200])
    )


def _read_one(text: str, dialect: str) -> Iterator[_Effect]:
    normal = normalize(text, dialect == "mysql")
    dangers = [label for pattern, label in _DANGERS if re.search(pattern, normal, re.IGNORECASE)]
    yield from (_Effect(label, clip(text)) for label in dangers)
    for effect in _read_rows(text, normal, dialect):
        if not dangers or effect.what != clip(text):  # the whole of it is told already
            yield effect
    if dialect == "postgres":
        yield from _read_locks(normal)


def _read_rows(text: str, normal: str, dialect: str) -> Iterator[_Effect]:
    """What a statement does to rows and objects, by its tree or, without one, by its words."""
    if re.match(r"(do|call|exec|execute|perform)\b", normal, re.IGNORECASE):
        yield _Effect("runs code of the database", clip(text))
        # Code stands in a text: its words count, whatever they are in.
        yield from _read_words(" ".join(text.split()).replace("$$", " "), code=True)
        return
    explained = re.match(r"explain (?:\( )?(analyze\b)?", normal, re.IGNORECASE)
    if explained:
        if explained[1] or re.match(r"explain \(.*\banalyze\b", normal, re.IGNORECASE):
            yield from _read_words(normal)
        else:
            yield _Effect("explains", clip(text))
        return
    if re.match(r"(grant|revoke|reassign)\b", normal, re.IGNORECASE):
        yield _Effect("changes rights", clip(text))
        return
    tree = _parse(text, dialect)
    effects: list[_Effect] = []
    try:
        effects = list(_read_tree(tree)) if tree is not None else []
    except RecursionError:  # a tree can be deeper than what writes a part of it down
        tree = None
    if tree is None or isinstance(tree, exp.Command):
        for action in split_actions(normal):
            effects += _read_words(action)
    elif not effects and _LATER_LINE.search(text):
        # SQL Server needs no semicolons; elsewhere the next line's verb is the name of a column.
        effects += _read_words(normal)
    yield from effects
    if tree is None:
        yield _Effect("not parsed", clip(text))
    elif not effects:
        yield _Effect(_name_other(normal), clip(text))


def _name_other(normal: str) -> str:
    verb = normal.split()[0].lower() if normal else ""
    known = {"select": "reads", "with": "reads", "create": "creates", "alter": "alters"}
    return known.get(verb, "other statements")


def _parse(text: str, dialect: str) -> exp.Expression | None:
    """The tree of a statement; None where sqlglot fails, for whatever reason."""
    plain = re.sub(r"/\*!\d*(.*?)\*/", r" \1 ", text, flags=re.DOTALL)
    for each in dict.fromkeys((dialect, "mysql", "tsql")):
        try:
            trees = [tree for tree in sqlglot.parse(plain, read=each) if tree is not None]
        except Exception:  # noqa: S112 - it raises RecursionError, IndexError and others, too
            continue
        if len(trees) == 1:
            return trees[0]  # type: ignore[return-value]
    return None


def _read_tree(tree: exp.Expression) -> Iterator[_Effect]:
    for each in tree.walk():
        if isinstance(each, exp.Delete | exp.Update):
            yield _read_change(each)
        elif isinstance(each, exp.Drop) and not isinstance(each.parent, exp.AlterColumn):
            yield from _read_drop(each, tree)
        elif isinstance(each, exp.TruncateTable):
            for table in each.expressions:
                yield _Effect("empties", _name_table(table))
        elif isinstance(each, exp.Merge):
            yield _read_merge(each)
        elif isinstance(each, exp.Insert):
            target = each.this.this if isinstance(each.this, exp.Schema) else each.this
            label = "replaces rows of" if each.args.get("overwrite") else "adds rows to"
            yield _Effect(label, _name_table(target))


def _read_change(change: exp.Delete | exp.Update) -> _Effect:
    deletes = isinstance(change, exp.Delete)
    targets = change.args.get("tables") or [change.this]
    name = ", ".join(_name_table(each) for each in targets if each is not None)
    where = change.args.get("where")
    if isinstance(change.parent, exp.When) and where is None:
        return _Effect("deletes rows" if deletes else "changes rows", "rows that MERGE finds")
    if where is None or _is_always_true(where.this):
        why = "no WHERE" if where is None else "its WHERE is always true"
        return _Effect(f"{'deletes' if deletes else 'changes'} every row", f"{name} ({why})")
    label = "deletes rows" if deletes else "changes rows"
    return _Effect(label, f"{name} {clip(where.sql(), 60)}")


def _read_drop(drop: exp.Drop, tree: exp.Expression) -> Iterator[_Effect]:
    kind = str(drop.args.get("kind") or "").upper()
    if kind in ("CONSTRAINT", "DEFAULT", "NOT NULL"):
        return
    owner = f"{_name_table(tree.this)}." if isinstance(tree, exp.Alter) else ""
    names = [*([drop.this] if drop.this else []), *(drop.args.get("tables") or [])]
    for name in names or [None]:
        text = owner + _name_table(name) if name is not None else ""
        yield _Effect("drops", f"{kind} {text}".strip())


def _read_merge(merge: exp.Merge) -> _Effect:
    actions = {type(when.args.get("then")) for when in merge.find_all(exp.When)}
    deletes = exp.Delete in actions or any(
        str(when.args.get("then")).upper() == "DELETE" for when in merge.find_all(exp.When)
    )
    return _Effect("deletes rows" if deletes else "merges rows into", _name_table(merge.this))


def _name_table(node: Any) -> str:
    """``schema.table``, without its alias."""
    if isinstance(node, exp.Table):
        parts = [part.name for part in node.parts] if hasattr(node, "parts") else []
        return clip(".".join(parts) or node.name, 60)
    if isinstance(node, exp.Expression):
        return clip(node.name or node.sql(), 60)
    return clip(str(node), 60)


def _is_always_true(condition: Any) -> bool:
    """Whether a WHERE, or one side of an OR in it, is true of every row by what it says."""
    # A chain of a thousand ORs is a tree as deep, so no recursion here.
    pending = [condition]
    while pending:
        each = pending.pop()
        if isinstance(each, exp.Paren):
            pending.append(each.this)
        elif isinstance(each, exp.Or):
            pending += [each.left, each.right]
        elif isinstance(each, exp.And):
            if _is_plainly_true(each.left) and _is_plainly_true(each.right):
                return True
        elif _is_plainly_true(each):
            return True
    return False


def _is_plainly_true(condition: Any) -> bool:
    while isinstance(condition, exp.Paren):
        condition = condition.this
    if isinstance(condition, exp.Boolean):
        return bool(condition.this)
    if isinstance(condition, exp.Literal):
        return condition.is_number and condition.name.strip("0.") != ""
    if isinstance(condition, exp.EQ | exp.LTE | exp.GTE):
        return bool(condition.left == condition.right)
    if isinstance(condition, exp.NEQ | exp.LT | exp.GT):
        both = (condition.left, condition.right)
        return all(isinstance(each, _CONSTANTS) for each in both) and both[0] != both[1]
    return False


def _read_words(normal: str, code: bool = False) -> Iterator[_Effect]:
    """What the words of a statement say; of code, each statement inside counts."""
    for part in normal.split(";") if code else [normal]:
        told = False
        for pattern, label in _BY_WORDS:
            rows = "row" in label
            if (rows and told) or not (found := re.search(pattern, part, re.IGNORECASE)):
                continue
            told = told or rows
            what = found[1] if found.re.groups else found[0][5:]
            yield _Effect(label, clip(f"{what} (no WHERE)" if "every" in label else what))


def _read_locks(normal: str) -> Iterator[_Effect]:
    keys = find_keys(normal)
    verb = normal.split()[0].lower() if normal else ""
    if not keys or verb == "grant":
        return
    target = _name_target(normal)
    for key in keys:
        effect = find_effect(key)
        if effect is None:
            yield _Effect("lock not measured (PostgreSQL)", clip(normal))
            continue
        if key.startswith(("create table", "create view", "create materialized")):
            target = f"what {_name_target(normal)} refers to"
        label = "blocks (PostgreSQL)" if effect.blocks else "lock (PostgreSQL)"
        yield _Effect(label, f"{target}: {effect.text}")


def _name_target(normal: str) -> str:
    """The table that stands in a DDL statement, or the first words of the statement."""
    pattern = (
        r"\b(?:table|on|truncate|view|index|cluster|vacuum|analyze|full)"
        rf"(?: concurrently| if (?:not )?exists| only| table| full)* (?!table\b|on\b){_NAME}"
    )
    on = re.match(r"create (?:unique )?index.*? on (?:only )?(\S+)", normal, re.IGNORECASE)
    found = on or re.search(pattern, normal, re.IGNORECASE)
    return clip(found[1], 60) if found else clip(normal, 40)
