#!/usr/bin/env bash
# tree-sitter-bash 0.25.1 (tree-sitter 0.26.1): an unfinished pipeline takes the square of its length to parse.
#
# Tree-sitter is known to be linear. "a|a|a|…|a" is: 4,000 parts take about 10 ms. Without the last "a",
# twice the length takes three to four times as long: 20,000 parts take half a minute. A QueryCursor takes the square of the number of children of one node, too. What stops it is a
# progress_callback, which the Python binding ignores, with a warning, unless the source is a callable.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check tree-sitter==0.26.1 tree-sitter-bash==0.25.1
"$place/venv/bin/python" - <<'PROGRAM'
import time
import warnings

import tree_sitter_bash
from tree_sitter import Language, Parser

parser = Parser(Language(tree_sitter_bash.language()))


def seconds(code, **options):
    start = time.process_time()
    parser.parse(code.encode(), **options)
    return time.process_time() - start


ended = [seconds("a|" * parts + "a") for parts in (4_000, 8_000)]
unended = [seconds("a|" * parts) for parts in (4_000, 8_000)]
print("tree-sitter 0.26.1, tree-sitter-bash 0.25.1")
print(f"finished: {ended[0]:.3f} s, twice as long: {ended[1]:.3f} s")
print(f"unfinished: {unended[0]:.3f} s, twice as long: {unended[1]:.3f} s")
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    seconds("a|" * 100, progress_callback=lambda *_: True)
print("progress_callback with bytes:", said[0].message if said else "used")
assert unended[1] > 3 * unended[0]
assert unended[1] > 10 * ended[1]
assert said
PROGRAM
