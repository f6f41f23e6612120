"""SQL: every statement, what it does to which table, and the lock that PostgreSQL takes for it."""

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import sqlglot
from sqlglot import exp

from approvals_app.payload.facts import (
    LONGEST_HEADLINE,
    MOST_MEMBERS,
    Data,
    Fact,
    Found,
    Level,
    Path,
    Reading,
    Text,
    clip,
    count,
    fit,
    name_some,
    share_path,
)
from approvals_app.payload.kinds._ddl import find_effect, find_keys
from approvals_app.payload.kinds._sql_text import cut_statements, normalize, split_actions
from approvals_app.payload.walking import Names

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
MOST_STATEMENTS: Final = 20_000
"""So many statements are told apart; of what is behind them, the words are searched."""
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
HEADLINES: Final = {
    "drops": "DROP",
    "empties": "TRUNCATE",
    "deletes every row": "DELETE without WHERE on",
    "changes every row": "UPDATE without WHERE on",
    "runs a program": "Run a program:",
    "gives all rights": "Give all rights:",
    "opens to everyone": "Open to everyone:",
    "switches row security off": "Switch row security off:",
    "not read in full": "Run SQL that is not read in full:",
    "deletes rows": "Delete rows of",
    "changes rows": "Change rows of",
    "adds rows to": "Insert rows into",
    "replaces rows of": "Replace rows of",
    "merges rows into": "Merge rows into",
    "runs code of the database": "Run code of the database:",
    "changes rights": "Change rights:",
    "not parsed": "Run SQL that is not parsed:",
    "blocks (PostgreSQL)": "Alter",
    "lock (PostgreSQL)": "Alter",
    "lock not measured (PostgreSQL)": "Run",
    "reads": "Read:",
    "creates": "Run",
    "alters": "Run",
    "explains": "Explain:",
    "other statements": "Run",
}
"""How the headline begins, by the label of what the gravest statement does."""
_RISKY: Final = re.compile(
    r"\b(?:drop|truncate|delete|update|merge|alter|grant|revoke|copy)\b", re.IGNORECASE
)
_CONSTANTS: Final = (exp.Literal, exp.Boolean, exp.Null)
logging.getLogger("sqlglot").setLevel(logging.ERROR)  # what it cannot parse, a fact says


@dataclass(frozen=True, slots=True)
class _Statement:
    """One statement, and the member in which it stands; ``dialect`` is empty if not given."""

    path: Path
    text: str
    dialect: str


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


MEMBERS: Final = frozenset([*ALWAYS_SQL, *OFTEN_SQL, "command", "cmd"])


def may_read(names: Names) -> bool:
    """Whether an object with these members may hold SQL."""
    return not MEMBERS.isdisjoint(names.exact)


def read(data: Data, path: Path) -> Reading | None:
    """SQL in members such as ``sql``, ``query`` and ``statements``: texts, or lists of them."""
    texts = find(data)
    readings = read_several([Found(path, data, texts)]) if texts else []
    return readings[0][1] if readings else None


def find(data: Data) -> list[Text]:
    """The texts of SQL in ``data``."""
    return list(_find_texts(data))


def read_several(objects: Sequence[Found]) -> list[tuple[Path, Reading]]:
    """Read all SQL of a payload; the first reading says what all of it does."""
    statements: list[_Statement] = []
    rest: list[_Statement] = []
    for each in objects:
        dialect = _find_dialect(each.data)
        for text in each.texts:
            at = (*each.path, *text.steps)
            left = MOST_STATEMENTS - len(statements)
            for one, is_rest in _split(text.text, dialect, left):
                (rest if is_rest else statements).append(_Statement(at, one, dialect))
    if not statements:
        return []
    found, verbs, destroys = _read_all(statements, rest)
    facts = [
        Fact(
            label,
            each.describe(),
            share_path(each.paths),
            LEVELS.get(label, Level.PLAIN),
            tuple(each.paths[:MOST_MEMBERS]) if len(each.paths) > 1 else (),
        )
        for label, each in found.items()
    ]
    facts.sort(key=lambda fact: _rank(fact.label))
    last = _tell_places(objects)
    if len(statements) > 1:
        kinds = ", ".join(f"{number:,} {verb}" for verb, number in list(verbs.items())[:4])
        more = f" and {len(verbs) - 4} other kinds" if len(verbs) > 4 else ""
        where = share_path([each.path for each in statements])
        number = f"{'more than ' if rest else ''}{len(statements):,}"
        last.insert(0, Fact("statements", f"{number}: {kinds}{more}", where))
    readings = [
        (
            each.path,
            Reading("statement", used={*_places_of(each.data), *map(_first_step, each.texts)}),
        )
        for each in objects
    ]
    first = readings[0][1]
    first.facts = fit([*facts, *last])
    first.headline = _write_headline(found, len(statements))
    first.traits = {"destroys": destroys, "partial": "not read in full" in found}
    return readings


def _first_step(text: Text) -> str:
    return str(text.steps[0]) if text.steps else ""


def _places_of(data: Data) -> list[str]:
    """The first members that say where the SQL runs."""
    return [name for name in WHERE if isinstance(data.get(name), str) and data[name].strip()][:2]


def _tell_places(objects: Sequence[Found]) -> list[Fact]:
    facts: dict[tuple[str, str], Fact] = {}
    for each in objects:
        for name in _places_of(each.data):
            value = clip(each.data[name])
            facts.setdefault((name, value), Fact(_spell(name), value, (*each.path, name)))
    return list(facts.values())[:2]


def _write_headline(found: dict[str, "_Found"], number: int) -> str:
    """What the gravest statement does, and how many others there are."""
    # Of the lock alone, a reader would not know what takes it: the statement tells.
    by_text = [label for label in ("alters", "creates", "other statements") if label in found]
    ranked = sorted(found, key=lambda label: ("lock" in label and bool(by_text), _rank(label)))
    label, group = ranked[0], found[ranked[0]]
    start = HEADLINES.get(label, f"{label[0].upper()}{label[1:]}")
    names = list(group.names)
    what = re.sub(r" \(no WHERE\)$", "", names[0])
    more = f" and {len(names) - 1:,} more" if len(names) > 1 else ""
    rest = f", one of {number:,} statements" if number > max(1, len(names)) else ""
    return f"{start} {clip(what, LONGEST_HEADLINE - len(start + more + rest) - 1)}{more}{rest}"


def _split(text: str, dialect: str, most: int) -> Iterator[tuple[str, bool]]:
    """At most ``most`` statements of ``text``, and what is left, with true.

    Read both ways where the dialect decides and is not given.
    """
    statements, rest = cut_statements(text, dialect == "mysql", most)
    if not dialect and _TWO_READINGS.search(text):
        seen = set(statements)
        others, other_rest = cut_statements(text, True, most)
        statements += [each for each in others if each not in seen]
        rest = max(rest, other_rest, key=len)
    yield from ((each, False) for each in statements)
    if rest:
        yield rest, True


def looks_like_sql(text: str) -> bool:
    """Whether a text that may be of any language is SQL."""
    return bool(_LOOKS_LIKE_SQL.search(text[:20_000]) or _DANGER_LATER.search(text, 20_000))


def _find_texts(data: Data, steps: Path = (), lists: bool = True) -> Iterator[Text]:
    """The texts of ``data`` and, in its lists, those of their objects."""
    present = data.keys() & MEMBERS
    for name in (*ALWAYS_SQL, *OFTEN_SQL) if present else ():
        if name not in present or (name == "down" and "up" in data):
            continue  # what would undo it later
        value, at = data[name], (*steps, name)
        if isinstance(value, str):
            if value.strip() and (name in ALWAYS_SQL or looks_like_sql(value)):
                yield Text(at, value)
        elif isinstance(value, list) and lists:
            yield from _find_in_list(name, value, at)
    for name in ("command", "cmd") if lists else ():
        if isinstance(data.get(name), str) and _SQL_AS_COMMAND.match(data[name]):
            yield Text((name,), data[name])


def _find_in_list(name: str, values: list[Any], steps: Path) -> Iterator[Text]:
    for at, each in enumerate(values):
        if isinstance(each, str):
            if each.strip() and (name in ALWAYS_SQL or looks_like_sql(each)):
                yield Text((*steps, at), each)
        elif isinstance(each, dict):
            yield from _find_texts(each, (*steps, at), lists=False)


def _find_dialect(data: Data) -> str:
    for name in ("engine", "dialect", "driver", "database_type"):
        given = str(data.get(name) or "").lower().replace(" ", "")
        for start, dialect in DIALECTS.items():
            if start in given:
                return dialect
    return next((dialect for name, dialect in MEMBERS_OF.items() if name in data), "")


def _read_all(
    statements: list[_Statement], rest: list[_Statement]
) -> tuple[dict[str, _Found], dict[str, int], int]:
    found: dict[str, _Found] = {}
    verbs: dict[str, int] = {}
    destroys, skipped, left = 0, 0, MOST_SIGNS
    for at, (verb, each) in enumerate(_order(statements)):
        text = each.text
        verbs[verb] = verbs.get(verb, 0) + 1
        if verb == "INSERT" and (insert := _INSERT.match(text)):
            effects = [_Effect("adds rows to", insert[1])]
        elif at >= MOST_SKIMMED:
            effects = [_Effect("not read in full", verb)]
            destroys += verb in ("DROP", "TRUNCATE")
        elif len(text) > min(left, MOST_SIGNS_OF_ONE):
            effects = list(_skim(verb, text, each.dialect))
        else:
            left -= len(text) + 50  # what a short one costs
            effects = list(_read_one(text, each.dialect or "postgres"))
        destroys += sum(each.label in DESTROYS for each in effects)
        skipped += any(each.label == "not read in full" for each in effects)
        for effect in effects:
            _add(found, effect, each.path)
    for each in rest:
        words = [word.upper() for word in _RISKY.findall(each.text)]
        destroys += words.count("DROP") + words.count("TRUNCATE")
        for word in dict.fromkeys(words or ["nothing that changes much"]):
            _add(found, _Effect("not read in full", word), each.path)
    if long := found.get("not read in full"):
        parts = [count(skipped, "statement")] if skipped else []
        parts += [f"what follows the first {MOST_STATEMENTS:,}"] if rest else []
        long.names = {f"{' and '.join(parts)}, with {name_some(list(long.names), 8)}": 1}
    return found, verbs, destroys


def _add(found: dict[str, _Found], effect: _Effect, path: Path) -> None:
    group = found.setdefault(effect.label, _Found())
    if effect.what not in group.names or effect.label == "not read in full":
        group.paths.append(path)
    group.names[effect.what] = group.names.get(effect.what, 0) + 1


def _order(statements: list[_Statement]) -> list[tuple[str, _Statement]]:
    """With their first words, what changes most before what only adds or reads."""
    named = [(_find_verb(each.text), each) for each in statements]
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
