"""Payments: how much, to whom, in which account, and what is unusual about it.

Recognised by shape: Stripe, Adyen, Square and GoCardless (minor units), PayPal, Wise, Revolut and
ISO 20022 (major units), and plain objects with an amount and a currency or an account.
"""

import re
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from decimal import Decimal, localcontext
from functools import lru_cache
from operator import attrgetter
from statistics import median
from string import ascii_uppercase
from typing import Any, Final

from stdnum import iban, numdb

from approvals_app.payload.facts import (
    LONGEST_HEADLINE,
    Data,
    Fact,
    Level,
    Path,
    Reading,
    clip,
    count,
    find,
    fit,
    name_some,
)
from approvals_app.payload.kinds import dates
from approvals_app.payload.kinds._amounts import (
    ADDRESSES,
    NO_CURRENCY,
    PER_PIECE,
    STRIPE,
    Amount,
    detect_api,
    format_money,
    name_set,
    normalize,
)
from approvals_app.payload.kinds._payments import (
    MEMBERS,
    MOST_PAYMENTS,
    REFERENCES,
    ROOTS,
    Batch,
    Control,
    Payment,
    find_file,
    find_one_currency,
    find_payments,
    strip_prefix,
)
from approvals_app.payload.kinds._xml import parse_xml
from approvals_app.payload.walking import Names, Survey, replace_at, survey, walk

ZERO: Final = Decimal(0)
MOST_CHECKED: Final = 200
"""Accounts that are checked by their country's rules, too."""
MOST_SEARCHED: Final = 500
"""In so many objects and lists the account that pays is looked for."""
FEW: Final = 4
"""So many payments are told of one by one."""
_BY_SIZE: Final = attrgetter("size")
_DIGITS: Final = {ord(letter): str(at) for at, letter in enumerate(ascii_uppercase, 10)}
_SEPARATORS: Final = str.maketrans("", "", " .-")
IBAN: Final = re.compile(r"[A-Za-z]{2}\d{2}[A-Za-z0-9 .-]{8,40}")
PAYER_ACCOUNTS: Final = name_set(
    "dbtracct debtoraccount debtoriban sourceaccount fromaccount fromiban payeraccount payeriban"
)
REFUND: Final = name_set(
    "charge payment_intent reason metadata refund_application_fee reverse_transfer "
    "instructions_email origin"
)
"""The parameters of a refund at Stripe, without the amount."""
UNSAID: Final = frozenset(["charge", "payment_intent", "quoteUuid"])
"""Beside them an amount need not stand."""
INSTANT: Final = name_set("instant inst realtime sepainstant wire crypto")


def may_read(names: Names) -> bool:
    """Whether a payload or an object with these names may be of payments."""
    return not (MEMBERS.isdisjoint(names.plain) and UNSAID.isdisjoint(names.exact))


def read_all(data: Data, seen: Survey | None = None) -> list[tuple[Path, Reading]]:
    """The payments in ``data``, wherever they stand, and refunds that name no amount."""
    seen = seen or survey(data)
    data, files = _open_files(data) if seen.holds_output else (data, {})
    batch = find_payments(data, (), None)
    readings = []
    if batch.payments:
        path = _find_holder(data, batch.payments, files)
        readings.append((path, _read_batch(batch, find(data, path), path, files)))
    if UNSAID.isdisjoint(seen.names.exact):
        return readings
    read = {each.path for payment in batch.payments for each in (payment, *payment.parts)}
    return readings + _read_all_unsaid(data, read)


def _read_batch(batch: Batch, data: Data, path: Path, files: Mapping[Path, Data]) -> Reading:
    payments = batch.payments
    facts = _tell_one(payments[0]) if len(payments) == 1 else _tell_many(payments)
    if batch.limit.reached is not None:
        value = f"the payments after the first {MOST_PAYMENTS:,}"
        facts.append(Fact("not read", value, batch.limit.reached, Level.DANGER))
    facts += [*_check_controls(batch), *_check_accounts(payments), *_check_doubts(payments)]
    facts += [*_tell_around(data, path, payments), *_tell_references(data, path)]
    facts = [_close_file(fact, files) for fact in fit(facts)]
    paths = [fact.path for fact in facts] + [each.path for each in payments]
    used = {str(each[len(path)]) for each in paths if len(each) > len(path)}
    return Reading(
        "money",
        facts,
        used | _find_units(payments, data, path),
        _find_traits(payments) | {"partial": batch.limit.reached is not None},
        _write_headline(data, path, payments),
        moments=[
            replace(each, path=where)
            for where, root in files.items()
            for each in dates.find_moments(root)
        ],
    )


def _find_holder(data: Data, payments: list[Payment], files: Mapping[Path, Data]) -> Path:
    """The object that tells of an only payment: itself, or the call or text that it is part of."""
    if len(payments) > 1:
        return ()
    path = payments[0].path
    for end in range(len(path)):
        if path[: end + 1] in files:
            return path[:end]
        each = find(data, path[:end])
        if isinstance(each, dict) and (detect_api(each) or find_file(each, path[:end])):
            return path[:end]
    return path


def _write_headline(data: Data, path: Path, payments: list[Payment]) -> str:
    """``Refund 249.90 EUR to Mara Lindqvist``; the verb only where the shape tells it."""
    first = payments[0]
    if len(payments) > 1:
        verb = "Collect" if all(each.collects for each in payments) else "Pay"
        text = f"{verb} {_write_sum(payments)} in {count(len(payments), 'payment')}"
    elif first.collects:
        text = f"Collect {_write(first)}" + (f" from {first.payee}" if first.payee else "")
    elif _is_refund(data, path, first):
        text = f"Refund {_write(first)}" + (f" to {first.payee}" if first.payee else "")
    elif normalize(first.main.name) in PER_PIECE and first.times == 1:
        text = f"Price of {_write(first)}"
    elif first.payee or first.account:
        text = f"Pay {_write(first)} to {first.payee or describe_account(first.account)}"
    else:
        text = f"Payment of {_write(first)}"
    return clip(text, LONGEST_HEADLINE)


def _is_refund(data: Data, path: Path, payment: Payment) -> bool:
    """Whether the amount's name, the object or the address that is called says so."""
    if "refund" in payment.main.name.lower():
        return payment.main.name.lower() != "amount_refunded"
    holders: list[Any] = [data]
    for step in payment.path[len(path) :]:
        inner = holders[-1][step]
        holders.append(inner)
    return any(_names_refund(each) for each in holders if isinstance(each, dict))


def _names_refund(data: Data) -> bool:
    if data.get("object") == "refund":
        return True
    addresses = [str(data.get(name) or "") for name in ADDRESSES]
    if any(re.search(r"/refunds?(?:[/?#]|$)", address) for address in addresses):
        return True
    plain = data.keys() - {"amount", "currency"}
    return detect_api(data) is STRIPE and "charge" in data and plain <= REFUND


def _open_files(data: Data) -> tuple[Data, dict[Path, Data]]:
    """``data`` with its texts that are ISO 20022 messages in XML as objects, and where they are."""
    files: dict[Path, Data] = {}

    def visit(path: Path, each: Data) -> None:
        for name, value in each.items():
            if (
                isinstance(value, str)
                and value.lstrip()[:1] == "<"
                and any(root in value[:4_000] for root in ROOTS)
                and (root := parse_xml(value)) is not None
            ):
                files[(*path, name)] = root

    walk(data, visit)
    return (replace_at(data, files) if files else data), files


def _close_file(fact: Fact, files: Mapping[Path, Data]) -> Fact:
    """A fact of what is inside an XML text comes from the member that is the text."""
    for end in range(1, len(fact.path) + 1) if files else ():
        if fact.path[:end] in files:
            return replace(fact, path=fact.path[:end], members=())
    return fact


def _read_all_unsaid(data: Data, read: Set[Path]) -> list[tuple[Path, Reading]]:
    """The objects that say what is paid without an amount; those of ``read`` say it with one."""
    readings: list[tuple[Path, Reading]] = []

    def visit(path: Path, each: Data) -> None:
        if not UNSAID.isdisjoint(each) and path not in read:
            reading = _read_unsaid(each, path)
            if reading is not None:
                readings.append((path, reading))

    walk(data, visit)
    return readings


def _read_unsaid(data: Data, path: Path) -> Reading | None:
    """A refund at Stripe of whatever is left, or a transfer at Wise whose quote has the amount."""
    name = next((name for name in ("charge", "payment_intent", "quoteUuid") if name in data), "")
    value = data.get(name)
    if not isinstance(value, str) or not value.strip():
        return None
    where = (*path, name)
    if name == "quoteUuid":
        text = f"not in this payload: it is that of quote {clip(value, 40)}"
        headline = f"Payment of the amount of quote {clip(value, 40)}"
    elif detect_api(data) is STRIPE and data.keys() <= REFUND:
        text = f"not given: all that is left of {clip(value, 40)}"
        headline = f"Refund all that is left of {clip(value, 40)}"
    else:
        return None
    facts = [Fact("amount", text, where, Level.NOTICE), *_tell_references(data, path)]
    account = data.get("targetAccount")
    if isinstance(account, (str, int)):
        facts.append(Fact("account", clip(str(account)) or "none", (*path, "targetAccount")))
    used = {str(fact.path[len(path)]) for fact in facts}
    return Reading("money", facts, used, {"amounts": {"": ZERO}}, headline)


def _find_units(payments: list[Payment], data: Data, path: Path) -> set[str]:
    """The member that gives the currency: it is told of with the amount."""
    if not any(each.path == path and each.main.currency for each in payments):
        return set()
    return {name for name in data if normalize(name) in {"currency", "currencycode"}}


def _find_traits(payments: list[Payment]) -> dict[str, Any]:
    """``amounts``: by currency the sum of the sizes, each at its larger reading.

    Of the sizes: a payment back must not make a batch look small to a policy. Under "" stands that
    there is an amount of an unknown unit or currency.
    """
    sums: dict[str, Decimal] = {}
    with localcontext(prec=80):
        for each in payments:
            currency = each.main.currency if each.main.numbers else ""
            sums[currency] = sums.get(currency, ZERO) + each.size
    return {"amounts": sums}


def add_amounts(traits: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What policies ask of several readings: ``amounts`` and, where it is one, ``amount``."""
    sums: dict[str, Decimal] = {}
    with localcontext(prec=80):
        for each in traits:
            for currency, number in each["amounts"].items():
                sums[currency] = sums.get(currency, ZERO) + number
    texts = {
        currency: format_money(number, currency).replace(",", "")
        for currency, number in sums.items()
        if currency
    }
    amounts = {currency: text.partition(" ")[0] for currency, text in texts.items()}
    partial = any(each.get("partial") for each in traits)
    clear = len(sums) == 1 and len(texts) == 1 and not partial
    return {"amounts": amounts} | ({"amount": next(iter(texts.values()))} if clear else {})


def _add(payments: list[Payment]) -> Decimal:
    with localcontext(prec=80):
        return sum((each.total for each in payments), ZERO)


def _write(payment: Payment) -> str:
    """``249.90 EUR``, ``3 × 20.00 EUR = 60.00 EUR``."""
    amount = payment.main
    if payment.times == 1 or not amount.numbers:
        return amount.text if payment.times == 1 else f"{payment.times:,} × {amount.text}"
    total = format_money(_add([payment]), amount.currency)
    return f"{payment.times:,} × {amount.text} = {total}"


# --- what is told of one and of many ---


def _tell_one(payment: Payment) -> list[Fact]:
    label = "amount to collect" if payment.collects else "amount"
    facts = [Fact(label, _write_doubt(payment), payment.main.path, _rate_amount(payment.main))]
    if payment.payee:
        facts.append(Fact("from" if payment.collects else "to", payment.payee, payment.payee_path))
    if payment.account and payment.account != payment.payee and not _find_wrong([payment]):
        facts.append(Fact("account", describe_account(payment.account), payment.account_path))
    facts += [
        Fact(_spell(each.name), each.text + _bracket(each.doubt), each.path)
        for each in payment.amounts[1:]
    ]
    return facts + _tell_parts([payment], payment.path)


def _write_doubt(payment: Payment) -> str:
    amount = payment.main
    said = not amount.currency and amount.doubt == NO_CURRENCY
    return _write(payment) + ("" if said else _bracket(amount.doubt))


def _bracket(doubt: str) -> str:
    return f" ({doubt})" if doubt else ""


def _rate_amount(amount: Amount) -> Level:
    return Level.NOTICE if amount.doubt or any(each < 0 for each in amount.numbers) else Level.PLAIN


def _tell_references(data: Data, path: Path) -> list[Fact]:
    """What it is for and how it goes, as the payload itself says."""
    facts = _tell_method(data, path)
    return facts + [
        Fact(_spell(name), clip(data[name]), (*path, name))
        for name in REFERENCES
        if isinstance(data.get(name), str) and data[name]
    ]


def _tell_parts(payments: list[Payment], path: Path) -> list[Fact]:
    """The amounts inside payments, as the lines of an order: told of, not added to them."""
    parts = [part for each in payments for part in each.parts]
    if not parts:
        return []
    value = f"{count(len(parts), 'amount')} inside: {_write_sum(parts)}"
    return [Fact("parts", value, path or parts[0].path[:1])]


def _write_sum(payments: list[Payment]) -> str:
    """The sums by currency, and how many payments have no certain amount."""
    sums: dict[str, list[Payment]] = {}
    for each in payments:
        if each.main.numbers:
            sums.setdefault(each.main.currency, []).append(each)
    texts = [
        ("at most " if any(len(each.main.numbers) > 1 for each in some) else "")
        + format_money(_add(some), currency)
        for currency, some in sums.items()
    ]
    unknown = sum(not each.main.numbers for each in payments)
    if unknown:
        texts.append(f"{count(unknown, 'amount')} in an unknown unit or currency")
    return " + ".join(texts[:4]) + (f" and {len(texts) - 4} more currencies" if texts[4:] else "")


def _tell_many(payments: list[Payment]) -> list[Fact]:
    shared = _find_shared_path(payments)
    what = "collections" if all(each.collects for each in payments) else "payments"
    facts = [Fact(what, f"{len(payments):,}, {_write_sum(payments)} in all", shared)]
    largest = _find_largest(payments)
    facts += [_tell_largest(each, payments) for each in largest]
    if len(payments) <= FEW:
        others = [each for each in payments if not any(each is one for one in largest)]
        facts += [Fact("payment", _write_whole(each), each.path) for each in others]
    else:
        names = list(dict.fromkeys(each.payee for each in payments if each.payee))
        if names:
            facts.append(
                Fact("from" if what == "collections" else "to", name_some(names, 4), shared)
            )
        facts += _tell_countries(payments, shared)
    return facts + _tell_parts(payments, shared)


def _tell_countries(payments: list[Payment], path: Path) -> list[Fact]:
    accounts = _read_accounts(payments)
    countries = Counter(accounts[each.account].country for each in payments if each.account)
    countries.pop("", None)
    texts = [f"{country} ({number:,})" for country, number in countries.most_common()]
    return [Fact("accounts in", name_some(texts, 4), path)] if texts else []


def _write_whole(payment: Payment) -> str:
    """``985,000.00 EUR to B, GB33BUKB20201555555555 (United Kingdom)``."""
    value = _write(payment)
    if payment.payee:
        value += f" {'from' if payment.collects else 'to'} {payment.payee}"
    if payment.account and payment.account != payment.payee:
        value += f", {describe_account(payment.account)}"
    return value


def _find_largest(payments: list[Payment]) -> list[Payment]:
    """The largest of all, and those that dwarf the others of their own currency."""
    groups: dict[str, list[Payment]] = {}
    for each in payments:
        groups.setdefault(each.main.currency, []).append(each)
    largest = [max(group, key=_BY_SIZE) for group in groups.values()]
    strange = [each for each in largest if _rate_largest(each, payments) is Level.DANGER]
    return strange[:3] or [max(largest, key=_BY_SIZE)]


def _tell_largest(largest: Payment, payments: list[Payment]) -> Fact:
    value = f"{_write_whole(largest)}, number {payments.index(largest) + 1:,} of {len(payments):,}"
    return Fact("largest", value, largest.path, _rate_largest(largest, payments))


def _rate_largest(largest: Payment, payments: list[Payment]) -> Level:
    """Danger where it dwarfs the others and goes to an account of its own."""
    sizes = [each.size for each in payments if each.main.currency == largest.main.currency]
    alone = sum(each.account == largest.account for each in payments) == 1
    dwarfs = largest.size >= 10 * max(median(sizes), Decimal("0.01"))
    if dwarfs and alone and len(sizes) > 2:
        return Level.DANGER
    return Level.NOTICE


def _find_shared_path(payments: list[Payment]) -> Path:
    """The innermost member that holds all of them."""
    shared = payments[0].path
    for each in payments[1:]:
        same = 0
        for one, other in zip(shared, each.path, strict=False):
            if one != other:
                break
            same += 1
        shared = shared[:same]
    return shared


# --- what is wrong or unusual ---


def _check_controls(batch: Batch) -> list[Fact]:
    facts = [fact for each in batch.controls if (fact := _check_control(each))]
    wrong = [fact for fact in facts if fact.level is Level.DANGER]
    return wrong[:2] or facts[:1]


def _check_control(control: Control) -> Fact | None:
    payments = control.payments
    if control.number is not None:
        if control.number == len(payments):
            return None
        value = f"{control.number:,} said, {len(payments):,} found"
        return Fact("number of payments differs", value, control.path, Level.DANGER)
    total = control.total
    if total is None or not total.numbers:
        return None
    found = _write_sum(payments)
    currency = find_one_currency(payments)
    # The control sum of ISO 20022 adds the numbers up, whatever their currencies are.
    if _add(payments) in total.numbers and (currency == total.currency or not total.currency):
        # Without the comma there would be no sum to compare with the eye.
        return Fact("control sum agrees", found, control.path)
    said = format_money(total.numbers[0], total.currency) if total.currency else total.text
    return Fact("control sum differs", f"{said} said, {found} found", control.path, Level.DANGER)


def _check_accounts(payments: list[Payment]) -> list[Fact]:
    facts = [
        Fact("not a valid IBAN", clip(each.account), each.account_path, Level.DANGER)
        for each in _find_wrong(payments)[:2]
    ]
    for each in payments:
        if each.former:
            now = describe_account(each.account) if each.account else "not given"
            value = f"before {describe_account(each.former)}, now {now}"
            facts.append(Fact("account changed", value, each.former_path, Level.DANGER))
        elif each.new:
            facts.append(Fact("new account", _name(each), each.new, Level.DANGER))
    return [*facts[:3], *_check_names(payments)]


def _name(payment: Payment) -> str:
    parts = [payment.payee, describe_account(payment.account) if payment.account else ""]
    return ", ".join(dict.fromkeys(filter(None, parts))) or payment.main.text


def _check_names(payments: list[Payment]) -> list[Fact]:
    """One name with two accounts, and one account with several names."""
    read = _read_accounts(payments)
    accounts: dict[str, dict[str, Payment]] = {}
    names: dict[str, dict[str, Payment]] = {}
    for each in payments:
        if each.payee and each.account and each.payee != each.account:
            account = read[each.account].number
            accounts.setdefault(each.payee.casefold(), {}).setdefault(account, each)
            names.setdefault(account, {}).setdefault(each.payee.casefold(), each)
    facts = []
    two = next((each for each in accounts.values() if len(each) > 1), None)
    if two:
        last = list(two.values())[-1]
        value = f"{last.payee}: {name_some(list(two), 3)}"
        facts.append(Fact("one payee, several accounts", value, last.path, Level.DANGER))
    many = max(names.items(), key=lambda each: len(each[1]), default=("", {}))
    if len(many[1]) > 1:
        payees = [each.payee for each in many[1].values()]
        value = f"{describe_account(many[0])} for {count(len(payees), 'name')}: {name_some(payees)}"
        path = next(iter(many[1].values())).account_path
        facts.append(Fact("one account, several payees", value, path, Level.NOTICE))
    return facts


def _check_doubts(payments: list[Payment]) -> list[Fact]:
    """Amounts that are not certain or negative; a single payment says so itself."""
    facts = []
    doubts = [each.main for each in payments if each.main.doubt]
    if doubts and len(payments) > 1:
        first = doubts[0]
        value = f"{count(len(doubts), 'amount')}, as {first.text}: {first.doubt}"
        facts.append(Fact("not certain", value, first.path, Level.NOTICE))
    negative = [each.main for each in payments if any(one < 0 for one in each.main.numbers)]
    if negative and len(payments) > 1:
        value = f"{count(len(negative), 'amount')}, as {negative[0].text}"
        facts.append(Fact("negative", value, negative[0].path, Level.NOTICE))
    styles: dict[str, Amount] = {}
    every = [amount for each in payments for amount in each.amounts]
    for amount in every:
        if amount.style:
            styles.setdefault(amount.style, amount)
    if len(styles) > 1:
        comma = styles[","]
        value = f"with a comma and with a point, as {comma.text}"
        facts.append(Fact("decimals are written in two ways", value, comma.path, Level.NOTICE))
    return facts


# --- accounts ---


@dataclass(frozen=True, slots=True)
class _Account:
    """``number`` as it is compared; ``country`` where it looks like an IBAN of one."""

    number: str
    country: str


def _read_accounts(payments: list[Payment]) -> dict[str, _Account]:
    """The accounts of ``payments`` by how they are written."""
    return {account: _read_account(account) for account in {each.account for each in payments}}


def _read_account(account: str) -> _Account:
    if not IBAN.fullmatch(account):
        return _Account(account, "")
    return _Account(account.translate(_SEPARATORS).upper(), _find_country_of(account[:2].upper()))


def describe_account(account: str) -> str:
    """``GB33BUKB20201555555555 (United Kingdom)``; anything else as it is."""
    read = _read_account(account)
    country = read.country
    return f"{clip(read.number, 50)} ({country})" if country else clip(account, 50)


@lru_cache(maxsize=1024)
def _find_country_of(code: str) -> str:
    found = numdb.get("iban").info(code)
    name = found[0][1].get("country", "") if found else ""
    return re.sub(r"\s*\(The\)$", "", str(name))


def _find_wrong(payments: list[Payment]) -> list[Payment]:
    """The payments whose account is called an IBAN, or looks like one, and is none."""
    read = _read_accounts(payments)
    firsts: dict[str, Payment] = {}
    for each in payments:
        account = read[each.account]
        if account.number and (account.country or _is_called_iban(each)):
            firsts.setdefault(account.number, each)
    wrong = []
    for position, (number, each) in enumerate(firsts.items()):
        # Of very many, only the check digits: the whole check takes long.
        valid = iban.is_valid(number) if position < MOST_CHECKED else _has_check_digits(number)
        if not valid:
            wrong.append(each)
    return wrong


def _is_called_iban(payment: Payment) -> bool:
    return bool(payment.account_path) and "iban" in normalize(str(payment.account_path[-1]))


def _has_check_digits(account: str) -> bool:
    """ISO 7064, mod 97-10."""
    if not (account.isascii() and account.isalnum()):
        return False
    digits = (account[4:] + account[:4]).upper().translate(_DIGITS)
    return int(digits) % 97 == 1


# --- when, how and from where ---


def _tell_around(data: Data, path: Path, payments: list[Payment]) -> list[Fact]:
    """From which account, wherever that stands; those who pay a collection are told with it."""
    return [] if any(each.collects for each in payments) else _tell_payer(data, path)


def _tell_payer(data: Data, path: Path) -> list[Fact]:
    for where, value in _find_payers(data, path):
        while isinstance(value, (dict, list)) and value:
            step = next(iter(value)) if isinstance(value, dict) else 0
            value, where = value[step], (*where, step)
        if isinstance(value, str) and value:
            return [Fact("from account", describe_account(value), where)]
    return []


def _find_payers(data: Data, path: Path) -> Iterator[tuple[Path, Any]]:
    """The accounts that pay, the outermost first, in the first objects: most payloads have one."""
    pending: deque[tuple[Path, Any]] = deque([(path, data)])
    left = MOST_SEARCHED
    while pending and left > 0:
        left -= 1
        where, each = pending.popleft()
        steps = each.items() if isinstance(each, dict) else enumerate(each[:left])
        for name, value in steps:
            if isinstance(name, str) and normalize(strip_prefix(name)) in PAYER_ACCOUNTS:
                yield (*where, name), value
            if isinstance(value, (dict, list)):
                pending.append(((*where, name), value))


def _tell_method(data: Data, path: Path) -> list[Fact]:
    method = data.get("method")
    if isinstance(method, str) and normalize(method) in INSTANT and detect_api(data):
        return [Fact("method", clip(method), (*path, "method"), Level.NOTICE)]
    return []


def _spell(name: str) -> str:
    """``application_fee_amount`` and ``sourceAmount`` as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[_-]+", " ", name).lower()[:40]
