#!/usr/bin/env bash
# Python 3.11.7, 3.12.1 and 3.13.0: a possessive repetition of alternatives with a group raises SystemError.
#
# (?:(a)b|.)++ is a valid pattern since 3.11. Where the alternative with the capturing group is tried and given up,
# match() raises "SystemError: The span of capturing group is wrong, please report a bug for the re module"
# (python/cpython gh-101955). It depends on the text: a tokenizer of what others wrote works until somebody sends that
# text. Before 3.11.5, which Debian 12 does not have, possessive repetitions also matched wrongly without a group
# (gh-106052). An atomic group around a greedy repetition, (?>(?:(a)b|.)+), is right in all of them.
set -euo pipefail
python3 - <<'PROGRAM'
import re
import sys

try:
    said = str(re.match(r"(?:(a)b|.)++", "xabx"))
except SystemError as error:
    said = f"SystemError: {error}"
print("Python", sys.version.split()[0])
print("possessive:", said)
print("atomic:", re.match(r"(?>(?:(a)b|.)+)", "xabx"))
assert sys.version_info[:2] > (3, 11) or said.startswith("SystemError")  # later ones get mended
assert re.match(r"(?>(?:(a)b|.)+)", "xabx").group() == "xabx"
PROGRAM
