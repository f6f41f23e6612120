"""The policy language: parses documents to policies, and evaluates policies on a task.

A policy matches by the task's type and roles, with the wildcards ``*`` and ``?``, and by a CEL
condition. docs/policies.md describes the document.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Final, TypeVar

from approvals_app.policy.conditions import Condition, Facts, Group
from approvals_app.policy.runtime import ConditionFailed, ConditionInvalid
from audit_app.base.durations import parse_duration
from audit_app.base.errors import Invalid
from audit_app.base.text_safety import UNSEEN
from sessions_app.gate import Outcome, PolicyDecision

T = TypeVar("T")

TO_ROLE: Final = "$to_role"
"""Stands for the role that the task is addressed to."""

REJECT: Final = "reject"
APPROVE_WITHOUT_A_HUMAN: Final = "approve_without_a_human"
HIGH: Final = "high"
NORMAL: Final = "normal"
LOW: Final = "low"
REQUIRED: Final = "required"
WHEN_POSSIBLE: Final = "when_possible"
NO: Final = "no"
LONGEST_REVIEW_TIME = timedelta(minutes=5)
PATH = re.compile(r"(data|context)(\.[A-Za-z0-9_-]{1,100}){1,8}")
LONGEST_NAME = 150
LONGEST_DESCRIPTION = 2_000
LONGEST_INSTRUCTIONS = 500
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
    """Whom to ask after the previous deadline, and for how long."""

    role: str
    count: int
    deadline: timedelta


@dataclass(frozen=True, slots=True)
class Policy:
    """One policy. ``version`` and ``id`` are None unless it is stored.

    ``description`` is for the policies' authors, ``instructions`` for the reviewers.
    """

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
    instructions: str = ""
    signed: str = NO
    version: int | None = None
    id: str | None = None

    @classmethod
    def default(cls, role: str) -> "Policy":
        """The requirement where no policy says more: one person of ``role``."""
        return cls(name="", kind=Outcome.REQUIRE, approvals=(Requirement(role),))

    @classmethod
    def parse(cls, document: Any, *, version: int | None = None, id: str | None = None) -> "Policy":
        """Parse and check ``document``. Raises RuleInvalid, which names the field.

        The condition of a stored policy, one with a ``version``, was checked when it was saved. If
        this version of the runtime can't compile it, it fails on every task.
        """
        top = _Reader(document, "")
        name = top.read_required("name", _name)
        priority = top.read_optional("priority", _whole(-FARTHEST_PRIORITY, FARTHEST_PRIORITY), 0)
        description = top.read_optional("description", _text(LONGEST_DESCRIPTION), "")
        nothing: Mapping[str, Any] = {}
        when = _Reader(top.read_optional("when", _mapping, nothing), "when.")
        globs = {
            n: when.read_optional(n, _glob, "*") for n in ("task_type", "from_role", "to_role")
        }
        read_condition = _condition if version is None else _text(LONGEST_DESCRIPTION)
        condition = when.read_optional("condition", read_condition, "")
        when.refuse_other_keys()
        kind = Outcome(top.read_required("then", _one_of(*(kind.value for kind in Outcome))))
        fields: dict[str, Any] = globs | (
            _read_requirements(top) if kind is Outcome.REQUIRE else {}
        )
        if kind is Outcome.REQUIRE:
            top.refuse_other_keys()
        else:
            top.refuse_other_keys(f"it has no place in a policy that says {kind}.")
        return cls(
            name=name,
            kind=kind,
            priority=priority,
            description=description,
            condition=condition,
            version=version,
            id=id,
            **fields,
        )

    def as_document(self) -> dict[str, Any]:
        """The document that ``parse`` reads as this policy: without defaults, in a fixed order."""
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
            document["deadline"] = format_duration(self.deadline)
        if self.reminders:
            document["reminders"] = [format_duration(reminder) for reminder in self.reminders]
        if self.escalate:
            document["escalate"] = [
                {"role": step.role, "count": step.count, "deadline": format_duration(step.deadline)}
                for step in self.escalate
            ]
        if self.on_timeout != REJECT:
            document["on_timeout"] = self.on_timeout
        if self.valid_for:
            document["valid_for"] = format_duration(self.valid_for)
        if self.risk != NORMAL:
            document["risk"] = self.risk
        if self.look_for:
            document["look_for"] = format_duration(self.look_for)
        if self.type_out:
            document["type_out"] = self.type_out
        if self.instructions:
            document["instructions"] = self.instructions
        if self.signed != NO:
            document["signed"] = self.signed
        return document

    @property
    def title(self) -> str:
        """Its name in a sentence."""
        return f"Policy {self.name}" + (f" (version {self.version})" if self.version else "")

    def applies_to(self, facts: Mapping[str, Any]) -> bool:
        """Whether the type and the roles match; does not evaluate the condition."""
        return (
            matches(self.task_type, facts["task_type"])
            and matches(self.from_role, facts["from_role"])
            and matches(self.to_role, facts["to_role"])
        )

    def may_take_long(self) -> bool:
        """Whether its condition is evaluated by a process beside."""
        return bool(self.condition) and not _is_quick(self)

    def requirements_for(self, to_role: str) -> list[Requirement]:
        """Who must approve a task addressed to ``to_role``, each role once."""
        # $to_role and the role's own name may both be listed: the larger count applies to both.
        counts: dict[str, int] = {}
        for required in self.approvals:
            role = to_role if required.role == TO_ROLE else required.role
            counts[role] = max(counts.get(role, 0), required.count)
        return [Requirement(role, count) for role, count in counts.items()]

    def describe_requirements(self, to_role: str) -> str:
        """The requirements in words: ``2 approvals from finance and 1 from legal``."""
        first, *others = self.requirements_for(to_role)
        noun = "approval" if first.count == 1 else "approvals"
        return join(
            [
                f"{first.count} {noun} from {first.role}",
                *(f"{each.count} from {each.role}" for each in others),
            ]
        )


def evaluate(policies: Sequence[Policy], facts: Mapping[str, Any], default: str) -> PolicyDecision:
    """The decision of the first of ``policies`` (by priority, then name) that matches a task.

    ``facts`` holds the conditions' variables; ``default`` is APPROVAL_DEFAULT. If none matches,
    tasks of the types in ``asks_by_itself`` need a human, and ``default`` decides on the others. If
    a condition fails, a human is asked: those whom its policy names, or else those of the policies
    after it, or one person of the role that the task is addressed to.
    """
    ordered = sorted(policies, key=lambda policy: (policy.priority, policy.name))
    applicable: Iterable[Policy] = [each for each in ordered if each.applies_to(facts)]
    variables, failed = None, None
    if any(policy.condition for policy in applicable):
        variables = Facts(facts)
        applicable = _skip_false(list(applicable), variables)
    for policy in applicable:
        try:
            if variables and policy.condition and not _holds(policy, variables):
                continue
            decision = _decide(policy, facts)
            return decision if failed is None else _keep_stricter(failed, decision)
        except (ConditionFailed, ConditionInvalid) as failure:
            failed = failed or _decide_on_failure(policy, facts, str(failure))
            if policy.kind is Outcome.REQUIRE:
                return _decide_on_failure(policy, facts, str(failure))
            # Go on: an agent must not escape a later policy by leaving out what this one reads.
    return failed or _decide_by_default(facts, default)


def asks_by_itself(task_type: str) -> bool:
    """Whether tasks of this type need a human if no policy matches, whatever the default is."""
    return task_type in ASKING_TYPES or task_type.endswith(ASKING_SUFFIXES)


def matches(glob: str, text: str) -> bool:
    """Whether ``glob`` matches all of ``text``, in time proportional to their product at worst."""
    if glob in ("*", text):
        return True
    # Not fnmatch, where brackets are wildcards, too.
    head, _, tail = glob.partition("*")
    if not tail and "?" not in head:  # nearly every glob: a name or a prefix
        return text.startswith(head) if "*" in glob else text == head
    # Only the last star needs to backtrack: whatever an earlier one matched, can stay.
    at, star, retry_at, position = 0, -1, 0, 0
    while position < len(text):
        if at < len(glob) and glob[at] == "*":
            star, retry_at = at, position
            at += 1
        elif at < len(glob) and glob[at] in ("?", text[position]):
            at, position = at + 1, position + 1
        elif star >= 0:
            retry_at += 1
            at, position = star + 1, retry_at
        else:
            return False
    return not glob[at:].strip("*")


def join(parts: Sequence[str]) -> str:
    """``a, b and c``."""
    *others, last = parts
    return f"{', '.join(others)} and {last}" if others else last


def format_duration(length: timedelta) -> str:
    """``length`` as in a policy file, in the largest unit that divides it: ``4h``, ``90m``."""
    seconds = int(length.total_seconds())
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60)):
        if seconds % size == 0:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _decide(policy: Policy, facts: Mapping[str, Any]) -> PolicyDecision:
    action = {
        Outcome.APPROVE: "approves this without a human",
        Outcome.REFUSE: "refuses this",
        Outcome.REQUIRE: f"needs {policy.describe_requirements(facts['to_role'])}"
        if policy.approvals
        else "",
    }[policy.kind]
    because = f": {policy.condition} holds." if policy.condition else "."
    return PolicyDecision(
        policy.kind,
        f"{policy.title} {action}{because}",
        policy.name,
        policy.version,
        _plan(policy, facts),
    )


def _decide_on_failure(policy: Policy, facts: Mapping[str, Any], failure: str) -> PolicyDecision:
    plan = _plan(policy, facts) or Policy.default(facts["to_role"])
    why = (
        f"The condition of {policy.title[0].lower()}{policy.title[1:]} could not be evaluated, so "
        f"a human is asked: {failure} It needs {plan.describe_requirements(facts['to_role'])}."
    )
    return PolicyDecision(Outcome.REQUIRE, why, policy.name, policy.version, plan)


def _keep_stricter(failed: PolicyDecision, decision: PolicyDecision) -> PolicyDecision:
    """The decision of a later policy, unless that would ask nobody."""
    if decision.kind is Outcome.APPROVE:
        return failed
    note = f"The condition of policy {failed.policy}, which comes first, could not be evaluated."
    return replace(decision, why=f"{decision.why} {note}")


def _decide_by_default(facts: Mapping[str, Any], default: str) -> PolicyDecision:
    role, task_type = facts["to_role"], facts["task_type"]
    if asks_by_itself(task_type):
        why = f"No policy matches; {task_type} tasks always need a human: 1 approval from {role}."
    elif default == "require":
        why = f"No policy matches and APPROVAL_DEFAULT is require: 1 approval from {role}."
    else:
        return PolicyDecision(
            Outcome.APPROVE, f"No policy matches and APPROVAL_DEFAULT is {default}."
        )
    return PolicyDecision(Outcome.REQUIRE, why, plan=Policy.default(role))


def _plan(policy: Policy, facts: Mapping[str, Any]) -> Policy | None:
    return policy if policy.kind is Outcome.REQUIRE else None


def _holds(policy: Policy, variables: Facts) -> bool:
    return compile_condition(policy.condition).holds(variables)


def _skip_false(policies: Sequence[Policy], variables: Facts) -> Iterator[Policy]:
    """Leave out policies whose conditions are surely false, many with one evaluation."""
    quick = tuple(policy.condition for policy in policies if _is_quick(policy))
    if len(quick) < LEAST_GROUP:
        yield from policies
    elif len(quick) <= LARGEST_GROUP and _compile_group(quick).none_holds(variables):
        yield from (policy for policy in policies if not _is_quick(policy))
    else:
        middle = len(policies) // 2
        yield from _skip_false(policies[:middle], variables)
        yield from _skip_false(policies[middle:], variables)


def _is_quick(policy: Policy) -> bool:
    try:
        return bool(policy.condition) and compile_condition(policy.condition).is_quick
    except ConditionInvalid:
        return False


LEAST_GROUP, LARGEST_GROUP = 4, 64
_conditions: dict[str, Condition] = {}
_groups: dict[tuple[str, ...], Group] = {}
MOST_CONDITIONS = 10_000


def _compile_group(texts: tuple[str, ...]) -> Group:
    if texts not in _groups:
        if len(_groups) >= MOST_CONDITIONS:
            _groups.clear()
        _groups[texts] = Group([compile_condition(text) for text in texts])
    return _groups[texts]


def compile_condition(text: str) -> Condition:
    """The condition, compiled once. Raises ConditionInvalid."""
    if text not in _conditions:
        if len(_conditions) >= MOST_CONDITIONS:
            _conditions.clear()  # people trying out drafts must not fill the memory
        _conditions[text] = Condition(text)
    return _conditions[text]


# Reading documents: each read function returns the value or raises ValueError with the reason.


class _Reader:
    """Reads one mapping of the document, key by key, and refuses the keys that nobody read."""

    def __init__(self, document: Any, prefix: str) -> None:
        if not isinstance(document, Mapping):
            raise RuleInvalid(field=prefix.rstrip(".") or "policy", reason="it must be a mapping.")
        self._unread = dict(document)
        self._prefix = prefix

    def read_required(self, name: str, read: Callable[[Any], T]) -> T:
        if name not in self._unread:
            raise RuleInvalid(field=f"{self._prefix}{name}", reason="it is missing.")
        return self._read(name, read)

    def read_optional(self, name: str, read: Callable[[Any], T], default: T) -> T:
        return self._read(name, read) if name in self._unread else default

    def refuse_other_keys(self, reason: str = "there is no such key.") -> None:
        for name in self._unread:
            raise RuleInvalid(field=f"{self._prefix}{_quote(name)}", reason=reason)

    def read_list(self, name: str, most: int, read: Callable[[Any, str], T]) -> tuple[T, ...]:
        if name not in self._unread:
            return ()
        items = self._unread.pop(name)
        path = f"{self._prefix}{name}"
        if not isinstance(items, list) or not 1 <= len(items) <= most:
            raise RuleInvalid(field=path, reason=f"it must be a list of 1 to {most}.")
        return tuple(read(item, f"{path}[{index}]") for index, item in enumerate(items))

    def _read(self, name: str, read: Callable[[Any], T]) -> T:
        try:
            return read(self._unread.pop(name))
        except ValueError as error:
            raise RuleInvalid(field=f"{self._prefix}{name}", reason=str(error)) from None


def _read_requirements(top: _Reader) -> dict[str, Any]:
    approvals = top.read_list("approvals", MOST_APPROVALS, _requirement)
    if not approvals:
        raise RuleInvalid(field="approvals", reason="it must say who is asked.")
    roles = [required.role for required in approvals]
    for index, role in enumerate(roles):
        if role in roles[:index]:
            raise RuleInvalid(field=f"approvals[{index}].role", reason=f"{role} is there twice.")
    deadline = top.read_optional("deadline", _duration, None)
    reminders = top.read_list("reminders", MOST_REMINDERS, _reminder)
    for index, reminder in enumerate(reminders):
        if deadline and reminder >= deadline:
            reason = "it must be shorter than the deadline."
            raise RuleInvalid(field=f"reminders[{index}]", reason=reason)
    signed = top.read_optional("signed", _read_signed, NO)
    on_timeout = top.read_optional("on_timeout", _one_of(REJECT, APPROVE_WITHOUT_A_HUMAN), REJECT)
    if signed == REQUIRED and on_timeout == APPROVE_WITHOUT_A_HUMAN:
        reason = "silence signs nothing, and signed is required."
        raise RuleInvalid(field="on_timeout", reason=reason)
    return {
        "approvals": approvals,
        "deny_threshold": top.read_optional("deny_threshold", _whole(1, MOST_PEOPLE), 1),
        "deadline": deadline,
        "reminders": tuple(sorted(set(reminders), reverse=True)),
        "escalate": top.read_list("escalate", MOST_ESCALATIONS, _escalation),
        "on_timeout": on_timeout,
        "valid_for": top.read_optional("valid_for", _duration, None),
        "risk": top.read_optional("risk", _one_of(HIGH, NORMAL, LOW), NORMAL),
        "look_for": top.read_optional("look_for", _review_time, None),
        "type_out": top.read_optional("type_out", _path, ""),
        "instructions": top.read_optional("instructions", _instructions, ""),
        "signed": signed,
    }


def _quote(key: Any) -> str:
    """The first 100 characters of a key, which may be anything, without control characters."""
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in str(key)[:100])


def _requirement(item: Any, path: str) -> Requirement:
    reader = _Reader(item, f"{path}.")
    role = reader.read_required("role", _name)
    requirement = Requirement(role, reader.read_optional("count", _whole(1, MOST_PEOPLE), 1))
    reader.refuse_other_keys()
    return requirement


def _escalation(item: Any, path: str) -> Escalation:
    reader = _Reader(item, f"{path}.")
    role = reader.read_required("role", _name)
    count = reader.read_optional("count", _whole(1, MOST_PEOPLE), 1)
    escalation = Escalation(role, count, reader.read_required("deadline", _duration))
    reader.refuse_other_keys()
    return escalation


def _reminder(item: Any, path: str) -> timedelta:
    try:
        return _duration(item)
    except ValueError as error:
        raise RuleInvalid(field=path, reason=str(error)) from None


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
        # PostgreSQL's text and jsonb hold neither NUL nor lone surrogates.
        if re.search(r"[\0\ud800-\udfff]", value):
            raise ValueError("it has characters that can't be kept.")
        return value

    return read


def _instructions(value: Any) -> str:
    return _text(LONGEST_INSTRUCTIONS)(value).strip()


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
        compile_condition(text).try_constants()
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


def _read_signed(value: Any) -> str:
    # YAML reads a bare ``no`` as false.
    return NO if value is False else _one_of(REQUIRED, WHEN_POSSIBLE, NO)(value)


def _duration(value: Any) -> timedelta:
    if not isinstance(value, str) or len(value) > LONGEST_NAME:
        raise ValueError("it must be a length of time, for example 4h.")
    length = parse_duration(value)
    if length > LONGEST_DURATION:
        raise ValueError(f"it must be at most {format_duration(LONGEST_DURATION)}.")
    return length


def _review_time(value: Any) -> timedelta:
    length = _duration(value)
    if length > LONGEST_REVIEW_TIME:
        raise ValueError(f"it must be at most {format_duration(LONGEST_REVIEW_TIME)}.")
    return length


def _path(value: Any) -> str:
    if not isinstance(value, str) or not PATH.fullmatch(value):
        raise ValueError("it must lead to a member of data or context, for example data.amount.")
    return value
