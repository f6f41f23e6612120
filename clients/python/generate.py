"""Generates types.py from docs/openapi.json, and client.py from aclient.py:
``python clients/python/generate.py``; with ``--check`` it only compares."""

import json
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PACKAGE = HERE / "orchestrator_client"
SCHEMA = HERE.parents[1] / "docs" / "openapi.json"
PLAIN = {"string": "str", "integer": "int", "number": "float", "boolean": "bool", "null": "None"}
TYPES = '''"""The shapes of the API. Written by generate.py from docs/openapi.json."""

from __future__ import annotations

from typing import Any, Literal, NotRequired, TypedDict

'''
SYNCHRONOUS = (
    (r'^""".*?"""', '"""The synchronous client. Written by generate.py from aclient.py."""'),
    (r"\bimport asyncio\n", "import time\n"),
    (r"\basyncio\.sleep\b", "time.sleep"),
    (r"\b(?:async|await) ", ""),
    (r"\bAsync(Client|Events)\b", r"\1"),
    (r"\bAsyncGenerator\[(\w+), None\]", r"Generator[\1, None, None]"),
    (r"\bAsyncGenerator\b", "Generator"),
    (r"\bStopAsyncIteration\b", "StopIteration"),
    (r"\b__a(enter|exit|iter|next)__\b", r"__\1__"),
    (r"\baclos(e|ing)\b", r"clos\1"),
    (r"\baread\b", "read"),
    (r"\baiter_bytes\b", "iter_bytes"),
)


def types() -> str:
    """The source of types.py: a TypedDict for each object of the schema, sorted by name."""
    shapes = json.loads(SCHEMA.read_text(encoding="utf-8"))["components"]["schemas"]
    return TYPES + "\n\n".join(_declare(name, shapes[name]) for name in sorted(shapes))


def client() -> str:
    """The source of client.py: the asynchronous client without its async syntax."""
    text = (PACKAGE / "aclient.py").read_text(encoding="utf-8")
    for pattern, replacement in SYNCHRONOUS:
        text = re.sub(pattern, replacement, text, flags=re.DOTALL)
    return text


def _declare(name: str, shape: dict[str, Any]) -> str:
    """The declaration of one object of the schema."""
    # Variants that are all objects become one that has the members of any of them.
    variants = shape.get("oneOf") or shape.get("anyOf")
    if not variants:
        return _typed_dict(name, shape)
    members = {m: of for variant in variants for m, of in variant["properties"].items()}
    in_all = set.intersection(*(set(variant["required"]) for variant in variants))
    return _typed_dict(name, {**shape, "properties": members, "required": in_all})


def _typed_dict(name: str, shape: dict[str, Any]) -> str:
    lines = [f"class {name}(TypedDict):"]
    if description := shape.get("description"):
        lines += [_docstring(description), ""]
    required = set(shape.get("required", ()))
    for member, of in shape.get("properties", {}).items():
        kind = _type(of)
        lines.append(f"    {member}: {kind if member in required else f'NotRequired[{kind}]'}")
        enumerated = "enum" in of  # whose description only repeats the values
        if (description := of.get("description")) and not enumerated:
            lines += [_docstring(description), ""]
    return "\n".join(lines) + "\n"


def _type(of: dict[str, Any]) -> str:
    if ref := of.get("$ref"):
        return str(ref).rpartition("/")[2]
    if variants := of.get("oneOf") or of.get("anyOf") or of.get("allOf"):
        return " | ".join(dict.fromkeys(map(_type, variants)))
    if values := of.get("enum"):
        return f"Literal[{', '.join(map(repr, values))}]"
    kinds = of.get("type", [])
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return " | ".join(_of_kind(kind, of) for kind in kinds) or "Any"


def _of_kind(kind: str, of: dict[str, Any]) -> str:
    if kind == "array":
        return f"list[{_type(of.get('items', {}))}]"
    if kind == "object":
        return "dict[str, Any]"
    return PLAIN[kind]


def _docstring(description: str) -> str:
    text = " ".join(description.split()).replace("\\", "\\\\")
    text = text if text.endswith((".", "?", "!")) else f"{text}."
    return textwrap.indent(textwrap.fill(f'"""{text}"""', 96), "    ")


def _format(text: str, name: str) -> str:
    ruff = [sys.executable, "-m", "ruff"]
    options: dict[str, Any] = {"capture_output": True, "text": True, "check": True}
    for command in (["check", "--fix", "--select", "I", "-q"], ["format", "-q"]):
        arguments = [*ruff, *command, "--stdin-filename", str(PACKAGE / name), "-"]
        text = subprocess.run(arguments, input=text, **options).stdout
    return text


def main() -> None:
    stale = []
    for name, generated in {"types.py": types(), "client.py": client()}.items():
        path, text = PACKAGE / name, _format(generated, name)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.exit(f"clients/python: {', '.join(stale)} is not what the schema says: run make docs")


if __name__ == "__main__":
    main()
