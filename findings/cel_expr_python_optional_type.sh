#!/usr/bin/env bash
# cel-expr-python 0.1.3: an optional value says that its type is ERROR, and can't be read.
#
# Evaluation errors are no exceptions in this library: they are values of type ERROR whose value() is the
# message. optional.of(1) is no error (.value() of CEL gives 1, hasValue() is true), but Python sees the
# same type ERROR, and value() raises TypeError. Code that tells errors by the type takes it for one; reduce
# optional values inside the expression, by orValue() or hasValue().
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check cel-expr-python==0.1.3
"$place/venv/bin/python" - <<'PROGRAM'
from cel_expr_python import cel
from cel_expr_python.ext import ext_optional

environment = cel.NewEnv(extensions=[ext_optional.ExtOptional()])
optional = environment.compile("optional.of(1)").eval(data={})
failed = environment.compile("1 / 0").eval(data={})
inside = environment.compile("optional.of(1).value() == 1").eval(data={})
print("cel-expr-python 0.1.3")
print("1 / 0 has the type", failed.type().name(), "and says", failed.value())
print("optional.of(1) has the type", optional.type().name())
try:
    optional.value()
    said = "a value"
except TypeError as error:
    said = "TypeError"
print("and value() gives", said)
assert inside.value() is True
assert failed.type() == cel.Type.ERROR
assert optional.type() == cel.Type.ERROR
assert said == "TypeError"
PROGRAM
