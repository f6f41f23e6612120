"""Summaries of payments: amounts in their unit, sums, accounts, and what is unusual."""

import copy
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from approvals_app.payload.facts import find
from approvals_app.payload.kinds import money
from approvals_app.payload.kinds._amounts import ADYEN, STRIPE, format_money, parse_number
from tests.payloads.reading import change_anything, check_readings, facts_of, load, summarize_data

pytestmark = pytest.mark.pure

FACTS = {
    "stripe_refund": ["plain amount: 249.90 EUR", "plain charge: ch_X1"],
    "stripe_refund_no_currency": [
        "notice amount: 24990 in the smallest unit of an unknown currency"
    ],
    "stripe_payout_jpy": [
        "notice method: instant",
        "plain amount: 500,000 JPY",
        "plain to: ba_X1",
    ],
    "stripe_refund_of_all": ["notice amount: not given: all that is left of pi_X1"],
    "stripe_transfer_isk_http": ["plain amount: 70 ISK", "plain to: acct_X1"],
    "stripe_checkout_quantity": ["plain amount: 3 × 2,000 JPY = 6,000 JPY"],
    "stripe_event_charge": ["plain amount: 20.00 USD", "plain amount refunded: 5.00 USD"],
    "float_amount": ["plain amount: 10,000,000.00 USD", "plain to: acct"],
    "payments_30_rows": [
        "danger largest: 985,000.00 EUR to New Supplier Ltd, GB33BUKB20201555555555"
        " (United Kingdom), number 26 of 30",
        "notice one account, several payees: DE89370400440532013000 (Germany) for 25 names:"
        " Supplier 0, Supplier 1, Supplier 2 and 22 more",
        "plain payments: 30, 988,206.00 EUR in all",
        "plain accounts in: Germany (29), United Kingdom (1)",
        "plain execution date: 2026-12-01",
    ],
    "payments_nested": [
        "notice largest: 985,000.00 EUR to B, GB33BUKB20201555555555 (United Kingdom),"
        " number 2 of 2",
        "plain payments: 2, 985,010.00 EUR in all",
        "plain payment: 10.00 EUR to A, DE89370400440532013000 (Germany)",
    ],
    "pain001_json": [
        "notice largest: 12,400.00 EUR to Huber GmbH, AT611904300234573201 (Austria),"
        " number 1 of 2",
        "plain payments: 2, 18,750.00 EUR in all",
        "plain payment: 6,350.00 EUR to Unknown Ltd, GB33BUKB20201555555555 (United Kingdom)",
        "plain control sum agrees: 18,750.00 EUR",
        "plain execution date: 2026-12-01",
        "plain from account: DE02120300000000202051 (Germany)",
    ],
    "pain001_lists": [
        "danger control sum differs: 31.50 EUR said, 30.50 EUR found",
        "danger execution date in the past: 2026-11-02",
        "plain payments: 3, 60.50 EUR in all",
    ],
    "pain001_xml": [
        "notice largest: 20.50 EUR to Jon, AT611904300234573201 (Austria), number 2 of 2",
        "plain payments: 2, 30.50 EUR in all",
        "plain payment: 10.00 EUR to Ida & Co, DE89370400440532013000 (Germany)",
        "plain control sum agrees: 30.50 EUR",
        "plain execution date: 2026-12-01",
        "plain from account: DE02120300000000202051 (Germany)",
    ],
    "pain008_debits": [
        "plain collections: 2, 35.50 EUR in all",
        "plain payment: 15.50 EUR from Ida, DE89370400440532013000 (Germany)",
        "plain control sum agrees: 35.50 EUR",
    ],
    "adyen_refund_clp": ["plain amount: 5,000 CLP"],
    "adyen_capture_idr": ["plain amount: 500,000.00 IDR"],
    "paypal_payouts": [
        "notice largest: 112.34 USD to jon@example.com, number 2 of 2",
        "plain payments: 2, 122.21 USD in all",
    ],
    "paypal_order": ["plain amount: 90.00 USD", "plain parts: 1 amount inside: 90.00 USD"],
    "wise_quote": ["plain amount: 1,000.00 GBP", "plain account: 48117"],
    "wise_transfer": ["notice amount: not in this payload: it is that of quote 7d2f"],
    "revolut_pay": ["plain amount: 1,200.00 GBP", "plain account: a2"],
    "square_refund": ["plain amount: 10.50 USD"],
    "gocardless_payment": ["plain amount: 10.00 GBP", "plain charge date: 2026-12-04"],
    "mollie_refund": ["plain amount: 10.00 EUR"],
    "amount_cents": ["plain amount: 123.45 USD", "plain to: Ida"],
    "amount_integer": [
        "notice amount: 24,990.00 EUR or 249.90 EUR (whether it is in minor units is not said)"
    ],
    "amount_ambiguous": [
        "notice not certain: 1 amount, as 1,234.00 EUR or 1.234 EUR: “1.234” can be read as both",
        "plain payments: 3, at most 1,240.25 EUR in all",
        "notice decimals are written in two ways: with a comma and with a point, as 2.50 EUR",
    ],
    "amount_three_decimals": [
        "notice amount: 1,500.000 KWD or 1.500 KWD (“1.500” can be read as both)"
    ],
    "stripe_issuing_transaction": ["notice amount: -42.50 EUR"],
    "stripe_outbound_transfer": ["plain amount: 1,250.00 USD"],
    "stripe_price": ["plain amount: 20.00 USD"],
    "vendor_account_changed": [
        "danger account changed: before AT611904300234573201 (Austria),"
        " now GB33BUKB20201555555555 (United Kingdom)",
        "plain amount: 1,200.50 EUR",
        "plain to: Huber GmbH",
    ],
    "payments_wrong_total": [
        "danger control sum differs: 30.00 EUR said, 31.00 EUR found",
        "danger number of payments differs: 3 said, 2 found",
        "danger one payee, several accounts: Ida: DE89370400440532013000, GB33BUKB20201555555555",
    ],
    "payment_in_the_past": [
        "danger not a valid IBAN: DE00370400440532013000",
        "danger execution date in the past: 2020-01-01",
    ],
}


@pytest.mark.parametrize("name", FACTS)
def test_says_what_is_paid(name: str) -> None:
    facts = facts_of(name)
    assert [fact for fact in FACTS[name] if fact not in facts] == [], facts


@pytest.mark.parametrize("name", FACTS)
def test_path_of_each_fact_exists(name: str) -> None:
    data = load(name)
    for fact in summarize_data(data).facts:
        find(data, fact.path)


@pytest.mark.parametrize(
    ("name", "amount"),
    [
        ("stripe_refund", "249.90 EUR"),
        ("stripe_refund_no_currency", None),
        ("payments_30_rows", "988206.00 EUR"),
        ("amount_integer", "24990.00 EUR"),
        ("stripe_checkout_quantity", "6000 JPY"),
    ],
)
def test_policies_get_the_sum(name: str, amount: str | None) -> None:
    assert summarize_data(load(name)).traits.get("amount") == amount


def test_several_currencies_have_no_sum() -> None:
    data = load("payments_30_rows")
    data["payments"][3]["currency"] = "USD"
    summary = summarize_data(data)
    assert "amount" not in summary.traits
    assert any("+ 103.00 USD" in fact.value for fact in summary.facts)


def test_siblings_are_added_up() -> None:
    one = {"amount": "10.00", "currency": "EUR", "to": "Ida"}
    assert summarize_data({"a": one, "b": one | {"amount": "20.00"}}).traits["amount"] == (
        "30.00 EUR"
    )


def test_payments_back_do_not_make_a_batch_small() -> None:
    one = {"amount": "-50.00", "currency": "EUR", "name": "Ida"}
    summary = summarize_data({"payments": [one, one | {"amount": "50.00", "name": "Jon"}]})
    assert summary.traits["amount"] == "100.00 EUR"
    assert "negative" in [fact.label for fact in summary.facts]


def test_sum_of_amounts_in_unknown_units_is_no_certain_one() -> None:
    one = {"amount": 100, "currency": "EUR", "name": "Ida"}
    facts = summarize_data({"payments": [one, one]}).facts
    assert "2, at most 200.00 EUR in all" in [fact.value for fact in facts]


def test_account_of_a_customer_is_told_without_a_direction() -> None:
    customer = {"name": "Ida", "iban": "DE89370400440532013000"}
    facts = summarize_data({"amount": "1.00", "currency": "EUR", "customer": customer}).facts
    assert [fact.label for fact in facts] == ["amount", "account"]


def test_host_must_be_the_one_of_the_api() -> None:
    body = {"amount": 100, "currency": "eur", "payee": "Ida"}
    url = "https://api.stripe.com.evil.example/v1/transfers"
    facts = summarize_data({"url": url, "body": body}).facts
    assert facts[0].value.startswith("100.00 EUR or 1.00 EUR")


def test_what_is_no_money_is_left_alone() -> None:
    for data in (
        {"spec": {"amount": 4}},
        {"amount": True, "currency": "EUR"},
        {"total": 3, "items": [{"name": "a", "count": 3}]},
        {"amount": {"value": None, "currency": "EUR"}},
    ):
        assert "money" not in summarize_data(data).kinds, data


def test_xml_with_entities_is_not_opened() -> None:
    file = load("pain001_xml")["file"].replace("<Document", "<!DOCTYPE x><Document", 1)
    assert "money" not in summarize_data({"file": file}).kinds


def test_one_payment_in_xml_is_read_where_it_stands() -> None:
    file = load("pain001_xml")["file"]
    start = file.index("<CdtTrfTxInf>")
    one = file[:start] + file[file.index("<CdtTrfTxInf>", start + 1) :]
    facts = summarize_data({"request": {"body": one}}).facts
    assert "20.50 EUR" in [fact.value for fact in facts]
    assert {fact.path for fact in facts} == {("request", "body")}
    assert "number of payments differs" in [fact.label for fact in facts]


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("1.234", ["1234", "1.234"]),
        ("1,234", ["1234", "1.234"]),
        ("1.234,56", ["1234.56"]),
        ("1,234.56", ["1234.56"]),
        ("1'234.50", ["1234.50"]),
        ("1 234,50", ["1234.50"]),
        ("1,234,567", ["1234567"]),
        ("0.125", ["0.125"]),
        ("12,5", ["12.5"]),
        ("1,23,456.7", []),
        ("1.2.3", []),
    ],
)
def test_reads_numbers_as_they_are_written(text: str, numbers: list[str]) -> None:
    assert list(parse_number(text)[1]) == [Decimal(number) for number in numbers]


@pytest.mark.parametrize(
    ("api", "currency", "text"),
    [
        ("stripe", "isk", "10 ISK"),
        ("stripe", "ugx", "10 UGX"),
        ("stripe", "mga", "1,000.00 MGA"),
        ("stripe", "kwd", "1.000 KWD"),
        ("stripe", "huf", "10.00 HUF"),
        ("adyen", "CLP", "10 CLP"),
        ("adyen", "CVE", "1,000.00 CVE"),
        ("adyen", "IDR", "1,000.00 IDR"),
        ("adyen", "ISK", "10 ISK"),
        ("adyen", "JPY", "1,000 JPY"),
    ],
)
def test_exponents_are_those_of_the_api(api: str, currency: str, text: str) -> None:
    data = (
        {"charge": "ch_X1", "amount": 1000, "currency": currency}
        if api == "stripe"
        else {"merchantAccount": "M", "amount": {"value": 1000, "currency": currency}}
    )
    assert summarize_data(data).facts[0].value == text


def test_exceptions_still_differ_from_iso() -> None:
    for api in (STRIPE, ADYEN):
        for currency, exponent in api.exponents.items():
            digits = format_money(Decimal(1), currency).partition(" ")[0].partition(".")[2]
            assert len(digits) != exponent, (api.name, currency)


@pytest.mark.parametrize("where", range(3))
@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("payments_30_rows", ("payments",)),
        ("payments_nested", ("payments",)),
        ("paypal_payouts", ("items",)),
        ("pain001_json", ("Document", "CstmrCdtTrfInitn", "PmtInf", "CdtTrfTxInf")),
        ("paypal_order", ("purchase_units", 0, "items")),
        ("stripe_checkout_quantity", ("line_items",)),
    ],
)
def test_one_payment_more_changes_the_summary(name: str, path: tuple[str], where: int) -> None:
    data = load(name)
    before = summarize_data(data)
    payments = find(data, path)
    payments.insert(where, copy.deepcopy(payments[0]))
    assert summarize_data(data).facts != before.facts


EXAMPLES = [load(name) for name in FACTS]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["EUR", "jpy", "1.234", "1,5", "ch_X1", "GB33BUKB20201555555555", "1e999"]),
)
NAMES = st.sampled_from(
    [
        *("amount", "currency", "value", "payments", "iban", "to", "total", "count", "quantity"),
        *("amount_cents", "price_data", "unit_amount", "CdtTrfTxInf", "PmtInf", "InstdAmt", "url"),
        *("CstmrCdtTrfInitn", "GrpHdr", "CtrlSum", "execution_date", "created", "name", "charge"),
        *("previous_iban", "merchantAccount", "links", "receiver", "quoteUuid", "x"),
    ]
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=25,
)


@given(st.dictionaries(NAMES, JSON, max_size=6))
@settings(max_examples=400, deadline=None)
def test_any_json_is_read(data: object) -> None:
    check_readings(money.read_all, data)


@given(st.sampled_from(EXAMPLES), st.data())
@settings(max_examples=300, deadline=None)
def test_any_change_of_a_payment_is_read(example: object, data: st.DataObject) -> None:
    check_readings(money.read_all, change_anything(example, JSON, data))


def test_payments_beside_a_file_do_not_hide_it() -> None:
    file = load("pain001_xml")["file"]
    summary = summarize_data({"pay": load("amount_cents"), "request": {"file": file}})
    assert summary.traits["amounts"] == {"EUR": "30.50", "USD": "123.45"}


def test_a_refund_of_all_is_told_beside_one_with_an_amount() -> None:
    rows = [load("stripe_refund"), load("stripe_refund_of_all")]
    summary = summarize_data({"refunds": rows})
    assert "not given: all that is left of pi_X1" in [fact.value for fact in summary.facts]
    assert "amount" not in summary.traits


def test_nothing_is_nothing_in_any_unit() -> None:
    facts = summarize_data({"amount": 0, "currency": "EUR", "payee": "Ida"}).facts
    assert facts[0].value == "0.00 EUR"


def test_a_price_is_no_payment() -> None:
    assert summarize_data(load("stripe_price")).headline == "Price of 20.00 USD"
