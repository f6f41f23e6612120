"""The language of policies: a document in, a Rule out, and one verdict on each task.

A rule matches by the task's type and roles, where ``*`` stands for any characters and ``?`` for
one, and by a condition in CEL; docs/policies.md describes the document.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, TypeVar

from approvals_app.policy.conditions import Asked, Condition, ConditionFailed, ConditionInvalid
from audit_app.base.durations import parse_duration
from audit_app.base.errors import Invalid
from audit_app.base.text_safety import UNSEEN
from sessions_app.gate import Outcome, PolicyDecision

T = TypeVar("T")

TO_ROLE: Final = "$to_role"
"""In place of a role: the one that the task is addressed to."""

REJECT: Final = "reject"
APPROVE_WITHOUT_A_HUMAN: Final = "approve_without_a_human"
HIGH: Final = "high"
NORMAL: Final = "normal"
LOW: Final = "low"
LONGEST_LOOK = timedelta(minutes=5)
PATH = re.compile(r"(data|context)(\.[A-Za-z0-9_-]{1,100}){1,8}")
LONGEST_NAME = 150
LONGEST_DESCRIPTION = 2_000
FARTHEST_PRIORITY = 1_000_000
MOST_PEOPLE = 50
MOST_APPROVALS = 20
MOST_ESCALATIONS = 20
MOST_REMINDERS = 10
LONGEST_DURATION = timedelta(days=365)

ASKING_TYPES = ("approval", "approval_request", "question")
ASKING_SUFFIXES = ("_approval", "_question")


class RuleInvalid(Invalid):
    """The policy is not valid at {field}: {reason}"""


@dataclass(frozen=True, slots=True)
class Requirement:
    """At least ``count`` people of the group ``role``."""

    role: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Escalation:
    """Whom to ask when the deadline before has passed, and for how long."""

    role: str
    count: int
    deadline: timedelta


@dataclass(frozen=True, slots=True)
class Rule:
    """One policy; ``version`` and ``id`` are those of the stored one, None those of a draft."""

    name: str
    kind: Outcome
    priority: int = 0
    description: str = ""
    task_type: str = "*"
    from_role: str = "*"
    to_role: str = "*"
    condition: str = ""
    approvals: tuple[Requirement, ...] = ()
    deny_threshold: int = 1
    deadline: timedelta | None = None
    reminders: tuple[timedelta, ...] = ()
    escalate: tuple[Escalation, ...] = ()
    on_timeout: str = REJECT
    valid_for: timedelta | None = None
    risk: str = NORMAL
    look_for: timedelta | None = None
    type_out: str = ""
    version: int | None = None
    id: str | None = None

    @classmethod
    def default(cls, role: str) -> "Rule":
        """What is asked for where no policy says more: one person of ``role``."""
        return cls(name="", kind=Outcome.REQUIRE, approvals=(Requirement(role),))

    @classmethod
    def parse(cls, document: Any, *, version: int | None = None, id: str | None = None) -> "Rule":
        """The rule that ``document`` is. Raises RuleInvalid, naming the field."""
        top = _Reader(document, "")
        name = top.required("name", _name)
        priority = top.optional("priority", _whole(-FARTHEST_PRIORITY, FARTHEST_PRIORITY), 0)
        description = top.optional("description", _text(LONGEST_DESCRIPTION), "")
        nothing: Mapping[str, Any] = {}
        when = _Reader(top.optional("when", _mapping, nothing), "when.")
        globs = {n: when.optional(n, _glob, "*") for n in ("task_type", "from_role", "to_role")}
        condition = when.optional("condition", _condition, "")
        when.nothing_else()
        kind = Outcome(top.required("then", _one_of(*(kind.value for kind in Outcome))))
        asked: dict[str, Any] = globs | (_asked(top) if kind is Outcome.REQUIRE else {})
        if kind is Outcome.REQUIRE:
            top.nothing_else()
        else:
            top.nothing_else(f"it has no place in a policy that says {kind}.")
        return cls(
            name=name,
            kind=kind,
            priority=priority,
            description=description,
            condition=condition,
            version=version,
            id=id,
            **asked,
        )

    def as_document(self) -> dict[str, Any]:
        """What ``parse`` makes this rule of again: defaults left out, always in the same order."""
        when = {n: getattr(self, n) for n in ("task_type", "from_role", "to_role")}
        when = {name: glob for name, glob in when.items() if glob != "*"}
        if self.condition:
            when["condition"] = self.condition
        document: dict[str, Any] = {"name": self.name, "priority": self.priority}
        if self.description:
            document["description"] = self.description
        if when:
            document["when"] = when
        document["then"] = self.kind.value
        if self.kind is not Outcome.REQUIRE:
            return document
        document["approvals"] = [{"role": r.role, "count": r.count} for r in self.approvals]
        if self.deny_threshold != 1:
            document["deny_threshold"] = self.deny_threshold
        if self.deadline:
            document["deadline"] = written(self.deadline)
        if self.reminders:
            document["reminders"] = [written(reminder) for reminder in self.reminders]
        if self.escalate:
            document["escalate"] = [
                {"role": step.role, "count": step.count, "deadline": written(step.deadline)}
                for step in self.escalate
            ]
        if self.on_timeout != REJECT:
            document["on_timeout"] = self.on_timeout
        if self.valid_for:
            document["valid_for"] = written(self.valid_for)
        if self.risk != NORMAL:
            document["risk"] = self.risk
        if self.look_for:
            document["look_for"] = written(self.look_for)
        if self.type_out:
            document["type_out"] = self.type_out
        return document

    @property
    def called(self) -> str:
        """What it is called in a sentence."""
        return f"Policy {self.name}" + (f" (version {self.version})" if self.version else "")

    def is_about(self, facts: Mapping[str, Any]) -> bool:
        """Whether the type and the roles match; the condition is not asked."""
        return (
            matches(self.task_type, facts["task_type"])
            and matches(self.from_role, facts["from_role"])
            and matches(self.to_role, facts["to_role"])
        )

    def asked_of(self, to_role: str) -> list[Requirement]:
        """Who is asked for a task addressed to ``to_role``, each role once: two names of one role
        ask for the larger number."""
        counts: dict[str, int] = {}
        for asked in self.approvals:
            role = to_role if asked.role == TO_ROLE else asked.role
            counts[role] = max(counts.get(role, 0), asked.count)
        return [Requirement(role, count) for role, count in counts.items()]

    def asks_for(self, to_role: str) -> str:
        """``2 of finance and 1 of legal``."""
        asked = [f"{each.count} of {each.role}" for each in self.asked_of(to_role)]
        return f"{', '.join(asked[:-1])} and {asked[-1]}" if len(asked) > 1 else asked[0]


def verdict(rules: Sequence[Rule], facts: Mapping[str, Any], default: str) -> PolicyDecision:
    """What the first of ``rules`` (by priority, then name) that matches says of a task.

    ``facts`` are the task's members that a condition may ask for. A condition that fails asks a
    human: the rule's own. Where the rule would have asked nobody, those after it are asked, lest an
    agent escapes them by what it leaves out, and at the least one human of the role that the task
    is addressed to. Where none matches, types that ask by themselves do, and ``default``
    (APPROVAL_DEFAULT) decides on the others.
    """
    asked, failed = Asked(facts), None
    for rule in sorted(rules, key=lambda rule: (rule.priority, rule.name)):
        if not rule.is_about(facts):
            continue
        try:
            if not rule.condition or _compiled(rule.condition).holds(asked):
                said = _said_by(rule, facts)
                return said if failed is None else _after(failed, said)
        except ConditionFailed as failure:
            failed = failed or _failed(rule, facts, str(failure))
            if rule.kind is Outcome.REQUIRE:
                return _failed(rule, facts, str(failure))
    return failed or _by_default(facts, default)


def asks_by_itself(task_type: str) -> bool:
    """Whether a task of this type asks a human where no policy matches, whatever the default is."""
    return task_type in ASKING_TYPES or task_type.endswith(ASKING_SUFFIXES)


def matches(glob: str, text: str) -> bool:
    """Whether ``text`` is all of ``glob``, in time proportional to their product at worst."""
    head, _, tail = glob.partition("*")
    if not tail and "?" not in head:  # as nearly all are: a name, or how names begin
        return text.startswith(head) if "*" in glob else text == head
    at, star, mark, place = 0, -1, 0, 0
    while place < len(text):
        if at < len(glob) and glob[at] == "*":
            star, mark = at, place
            at += 1
        elif at < len(glob) and glob[at] in ("?", text[place]):
            at, place = at + 1, place + 1
        elif star >= 0:
            mark += 1
            at, place = star + 1, mark
        else:
            return False
    return not glob[at:].strip("*")


def written(length: timedelta) -> str:
    """A length of time as people write it, in the largest unit that it is a whole number of."""
    seconds = int(length.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _said_by(rule: Rule, facts: Mapping[str, Any]) -> PolicyDecision:
    what = {
        Outcome.APPROVE: "approves this without a human",
        Outcome.REFUSE: "refuses this",
        Outcome.REQUIRE: f"requires {rule.asks_for(facts['to_role'])}" if rule.approvals else "",
    }[rule.kind]
    because = f": {rule.condition} holds." if rule.condition else "."
    return PolicyDecision(
        rule.kind, f"{rule.called} {what}{because}", rule.name, rule.version, _plan(rule, facts)
    )


def _failed(rule: Rule, facts: Mapping[str, Any], failure: str) -> PolicyDecision:
    plan = _plan(rule, facts) or Rule.default(facts["to_role"])
    why = (
        f"The condition of {rule.called[0].lower()}{rule.called[1:]} could not be evaluated, so "
        f"a human is asked: {failure} It requires {plan.asks_for(facts['to_role'])}."
    )
    return PolicyDecision(Outcome.REQUIRE, why, rule.name, rule.version, plan)


def _after(failed: PolicyDecision, said: PolicyDecision) -> PolicyDecision:
    """What a later rule says, unless that would be less than to ask a human."""
    if said.kind is Outcome.APPROVE:
        return failed
    before = f"The condition of policy {failed.policy}, which comes first, could not be evaluated."
    return replace(said, why=f"{said.why} {before}")


def _by_default(facts: Mapping[str, Any], default: str) -> PolicyDecision:
    role, task_type = facts["to_role"], facts["task_type"]
    if asks_by_itself(task_type):
        why = f"No policy matches; {task_type} tasks always need a human: 1 of {role}."
    elif default == "require":
        why = f"No policy matches and APPROVAL_DEFAULT is require: 1 of {role}."
    else:
        return PolicyDecision(
            Outcome.APPROVE, f"No policy matches and APPROVAL_DEFAULT is {default}."
        )
    return PolicyDecision(Outcome.REQUIRE, why, plan=Rule.default(role))


def _plan(rule: Rule, facts: Mapping[str, Any]) -> Rule | None:
    return rule if rule.kind is Outcome.REQUIRE else None


_conditions: dict[str, Condition] = {}
MOST_CONDITIONS = 10_000


def _compiled(text: str) -> Condition:
    """Compiled once a process; drafts that are tried must not fill it."""
    if text not in _conditions:
        if len(_conditions) >= MOST_CONDITIONS:
            _conditions.clear()
        _conditions[text] = Condition(text)
    return _conditions[text]


# Reading documents: each reader takes a value and raises ValueError with the reason.


class _Reader:
    """One mapping of the document: every key is asked for, and what is left over is refused."""

    def __init__(self, document: Any, place: str) -> None:
        if not isinstance(document, Mapping):
            raise RuleInvalid(field=place.rstrip(".") or "policy", reason="it must be a mapping.")
        self._left = dict(document)
        self._place = place

    def required(self, name: str, read: Callable[[Any], T]) -> T:
        if name not in self._left:
            raise RuleInvalid(field=f"{self._place}{name}", reason="it is missing.")
        return self._read(name, read)

    def optional(self, name: str, read: Callable[[Any], T], default: T) -> T:
        return self._read(name, read) if name in self._left else default

    def nothing_else(self, reason: str = "there is no such key.") -> None:
        for name in self._left:
            raise RuleInvalid(field=f"{self._place}{_quoted(name)}", reason=reason)

    def list_of(self, name: str, most: int, read: Callable[[Any, str], T]) -> tuple[T, ...]:
        if name not in self._left:
            return ()
        items = self._left.pop(name)
        place = f"{self._place}{name}"
        if not isinstance(items, list) or not 1 <= len(items) <= most:
            raise RuleInvalid(field=place, reason=f"it must be a list of 1 to {most}.")
        return tuple(read(item, f"{place}[{index}]") for index, item in enumerate(items))

    def _read(self, name: str, read: Callable[[Any], T]) -> T:
        try:
            return read(self._left.pop(name))
        except ValueError as error:
            raise RuleInvalid(field=f"{self._place}{name}", reason=str(error)) from None


def _asked(top: _Reader) -> dict[str, Any]:
    approvals = top.list_of("approvals", MOST_APPROVALS, _requirement)
    if not approvals:
        raise RuleInvalid(field="approvals", reason="it must say who is asked.")
    roles = [asked.role for asked in approvals]
    for index, role in enumerate(roles):
        if role in roles[:index]:
            raise RuleInvalid(field=f"approvals[{index}].role", reason=f"{role} is there twice.")
    deadline = top.optional("deadline", _duration, None)
    reminders = top.list_of("reminders", MOST_REMINDERS, _reminder)
    for index, reminder in enumerate(reminders):
        if deadline and reminder >= deadline:
            reason = "it must be shorter than the deadline."
            raise RuleInvalid(field=f"reminders[{index}]", reason=reason)
    return {
        "approvals": approvals,
        "deny_threshold": top.optional("deny_threshold", _whole(1, MOST_PEOPLE), 1),
        "deadline": deadline,
        "reminders": tuple(sorted(set(reminders), reverse=True)),
        "escalate": top.list_of("escalate", MOST_ESCALATIONS, _escalation),
        "on_timeout": top.optional("on_timeout", _one_of(REJECT, APPROVE_WITHOUT_A_HUMAN), REJECT),
        "valid_for": top.optional("valid_for", _duration, None),
        "risk": top.optional("risk", _one_of(HIGH, NORMAL, LOW), NORMAL),
        "look_for": top.optional("look_for", _glance, None),
        "type_out": top.optional("type_out", _path, ""),
    }


def _quoted(key: Any) -> str:
    """The beginning of a key that may be anything, fit to be shown."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(key)[:100])


def _requirement(item: Any, place: str) -> Requirement:
    reader = _Reader(item, f"{place}.")
    role = reader.required("role", _name)
    found = Requirement(role, reader.optional("count", _whole(1, MOST_PEOPLE), 1))
    reader.nothing_else()
    return found


def _escalation(item: Any, place: str) -> Escalation:
    reader = _Reader(item, f"{place}.")
    role = reader.required("role", _name)
    count = reader.optional("count", _whole(1, MOST_PEOPLE), 1)
    found = Escalation(role, count, reader.required("deadline", _duration))
    reader.nothing_else()
    return found


def _reminder(item: Any, place: str) -> timedelta:
    try:
        return _duration(item)
    except ValueError as error:
        raise RuleInvalid(field=place, reason=str(error)) from None


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ValueError("it must be a mapping.")
    return value


def _text(longest: int) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str):
            raise ValueError("it must be a text.")
        if len(value) > longest:
            raise ValueError(f"it is longer than {longest:,} characters.")
        if re.search(r"[\0\ud800-\udfff]", value):
            raise ValueError("it has characters that can't be kept.")
        return value

    return read


def _name(value: Any) -> str:
    name = _text(LONGEST_NAME)(value)
    if not name or UNSEEN.search(name) or name != " ".join(name.split()):
        raise ValueError("it must be one line of visible characters, single spaces between.")
    return name


def _glob(value: Any) -> str:
    return re.sub(r"\*+", "*", _name(value))


def _condition(value: Any) -> str:
    text = _text(LONGEST_DESCRIPTION)(value).strip()
    try:
        Condition(text)
    except ConditionInvalid as error:
        raise ValueError(str(error)) from None
    return text


def _whole(least: int, most: int) -> Callable[[Any], int]:
    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"it must be a whole number from {least:,} to {most:,}.")
        return value

    return read


def _one_of(*values: str) -> Callable[[Any], str]:
    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in values:
            raise ValueError(f"it must be {', '.join(values[:-1])} or {values[-1]}.")
        return value

    return read


def _duration(value: Any) -> timedelta:
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        raise ValueError("it must be a length of time, for example 4h.")
    found = parse_duration(value)
    if found > LONGEST_DURATION:
        raise ValueError(f"it must be at most {written(LONGEST_DURATION)}.")
    return found


def _glance(value: Any) -> timedelta:
    found = _duration(value)
    if found > LONGEST_LOOK:
        raise ValueError(f"it must be at most {written(LONGEST_LOOK)}.")
    return found


def _path(value: Any) -> str:
    if not isinstance(value, str) or not PATH.fullmatch(value):
        raise ValueError("it must lead to a member of data or context, for example data.amount.")
    return value
