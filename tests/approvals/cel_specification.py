"""CEL's own conformance tests, as an npm package ships them: cases that JSON payloads can meet."""

import json
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

PACKAGE = "@bufbuild/cel-spec@0.6.1"  # google/cel-spec v0.25.1
PRINT = "import('{}').then(m => console.log(JSON.stringify(m.tests)))"
LEFT_OUT = {
    "block_ext": "an optimizer's internal macro",
    "dynamic": "protocol buffers",
    "enums": "protocol buffers",
    "namespace": "name resolution in containers",
    "network_ext": "network addresses, an extension that the runtime lacks",
    "proto2": "protocol buffers",
    "proto2_ext": "protocol buffers",
    "proto3": "protocol buffers",
    "wrappers": "protocol buffers",
}
OTHERS = {
    "TestAllTypes": "protocol buffers",
    "google.protobuf.": "protocol buffers",
    "cel.expr": "protocol buffers",
    "proto2": "protocol buffers",
    "proto3": "protocol buffers",
}
SIMPLE = {
    "int64Value": "int({})",
    "uint64Value": "uint({})",
    "doubleValue": "{}",
    "stringValue": "{}",
    "boolValue": "{}",
    "nullValue": "{}",
    "listValue": "{}",
    "mapValue": "{}",
}


@dataclass(frozen=True)
class Case:
    """``text`` must be true of ``data``; or fail where ``errs``."""

    name: str
    text: str
    data: dict[str, Any]
    errs: bool


class Other(Exception):
    """The case is not about what JSON can carry; the message says why."""


def fetch(folder: Path) -> Any:
    """Download the package; return its tests. Raises OSError, CalledProcessError."""
    subprocess.run(
        ["npm", "pack", "--silent", PACKAGE], cwd=folder, check=True, capture_output=True
    )
    (archive,) = folder.glob("*.tgz")
    subprocess.run(["tar", "xzf", archive.name], cwd=folder, check=True)
    module = folder / "package" / "dist" / "esm" / "testdata" / "conformance.js"
    module.with_suffix(".mjs").write_text(module.read_text())
    printed = subprocess.run(
        ["node", "-e", PRINT.format(module.with_suffix(".mjs"))],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(printed.stdout)


def read_cases(suite: Any) -> tuple[list[Case], Counter[str]]:
    """The cases about JSON values, and the number of the others by the reason."""
    cases, left_out = [], Counter[str]()
    for file in suite["suites"]:
        for name, test in _walk(file, ""):
            try:
                cases.append(_read_case(file["name"], name, test))
            except Other as reason:
                left_out[str(reason)] += 1
    return cases, left_out


def _walk(suite: Any, path: str) -> Any:
    path = f"{path}/{suite['name']}".lstrip("/")
    for inner in suite.get("suites", []):
        yield from _walk(inner, path)
    for test in suite.get("tests", []):
        yield f"{path}/{test['original'].get('name')}", test["original"]


def _read_case(file: str, name: str, test: Any) -> Case:
    if file in LEFT_OUT:
        raise Other(LEFT_OUT[file])
    whole = json.dumps(test)
    for mark, reason in OTHERS.items():
        if mark in test["expr"] or mark in whole.replace("google.protobuf.Timestamp", "").replace(
            "google.protobuf.Duration", ""
        ):
            raise Other(reason)
    if test.get("container"):
        raise Other(LEFT_OUT["namespace"])
    if test.get("disableCheck") or test.get("disableMacros") or test.get("checkOnly"):
        raise Other("a step of the compiler is switched off")
    if any("function" in declared for declared in test.get("typeEnv", [])):
        raise Other("functions that the test declares")
    if "unknown" in test or "anyUnknowns" in test:
        raise Other("values that are not known yet")
    text, data = f"({test['expr']}\n)", {}
    errs = "evalError" in test or "anyEvalErrors" in test
    if not errs:
        expected = test.get("value") or test.get("typedResult", {}).get("result")
        if "typedResult" in test and expected is None:
            raise Other("a step of the compiler is switched off")
        is_number_of_json = bool(test.get("bindings"))
        expected = {"boolValue": True} if expected is None else expected
        text = _compare(text, expected, is_number_of_json)
    else:
        text = f"dyn{text} == dyn({text})"
    for variable, bound in test.get("bindings", {}).items():
        if variable in ("false", "null", "true"):  # the literal hides the variable
            data[variable] = None
            continue
        value, literal = _read_binding(bound["value"], f"data.{variable}")
        if "." in variable:
            raise Other(LEFT_OUT["namespace"])
        data[variable] = value
        text = f"cel.bind({variable}, {literal}, {text})"
    declared = {each["name"] for each in test.get("typeEnv", [])}
    if declared - data.keys():
        raise Other("a variable without a value")
    return Case(name, text, data, errs)


def _compare(text: str, expected: Any, is_number_of_json: bool) -> str:
    """A boolean that is true if ``text`` has the value and its type.

    A whole number that comes from JSON is a double, so that its type is not compared.
    """
    if expected.get("doubleValue") == "NaN":
        return f"[dyn({text})].all(v, v != v)"
    literal = _literal(expected)
    if "typeValue" in expected or (is_number_of_json and "int64Value" in expected):
        return f"{text} == {literal}"
    return f"[dyn({text})].all(v, v == dyn({literal}) && type(v) == type(dyn({literal})))"


def _literal(value: Any) -> str:
    ((kind, held),) = value.items()
    if kind == "int64Value":
        return str(held) if str(held) != "-9223372036854775808" else "(-9223372036854775807 - 1)"
    if kind == "uint64Value":
        return f"{held}u"
    if kind == "doubleValue":
        return f"double('{held}')"
    if kind == "stringValue":
        return json.dumps(held, ensure_ascii=False)
    if kind == "boolValue":
        return str(bool(held)).lower()
    if kind == "nullValue":
        return "null"
    if kind == "bytesValue":
        return f"base64.decode('{held}')"
    if kind == "listValue":
        return f"[{', '.join(f'dyn({_literal(each)})' for each in held.get('values', []))}]"
    if kind == "mapValue":
        entries = held.get("entries", [])
        pairs = [(_literal(entry["key"]), _literal(entry["value"])) for entry in entries]
        return f"{{{', '.join(f'dyn({key}): dyn({each})' for key, each in pairs)}}}"
    if kind == "typeValue":
        return {
            "google.protobuf.Timestamp": "type(timestamp(0))",
            "google.protobuf.Duration": "type(duration('1s'))",
        }.get(held, held)
    if kind == "objectValue" and "Timestamp" in held["@type"]:
        return f"timestamp('{held['value']}')"
    if kind == "objectValue" and "Duration" in held["@type"]:
        return f"duration('{held['value']}')"
    raise Other("protocol buffers")


def _read_binding(value: Any, path: str) -> tuple[Any, str]:
    """The JSON value of a binding, and the expression that makes CEL's value of it."""
    (kind,) = value
    if kind not in SIMPLE:
        raise Other("values that JSON lacks: bytes, times, types")
    return _json(value), SIMPLE[kind].format(path)


def _json(value: Any) -> Any:
    ((kind, held),) = value.items()
    if kind in ("int64Value", "uint64Value"):
        if abs(int(held)) > 2**53:
            raise Other("whole numbers beyond 2^53, which the API refuses")
        return int(held)
    if kind == "doubleValue":
        if isinstance(held, str):
            raise Other("values that JSON lacks: NaN and infinities")
        return held
    if kind == "listValue":
        return [_json(each) for each in held.get("values", [])]
    if kind == "mapValue":
        entries = held.get("entries", [])
        if any("stringValue" not in entry["key"] for entry in entries):
            raise Other("maps whose keys are no texts")
        return {entry["key"]["stringValue"]: _json(entry["value"]) for entry in entries}
    if kind == "nullValue":
        return None
    if kind not in SIMPLE:
        raise Other("values that JSON lacks: bytes, times, types")
    return held
