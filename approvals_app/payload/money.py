"""Amounts as people read and type them."""

import re
from decimal import Decimal
from typing import Any, Final

AMOUNT: Final = re.compile(r"-?[0-9][0-9., ]{0,20}")
CURRENCY: Final = re.compile(r"[A-Za-z]{3}|[€$£¥]")
PLAIN: Final = re.compile(r"-?(?:0|[1-9][0-9]{0,29})(?:\.[0-9]{1,30})?")
"""A number as JSON and our pages write it. What starts with further zeros is an identifier."""
SYMBOLS: Final = {"€": "EUR", "£": "GBP"}
"""Signs that stand for one currency; $ and ¥ stand for several."""
BLANKS: Final = str.maketrans("\u00a0\u202f\u2009’", "   '")
"""What people separate groups with, as what they can type."""
TYPED: Final = tuple(
    # Groups of three, of one separator; then decimals. A single comma before three digits groups,
    # as on our pages; a single point never does, so that 4.980 is not 4980.
    re.compile(rf"(?P<whole>-?(?:{whole}))(?:{point}(?P<decimals>{decimals}))?")
    for whole, point, decimals in (
        (r"[0-9]+|[0-9]{1,3}(?:,[0-9]{3})+", r"\.", "[0-9]+"),
        (r"[0-9]{1,3}(?: [0-9]{3})+|[0-9]{1,3}(?:'[0-9]{3})+", r"[.,]", "[0-9]+"),
        (r"[0-9]{1,3}(?:\.[0-9]{3})+(?=,)", ",", "[0-9]+"),
        (r"[0-9]+(?=,)", ",", "[0-9]{1,2}"),
    )
)


def format_amount(value: Any, currency: Any) -> str:
    """The amount with its currency, as the payload writes both; "" where ``value`` is not clearly
    an amount."""
    if not AMOUNT.fullmatch(str(value)):
        return ""
    has_currency = isinstance(currency, str) and CURRENCY.fullmatch(currency)
    return f"{value} {currency}" if has_currency else str(value)


def group_digits(text: str) -> str:
    """``4980.00 EUR`` as ``4,980.00 EUR``; what is no plain number stays as it is."""
    number, blank, currency = text.partition(" ")
    if not PLAIN.fullmatch(number):
        return text
    whole, point, decimals = number.partition(".")
    sign = "-" if whole.startswith("-") else ""
    return f"{sign}{int(whole.lstrip('-')):,}{point}{decimals}{blank}{currency}"


def is_same_amount(value: Any, typed: str, currency: Any = None) -> bool:
    """Whether ``typed`` denotes the number ``value``, whatever separates its groups.

    ``value`` is a number of JSON, or a text that is one. ``typed`` may have ``currency``, the
    payload's own, before or after the number. Only what can be read in one way is the same.
    """
    text = str(value)
    if isinstance(value, bool) or not PLAIN.fullmatch(text):
        return False
    number = _parse_typed(_strip_currency(typed.translate(BLANKS).strip(), currency))
    return number is not None and number == Decimal(text)


def _strip_currency(typed: str, currency: Any) -> str:
    if not isinstance(currency, str) or not currency.strip():
        return typed
    code = currency.strip().upper()
    for name in (code, *(sign for sign, each in SYMBOLS.items() if each == code)):
        for rest in (typed.upper().removesuffix(name), typed.upper().removeprefix(name)):
            if rest != typed.upper():
                return rest.strip()
    return typed


def _parse_typed(text: str) -> Decimal | None:
    for form in TYPED:
        if match := form.fullmatch(text):
            whole = re.sub(r"[., ']", "", match["whole"])
            return Decimal(f"{whole}.{match['decimals'] or 0}")
    return None
