"""The CEL runtime: compiles and evaluates expressions over a task's payload.

CEL (github.com/google/cel-spec) by Google's implementation, with the extension libraries that
docs/policies.md lists and two additions: numbers of the payload take part in arithmetic with whole
numbers, and ``decimal`` compares amounts exactly.

This file is also a program: the process beside the server that evaluates what may take long. It
imports nothing of the project, so that it starts quickly.
"""

import base64
import json
import operator
import os
import re
import resource
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

TIME_ZONES = Path("/usr/share/zoneinfo")
if not TIME_ZONES.exists():  # as in slim container images; read when the library loads
    import tzdata

    os.environ.setdefault("TZDIR", str(Path(tzdata.__path__[0], "zoneinfo")))

from cel_expr_python import cel  # noqa: E402
from cel_expr_python.ext import (  # noqa: E402
    ext_bindings,
    ext_encoders,
    ext_math,
    ext_optional,
    ext_strings,
)

VARIABLES: Final = {
    "agent": cel.Type.STRING,
    "context": cel.Type.DYN,
    "data": cel.Type.DYN,
    "description": cel.Type.STRING,
    "from_role": cel.Type.STRING,
    "summary": cel.Type.DYN,
    "task_type": cel.Type.STRING,
    "to_role": cel.Type.STRING,
}
MOST_MEMORY: Final = 1 << 30
"""Bytes of address space that the process beside may use."""
MOST_PROGRAMS: Final = 1_000
NUMBER: Final = re.compile(r"-?[0-9]{1,100}(\.[0-9]{1,100})?")
CONFIG: Final = """
name: conditions
extensions:
  - name: lists
  - name: sets
  - name: two-var-comprehensions
"""


class ConditionFailed(Exception):
    """The expression has no value on this payload; the message says why in one sentence."""


class ConditionInvalid(ValueError):
    """The text is not an expression; the message says why in one sentence."""


def compile(text: str) -> Any:
    """Parse and check ``text``, whose result may be true or false. Raises ConditionInvalid."""
    try:
        program = ENVIRONMENT.compile(text)
    except Exception as error:
        raise ConditionInvalid(describe_compile_error(error)) from None
    kind = program.return_type()
    if kind not in (cel.Type.BOOL, cel.Type.DYN):
        raise ConditionInvalid(f"it is never true or false, but of type {kind.name()}.")
    return program


def restore(serialized: bytes) -> Any:
    """The expression of a serialized ``cel.expr.CheckedExpr``. Raises ConditionInvalid."""
    try:
        return ENVIRONMENT.deserialize(serialized)
    except Exception as error:
        raise ConditionInvalid(describe_compile_error(error)) from None


def bind(variables: Mapping[str, Any]) -> Any:
    """An activation: what ``evaluate`` takes. Conversion happens when a variable is first read."""
    return ENVIRONMENT.Activation(dict(variables))


def evaluate(program: Any, activation: Any) -> bool:
    """Whether ``program`` is true. Raises ConditionFailed if it errs or is no boolean."""
    try:
        result = program.eval(activation)
        kind = result.type()
        if kind == cel.Type.BOOL:  # on Python 3.11, only such a value may be read
            return bool(result.value())
        reason = str(result.value()) if kind == cel.Type.ERROR else ""
    except Exception as error:
        reason = str(error)
    raise ConditionFailed(describe_error(reason) if reason else "it is neither true nor false.")


def load_json(text: str) -> Any:
    """The JSON value of ``text``, every number a double, as CEL converts JSON."""
    return json.loads(text, parse_int=float)


def describe_compile_error(error: Exception) -> str:
    """The library's message as one printable sentence."""
    first, *_ = str(error).splitlines() or [""]
    place = re.match(r"(?:[A-Z_]+: )?(?:ERROR: )?<input>:(\d+):(\d+): (.*)", first)
    if not place:
        return describe_error(first)
    row, column, reason = place.groups()
    where = f"column {column}" if row == "1" else f"line {row}, column {column}"
    reason = re.sub(r" expecting .*| \(in container ''\)", "", reason)
    return _make_sentence(f"{_reword(reason)} ({where})")


def describe_error(message: str) -> str:
    """The library's message as one printable sentence."""
    first, *_ = message.splitlines() or [""]
    reason = re.sub(r"^[A-Z_]+: | \[[A-Z_]+\]$", "", first).strip()
    return _make_sentence(_reword(reason or "it can't be evaluated"))


REWORDED: Final = (
    (r'Key not found in map : "?(.{1,100}?)"?', r"there is no \1"),
    (r"undeclared reference to '(.{1,100})'", r"there is no \1"),
    (r"No matching overloads found : _?([^_(]\S*?)_?\((.*)\)", r"\1 does not take (\2)"),
    (r"found no matching overload for '_?(.+?)_?' applied to '(?:.*\.)?\((.*)\)'",
     r"\1 does not take (\2)"),
    (r"No matching overloads found : \((.*?)\)\.(\w+)\((.*)\)", r"\2 does not take (\1, \3)"),
    (r"No matching overloads found : <iter_range>", "only lists and objects can be looped over"),
    (r"No matching overloads found : @?([^_ ]+)_?", r"\1 does not take such values"),
    (r"Applying SELECT to non-message type", "only objects have members"),
    (r"Index error: index=(\d+) size=(\d+)", r"there is no element \1 in a list of \2"),
    (r"Iteration budget exceeded.*", "it loops more than 10,000 times"),
    (r"std::bad_alloc", "it needs too much memory"),
)  # fmt: skip
"""Messages of the library that say what they mean only to those who know it."""


def _reword(message: str) -> str:
    for pattern, wording in REWORDED:
        reworded, count = re.subn(f"^{pattern}$", wording, message)
        if count:
            return reworded
    return message


def _make_sentence(text: str) -> str:
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return printable[:200].rstrip(".") + "."


# Functions of our own. What they raise becomes an error of the expression.


def _decimal(value: Any) -> bytes:
    """A text that sorts as the decimal number does: exact comparison by CEL's own operators.

    A double stands for the shortest decimal that reads as it, the text of RFC 8785.
    """
    if isinstance(value, bytes | bytearray):
        return bytes(value)  # decimal(decimal(x)) is decimal(x)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("decimal takes a text or a number")
    text = value if isinstance(value, str) else format(Decimal(repr(value)), "f")
    if not NUMBER.fullmatch(text):
        raise ValueError("decimal takes digits with at most one point, such as 249.90")
    whole, _, fraction = text.removeprefix("-").partition(".")
    whole, fraction = whole.lstrip("0"), fraction.rstrip("0")
    if not whole and not fraction:
        return b"1"
    # Printable characters alone: the library cuts bytes at NUL, as it does texts.
    size = f"{len(whole):03}{whole}{fraction}"
    if not text.startswith("-"):
        return f"2{size}".encode()
    return f"0{size.translate(COMPLEMENT)}~".encode()


COMPLEMENT = str.maketrans("0123456789", "9876543210")


def _mix(function: Callable[[Any, Any], Any], operation: str) -> "cel.FunctionDecl":
    """Overloads of an operator for a double and a whole number, which CEL has for neither order."""
    name = {"add": "_+_", "subtract": "_-_", "multiply": "_*_", "divide": "_/_", "modulo": "_%_"}
    double, whole = cel.Type.DOUBLE, cel.Type.INT
    return cel.FunctionDecl(
        name[operation],
        [
            cel.Overload(f"{operation}_double_int64", double, [double, whole], impl=function),
            cel.Overload(f"{operation}_int64_double", double, [whole, double], impl=function),
        ],
    )


def _divide(dividend: float, divisor: float) -> float:
    if not divisor:
        raise ValueError("division by zero")
    return dividend / divisor


def _modulo(dividend: float, divisor: float) -> float:
    if dividend % 1 or divisor % 1 or not divisor:
        raise ValueError("% takes whole numbers, and no zero on its right")
    # CEL's remainder has the sign of the dividend, as C's has.
    return float(abs(int(dividend)) % abs(int(divisor)) * (-1 if dividend < 0 else 1))


FUNCTIONS = cel.CelExtension(
    "orchestrator",
    [
        cel.FunctionDecl(
            "decimal",
            [cel.Overload("decimal_dyn", cel.Type.BYTES, [cel.Type.DYN], impl=_decimal)],
        ),
        _mix(operator.add, "add"),
        _mix(operator.sub, "subtract"),
        _mix(operator.mul, "multiply"),
        _mix(_divide, "divide"),
        _mix(_modulo, "modulo"),
    ],
)
ENVIRONMENT = cel.NewEnv(
    config=cel.NewEnvConfigFromYaml(CONFIG),
    variables=VARIABLES,
    extensions=[
        ext_bindings.ExtBindings(),
        ext_encoders.ExtEncoders(),
        ext_math.ExtMath(),
        ext_optional.ExtOptional(),
        ext_strings.ExtStrings(),
        FUNCTIONS,
    ],
)


def _serve() -> None:
    """Runs in the process beside, whose standard input is a socket: forks a worker for each ``f``,
    which comes with the worker's own socket, and ends the worker PID for ``kPID``.

    A fork of a process that has loaded the library takes a millisecond; a start takes a hundred.
    """
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    control = socket.socket(fileno=sys.stdin.fileno())
    while True:
        command, descriptors, _, _ = socket.recv_fds(control, 32, 1)
        if not command:  # the server has ended
            return
        if command == b"f":
            pid = os.fork()
            if pid == 0:
                control.close()
                _work(socket.socket(fileno=descriptors[0]))
                os._exit(0)
            os.close(descriptors[0])
        else:
            pid = int(command[1:])
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)  # only now may the system give the number to another process
        control.sendall(b"%d\n" % pid)


def _work(connection: socket.socket) -> None:
    """Runs in a worker: reads lines of JSON, writes one answer a line.

    ``[program, facts]`` evaluates a serialized expression in base64; ``[program]`` does on the
    facts of the line before.
    """
    programs: dict[str, Any] = {}
    activation: Any = None
    for line in connection.makefile("r", encoding="utf-8", newline="\n"):
        program, *facts = load_json(line)
        if facts:
            activation = bind(facts[0])
        if program not in programs:
            if len(programs) >= MOST_PROGRAMS:
                programs.clear()
            programs[program] = restore(base64.b64decode(program))
        answer: bool | str
        try:
            answer = evaluate(programs[program], activation)
        except ConditionFailed as failure:
            answer = str(failure)
        connection.sendall(json.dumps(answer).encode() + b"\n")


if __name__ == "__main__":
    _serve()
