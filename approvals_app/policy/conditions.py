"""Conditions of policies: CEL over a task's payload, true or false, or failed with a reason.

docs/policies.md describes the language. Conditions that loop, search or build texts, and all on
large payloads, are evaluated by a process beside; others take microseconds here.
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

from approvals_app.policy import runtime, syntax
from approvals_app.policy.evaluator import EVALUATOR
from approvals_app.policy.runtime import ConditionFailed, ConditionInvalid

VARIABLES: Final = frozenset(runtime.VARIABLES)
LONGEST: Final = 2_000
"""Characters of a condition."""
LARGEST: Final = 65_536
"""Characters of the payload that are still converted here."""
TASK_LIMIT: Final = 1.0
"""Seconds for all evaluations of one task in a process beside."""
MOST_SUMS: Final = 10
"""Additions, which may join texts, that are still evaluated here."""
QUICK: Final = re.compile(
    r"_.*_|-_|!_|@in|@not_strictly_false"
    r"|size|contains|startsWith|endsWith|charAt|indexOf|lastIndexOf|substring"
    r"|bool|bytes|decimal|double|duration|dyn|int|string|timestamp|type|uint"
    r"|get[A-Z]\w+|math\.\w+|optional\.\w+|hasValue|value|or|orValue"
)
"""Functions that take microseconds on a payload of at most LARGEST."""
UNPLANNED: Final = "No overload found in reference resolve step"
"""How the runtime says that it lacks a function which the compiler knows."""
ZONED: Final = re.compile(r"get[A-Z]\w+")


class Facts:
    """The VARIABLES of one task's conditions.

    Each set of variables is converted to CEL values once, and members that no condition reads never
    are.
    """

    def __init__(self, facts: Mapping[str, Any]) -> None:
        self._facts = facts
        self._payer = getattr(facts, "payer", "")
        self._texts: dict[frozenset[str], str] = {}
        self._activations: dict[frozenset[str], Any] = {}
        self._kinds: dict[syntax.Path, str | None] = {}
        self._limit: float | None = None
        self._used = 0.0

    def get_text(self, needs: frozenset[str]) -> str:
        """The variables in ``needs`` as JSON, reduced to the members that ``needs`` names, if any.

        Raises ConditionFailed if they are not plain JSON.
        """
        if needs not in self._texts:
            selected = {name: self._select(name, needs) for name in needs if "." not in name}
            try:
                text = json.dumps(selected, allow_nan=False, ensure_ascii=False)
            except (TypeError, ValueError, RecursionError):
                raise ConditionFailed("the task is not plain JSON.") from None
            if UNSAFE.search(text):
                # CEL's texts end at NUL. The API refuses both before they get here.
                raise ConditionFailed("the task holds a NUL or half a character.")
            self._texts[needs] = text
        return self._texts[needs]

    def bind(self, needs: frozenset[str]) -> Any:
        """The same as an activation."""
        if needs not in self._activations:
            self._activations[needs] = runtime.bind(runtime.load_json(self.get_text(needs)))
        return self._activations[needs]

    def find_kind(self, path: syntax.Path) -> str | None:
        """The kind of the value at ``path``, or None if there is none."""
        if path not in self._kinds:
            self._kinds[path] = self._read_kind(path)
        return self._kinds[path]

    def _read_kind(self, path: syntax.Path) -> str | None:
        value = self._facts[str(path[0])]
        for step in path[1:]:
            is_there = (
                step in value
                if isinstance(value, Mapping)
                else isinstance(value, list) and isinstance(step, int) and 0 <= step < len(value)
            )
            if not is_there:
                return None
            value = value[step]
        return get_kind(value)

    def evaluate_beside(self, program: bytes, needs: frozenset[str]) -> bool:
        """Evaluate in a process beside, within what is left of the task's TASK_LIMIT.

        An agent whose evaluations were slow lately has less.
        """
        text = self.get_text(needs)
        if self._limit is None:
            self._limit = TASK_LIMIT * EVALUATOR.get_share(self._payer)
        if self._used >= self._limit:
            raise ConditionFailed(f"the task's conditions took longer than {self._limit:.2g} s.")
        started = time.monotonic()
        try:
            return EVALUATOR.holds(program, text, self._payer)
        finally:
            self._used += time.monotonic() - started

    def _select(self, name: str, needs: frozenset[str]) -> Any:
        whole = self._facts[name]
        members = {need.partition(".")[2] for need in needs if need.startswith(f"{name}.")}
        if not members or not isinstance(whole, dict):
            return whole
        return {member: whole[member] for member in members & whole.keys()}


UNSAFE: Final = re.compile(r"(?<!\\)(?:\\\\)*\\u0000|[\ud800-\udfff]")


class Condition:
    """One compiled condition. Raises ConditionInvalid.

    ``is_quick``: it takes microseconds on a payload of at most LARGEST.
    """

    def __init__(self, text: str) -> None:
        if len(text) > LONGEST:
            raise ConditionInvalid(f"it is longer than {LONGEST:,} characters.")
        if re.search(r"[\0\ud800-\udfff]", text):
            raise ConditionInvalid("it has characters that can't be kept.")
        self.text = text
        self._program = runtime.compile(text)
        self._serialized = self._program.serialize()
        self.traits = syntax.read_traits(self._serialized, VARIABLES)
        sums = sum(name == "_+_" for name, _ in self.traits.calls)
        self.is_quick = (
            not self.traits.loops
            and sums <= MOST_SUMS
            and all(QUICK.fullmatch(name) for name, _ in self.traits.calls)
        )
        if self.traits.repeats_key:
            raise ConditionInvalid("a map has the same key twice.")
        if self.traits.adds_bytes and any(name == "decimal" for name, _ in self.traits.calls):
            raise ConditionInvalid("decimals can be compared, not added.")
        self.comparisons = [
            (path, frozenset(kinds))
            for path, kinds in self.traits.compared.items()
            if kinds != {syntax.NULL}
        ]
        members = self.traits.members
        self.needs = frozenset(members).union(
            *({f"{name}.{each}" for each in read} for name, read in members.items() if read)
        )

    def holds(self, facts: Facts) -> bool:
        """Whether the condition is true of ``facts``.

        Raises ConditionFailed if it errs, is neither true nor false, takes longer than its limits,
        or compares a value with constants of another kind.
        """
        self._check_kinds(facts)
        if self.is_quick and len(facts.get_text(self.needs)) <= LARGEST:
            return runtime.evaluate(self._program, facts.bind(self.needs))
        return facts.evaluate_beside(self._serialized, self.needs)

    def try_constants(self) -> None:
        """Evaluate what does not depend on the task. Raises ConditionInvalid if it fails.

        Includes regular expressions and time zones.
        """
        try:
            EVALUATOR.holds(self._serialized, "{}")
        except ConditionFailed as failure:
            if str(failure).startswith(UNPLANNED):
                raise ConditionInvalid(f"this runtime can't evaluate it: {failure}") from None
        for constant in self.traits.constants:
            _try(constant)
        for name, arguments in self.traits.calls:
            text = arguments[-1] if len(arguments) == 2 else None
            if text is None:
                continue
            quoted = json.dumps(text, ensure_ascii=False)
            if name == "matches":
                _try(runtime.compile(f"''.matches({quoted})").serialize())
            elif ZONED.fullmatch(name):
                probe = f"timestamp('2026-01-01T00:00:00Z').{name}({quoted}) >= 0"
                _try(runtime.compile(probe).serialize())

    def _check_kinds(self, facts: Facts) -> None:
        # CEL says that 4711 != "4711": true, and a policy that means a number would pass a text.
        for path, kinds in self.comparisons:
            kind = facts.find_kind(path)
            if kind and kind not in kinds:
                raise ConditionFailed(
                    f"{format_path(path)} is {NAMES[kind]}, and it is compared with "
                    f"{' and '.join(sorted(NAMES[each] for each in kinds))}."
                )


class Group:
    """Quick conditions that are evaluated at once, since most hold of few tasks."""

    def __init__(self, conditions: Sequence[Condition]) -> None:
        self._comparisons = {each for condition in conditions for each in condition.comparisons}
        self._needs = frozenset[str]().union(*(condition.needs for condition in conditions))
        # A variable that one condition reads whole is needed whole.
        for condition in conditions:
            whole = {name for name, members in condition.traits.members.items() if members is None}
            self._needs -= {need for need in self._needs if need.partition(".")[0] in whole} - whole
        try:
            text = " || ".join(f"({condition.text}\n)" for condition in conditions)
            self._program = runtime.compile(text)
        except ConditionInvalid:  # nested too deeply
            self._program = None

    def none_holds(self, facts: Facts) -> bool:
        """Whether each of the conditions is false of ``facts``, and none fails."""
        if self._program is None or len(facts.get_text(self._needs)) > LARGEST:
            return False
        for path, kinds in self._comparisons:
            kind = facts.find_kind(path)
            if kind and kind not in kinds:
                return False
        try:
            return not runtime.evaluate(self._program, facts.bind(self._needs))
        except ConditionFailed:
            return False


NAMES: Final = {
    syntax.NULL: "null",
    syntax.BOOL: "true or false",
    syntax.NUMBER: "a number",
    syntax.TEXT: "a text",
    syntax.LIST: "a list",
    syntax.OBJECT: "an object",
    syntax.OTHER: "bytes",
}


def get_kind(value: Any) -> str:
    """The kind of a JSON value, as ``syntax`` names it."""
    if value is None:
        return syntax.NULL
    if isinstance(value, bool):
        return syntax.BOOL
    if isinstance(value, int | float):
        return syntax.NUMBER
    if isinstance(value, str):
        return syntax.TEXT
    return syntax.LIST if isinstance(value, list) else syntax.OBJECT


def format_path(path: syntax.Path) -> str:
    """``data.lines[0].sku``."""
    return str(path[0]) + "".join(
        f"[{step}]" if isinstance(step, int) else f".{step}" for step in path[1:]
    )


def _try(program: bytes) -> None:
    try:
        EVALUATOR.holds(program, "{}")
    except ConditionFailed as failure:
        raise ConditionInvalid(f"part of it fails for every task: {failure}") from None
