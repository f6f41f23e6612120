#!/usr/bin/env bash
# cel-expr-python 0.1.3: transformMap() compiles and type-checks, and then fails on every input.
#
# With the extension "two-var-comprehensions" the compiler knows all its macros, and exists(), all() and
# transformList() with two variables run. transformMap() is accepted just the same, with the right return
# type, but the runtime lacks the function that its expansion calls. A guess would be an error at compile().
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check cel-expr-python==0.1.3
"$place/venv/bin/python" - <<'PROGRAM'
from cel_expr_python import cel

config = cel.NewEnvConfigFromYaml("name: two\nextensions:\n  - name: two-var-comprehensions\n")
environment = cel.NewEnv(config=config)
listed = environment.compile("[1, 2].transformList(i, v, i + v) == [1, 3]").eval(data={})
mapped = environment.compile("{'a': 1}.transformMap(k, v, v + 1) == {'a': 2}")
print("cel-expr-python 0.1.3")
print("transformList:", listed.value())
print("transformMap compiles to", mapped.return_type().name())
try:
    result = mapped.eval(data={})
    said = str(result.value())
except Exception as error:
    said = str(error)
print("and evaluates to:", said)
assert listed.value() is True
assert mapped.return_type() == cel.Type.BOOL
assert "No overload found in reference resolve step for cel.@mapInsert" in said
PROGRAM
