"""Finds the payments of a JSON value: who gets how much, in which account, wherever they stand."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from functools import lru_cache
from typing import Any, Final

from approvals_app.payload.facts import Data, Path, clip
from approvals_app.payload.kinds._amounts import (
    AMOUNT_NAMES,
    PAIN,
    PER_PIECE,
    TOTALS,
    Amount,
    Api,
    detect_api,
    find_amounts,
    find_currency,
    may_have_amount,
    name_set,
    normalize,
    rank_names,
    read_amount,
)
from approvals_app.payload.walking import DEEPEST

PAYEES: Final = rank_names(
    "payee recipient beneficiary creditor to receiver counterparty vendor supplier cdtr payto "
    "payeename recipientname beneficiaryname creditorname accountholdername accountholder "
    "holder name destination merchant"
)
ACCOUNTS: Final = rank_names(
    "iban accountnumber account accountid destination targetaccount recipientaccount "
    "destinationaccount counterpartyid receiver wallet address cdtracct creditoraccount "
    "payeeaccount beneficiaryaccount bban"
)
STRONG: Final = frozenset(list(PAYEES)[:11]) | name_set("recipientid payeename recipientname")
"""Members that only a payment has."""
MOST_PAYMENTS: Final = 12_000
"""So many objects with an amount are read: a list of payments of 1 MB."""
ZERO: Final = Decimal(0)
HOLDERS: Final = frozenset([dict, list])
PAYERS: Final = name_set(
    "debtor dbtr dbtracct debtoraccount debtoriban from source sender payer ordering "
    "sourceaccount fromaccount payeraccount orderingcustomer"
)
OTHERS: Final = PAYERS | name_set("productdata product metadata card")
"""Objects in which neither the payee nor its account is looked for."""
EITHER_WAY: Final = name_set("customer billing billingdetails")
"""They pay or are paid: their account is told of, and no direction."""
FLAGS: Final = name_set(
    "new isnew newaccount newpayee newrecipient newbeneficiary newiban firstpayment "
    "accountchanged ibanchanged bankdetailschanged changed ischanged"
)
FORMER: Final = name_set(
    "previousiban oldiban formeriban previousaccount oldaccount formeraccount ibanbefore "
    "accountbefore"
)
COUNTS: Final = name_set(
    "nboftxs numberofpayments paymentcount paymentscount numberoftransactions "
    "transactioncount count numberoftxs"
)
REFERENCES: Final = (
    "charge",
    "payment_intent",
    "originalReference",
    "capture_id",
    "customer",
    "reason",
)


@dataclass(slots=True)
class Payment:
    """One payment: the object at ``path``. ``parts`` are amounts inside it, as of an order."""

    path: Path
    amounts: list[Amount]
    payee: str = ""
    payee_path: Path = ()
    account: str = ""
    account_path: Path = ()
    former: str = ""
    former_path: Path = ()
    new: Path = ()
    times: int = 1
    collects: bool = False
    parts: list["Payment"] = field(default_factory=list)
    main: Amount = field(init=False)
    total: Decimal = field(init=False)
    """What it amounts to, at the larger reading; 0 if it is not known."""
    size: Decimal = field(init=False)

    def __post_init__(self) -> None:
        self.main = self.amounts[0]
        self.total = self.main.largest or ZERO
        self.size = abs(self.total)

    def multiply(self, times: int) -> None:
        """Note that it is paid so many times."""
        self.times = times
        self.total *= times
        self.size *= times


@dataclass(frozen=True, slots=True)
class Control:
    """What the payload itself says of ``payments``: their sum, or else their number."""

    path: Path
    payments: list[Payment]
    total: Amount | None = None
    number: int | None = None


@dataclass(slots=True)
class Limit:
    """So many objects with an amount are still read; ``reached`` is where the first is not."""

    left: int = MOST_PAYMENTS
    reached: Path | None = None

    def take(self, path: Path) -> bool:
        """Whether the object at ``path`` is read."""
        self.left -= 1
        if self.left < 0 and self.reached is None:
            self.reached = path
        return self.left >= 0


@dataclass(slots=True)
class Batch:
    """Payments in the order in which they stand, and what the payload says of them."""

    payments: list[Payment] = field(default_factory=list)
    controls: list[Control] = field(default_factory=list)
    limit: Limit = field(default_factory=lambda: Limit())


def find_payments(value: Any, path: Path, api: Api | None) -> Batch:
    """All payments in ``value``, in the order in which they stand."""
    batch = Batch()
    _collect(value, path, api, batch, 0)
    return batch


def _collect(value: Any, path: Path, api: Api | None, batch: Batch, depth: int) -> None:
    if depth > DEEPEST:
        return
    if isinstance(value, list):
        for position, each in enumerate(value):
            if isinstance(each, (dict, list)):
                _collect(each, (*path, position), api, batch, depth + 1)
    elif isinstance(value, dict):
        file = find_file(value, path)
        if file is not None:
            _collect_file(*file, batch)
            return
        api = detect_api(value) or api
        _collect_object(value, path, api, batch, depth)


def _collect_object(value: Data, path: Path, api: Api | None, batch: Batch, depth: int) -> None:
    if may_have_amount(value) and not batch.limit.take(path):
        return
    payment = _read_payment(value, path, api)
    consumed = {amount.path[len(path)] for amount in payment.amounts} if payment else set()
    inside = Batch(limit=batch.limit)
    for name, each in value.items():
        if type(each) in HOLDERS and name not in consumed:
            _collect(each, (*path, name), api, inside, depth + 1)
    if payment is not None and not _is_total(payment, inside):
        payment.parts = inside.payments
        batch.payments.append(payment)
        return
    batch.payments += inside.payments
    batch.controls += inside.controls
    if payment is not None:
        batch.controls.append(Control(payment.main.path, inside.payments, payment.main))
    elif inside.payments:
        batch.controls += _read_totals(value, path, api, inside)
    if inside.payments:
        batch.controls += [
            Control((*path, name), inside.payments, number=number)
            for name, each in value.items()
            if normalize(name) in COUNTS and (number := _read_count(each)) is not None
        ]


def _is_total(payment: Payment, inside: Batch) -> bool:
    """Whether the amount of ``payment`` is the sum of those inside, each to somebody."""
    if not inside.payments or payment.account:
        return False
    total = normalize(payment.main.name) in TOTALS
    return total or (not payment.payee and any(each.account for each in inside.payments))


def _read_count(value: Any) -> int | None:
    if isinstance(value, str) and value.strip().isdecimal() and len(value) < 12:
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def find_one_currency(payments: list[Payment]) -> str:
    """The currency of all ``payments``; empty if they have several or none."""
    currencies = {each.main.currency for each in payments}
    return currencies.pop() if len(currencies) == 1 else ""


def _read_totals(value: Data, path: Path, api: Api | None, inside: Batch) -> list[Control]:
    """Control sums without a currency beside the payments, which have one."""
    currency = find_one_currency(inside.payments)
    return [
        Control(
            (*path, name),
            inside.payments,
            read_amount(name, each, (*path, name), currency, api or PAIN),
        )
        for name, each in value.items()
        if normalize(name) in TOTALS
        and isinstance(each, str | int | float)
        and not isinstance(each, bool)
    ]


def _read_payment(value: Data, path: Path, api: Api | None) -> Payment | None:
    amounts = find_amounts(value, path, api)
    if not amounts:
        return None
    payment = Payment(path, amounts)
    _read_people(value, path, payment, 0)
    if not amounts[0].currency and not _is_payment(value, payment, api):
        return None
    if normalize(amounts[0].name) in PER_PIECE:
        payment.multiply(_read_times(value))
        payment.payee = ""
    return payment


def _is_payment(value: Data, payment: Payment, api: Api | None) -> bool:
    """Whether an amount without a currency is money: it may count anything."""
    if normalize(payment.main.name) not in {"amount", "amountmoney", "unitamount"}:
        return False
    strong = any(normalize(name) in STRONG and value[name] for name in value)
    return bool(api or payment.account or strong)


def _read_times(value: Data) -> int:
    times: Any = value.get("quantity", value.get("qty", 1))
    if isinstance(times, str) and times.isdecimal() and len(times) < 10:
        times = int(times)
    fits = isinstance(times, int) and not isinstance(times, bool) and 0 <= times < 10**9
    return times if fits else 1


@dataclass(frozen=True, slots=True)
class _Roles:
    """Which members may say who is paid: of payees and accounts, the likeliest first."""

    payees: tuple[str, ...]
    accounts: tuple[str, ...]
    flags: tuple[str, ...]
    former: tuple[str, ...]
    strong: frozenset[str]
    others: frozenset[str]


@lru_cache(maxsize=4096)
def _read_roles(names: tuple[str, ...]) -> _Roles:
    plain = [(normalize(name), name) for name in names]
    return _Roles(
        tuple(n for _, n in sorted((PAYEES[each], n) for each, n in plain if each in PAYEES)),
        tuple(n for _, n in sorted((ACCOUNTS[each], n) for each, n in plain if each in ACCOUNTS)),
        tuple(name for each, name in plain if each in FLAGS),
        tuple(name for each, name in plain if each in FORMER),
        frozenset(name for each, name in plain if each in STRONG),
        frozenset(name for each, name in plain if each in OTHERS),
    )


def _read_people(value: Data, path: Path, payment: Payment, depth: int) -> None:
    """Note who gets ``payment`` and where, from ``value`` and the objects inside it."""
    roles = _read_roles(tuple(value))
    inside = [
        (name, each)
        for name, each in value.items()
        if type(each) is dict and depth < 4 and name not in roles.others
    ]
    # An account beside the party that is paid may be that of the one who pays.
    for name, each in inside:
        if name in roles.strong:
            _read_people(each, (*path, name), payment, depth + 1)
    for name in roles.flags:
        if value[name] is True:
            payment.new = payment.new or (*path, name)
    for name in roles.former:
        if isinstance(value[name], str) and value[name]:
            payment.former, payment.former_path = value[name][:80], (*path, name)
    if not payment.account:
        for name in roles.accounts:
            each = value[name]
            if type(each) is int or (isinstance(each, str) and each.strip()):
                payment.account, payment.account_path = str(each)[:80].strip(), (*path, name)
                break
    if not payment.payee:
        for name in roles.payees:
            if isinstance(value[name], str) and value[name].strip():
                payment.payee, payment.payee_path = clip(value[name], 60), (*path, name)
                break
    for name, each in inside:
        if name not in roles.strong:
            before = payment.payee, payment.payee_path
            _read_people(each, (*path, name), payment, depth + 1)
            if normalize(name) in EITHER_WAY:
                payment.payee, payment.payee_path = before


# --- ISO 20022: pain.001 and pain.008 as converters of XML write them in JSON ---

ROOTS: Final = {"CstmrCdtTrfInitn": False, "CstmrDrctDbtInitn": True, "FIToFICstmrCdtTrf": False}
LISTS: Final = {"CdtTrfTxInf": False, "DrctDbtTxInf": True}
FILE_MEMBERS: Final = ROOTS.keys() | LISTS.keys() | {"PmtInf"}
MEMBERS: Final = AMOUNT_NAMES | {normalize(name) for name in FILE_MEMBERS}
"""One of these, without case and separators, stands in each payload of payments."""
TEXTS: Final = ("#text", "__text", "_text", "_", "$t", "$text", "value", "Value", "text")
ATTRIBUTES: Final = ("@Ccy", "_Ccy", "-Ccy", "Ccy", "ccy", "@ccy")


@lru_cache(maxsize=4096)
def strip_prefix(name: str) -> str:
    """A member's name without the prefix of an XML namespace."""
    return name.rpartition(":")[2]


@lru_cache(maxsize=4096)
def _is_file(names: tuple[str, ...]) -> bool:
    return any(strip_prefix(name) in FILE_MEMBERS for name in names)


def find_file(data: Data, path: Path) -> tuple[Data, Path, bool] | None:
    """The ISO 20022 message in ``data``: its object, where it stands, whether it collects."""
    if not _is_file(tuple(data)):
        return None
    for name, each in data.items():
        bare = strip_prefix(name)
        if bare in ROOTS:
            for where, inside in _iterate({name: each}, path, bare):
                return inside, where, ROOTS[bare]
    if any(strip_prefix(name) in LISTS for name in data):
        return data, path, any(strip_prefix(name) == "DrctDbtTxInf" for name in data)
    if "PmtInf" in data:
        return data, path, False
    return None


def _iterate(data: Any, path: Path, name: str) -> Iterator[tuple[Path, Data]]:
    """The objects called ``name``, with any prefix, one or a list of them."""
    if not isinstance(data, dict):
        return
    for key, value in data.items():
        if key != name and strip_prefix(key) != name:
            continue
        several = value if isinstance(value, list) else None
        for position, each in enumerate(several if several is not None else [value]):
            if isinstance(each, dict):
                yield ((*path, key, position) if several is not None else (*path, key)), each


def _descend(data: Any, path: Path, *names: str) -> tuple[Path, Any] | None:
    """The value below ``names``, the first of each where converters wrote lists."""
    for name in names:
        if isinstance(data, list) and data:
            data, path = data[0], (*path, 0)
        if not isinstance(data, dict):
            return None
        key = name
        if name not in data:  # it may have the prefix of a namespace
            key = next((each for each in data if strip_prefix(each) == name), "")
            if not key:
                return None
        data, path = data[key], (*path, key)
    if isinstance(data, list) and data:
        data, path = data[0], (*path, 0)
    return path, data


def _read_text(found: tuple[Path, Any] | None) -> tuple[Path, str] | None:
    if found is None:
        return None
    path, value = found
    if isinstance(value, dict):
        key = next((each for each in TEXTS if each in value), None)
        if key is None:
            return None
        path, value = (*path, key), value[key]
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    return path, str(value)[:200]


def _collect_file(data: Data, path: Path, collects: bool, batch: Batch) -> None:
    inside: list[Payment] = []
    blocks = list(_iterate(data, path, "PmtInf"))
    for where, block in [*blocks, (path, data)]:
        payments: list[Payment] = []
        for name, direction in LISTS.items():
            for at, each in _iterate(block, where, name):
                if not batch.limit.take(at):
                    break
                payment = _read_transfer(each, at)
                if payment is not None:
                    payment.collects = collects or direction
                    payments.append(payment)
        inside += payments
        if block is not data:
            batch.controls += _read_controls(block, where, payments)
    header = _descend(data, path, "GrpHdr")
    where, holder = header if header else (path, data)
    batch.payments += inside
    batch.controls += _read_controls(holder, where, inside)


def _read_controls(holder: Any, path: Path, payments: list[Payment]) -> list[Control]:
    controls = []
    total = _read_text(_descend(holder, path, "CtrlSum"))
    if total:
        amount = read_amount("CtrlSum", total[1], total[0], find_one_currency(payments), PAIN)
        controls.append(Control(total[0], payments, amount))
    number = _read_text(_descend(holder, path, "NbOfTxs"))
    if number and (count := _read_count(number[1])) is not None:
        controls.append(Control(number[0], payments, number=count))
    return controls


def _read_transfer(data: Data, path: Path) -> Payment | None:
    chains = (("Amt", "InstdAmt"), ("InstdAmt",), ("Amt", "EqvtAmt", "Amt"), ("IntrBkSttlmAmt",))
    found = next((each for chain in chains if (each := _descend(data, path, *chain))), None)
    number = _read_text(found)
    if found is None or number is None:
        return None
    amount = read_amount("InstdAmt", number[1], number[0], _read_currency(found[1]), PAIN)
    payment = Payment(path, [amount])
    for party, account in (("Cdtr", "CdtrAcct"), ("Dbtr", "DbtrAcct")):
        name = _read_text(_descend(data, path, party, "Nm"))
        iban = _read_text(_descend(data, path, account, "Id", "IBAN")) or _read_text(
            _descend(data, path, account, "Id", "Othr", "Id")
        )
        if name and not payment.payee:
            payment.payee_path, payment.payee = name[0], clip(name[1], 60)
        if iban and not payment.account:
            payment.account_path, payment.account = iban
    return payment


def _read_currency(value: Any) -> str:
    if not isinstance(value, dict):
        return ""
    holders = [value, *(value[name] for name in ("$", "_attributes", "@") if name in value)]
    for each in holders:
        if isinstance(each, dict):
            for name in ATTRIBUTES:
                if isinstance(each.get(name), str):
                    return str(each[name]).strip().upper()[:12]
    return find_currency(value)
