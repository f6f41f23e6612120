"""Payments: how much, to whom, in which account, and what is unusual about it.

Recognised by shape: Stripe, Adyen, Square and GoCardless (minor units), PayPal, Wise, Revolut and
ISO 20022 (major units), and plain objects with an amount and a currency or an account.
"""

import re
from collections import Counter, deque
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal, localcontext
from functools import lru_cache
from statistics import median
from typing import Any, Final

from stdnum import iban, numdb

from approvals_app.payload.facts import (
    Data,
    Fact,
    Level,
    Path,
    Reading,
    clip,
    count,
    name_some,
)
from approvals_app.payload.kinds._amounts import (
    NO_CURRENCY,
    STRIPE,
    Amount,
    detect_api,
    format_money,
    name_set,
    normalize,
)
from approvals_app.payload.kinds._payments import (
    REFERENCES,
    ROOTS,
    Batch,
    Control,
    Payment,
    find_file,
    find_one_currency,
    find_payments,
    is_payment,
    strip_prefix,
)
from approvals_app.payload.kinds._xml import parse_xml

MOST_FACTS: Final = 7
ZERO: Final = Decimal(0)
MOST_CHECKED: Final = 500
"""Accounts that are checked by their country's rules, too."""
FEW: Final = 4
"""So many payments are told of one by one."""
DEEPEST: Final = 3
"""An only payment at most so many steps from the payload is told of by its own object."""
IBAN: Final = re.compile(r"[A-Za-z]{2}\d{2}[A-Za-z0-9 .-]{8,40}")
EXECUTIONS: Final = name_set(
    "executiondate requestedexecutiondate reqdexctndt valuedate executeat executedat "
    "scheduledat scheduledfor scheduleddate paymentdate paydate transferdate payoutdate "
    "arrivaldate chargedate reqdcolltndt executeon"
)
CREATIONS: Final = name_set(
    "credttm created createdat createdon creationdate createddate requestedat submittedat "
    "generatedat issuedat asof"
)
PAYER_ACCOUNTS: Final = name_set(
    "dbtracct debtoraccount debtoriban sourceaccount fromaccount fromiban payeraccount payeriban"
)
AROUND: Final = EXECUTIONS | CREATIONS | PAYER_ACCOUNTS
REFUND: Final = name_set(
    "charge payment_intent reason metadata refund_application_fee reverse_transfer "
    "instructions_email origin"
)
"""The parameters of a refund at Stripe, without the amount."""
INSTANT: Final = name_set("instant inst realtime sepainstant wire crypto")
LEVELS: Final = {level: rank for rank, level in enumerate(Level)}


def read(data: Data, path: Path) -> Reading | None:
    """The payments in ``data``, if it is one, has a list of them or is an ISO 20022 message."""
    data, files = _open_files(data)
    # What is inside the outermost object is read with it, or is the only payment, and left to here.
    if path and not files and not is_payment(data, path):
        return _read_unsaid(data, path)
    batch = find_payments(data, path, None)
    payments = batch.payments
    if not payments:
        return _read_unsaid(data, path)
    if not files and _is_deeper(data, path, payments):
        return None
    facts = _tell_one(payments[0]) if len(payments) == 1 else _tell_many(payments)
    facts += [*_check_controls(batch), *_check_accounts(payments), *_check_doubts(payments)]
    facts += [*_tell_around(data, path, payments), *_tell_references(data, path)]
    facts.sort(key=lambda fact: LEVELS[fact.level])
    facts = [_close_file(fact, path, files) for fact in facts[:MOST_FACTS]]
    paths = [fact.path for fact in facts] + [each.path for each in payments]
    used = {str(each[len(path)]) for each in paths if len(each) > len(path)}
    return Reading(
        "money",
        facts,
        used | _find_units(payments, data, path),
        _find_traits(payments),
    )


def _open_files(data: Data) -> tuple[Data, set[str]]:
    """``data`` with its members that are ISO 20022 messages in XML as objects, and their names."""
    files = {
        name: root
        for name, value in data.items()
        if isinstance(value, str)
        and value.lstrip()[:1] == "<"
        and any(each in value[:4_000] for each in ROOTS)
        and (root := parse_xml(value)) is not None
    }
    return ({**data, **files}, set(files)) if files else (data, set())


def _close_file(fact: Fact, path: Path, files: set[str]) -> Fact:
    """A fact of what is inside an XML text comes from the member that is the text."""
    inside = fact.path[len(path) : len(path) + 1]
    return replace(fact, path=(*path, *inside)) if inside and inside[0] in files else fact


def _read_unsaid(data: Data, path: Path) -> Reading | None:
    """A refund at Stripe of whatever is left, or a transfer at Wise whose quote has the amount."""
    name = next((name for name in ("charge", "payment_intent", "quoteUuid") if name in data), "")
    value = data.get(name)
    if not isinstance(value, str) or not value:
        return None
    where = (*path, name)
    if name == "quoteUuid":
        text = f"not in this payload: it is that of quote {clip(value, 40)}"
    elif detect_api(data) is STRIPE and data.keys() <= REFUND:
        text = f"not given: all that is left of {clip(value, 40)}"
    else:
        return None
    facts = [Fact("amount", text, where, Level.NOTICE), *_tell_references(data, path)]
    account = data.get("targetAccount")
    if isinstance(account, (str, int)):
        facts.append(Fact("account", clip(str(account)), (*path, "targetAccount")))
    used = {str(fact.path[len(path)]) for fact in facts}
    return Reading("money", facts, used)


def _is_deeper(data: Data, path: Path, payments: list[Payment]) -> bool:
    """Whether the only payment is an object further in, which this kind is called with later."""
    inner = payments[0].path[len(path) :]
    visited = len(payments[0].path) <= DEEPEST and all(isinstance(step, str) for step in inner)
    here = not inner or detect_api(data) is not None or find_file(data, path) is not None
    return len(payments) == 1 and visited and not here


def _find_units(payments: list[Payment], data: Data, path: Path) -> set[str]:
    """The member that gives the currency: it is told of with the amount."""
    if not any(each.path == path and each.main.currency for each in payments):
        return set()
    return {name for name in data if normalize(name) in {"currency", "currencycode"}}


def _find_traits(payments: list[Payment]) -> dict[str, Any]:
    """``amount``: the sum of the sizes, each at its larger reading, where all have one currency.

    Of the sizes: a payment back must not make a batch look small to a policy.
    """
    currency = find_one_currency(payments)
    if not currency or any(not each.main.numbers for each in payments):
        return {}
    with localcontext(prec=80):
        total = sum((_size(each) for each in payments), ZERO)
    return {"amount": format_money(total, currency).replace(",", "")}


def _add(payments: list[Payment]) -> Decimal:
    with localcontext(prec=80):
        return sum(((each.main.largest or ZERO) * each.times for each in payments), ZERO)


def _size(payment: Payment) -> Decimal:
    return abs(payment.main.largest or ZERO) * payment.times


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
    countries = Counter(_find_country(each.account) for each in payments if each.account)
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
    largest = [max(group, key=_size) for group in groups.values()]
    strange = [each for each in largest if _rate_largest(each, payments) is Level.DANGER]
    return strange[:3] or [max(largest, key=_size)]


def _tell_largest(largest: Payment, payments: list[Payment]) -> Fact:
    value = f"{_write_whole(largest)}, number {payments.index(largest) + 1:,} of {len(payments):,}"
    return Fact("largest", value, largest.path, _rate_largest(largest, payments))


def _rate_largest(largest: Payment, payments: list[Payment]) -> Level:
    """Danger where it dwarfs the others and goes to an account of its own."""
    sizes = [_size(each) for each in payments if each.main.currency == largest.main.currency]
    alone = sum(each.account == largest.account for each in payments) == 1
    dwarfs = _size(largest) >= 10 * max(median(sizes), Decimal("0.01"))
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
    accounts: dict[str, dict[str, Payment]] = {}
    names: dict[str, dict[str, Payment]] = {}
    for each in payments:
        if each.payee and each.account and each.payee != each.account:
            account = _compact(each.account)
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


def _compact(account: str) -> str:
    return re.sub(r"[ .-]", "", account).upper() if IBAN.fullmatch(account) else account


def describe_account(account: str) -> str:
    """``GB33BUKB20201555555555 (United Kingdom)``; anything else as it is."""
    country = _find_country(account)
    return f"{clip(_compact(account), 50)} ({country})" if country else clip(account, 50)


def _find_country(account: str) -> str:
    return _find_country_of(account[:2].upper()) if IBAN.fullmatch(account) else ""


@lru_cache(maxsize=1024)
def _find_country_of(code: str) -> str:
    found = numdb.get("iban").info(code)
    name = found[0][1].get("country", "") if found else ""
    return re.sub(r"\s*\(The\)$", "", str(name))


def _find_wrong(payments: list[Payment]) -> list[Payment]:
    """The payments whose account is called an IBAN, or looks like one, and is none."""
    firsts: dict[str, Payment] = {}
    for each in payments:
        called = bool(each.account_path) and "iban" in normalize(str(each.account_path[-1]))
        if each.account and (called or _find_country(each.account)):
            firsts.setdefault(_compact(each.account), each)
    wrong = []
    for position, (account, each) in enumerate(firsts.items()):
        # Of very many, only the check digits: the whole check takes long.
        valid = iban.is_valid(account) if position < MOST_CHECKED else _has_check_digits(account)
        if not valid:
            wrong.append(each)
    return wrong


def _has_check_digits(account: str) -> bool:
    """ISO 7064, mod 97-10."""
    if not (account.isascii() and account.isalnum()):
        return False
    return int("".join(str(int(each, 36)) for each in account[4:] + account[:4])) % 97 == 1


# --- when, how and from where ---


def _tell_around(data: Data, path: Path, payments: list[Payment]) -> list[Fact]:
    """When it is executed and from which account, wherever that stands."""
    found = _find_members(data, path)
    collects = any(each.collects for each in payments)  # then the payers are told of with them
    return [*_tell_date(found), *([] if collects else _tell_payer(found))]


def _tell_date(found: list[tuple[str, Path, Any]]) -> list[Fact]:
    """A danger where the payload itself was made on a later day: we do not ask the clock."""
    days = [(plain, day) for plain, where, value in found if (day := _read_day(value, where))]
    executions = [day for plain, day in days if plain in EXECUTIONS]
    if not executions:
        return []
    where, first = min(executions, key=lambda each: each[1])
    made = max((each[1] for plain, each in days if plain in CREATIONS), default="")
    if first < made:
        value = f"{first}, in the past: the payload is of {made}"
        return [Fact("execution date", value, where, Level.DANGER)]
    return [Fact("execution date", first, where)]


def _tell_payer(found: list[tuple[str, Path, Any]]) -> list[Fact]:
    for plain, where, value in found:
        if plain in PAYER_ACCOUNTS:
            while isinstance(value, (dict, list)) and value:
                step = next(iter(value)) if isinstance(value, dict) else 0
                value, where = value[step], (*where, step)
            if isinstance(value, str) and value:
                return [Fact("from account", describe_account(value), where)]
    return []


def _find_members(data: Data, path: Path) -> list[tuple[str, Path, Any]]:
    """The members called as one of ``AROUND``, the outermost first."""
    found: list[tuple[str, Path, Any]] = []
    pending: deque[tuple[Path, Any]] = deque([(path, data)])
    while pending:
        where, each = pending.popleft()
        if isinstance(each, list):
            pending += [((*where, at), inside) for at, inside in enumerate(each)]
        elif isinstance(each, dict):
            for name, value in each.items():
                plain = normalize(strip_prefix(name))
                if plain in AROUND:
                    found.append((plain, (*where, name), value))
                if isinstance(value, (dict, list)):
                    pending.append(((*where, name), value))
    return found


def _read_day(value: Any, path: Path) -> tuple[Path, str] | None:
    """The day of ``2026-12-01``, ``2026-12-01T10:00:00Z``, ``{"Dt": …}`` or seconds since 1970."""
    if isinstance(value, list) and value:
        value, path = value[0], (*path, 0)
    if isinstance(value, dict):
        for name in ("Dt", "DtTm", "#text", "_"):
            if name in value:
                return _read_day(value[name], (*path, name))
        return None
    if isinstance(value, int) and not isinstance(value, bool) and 10**9 <= value < 10**10:
        return path, datetime.fromtimestamp(value, UTC).date().isoformat()
    if isinstance(value, str) and re.match(r"\d{4}-\d{2}-\d{2}(?!\d)", value):
        return path, value[:10]
    return None


def _tell_method(data: Data, path: Path) -> list[Fact]:
    method = data.get("method")
    if isinstance(method, str) and normalize(method) in INSTANT and detect_api(data):
        return [Fact("method", clip(method), (*path, "method"), Level.NOTICE)]
    return []


def _spell(name: str) -> str:
    """``application_fee_amount`` and ``sourceAmount`` as words."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|[_-]+", " ", name).lower()[:40]
