#!/usr/bin/env bash
# Python 3.11 and 3.12: a possessive repetition of alternatives with a group raises SystemError.
#
# (?:ab|(c))*+ is a valid pattern since 3.11. Where an alternative with a capturing group is tried and given up inside
# the repetition, match() raises "SystemError: The span of capturing group is wrong, please report a bug for the re
# module" (python/cpython gh-101955), depending on the text: a tokenizer of others' text works until somebody sends
# that text. Keep groups out of possessive repetitions and atomic groups while these versions are supported.
set -euo pipefail
python3 - <<'PROGRAM'
import re
import sys

try:
    re.match(r"(?:ab|(c)d|.)*+", "abcabcd")
    re.match(r"((.)\2|x|.)*+", "aabcc")
    re.compile(r"(?:(?P<tag>\$\w*\$).*?(?:(?P=tag)|\Z)|[^;'$]++|[^;])++", re.DOTALL).match(
        "CREATE FUNCTION f() AS $$ DELETE FROM a $$ LANGUAGE sql"
    )
    said = "matches"
except SystemError as error:
    said = f"SystemError: {error}"
print("Python", sys.version.split()[0])
print(said)
assert sys.version_info >= (3, 13) or "SystemError" in said
PROGRAM
