"""Cuts SQL into statements and brings one into a form that patterns can be written for.

Every repetition is atomic: a text of a megabyte, and one that is meant to be slow, take one pass.
Atomic groups stand for possessive repetitions of more than one character, which are wrong before
Python 3.11.5 (gh-106052) and, with a group inside, raise SystemError up to 3.13.0 (gh-101955).
"""

import re
from typing import Final

_QUOTED: Final = r"""
    [eE]'(?>(?:[^'\\]|\\.|'')*)(?:'|\Z) | "[^"]*+(?:"|\Z) | `[^`]*+(?:`|\Z)
"""
_COMMENT: Final = r"/\*(?!!).*?(?:\*/|\Z)"
# MySQL: a backslash escapes, "--" needs a blank behind it, "#" starts a comment.
_STANDARD: Final = rf"{_QUOTED} | '[^']*+(?:'|\Z) | --[^\n]*+ | {_COMMENT}"
_MYSQL: Final = (
    rf"{_QUOTED} | '(?>(?:[^'\\]|\\.)*)(?:'|\Z) | --(?=\s|\Z)[^\n]*+ | \#[^\n]*+ | {_COMMENT}"
)
_FLAGS: Final = re.VERBOSE | re.DOTALL
# Up to the next semicolon or dollar quote.
_PLAIN: Final = {
    mysql: re.compile(rf"(?>(?:{skip} | [^;'\"`$/\-\#eE]++ | [^;$] | \$(?!\w*\$))*)", _FLAGS)
    for mysql, skip in ((False, _STANDARD), (True, _MYSQL))
}
_EMPTY: Final = re.compile(r"[;\s]*+")
_DOLLAR_QUOTE: Final = re.compile(r"\$(?:[A-Za-z_]\w*)?\$")
_BLANKS: Final = {
    # A literal becomes '', a name in quotes stays, a comment goes.
    mysql: re.compile(
        rf"(?P<name>\"[^\"]*+\"|`[^`]*+`) | (?:[eE]|\b[NnXxBb])?(?P<text>')"
        rf"(?>(?:{text})*)(?:'|\Z)"
        rf" | {comments} | {_COMMENT} | (?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?:(?P=tag)|\Z)",
        _FLAGS,
    )
    for mysql, text, comments in (
        (False, r"[^']", r"--[^\n]*+"),
        (True, r"[^'\\]|\\.", r"--(?=\s|\Z)[^\n]*+ | \#[^\n]*+"),
    )
}
_COMMENTS: Final = {
    mysql: re.compile(rf"\A(?>(?:\s++ | {comments} | {_COMMENT})*)", _FLAGS)
    for mysql, comments in (
        (False, r"--[^\n]*+"),
        (True, r"--(?=\s|\Z)[^\n]*+ | \#[^\n]*+"),
    )
}
_TOKEN: Final = re.compile(
    r"""(?:"[^"]*"|`[^`]*`|\[\w+\]|[\w$]+)(?:\s*\.\s*(?:"[^"]*"|`[^`]*`|\[\w+\]|[\w$]+))*
    |''|[<>=!|&:]+|\S""",
    re.VERBOSE,
)


def cut_statements(sql: str, mysql: bool, most: int) -> tuple[list[str], str]:
    """The first ``most`` statements of ``sql``, as written, and what is behind them.

    Without the comments before each, of which a long one would be all that a reader sees of it.
    """
    plain, comments = _PLAIN[mysql], _COMMENTS[mysql]
    statements: list[str] = []
    start = at = 0
    while at < len(sql):
        if at == start:  # nothing but blanks and semicolons is no statement
            start = at = _EMPTY.match(sql, at).end()  # type: ignore[union-attr]  # it matches ""
            if len(statements) >= most and at < len(sql):
                return statements, sql[at:]
        found = plain.match(sql, at)
        at = found.end() if found else at
        sign = sql[at : at + 1]
        if sign == ";":
            _keep(statements, sql[start:at], comments)
            start = at = at + 1
        elif quote := _DOLLAR_QUOTE.match(sql, at):
            end = sql.find(quote[0], quote.end())
            at = len(sql) if end < 0 else end + len(quote[0])
        else:
            at += 1
    _keep(statements, sql[start:], comments)
    return statements, ""


def _keep(statements: list[str], part: str, comments: re.Pattern[str]) -> None:
    text = part.strip()
    if text[:1] in ("-", "/", "#"):
        text = comments.sub("", text, count=1).strip()
    if text:
        statements.append(text)


def normalize(statement: str, mysql: bool = False) -> str:
    """``statement`` with one blank between its tokens, ``''`` for texts and without comments.

    ``/*! … */``, which MySQL runs, is no comment.
    """
    # What is inside E'…' would end at another quote than that of '…'.
    plain = re.sub(r"\b[eE]'(?>(?:[^'\\]|\\.|'')*)(?:'|\Z)", "''", statement, flags=re.DOTALL)
    plain = _BLANKS[mysql].sub(r" \g<name>\g<text>\g<text> ", plain)
    plain = re.sub(r"/\*!\d*|\*/", " ", plain)
    return " ".join(" ".join(each.split()) for each in _TOKEN.findall(plain)).replace(" . ", ".")


def split_actions(normal: str) -> list[str]:
    """``normal`` cut at the commas that stand in no brackets."""
    parts, depth, start = [], 0, 0
    for at, sign in enumerate(normal):
        if sign == "(":
            depth += 1
        elif sign == ")":
            depth -= 1
        elif sign == "," and depth <= 0:
            parts.append(normal[start:at].strip())
            start = at + 1
    return [*parts, normal[start:].strip()]
