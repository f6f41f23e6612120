#!/usr/bin/env bash
# cel-expr-python 0.1.3: the same overload of an operator is refused as `functions` and taken as an extension.
#
# JSON numbers are doubles in CEL, and `data.count + 1` has no overload for a double and an int. NewEnv takes
# declarations with Python implementations in `functions=[…]` and, wrapped in a CelExtension, in
# `extensions=[…]`. For "_+_" the first fails ("declared multiple times"), and not in NewEnv but at the first
# compile(), of any expression; the second merges with the standard operator and works.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check cel-expr-python==0.1.3
"$place/venv/bin/python" - <<'PROGRAM'
import operator

from cel_expr_python import cel

mixed = cel.FunctionDecl(
    "_+_",
    [
        cel.Overload(
            "add_double_int64", cel.Type.DOUBLE, [cel.Type.DOUBLE, cel.Type.INT], impl=operator.add
        )
    ],
)
variables = {"x": cel.Type.DYN}
plain = cel.NewEnv(variables=variables).compile("x + 1 == 2").eval(data={"x": 1.0})
as_function = cel.NewEnv(variables=variables, functions=[mixed])
try:
    as_function.compile("true")
    said = "compiles"
except Exception as error:
    said = str(error)
extension = cel.CelExtension("mixed", [mixed])
merged = cel.NewEnv(variables=variables, extensions=[extension]).compile("x + 1 == 2")
print("cel-expr-python 0.1.3")
print("1.0 + 1 without the overload:", plain.type().name(), plain.value())
print("as a function, `true`:", said)
print("as an extension:", merged.eval(data={"x": 1.0}).value())
assert plain.type() == cel.Type.ERROR
assert "declared multiple times" in said
assert merged.eval(data={"x": 1.0}).value() is True
PROGRAM
