"""Refuse functions named by a bare participle: a name is a verb with an object.

``python tools/check_names.py`` checks the Python files that git tracks, prints
``path:line: name`` for each offender and exits 1 if there is one.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

IRREGULAR = re.compile(
    "begun|bought|bound|broken|brought|built|caught|chosen|done|drawn|driven|fallen|felt|forgotten"
    "|found|frozen|given|gone|grown|heard|held|hidden|kept|known|laid|led|left|lent|lost|made"
    "|meant|met|paid|said|seen|sent|shown|sold|spent|spoken|stolen|sworn|taken|taught|thought"
    "|thrown|told|understood|woken|won|worn|wound|written"
)
VERBS = frozenset(
    {"embed", "exceed", "feed", "need", "proceed", "seed", "shed", "speed", "succeed"}
)
"""Words that end in -ed and are verbs all the same."""


def is_bare_participle(name: str) -> bool:
    word = name.strip("_")
    regular = re.fullmatch(r"[a-z]+ed", word) and word not in VERBS
    return bool(regular or IRREGULAR.fullmatch(word))


def offenders(path: Path) -> Iterator[tuple[int, str]]:
    """The line and the name of each such function in the file at ``path``."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or _is_attribute(node):
            continue
        if is_bare_participle(node.name):
            yield node.lineno, node.name


def _is_attribute(node: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
    """Whether it is read like a field, whose name may say a state."""
    return any(ast.unparse(each).endswith("property") for each in node.decorator_list)


def main() -> int:
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        capture_output=True,
        check=True,
        text=True,
    )
    found = 0
    for name in sorted(set(tracked.stdout.split())):
        if "/migrations/" in name or not Path(name).exists():
            continue
        for line, function in offenders(Path(name)):
            print(f"{name}:{line}: {function}")  # noqa: T201  # a program for a terminal
            found += 1
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
