"""The identifiers in a payload by which two tasks may be about the same thing: pure, no I/O."""

import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

MOST: Final = 200
"""Identifiers of one task that are kept: the first ones."""
MEMBER: Final = re.compile(
    r"(?:^|_)(order|invoice|charge|payment_intent|payment|transaction|refund|contract|ticket)s?"
    r"(?:_(?:id|no|nr|number|ref|reference))?s?$"
)
IDENTIFIES: Final = re.compile(r"^(?:id|no|nr|number|ref|reference)$")
"""Members that identify the object they stand in, if it is called by one of the names above."""
VALUE: Final = re.compile(r"(?=.*\d)[A-Za-z0-9][\w./:#-]{3,99}", re.ASCII)
"""What an identifier looks like: four characters or more, one of them a digit, no blanks."""
AMOUNT_OR_DATE: Final = re.compile(r"-?[\d,]*\d\.\d{1,3}|\d{1,4}|\d{4}-\d\d-\d\d.*")
IBAN: Final = re.compile(r"[A-Z]{2}\d{2}[A-Z0-9]{11,30}")
STRIPE: Final = {"ch": "charge", "py": "charge", "pi": "payment_intent", "in": "invoice"}
PREFIXED: Final = re.compile(rf"({'|'.join(STRIPE)})_[A-Za-z0-9]{{8,255}}")
PAYER: Final = re.compile(r"debtor|dbtr|payer|from(?:$|_|[A-Z])|own_", re.IGNORECASE)
"""Members that hold the payer's side, which all payments of a house have in common."""
NO_OP: Final = (["no-op"], ["read"])


def find_identifiers(data: Any) -> list[str]:
    """``["order:2026-118204", "iban:AT611904300234573201"]``, in the order of the payload: numbers
    of orders, invoices, payments and the like, IBANs, and the addresses of resources that a plan
    changes. Never a person's name or mail address."""
    found = dict.fromkeys(_find(data, ""))
    return list(found)[:MOST]


def _find(value: Any, holder: str) -> Iterator[str]:
    """``holder``: what kind of thing the member that ``value`` stands in is called after."""
    match value:
        case Mapping():
            if address := _find_resource(value):
                yield f"resource:{address}"
            for name, inner in value.items():
                if not PAYER.match(name):
                    yield from _visit(inner, _name_kind(name, holder))
        case list():
            for inner in value:
                yield from _visit(inner, holder)


def _visit(value: Any, holder: str) -> Iterable[str]:
    if isinstance(value, str):
        return _read(value, holder)
    if isinstance(value, int):
        return _read(str(value), holder) if holder and not isinstance(value, bool) else ()
    return _find(value, holder)


def _read(text: str, holder: str) -> Iterator[str]:
    # Nearly all texts of a payload come here: the quick tests keep the others from most of them.
    if text[2:3] == "_" and (match := PREFIXED.fullmatch(text)):
        yield f"{STRIPE[match[1]]}:{text}"
    elif (
        15 <= len(text) <= 60
        and text[2:4].isdecimal()
        and IBAN.fullmatch(compact := re.sub(r"[ -]", "", text).upper())
    ):
        yield f"iban:{compact}"
    elif holder and VALUE.fullmatch(text) and not AMOUNT_OR_DATE.fullmatch(text):
        yield f"{holder}:{text}"


@lru_cache(maxsize=4_096)
def _name_kind(name: str, holder: str) -> str:
    """What the member ``name`` identifies: ``order`` for ``order_id``; "" for most. The ``id`` in
    an order identifies it; its other members don't."""
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|[^A-Za-z0-9]+", "_", name[-100:]).lower()
    if match := MEMBER.search(words):
        return match[1]
    return holder if IDENTIFIES.fullmatch(words) else ""


def _find_resource(value: Mapping[str, Any]) -> str:
    """The address of a resource that a Terraform plan changes."""
    address, change = value.get("address"), value.get("change")
    if not isinstance(address, str) or not isinstance(change, Mapping):
        return ""
    actions = change.get("actions")
    return address[:300] if isinstance(actions, list) and actions not in NO_OP else ""
