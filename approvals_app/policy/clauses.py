"""Simple conditions: those that a form has a field for, and what they leave out between them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from itertools import pairwise
from typing import Final

from approvals_app.policy.description import describe_match
from approvals_app.policy.language import Policy, RuleInvalid, compile_condition
from approvals_app.policy.runtime import ConditionInvalid

NUMBER: Final = r"[0-9]{1,15}(?:\.[0-9]{1,6})?"
CLAUSES: Final = (
    ("amount_above", 'decimal(data.amount) > decimal("{}")', NUMBER),
    ("amount_up_to", 'decimal(data.amount) <= decimal("{}")', NUMBER),
    ("currency", 'data.currency == "{}"', "[A-Z]{3}"),
    ("destroys", "summary.destroys > 0", ""),
    ("as_root", "summary.as_root", ""),
    ("recipients_above", "summary.recipients > {}", "[0-9]{1,9}"),
)
"""Conditions that have a field of their own: the field, the text in CEL, and what it may hold."""
WRONG: Final = {
    "currency": "it must be three capital letters, for example EUR.",
    "recipients_above": "it must be a whole number.",
}
GROUPED: Final = re.compile(r"[0-9]{1,3}(,[0-9]{3})+(\.[0-9]+)?")
AND: Final = " && "
BOUND: Final = re.compile(
    rf"(?:(?:decimal|double)\(data\.amount\)|data\.amount) (?P<sign>[<>]=?) "
    rf'(?:decimal\("?)?(?P<limit>{NUMBER})(?:"?\))?'
)
CURRENCY: Final = re.compile(r"data\.currency == [\"'](?P<currency>[A-Z]{3})[\"']")
WILDCARD: Final = re.compile(r"[*?]")


def build_condition(values: Mapping[str, str]) -> str:
    """The condition that the fields say together: those of CLAUSES, and ``condition`` as it is.

    Raises RuleInvalid.
    """
    clauses = []
    for name, text, pattern in CLAUSES:
        value = values[name]
        if not value:
            continue
        if GROUPED.fullmatch(value):
            value = value.replace(",", "")
        if pattern and not re.fullmatch(pattern, value):
            reason = WRONG.get(name, "it must be a number, for example 1000 or 249.90.")
            raise RuleInvalid(field=name, reason=reason)
        clauses.append(text.format(value))
    rest = values["condition"]
    if not clauses or not rest:
        return AND.join(clauses) or rest
    try:
        compile_condition(rest)  # alone, so that a parenthesis in it closes none of ours
    except ConditionInvalid as error:
        raise RuleInvalid(field="condition", reason=str(error)) from None
    return AND.join([*clauses, _wrap(rest)])


def _wrap(text: str) -> str:
    return f"({text}\n)" if "//" in text else f"({text})"


def split_condition(text: str) -> dict[str, str]:
    """The fields for which ``build_condition`` builds exactly ``text``."""
    values = dict.fromkeys((name for name, _, _ in CLAUSES), "")
    rest = text
    for name, clause, pattern in CLAUSES:
        head, _, tail = clause.partition("{}")
        found = re.match(f"{re.escape(head)}({pattern}){re.escape(tail)}(?: && |$)", rest)
        if found:
            values[name] = found[1] or "on"
            rest = rest[found.end() :]
    values["condition"] = re.sub(r"^\((.*?)\n?\)$", r"\1", rest, flags=re.DOTALL)
    try:
        if build_condition(values) == text:
            return values
    except RuleInvalid:
        pass  # parentheses that do not belong together
    return dict.fromkeys(values, "") | {"condition": text}


@dataclass(frozen=True, slots=True)
class Range:
    """The amounts that a policy matches; a bound is None if there is none.

    ``has_low`` and ``has_high``: the bound itself is one of them.
    """

    low: Decimal | None = None
    has_low: bool = True
    high: Decimal | None = None
    has_high: bool = True
    currency: str = ""


def find_gaps(policies: Sequence[Policy]) -> list[str]:
    """Amounts that no policy matches, each in a sentence, where simple conditions tell it.

    Says nothing of tasks that a policy with any other condition might match.
    """
    sentences: list[str] = []
    kinds = {_kind(each): replace(each, condition="") for each in policies}
    for kind, unconditional in kinds.items():
        may_match = [each for each in policies if _may_overlap(each, kind)]
        ranges = [read_range(each.condition) for each in may_match]
        known = [each for each in ranges if each is not None]
        if len(known) < len(ranges) or any(_kind(each) != kind for each in may_match):
            continue
        sentences += (
            f"{describe_match(unconditional)}: no policy matches amounts {gap}."
            for gap in _find_gaps(known)
        )
    return sentences


def _kind(policy: Policy) -> tuple[str, str, str]:
    return policy.task_type, policy.from_role, policy.to_role


def _find_gaps(ranges: Sequence[Range]) -> Iterator[str]:
    currencies = sorted({each.currency for each in ranges})
    for currency in currencies:
        if currency or currencies == [""]:
            yield from _find_between([each for each in ranges if each.currency in ("", currency)])


def read_range(condition: str) -> Range | None:
    """The amounts that ``condition`` matches; None if it says anything else."""
    low, has_low, high, has_high, currency = None, True, None, True, ""
    for clause in condition.split(AND) if condition else []:
        if found := BOUND.fullmatch(clause):
            limit, includes = Decimal(found["limit"]), found["sign"].endswith("=")
            if found["sign"].startswith(">") and low is None:
                low, has_low = limit, includes
            elif found["sign"].startswith("<") and high is None:
                high, has_high = limit, includes
            else:
                return None
        elif (found := CURRENCY.fullmatch(clause)) and not currency:
            currency = found["currency"]
        else:
            return None
    return Range(low, has_low, high, has_high, currency)


def _may_overlap(policy: Policy, kind: tuple[str, str, str]) -> bool:
    globs = zip(_kind(policy), kind, strict=True)
    return all(_may_match_same(mine, theirs) for mine, theirs in globs)


def _may_match_same(glob: str, other: str) -> bool:
    """Whether one text may match both globs, as far as what precedes their wildcards tells."""
    head, other_head = WILDCARD.split(glob)[0], WILDCARD.split(other)[0]
    if head == glob and other_head == other:
        return glob == other
    return head.startswith(other_head) or other_head.startswith(head)


def _find_between(ranges: Iterable[Range]) -> Iterator[str]:
    """What ``ranges`` leave out, in words: between two of them, and above the last."""
    # Amounts below 0 are no payments.
    merged: list[Range] = []
    for each in sorted(ranges, key=lambda each: (each.low or Decimal(0), not each.has_low)):
        if merged and not _leaves_gap(merged[-1], each):
            merged[-1] = _join(merged[-1], each)
        else:
            merged.append(each)
    for before, after in pairwise(merged):
        yield f"{_say_above(before)} {_say_up_to(after)}{_say_currency(merged)}"
    if merged and merged[-1].high is not None:
        yield f"{_say_above(merged[-1])}{_say_currency(merged)}"


def _leaves_gap(before: Range, after: Range) -> bool:
    if before.high is None or after.low is None:
        return False
    if before.high == after.low:
        return not (before.has_high or after.has_low)
    return before.high < after.low


def _join(before: Range, after: Range) -> Range:
    if before.high is None or after.high is None:
        return Range(before.low, before.has_low, currency=before.currency or after.currency)
    ends = ((before.high, before.has_high), (after.high, after.has_high))
    high, has_high = max(ends)
    return Range(before.low, before.has_low, high, has_high, before.currency or after.currency)


def _say_above(before: Range) -> str:
    return f"{'above' if before.has_high else 'from'} {_format(before.high)}"


def _say_up_to(after: Range) -> str:
    return f"{'below' if after.has_low else 'up to'} {_format(after.low)}"


def _say_currency(ranges: Sequence[Range]) -> str:
    currency = next((each.currency for each in ranges if each.currency), "")
    return f" {currency}" if currency else ""


def _format(limit: Decimal | None) -> str:
    return "" if limit is None else format(limit.normalize(), ",f")
