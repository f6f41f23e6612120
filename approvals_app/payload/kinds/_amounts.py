"""Amounts of money in JSON: which unit they are in, which currency, and how we write them.

An amount is in minor units (cents) or major ones by the shape of the API that is called, never by
its size. Where neither the API nor the way it is written tells, both readings are given.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from functools import cache, lru_cache
from typing import Any, Final

import iso4217

from approvals_app.payload.facts import Data, Path, clip

MOST_DIGITS: Final = 25
NO_CURRENCY: Final = "no currency is given"


def name_list(names: str) -> tuple[str, ...]:
    """The words of ``names`` in their order."""
    return tuple(names.split())


def rank_names(names: str) -> dict[str, int]:
    """The words of ``names``, each with its place: the first is preferred."""
    return {name: place for place, name in enumerate(names.split())}


def name_set(names: str) -> frozenset[str]:
    """The words of ``names`` as a set."""
    return frozenset(names.split())


@dataclass(frozen=True, slots=True)
class Api:
    """An API that is recognised by its members. ``minor``: whole numbers are in minor units.

    ``exponents`` are those in which the API differs from ISO 4217.
    """

    name: str
    minor: bool
    exponents: Mapping[str, int]


# docs.stripe.com/currencies: MGA has no decimals there; ISK and UGX keep two for compatibility.
STRIPE: Final = Api("Stripe", True, {"MGA": 0, "ISK": 2, "UGX": 2})
# docs.adyen.com/development-resources/currency-codes: "differs from standard".
ADYEN: Final = Api("Adyen", True, {"CLP": 2, "CVE": 0, "IDR": 0, "ISK": 2})
SQUARE: Final = Api("Square", True, {})
GOCARDLESS: Final = Api("GoCardless", True, {})
PAYPAL: Final = Api("PayPal", False, {})
WISE: Final = Api("Wise", False, {})
REVOLUT: Final = Api("Revolut", False, {})
PAIN: Final = Api("ISO 20022", False, {})
CENTS: Final = Api("", True, {})
"""A member whose name says that it is in minor units: ``amount_cents``."""
MOST_WHOLE: Final = 10**20

HOSTS: Final = (
    ("api.stripe.com", STRIPE),
    ("adyen.com", ADYEN),
    ("squareup.com", SQUARE),
    ("gocardless.com", GOCARDLESS),
    ("paypal.com", PAYPAL),
    ("wise.com", WISE),
    ("revolut.com", REVOLUT),
)
URL: Final = re.compile(r"https://([a-z0-9.-]{4,100})(?:[:/?]|$)", re.IGNORECASE)
STRIPE_ID: Final = re.compile(
    r"(ch|pi|py|re|pyr|po|tr|trr|cus|pm|src|ba|card|acct|in|ii|sub|si|price|prod|seti|cs|txn"
    r"|fee|fr|cn|dp|du|il|plink|tu|obt|obp|tok)_[A-Za-z0-9_]+"
)
STRIPE_OBJECTS: Final = name_set(
    "charge refund payment_intent payout transfer transfer_reversal invoice invoiceitem price "
    "checkout.session topup credit_note application_fee balance_transaction dispute "
    "source_transaction customer_balance_transaction customer_cash_balance_transaction "
    "climate.order financial_connections.transaction issuing.authorization issuing.dispute "
    "issuing.transaction tax.calculation tax.transaction shipping_rate payment_record "
    "payment_attempt_record reserve.hold reserve.release treasury.credit_reversal "
    "treasury.debit_reversal treasury.inbound_transfer treasury.outbound_payment "
    "treasury.outbound_transfer treasury.received_credit treasury.received_debit "
    "treasury.transaction"
)
STRIPE_MEMBERS: Final = name_set(
    "id charge payment_intent destination customer payment_method source invoice transfer "
    "source_transaction on_behalf_of account subscription product price"
)
ADYEN_MEMBERS: Final = name_set(
    "merchantAccount pspReference paymentPspReference originalReference balanceAccountId"
)
WISE_MEMBERS: Final = name_set("quoteUuid sourceCurrency targetCurrency targetAccount")
PAYPAL_MEMBERS: Final = name_set("purchase_units sender_batch_header currency_code")
ADDRESSES: Final = ("url", "endpoint", "uri")
API_MEMBERS: Final = (
    STRIPE_MEMBERS
    | ADYEN_MEMBERS
    | WISE_MEMBERS
    | PAYPAL_MEMBERS
    | frozenset(ADDRESSES)
    | name_set("object price_data amount_money links receiver")
)
"""No API is recognised without one of these."""

TOTALS: Final = name_set("total sum controlsum totalamount grandtotal batchtotal ctrlsum")
VALUES: Final = ("value", "amount", "total", "unitamount", "unitamountdecimal")
AMOUNTS: Final = name_list(
    "amount amountmoney refundamount paymentamount transferamount payoutamount "
    "instructedamount instdamt modificationamount amounttopay amounttotal totalamount total "
    "sum grandtotal controlsum batchtotal pricedata unitamount unitamountdecimal unitprice "
    "price sourceamount targetamount amountrefunded amountcaptured amountreceived "
    "amounttocapture amountdue grossamount netamount fee applicationfeeamount feeamount "
    "appfeemoney tip tipmoney tax taxamount discount"
)
"""Names of members that hold an amount, without case and separators, the main ones first."""
PER_PIECE: Final = name_set("pricedata unitamount unitamountdecimal unitprice price")
CENT_ENDS: Final = ("cents", "pence", "minor", "minorunits", "smallestunit")
CENT_NAMES: Final = re.compile(rf"(?:in)?(?:{'|'.join(CENT_ENDS)})$")
AMOUNT_NAMES: Final = frozenset(
    name + between + end for name in AMOUNTS for end in ("", *CENT_ENDS) for between in ("", "in")
)
"""Names of members that hold an amount, in whatever unit, without case and separators."""
CURRENCIES: Final = ("currency", "currencycode", "ccy", "currencyiso", "isocurrency", "@ccy")
NUMBER: Final = re.compile(r"[+-]?\d[\d.,'’ \u00a0\u202f]*")
PLAIN: Final = re.compile(r"\d{1,20}(?:\.(\d\d?))?")
CODED: Final = re.compile(
    r"(?:([A-Za-z]{3}|[€$£¥₹])\s*)?([+-]?\d[\d.,'’ \u00a0\u202f]*?)\s*([A-Za-z]{3}|[€$£¥₹])?"
)


@dataclass(frozen=True, slots=True)
class Amount:
    """``numbers`` are its readings in major units: one, two where it is ambiguous, or none.

    ``doubt`` says why it is not certain; ``said`` is how a fact writes it if not as its readings.
    """

    name: str
    path: Path
    currency: str
    numbers: tuple[Decimal, ...]
    said: str = ""
    doubt: str = ""
    style: str = ""

    @property
    def text(self) -> str:
        """How a fact writes it; in most of thousands of amounts nobody asks."""
        return self.said or " or ".join(format_money(each, self.currency) for each in self.numbers)

    @property
    def largest(self) -> Decimal | None:
        """The reading of the largest size: the careful one."""
        if len(self.numbers) == 1:
            return self.numbers[0]
        return max(self.numbers, key=abs, default=None)


@lru_cache(maxsize=4096)
def normalize(name: str) -> str:
    """A member's name without case and separators: ``unit_amount`` and ``unitAmount`` agree."""
    return name.replace("_", "").replace("-", "").lower()


def detect_api(data: Data) -> Api | None:
    """The API in whose shape ``data`` is, as far as its own members tell."""
    names = data.keys()
    if names.isdisjoint(API_MEMBERS):
        return None
    if _is_stripe(data):
        return STRIPE
    for name in ADDRESSES:
        address = data.get(name)
        if isinstance(address, str) and (called := URL.match(address)):
            host = "." + called[1].lower()
            return next((api for each, api in HOSTS if host.endswith(f".{each}")), None)
    if names & ADYEN_MEMBERS:
        return ADYEN
    if "amount_money" in names:
        return SQUARE
    links = data.get("links")
    if isinstance(links, dict) and "mandate" in links:
        return GOCARDLESS
    if names & PAYPAL_MEMBERS:
        return PAYPAL
    receiver = data.get("receiver")
    if isinstance(receiver, dict) and "counterparty_id" in receiver:
        return REVOLUT
    return WISE if names & WISE_MEMBERS else None


def _is_stripe(data: Data) -> bool:
    kind = data.get("object")
    if (isinstance(kind, str) and kind in STRIPE_OBJECTS) or "price_data" in data:
        return True
    return any(
        isinstance(data[name], str) and STRIPE_ID.fullmatch(data[name])
        for name in STRIPE_MEMBERS & data.keys()
    )


def may_have_amount(data: Data) -> bool:
    """Whether a member of ``data`` is called as an amount is."""
    return bool(read_shape(tuple(data)).amounts)


def find_amounts(data: Data, path: Path, api: Api | None) -> list[Amount]:
    """The amounts that are members of ``data``, the main one first."""
    shape = read_shape(tuple(data))
    if not shape.amounts:
        return []
    found: dict[str, Amount] = {}
    currency = _take_currency(data, shape.currencies)
    for name, stem, cents in shape.amounts:
        if stem not in found:
            given = currency or _pair(data, stem)
            amount = _read_member(name, data[name], path, given, cents, api)
            if amount is not None:
                found[stem] = amount
    if len(found) < 2:
        return list(found.values())
    return [found[name] for name in AMOUNTS if name in found]


@dataclass(frozen=True, slots=True)
class Shape:
    """What the names of an object's members say: the rows of a list have the same ones.

    ``amounts`` are names with their stem and whether they are in cents.
    """

    amounts: tuple[tuple[str, str, bool], ...]
    currencies: tuple[str, ...]


@lru_cache(maxsize=4096)
def read_shape(names: tuple[str, ...]) -> Shape:
    return Shape(
        tuple((name, *split) for name in names if (split := _split_name(name))[0]),
        tuple(name for name in names if name.replace("_", "").lower() in CURRENCIES),
    )


@lru_cache(maxsize=4096)
def _split_name(name: str) -> tuple[str, bool]:
    """The name of an amount, and whether it says that it is in cents; empty: it is no amount."""
    plain = normalize(name)
    cents = CENT_NAMES.search(plain)
    stem = plain[: cents.start()] if cents else plain
    return (stem, cents is not None) if stem in AMOUNTS else ("", False)


def find_currency(data: Data) -> str:
    """The currency that a member of ``data`` names, in capitals; empty if there is none."""
    return _take_currency(data, read_shape(tuple(data)).currencies)


def _take_currency(data: Data, names: tuple[str, ...]) -> str:
    for name in names:
        value = data[name]
        if isinstance(value, str):
            return value.strip().upper()[:12]
    return ""


def _pair(data: Data, stem: str) -> str:
    """The currency beside ``sourceAmount``: ``sourceCurrency``."""
    wanted = stem.removesuffix("amount") + "currency"
    for name, value in data.items():
        if isinstance(value, str) and normalize(name) == wanted:
            return value.strip().upper()[:12]
    return ""


def _read_member(
    name: str, value: Any, path: Path, currency: str, cents: bool, api: Api | None
) -> Amount | None:
    where = (*path, name)
    if cents:
        api = api if api and api.minor else CENTS
    if isinstance(value, dict):
        inner = {normalize(each): each for each in value}
        member = next((inner[each] for each in VALUES if each in inner), None)
        if member is None or not _is_number(value[member]):
            return None
        # ``currency_code`` is PayPal's alone, ``unit_amount`` Stripe's.
        own = STRIPE if "unit_amount" in value else detect_api(value)
        return read_amount(
            name, value[member], (*where, member), find_currency(value) or currency, own or api
        )
    if normalize(name) == "unitamount" and api is None:
        api = STRIPE
    return read_amount(name, value, where, currency, api) if _is_number(value) else None


def _is_number(value: Any) -> bool:
    if isinstance(value, bool):
        return False
    if isinstance(value, str):
        text = value.strip()
        if PLAIN.fullmatch(text):
            return True
        return len(value) < 2 * MOST_DIGITS and CODED.fullmatch(text) is not None
    return isinstance(value, (int, float))


def read_amount(name: str, value: Any, path: Path, currency: str, api: Api | None) -> Amount:
    """Read one number or text. ``api`` tells its unit; None: a plain shape of nobody's."""
    text = str(value).strip()
    if isinstance(value, str) and not PLAIN.fullmatch(text) and (coded := CODED.fullmatch(text)):
        currency = (coded[1] or coded[3] or currency).upper().replace("€", "EUR")
        text = coded[2]
    style, numbers = parse_number(text if isinstance(value, str) else value, api)
    if not numbers:
        return Amount(name, path, currency, (), f"“{clip(text)}”", "it can't be read as a number")
    if api is not None and api.minor:
        return _read_minor(name, path, currency, numbers, api)
    exponent = find_exponent(currency)
    if len(numbers) > 1:
        return _doubt(name, path, currency, numbers, f"“{text}” can be read as both", style)
    whole = not isinstance(value, str) and numbers[0] == numbers[0].to_integral_value()
    # A float that JSON kept as one says that it is no count of cents; an integer does not.
    if api is None and whole and not isinstance(value, float) and exponent != 0:
        return _read_unknown(name, path, currency, numbers[0])
    doubt = "" if exponent is not None else _doubt_currency(currency)
    if exponent is not None and _count_decimals(numbers[0], exponent) > exponent:
        doubt = f"{currency} has {exponent or 'no'} decimals"
    return Amount(name, path, currency, numbers, "", doubt, style)


def _read_minor(
    name: str, path: Path, currency: str, numbers: tuple[Decimal, ...], api: Api
) -> Amount:
    number = numbers[0]
    exponent = find_exponent(currency, api)
    if exponent is None:
        unit = currency or "an unknown currency"
        text = f"{_write(number)} in the smallest unit of {unit}"
        return Amount(name, path, currency, (), text, _doubt_currency(currency))
    if len(numbers) > 1 or (number != number.to_integral_value() and "decimal" not in name):
        whose = api.name or f"“{clip(name, 30)}”"
        text = f"{_write(number)} {currency}"
        return Amount(name, path, currency, (), text, f"{whose} takes whole minor units")
    major = number.scaleb(-exponent)
    return Amount(name, path, currency, (major,))


def _read_unknown(name: str, path: Path, currency: str, number: Decimal) -> Amount:
    exponent = find_exponent(currency)
    if not currency:
        text = f"{_write(number)} in an unknown unit of an unknown currency"
        return Amount(name, path, "", (), text, _doubt_currency(""))
    if exponent is None:
        text = f"{_write(number)} {currency}"
        return Amount(name, path, currency, (number,), text, _doubt_currency(currency))
    if not number:  # nothing, whatever the unit is
        return Amount(name, path, currency, (number,))
    both = (number, number.scaleb(-exponent))
    return _doubt(name, path, currency, both, "whether it is in minor units is not said")


def _doubt(
    name: str, path: Path, currency: str, numbers: tuple[Decimal, ...], why: str, style: str = ""
) -> Amount:
    return Amount(name, path, currency, numbers, "", why, style)


def _doubt_currency(currency: str) -> str:
    return f"{clip(currency, 12)} is no currency of ISO 4217" if currency else NO_CURRENCY


def parse_number(value: Any, api: Api | None = None) -> tuple[str, tuple[Decimal, ...]]:
    """How ``value`` is written ("." or "," before decimals; empty: neither) and its readings."""
    if type(value) is int and -MOST_WHOLE < value < MOST_WHOLE:
        return "", (Decimal(value),)
    if not isinstance(value, str):
        number = _decimal(str(value) if isinstance(value, float) else value)
        return "", () if number is None else (number,)
    if (plain := PLAIN.fullmatch(value)) is not None:
        return ("." if plain[1] else ""), (Decimal(value),)
    text = re.sub(r"[\s'’\u00a0\u202f]", "", value)
    if not NUMBER.fullmatch(text):
        return "", ()
    seps = [each for each in text if each in ".,"]
    if not seps:
        return "", _decimals(text)
    last = seps[-1]
    whole, fraction = text.rsplit(last, 1)
    if len(set(seps)) == 2:  # 1,234.56 or 1.234,56
        grouped = re.fullmatch(r"[+-]?\d{1,3}([.,]\d{3})+", whole)
        return (last, _decimals(_strip(whole), fraction)) if grouped and fraction else (last, ())
    if len(seps) > 1:  # 1,234,567
        return "", _decimals(_strip(text)) if re.fullmatch(
            r"[+-]?\d{1,3}([.,]\d{3})+", text
        ) else ()
    # JSON APIs and XML Schema have one way to write decimals; people have two.
    fixed = api is not None and last == "."
    if re.fullmatch(r"[+-]?[1-9]\d{0,2}[.,]\d{3}", text) and not fixed:
        return "", _decimals(_strip(text)) + _decimals(whole, fraction)
    return last, _decimals(whole, fraction)


def _strip(text: str) -> str:
    return text.replace(".", "").replace(",", "")


def _decimals(whole: str, fraction: str = "") -> tuple[Decimal, ...]:
    number = _decimal(f"{whole}.{fraction}" if fraction else whole)
    return () if number is None else (number,)


def _decimal(value: Any) -> Decimal | None:
    # Decimal's arithmetic rounds beyond 28 digits; nobody moves such amounts.
    if isinstance(value, int) and abs(value) >= 10**MOST_DIGITS:
        return None
    try:
        number = Decimal(value)
    except (InvalidOperation, ValueError):
        return None
    if not number.is_finite() or len(number.as_tuple().digits) > MOST_DIGITS:
        return None
    return number if abs(number.adjusted()) < MOST_DIGITS else None


def _exponent(number: Decimal) -> int:
    exponent = number.normalize().as_tuple().exponent
    return exponent if isinstance(exponent, int) else 0


def _count_decimals(number: Decimal, enough: int) -> int:
    """The decimals of ``number``; zeros at the end count only where there are ``enough``."""
    written = number.as_tuple().exponent
    plain = isinstance(written, int) and -written <= enough
    return enough if plain else -_exponent(number)


def _write(number: Decimal) -> str:
    return f"{number:f}"


def format_money(number: Decimal, currency: str) -> str:
    """``10,000,000.00 USD``: the one way in which money is written everywhere.

    No digit is rounded away: an amount with more decimals than its currency has keeps them.
    """
    exponent = find_exponent(currency)
    written = number.as_tuple().exponent
    decimals = max(exponent or 0, -_exponent(number))
    if exponent is None and isinstance(written, int):
        decimals = max(0, -written)
    return f"{number:,.{decimals}f} {currency or 'of an unknown currency'}"


@cache
def _read_exponents() -> dict[str, int]:
    units = {code: str(each["CcyMnrUnts"]) for code, each in iso4217.raw_table.items() if code}
    return {code: int(text) for code, text in units.items() if text.isdecimal()}


def find_exponent(currency: str, api: Api | None = None) -> int | None:
    """The decimals of ``currency``, for ``api`` where it differs from ISO; None: not known."""
    if api is not None and currency in api.exponents:
        return api.exponents[currency]
    return _read_exponents().get(currency)
