"""Conditions of policies: CEL (github.com/google/cel-spec) over a task's payload.

Payloads come from agents, and a comprehension over a hostile one can take minutes while the library
holds the GIL. So conditions that loop or search are evaluated in a child process, which is killed
at TIME_LIMIT; all others take microseconds and are evaluated in this process.
"""

import atexit
import contextlib
import hashlib
import json
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Any, Final

import cel

VARIABLES: Final = (
    "agent",
    "context",
    "data",
    "description",
    "from_role",
    "task_type",
    "to_role",
)
FUNCTIONS: Final = frozenset(
    {"double", "duration", "int", "string", "timestamp", "size"}
    | {"contains", "startsWith", "endsWith", "matches"}
    | {"getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"}
    | {"getHours", "getMinutes", "getSeconds"}
)
CALLED: Final = FUNCTIONS | {"all", "exists", "exists_one", "map", "filter"}
OBJECTS: Final = frozenset({"data", "context"})
LONGEST = 2_000
TIME_LIMIT: Final = 0.25
"""Seconds for one evaluation in the child process."""
START_LIMIT: Final = 5.0
"""Seconds for the child process to start."""

MOST_AHEAD: Final = 4_096
"""Answers that are kept until they are asked for."""

MEMBER = re.compile(r"\s*\.\s*([A-Za-z_]\w*)")
BOUND = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
LOOPS = re.compile(r"\b(?:all|exists|exists_one|map|filter|matches)\b")
"""Searched in the whole text, with its strings and comments: a needless evaluation in the child is
cheap, but a loop that an odd quotation hides from a smarter search would block a worker."""
TEXTS = re.compile(r'"(?:\\.|[^"\\])*"' + r"|'(?:\\.|[^'\\])*'")


class ConditionInvalid(ValueError):
    """The text is not a valid condition; the message says why in one sentence."""


class ConditionFailed(Exception):
    """The condition can't be evaluated on this task; the message says why in one sentence."""


class Facts:
    """The variables of one task's conditions: the VARIABLES of ``facts``.

    Each set of variables is converted to CEL values once, and unused members never: converting a
    hostile payload takes a second and holds the GIL.
    """

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._facts = facts
        self._prepared: dict[frozenset[str], Any] = {}

    def select(self, needs: frozenset[str]) -> dict[str, Any]:
        """The variables in ``needs``, reduced to the members that ``needs`` names, if any."""
        return {name: self._select_members(name, needs) for name in needs if "." not in name}

    def cel_context(self, needs: frozenset[str]) -> Any:
        """The same as a CEL context. Raises ConditionFailed if a value can't be converted."""
        if needs not in self._prepared:
            try:
                self._prepared[needs] = cel.Context(self.select(needs))
            except Exception as error:
                raise ConditionFailed(_describe_error(error)) from None
        return self._prepared[needs]

    def _select_members(self, name: str, needs: frozenset[str]) -> Any:
        whole = self._facts[name]
        members = {need.partition(".")[2] for need in needs if need.startswith(f"{name}.")}
        if not members or not isinstance(whole, dict):
            return whole
        return {member: whole[member] for member in members & whole.keys()}


class Condition:
    """One compiled condition. Raises ConditionInvalid."""

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise ConditionInvalid(f"it is longer than {LONGEST:,} characters.")
        try:
            self._program = cel.compile(text)
        except Exception as error:
            raise ConditionInvalid(_describe_error(error)) from None
        self.text = text
        bare = TEXTS.sub('""', text)
        bound = set(BOUND.findall(bare))
        for name in self._program.variables():
            if name not in VARIABLES and name not in bound:
                known = ", ".join(VARIABLES)
                raise ConditionInvalid(f"there is no {name} that it could ask for, but {known}.")
        for name in self._program.functions():
            if name[0].isalpha() and name not in FUNCTIONS:  # the others are operators
                raise ConditionInvalid(f"there is no function called {name}.")
        self.loops = LOOPS.search(text) is not None
        needs = frozenset(self._program.variables()) & frozenset(VARIABLES)
        self.needs = needs.union(*(_find_members(name, text) for name in needs & OBJECTS))

    def holds(self, variables: Facts) -> bool:
        """Whether the condition is true of ``variables``.

        Raises ConditionFailed if it errors, is not a boolean, or takes longer than TIME_LIMIT.
        """
        if self.loops:
            return _evaluator.holds(self.text, variables.select(self.needs))
        return _execute(self._program, variables.cel_context(self.needs))


def _find_members(name: str, text: str) -> set[str]:
    """The members of ``name`` that a condition reads, as ``data.amount``; empty if it may read all.

    Strings and comments count, too: one member too many does no harm.
    """
    members = set()
    for after in re.split(rf"\b{name}\b", text)[1:]:
        member = MEMBER.match(after)
        if not member or member[1] in CALLED:
            return set()
        members.add(f"{name}.{member[1]}")
    return members


def _execute(program: Any, facts: Any) -> bool:
    try:
        answer = program.execute(facts)
    except Exception as error:
        raise ConditionFailed(_describe_error(error)) from None
    if not isinstance(answer, bool):
        raise ConditionFailed("it says neither true nor false.")
    return answer


def _describe_error(error: Exception) -> str:
    """The library's message as one printable sentence, without its advice."""
    if isinstance(error, KeyError):
        return f"there is no {str(error)[:100].strip(chr(39))}."
    text = " ".join(str(error).split())
    text = re.sub(r"^Failed to parse expression .*?: ERROR: <input>:(\d+):(\d+): ", r"", text)
    text = re.split(r"\. | — | expecting | \| ", text)[0]
    if "Recursion limit" in text:
        return "it is nested too deeply."
    overload = re.match(r"Undefined variable or function: '(\w+)'", text)
    if overload and overload[1] in FUNCTIONS:
        return f"{overload[1]} can't be asked of what it was given."
    printable = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return printable[:200].rstrip(".") + "."


_keeping: ContextVar[bool] = ContextVar("keeping", default=False)


@contextlib.contextmanager
def keep_answers() -> Iterator[None]:
    """Keep the answers about conditions that may take long until each is asked for once more.

    A condition has one answer for the same facts. Whoever evaluates before the transaction begins
    holds neither a lock nor a connection meanwhile, and inside it nobody waits.
    """
    token = _keeping.set(True)
    try:
        yield
    finally:
        _keeping.reset(token)


class _Evaluator:
    """The child process that evaluates conditions which may take long.

    Each server process starts its own at first use. One evaluation at a time; a late one kills the
    child, and the next starts another.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._ahead: dict[bytes, tuple[bool | str, int]] = {}

    def holds(self, text: str, facts: dict[str, Any]) -> bool:
        try:
            request = json.dumps([text, facts]).encode() + b"\n"
        except (TypeError, ValueError, RecursionError):
            raise ConditionFailed("the task is not plain JSON.") from None
        key = hashlib.sha256(request).digest()
        if _keeping.get():
            answer = self._keep(key, request)
        elif (kept := self._take(key)) is not None:
            answer = kept
        else:
            with self._lock:
                answer = self._ask(request)
        if isinstance(answer, bool):
            return answer
        raise ConditionFailed(answer)

    def _keep(self, key: bytes, request: bytes) -> bool | str:
        """The answer, kept for one more call."""
        with self._lock:
            answer, times = self._ahead.get(key) or (self._ask(request), 0)
            if len(self._ahead) >= MOST_AHEAD:
                self._ahead.clear()  # of requests that failed before they asked again
            self._ahead[key] = answer, times + 1
        return answer

    def _take(self, key: bytes) -> bool | str | None:
        """The kept answer, for one of the calls that it was kept for; None: there is none."""
        # Without the lock, which is held while another condition is evaluated. Whoever loses a race
        # for an answer evaluates.
        answer, times = self._ahead.pop(key, (None, 0))
        if answer is not None and times > 1:
            self._ahead[key] = answer, times - 1
        return answer

    def _ask(self, request: bytes) -> bool | str:
        try:
            process = self._running()
            answer: bool | str = json.loads(self._exchange(process, request, TIME_LIMIT))
        except TimeoutError:
            self.stop()
            return f"it took longer than {TIME_LIMIT} s."
        except (OSError, ValueError):
            self.stop()
            return "its evaluation broke off."
        except BaseException:
            self.stop()  # or the next caller would read this answer
            raise
        return answer

    def _exchange(self, process: "subprocess.Popen[bytes]", request: bytes, limit: float) -> bytes:
        assert process.stdin
        assert process.stdout
        until = time.monotonic() + limit
        into, out = process.stdin.fileno(), process.stdout.fileno()
        sent, received = 0, b""
        pipes = select.poll()  # select() fails for descriptors above 1,023
        pipes.register(out, select.POLLIN)
        pipes.register(into, select.POLLOUT)
        while not received.endswith(b"\n"):
            left = until - time.monotonic()
            if left <= 0:
                raise TimeoutError
            ready = dict(pipes.poll(left * 1_000))
            if into in ready:
                sent += os.write(into, request[sent : sent + 65_536])
                if sent == len(request):
                    pipes.unregister(into)
            if out in ready:
                piece = os.read(out, 65_536)
                if not piece:
                    raise BrokenPipeError
                received += piece
        return received

    def _running(self) -> "subprocess.Popen[bytes]":
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self._process = subprocess.Popen(
                [sys.executable, "-I", __file__],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
                start_new_session=True,
            )
            assert self._process.stdin
            os.set_blocking(self._process.stdin.fileno(), False)
            self._exchange(self._process, b'["true", {}]\n', START_LIMIT)  # wait until it answers
        return self._process

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        for pipe in (process.stdin, process.stdout):
            if pipe:
                with contextlib.suppress(OSError):
                    pipe.close()
        process.wait()

    def forget(self) -> None:
        """Let go of the process in a forked server process: it belongs to the parent."""
        # The lock may be held by a thread that does not exist here and would never release it.
        process, self._process, self._lock = self._process, None, threading.Lock()
        if process:
            process.returncode = 0  # or Popen would try to wait for another process's child
            for pipe in (process.stdin, process.stdout):
                if pipe:
                    pipe.close()


_evaluator = _Evaluator()
atexit.register(_evaluator.stop)
os.register_at_fork(after_in_child=_evaluator.forget)


def _serve() -> None:
    """Runs in the child: reads lines of JSON [condition, facts], writes one answer a line."""
    programs: dict[str, Any] = {}
    for line in sys.stdin.buffer:
        text, facts = json.loads(line)
        if text not in programs:
            programs[text] = cel.compile(text)
        try:
            answer: bool | str = _execute(programs[text], facts)
        except ConditionFailed as failure:
            answer = str(failure)
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve()
