"""Conditions of policies: what they mean, and that none passes what its author did not mean."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from approvals_app.policy.conditions import Condition, Facts
from approvals_app.policy.runtime import ConditionFailed, ConditionInvalid

pytestmark = [pytest.mark.pure, pytest.mark.usefixtures("patient")]

REFUND = {
    "agent": "support-bot",
    "from_role": "support-agent",
    "to_role": "finance",
    "task_type": "refund_approval",
    "description": "Refund 249.90 EUR for order 2026-118204.",
    "data": {
        "amount": "249.90",
        "currency": "EUR",
        "lines": [{"sku": "ESP", "quantity": 1}, {"sku": "SHIP", "quantity": 2}],
        "tags": ["damaged", "first"],
        "count": 3,
        "share": 0.5,
        "express": False,
        "note": None,
        "delivered_at": "2026-11-06T10:12:00Z",
        "customer": {"id": "cus_1", "country": "AT"},
    },
    "context": {"model": "support-bot 3.2"},
}


def holds(text, /, **data):
    """Whether ``text`` holds for the refund, or for one with ``data`` instead of its own."""
    return Condition(text).holds(Facts({**REFUND, "data": data} if data else REFUND))


def reason_it_fails(text, /, **data):
    with pytest.raises(ConditionFailed) as failure:
        holds(text, **data)
    return str(failure.value)


def reason_it_is_refused(text):
    with pytest.raises(ConditionInvalid) as refusal:
        Condition(text).try_constants()
    return str(refusal.value)


def describe_outcome(text, facts):
    """The answer or the reason for which there is none: nothing else is ever raised."""
    try:
        answer = Condition(text).holds(Facts(facts))
    except (ConditionInvalid, ConditionFailed) as reason:
        return str(reason)
    return {True: "it holds", False: "it does not hold"}[answer]


@pytest.mark.parametrize(
    "text",
    [
        "true",
        "double(data.amount) > 200.0",
        "data.currency == 'EUR'",
        'data.currency in ["EUR", "CHF"]',
        "data.count >= 3 && data.count < 4",
        "data.count > 2.5",
        "data.share == 0.5",
        "!data.express",
        "data.note == null",
        "has(data.customer.country) && data.customer.country == 'AT'",
        "!has(data.iban)",
        "!has(data.amount) || double(data.amount) > 1.0",
        "has(data.iban) ? data.iban == 'AT61' : true",
        "'country' in data.customer",
        "'damaged' in data.tags",
        "data.lines[1].quantity == 2",
        "data['currency'] == 'EUR'",
        "context.model.startsWith('support-bot')",
        "timestamp(data.delivered_at) > timestamp('2026-11-01T00:00:00Z')",
        "timestamp(data.delivered_at) - timestamp('2026-11-06T00:00:00Z') > duration('10h')",
        "int('12') + data.count == 15",
        "data.lines.map(line, line.sku) == ['ESP', 'SHIP']",
        "data.lines.filter(line, line.quantity > 1).size() == 1",
        "data.tags.all(a, data.lines.exists(b, b.sku != a))",
        "data.lines.all(i, line, line.quantity > i)",
        "data.customer.exists(key, key == 'id')",
        "true || data.nothing > 1",
        "data.nothing > 1 || true",
        "data.count > 1 // a comment",
        "cel.bind(first, data.lines[0], first.sku == 'ESP' && first.quantity == 1)",
    ],
)
def test_it_holds(text):
    assert holds(text) is True
    assert holds(f"!({text.partition('//')[0]})") is False


FUNCTIONS = {
    "abs": "math.abs(-data.count) == 3",
    "all": "data.lines.all(line, line.quantity > 0)",
    "bind": "cel.bind(lines, data.lines, size(lines) == 2)",
    "ceil": "math.ceil(data.share) == 1.0",
    "charAt": "data.currency.charAt(0) == 'E'",
    "contains": "description.contains('118204')",
    "decimal": "decimal(data.amount) == decimal('249.9')",
    "distinct": "data.tags.distinct().size() == 2",
    "double": "double(data.amount) == 249.9",
    "duration": "duration('1h') == duration('60m')",
    "endsWith": "data.currency.endsWith('R')",
    "exists": "data.lines.exists(line, line.sku == 'SHIP')",
    "exists_one": "data.lines.exists_one(line, line.quantity == 2)",
    "filter": "data.lines.filter(line, line.quantity > 1).size() == 1",
    "floor": "math.floor(data.share) == 0.0",
    "format": "'%s!'.format([data.currency]) == 'EUR!'",
    "getDate": "timestamp(data.delivered_at).getDate() == 6",
    "getDayOfMonth": "timestamp(data.delivered_at).getDayOfMonth() == 5",
    "getDayOfWeek": "timestamp(data.delivered_at).getDayOfWeek() == 5",
    "getDayOfYear": "timestamp(data.delivered_at).getDayOfYear() == 309",
    "getFullYear": "timestamp(data.delivered_at).getFullYear() == 2026",
    "getHours": "timestamp(data.delivered_at).getHours('Europe/Vienna') == 11",
    "getMinutes": "timestamp(data.delivered_at).getMinutes() == 12",
    "getMonth": "timestamp(data.delivered_at).getMonth() == 10",
    "getSeconds": "timestamp(data.delivered_at).getSeconds() == 0",
    "greatest": "math.greatest(data.count, 2) == 3",
    "has": "has(data.currency) && !has(data.iban)",
    "hasValue": "!data.?iban.hasValue()",
    "indexOf": "data.currency.indexOf('R') == 2",
    "int": "int('12') == 12",
    "join": "data.tags.join(',') == 'damaged,first'",
    "least": "math.least(data.count, 2) == 2",
    "lowerAscii": "data.currency.lowerAscii() == 'eur'",
    "map": "data.lines.map(line, line.sku) == ['ESP', 'SHIP']",
    "matches": "description.matches('^Refund [0-9.]+ EUR')",
    "orValue": "data.?iban.orValue('none') == 'none'",
    "replace": "data.currency.replace('E', 'A') == 'AUR'",
    "round": "math.round(data.share) == 1.0",
    "size": "size(data.lines) == 2 && data.currency.size() == 3",
    "sort": "data.tags.sort()[0] == 'damaged'",
    "split": "data.amount.split('.')[1] == '90'",
    "startsWith": "data.currency.startsWith('EU')",
    "string": "string(data.count) == '3'",
    "substring": "data.currency.substring(0, 2) == 'EU'",
    "timestamp": "timestamp('2026-11-06T11:12:00+01:00') == timestamp(data.delivered_at)",
    "trim": "' EUR '.trim() == data.currency",
    "type": "type(data.count) == double && type(data.tags) == list",
    "upperAscii": "data.currency.upperAscii() == 'EUR'",
}
"""The functions that docs/policies.md names."""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_on_the_page_is_there(name):
    assert holds(FUNCTIONS[name]) is True


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("data.iban == 'AT61'", "there is no iban."),
        ("has(data.beneficiary.country)", "there is no beneficiary."),
        ("data.lines.all(line, line.price > 0)", "there is no price."),
        ("data.lines[7].quantity == 1", "there is no element 7 in a list of 2."),
        ("data.count", "it is neither true nor false."),
        ("data.note", "it is neither true nor false."),
        ("data.amount > 200", "> does not take (string, int64)."),
        ("data.count / 0 == 1", "division by zero."),
        ("data.share % 2 == 0", "% takes whole numbers"),
        ("int(data.amount) > 200", "cannot convert string to int."),
        ("double(data.currency) > 1.0", "cannot convert string to double."),
        ("decimal(data.currency) > decimal(1)", "decimal takes digits with at most one point"),
        ("decimal(data.express) > decimal(1)", "decimal takes a text or a number."),
        ("timestamp(data.amount) > timestamp(0)", "String to Timestamp conversion failed."),
        ("size(data.count) == 1", "size does not take (double)."),
        ("data.count.startsWith('3')", "startsWith does not take (double, string)."),
        ("data.tags.contains('first')", "contains does not take (list, string)."),
        ("data.currency.matches(data.amount + '(')", "invalid regular expression: missing )"),
        ("9223372036854775807 + int(data.count) > 0", "integer overflow."),
    ],
)
def test_it_fails_with_a_reason(text, reason):
    said = reason_it_fails(text)
    assert said.startswith(reason)
    assert said.endswith(".")
    assert said.isprintable()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Syntax error: mismatched input '<EOF>' (column 1)."),
        ("data.amount >", "Syntax error: mismatched input '<EOF>' (column 14)."),
        ("true &&\n  amount > 1", "there is no amount (line 2, column 3)."),
        ("now() > timestamp('2026-11-06T00:00:00Z')", "there is no now (column 4)."),
        ("data.lines.sum() > 1", "there is no sum (column 15)."),
        ("agent > 1", "> does not take (string, int) (column 7)."),
        ("'true'", "it is never true or false, but of type STRING."),
        ("data.?express", "it is never true or false, but of type"),
        ("data.lines.map(line, true)", "it is never true or false, but of type LIST"),
        ("data.lines.all(line, line.quantity > 0) && line == 1", "there is no line (column 44)."),
        ("99999999999999999999 > 1", "invalid int literal (column 1)."),
        ("data.note == '\ud800'", "it has characters that can't be kept."),
        ("data.note == '\0'", "it has characters that can't be kept."),
        ("data.note == '" + 2_000 * "x" + "'", "it is longer than 2,000 characters."),
        ("(" * 900 + "true" + ")" * 900, "Expression recursion limit exceeded. limit: 32."),
        ("[" * 900 + "1" + "]" * 900 + " == [1]", "Expression recursion limit exceeded."),
        ("decimal(data.a) + decimal(data.b) > decimal(1)", "decimals can be compared, not added."),
        ("{0: 1, 0u: 2}[data.count] == 1", "a map has the same key twice."),
    ],
)
def test_it_is_refused_with_a_reason(text, reason):
    said = reason_it_is_refused(text)
    assert said.startswith(reason)
    assert said.endswith(".")
    assert said.isprintable()


# The traps: each passed, or was saved, with the runtime before this one.


@pytest.mark.parametrize(
    ("at", "hour", "day"),
    [
        ("2026-11-06T10:00:00+14:00", 20, 4),  # Thursday evening
        ("2026-11-07T02:00:00Z", 2, 6),
        ("2026-11-06T16:00:00-10:00", 2, 6),  # a Saturday, though not where the agent is
    ],
)
def test_times_are_in_utc_whatever_offset_the_agent_writes(at, hour, day):
    assert holds(f"timestamp(data.at).getHours() == {hour}", at=at) is True
    assert holds(f"timestamp(data.at).getDayOfWeek() == {day}", at=at) is True


def test_a_time_zone_can_be_named():
    office = "timestamp(data.at).getHours('Europe/Vienna') >= 9"
    assert holds(office, at="2026-11-06T08:00:00Z") is True
    assert holds(office, at="2026-07-06T07:00:00Z") is True  # summer
    assert holds(office, at="2026-11-06T07:59:59Z") is False


@pytest.mark.parametrize("account", ["4711", [4711], None, True, {"id": 4711}])
@pytest.mark.parametrize(
    "text",
    [
        "data.account != 4711",
        "4711 != data.account",
        "!(data.account == 4711)",
        "!(data.account in [4711, 4712])",
        "data['account'] != -4711",
        "has(data.account) && data.account != 4711",
        "data.other.exists(x, x > 1) || data.account != 4711",
    ],
)
def test_a_value_of_another_kind_is_no_different_number(text, account):
    reason = reason_it_fails(text, account=account, other=[])
    assert reason.startswith("data.account is ")
    assert reason.endswith(", and it is compared with a number.")


def test_which_kinds_are_meant_can_be_said():
    assert holds("data.account != 4711", account=4712) is True
    assert holds("data.account == null || data.account != 4711", account=None) is True
    assert holds("data.account == null", account="text") is False
    assert holds("data.account == 4711 || data.account == 'none'", account="none") is True
    assert holds("type(data.account) == string || data.account != 4711", account="4711") is True
    assert holds("data.lines[0].sku != 'ESP'", lines=[{"sku": "SHIP"}]) is True
    assert "data.lines[0].sku is null" in reason_it_fails(
        "data.lines[0].sku != 'ESP'", lines=[{"sku": None}]
    )


@pytest.mark.parametrize("number", [1000, 1000.0])
def test_numbers_that_json_does_not_tell_apart_are_judged_alike(number):
    assert holds("data.x == 1000 && type(data.x) == double", x=number) is True
    assert holds("data.x * 2 == 2000 && 2 * data.x == 2000.0", x=number) is True
    assert holds("data.x * 1.2 > 1199.9 && data.x / 3 < 334", x=number) is True
    assert holds("data.x + 1 == 1001 && 1 - data.x == -999 && data.x % 7 == 6", x=number) is True
    assert holds("[0, 1][data.x - 999] == 1 && string(data.x) == '1000'", x=number) is True


@pytest.mark.parametrize(
    "word", ["OPS-\N{ARABIC-INDIC DIGIT THREE}", "OPS-\N{FULLWIDTH DIGIT THREE}"]
)
def test_digits_of_a_regular_expression_are_ascii(word):
    assert holds(r"data.x.matches('^[A-Z]+-\\d+$')", x="OPS-3") is True
    assert holds(r"data.x.matches('^[A-Z]+-\\d+$')", x=word) is False


def test_words_and_blanks_of_a_regular_expression_are_ascii():
    assert holds(r"data.x.matches('^\\w+\\s$')", x="ab ") is True
    assert holds(r"data.x.matches('^\\w+\\s$')", x="\u00e9b ") is False
    assert holds(r"data.x.matches('^\\w+\\s$')", x="ab\u2003") is False


@pytest.mark.parametrize("values", [[1, {}], [{}, 1], [{}, 1, []], [1, []]])
def test_the_order_of_a_list_does_not_matter(values):
    assert holds("data.x.exists(each, each > 0)", x=values) is True
    assert holds("data.x.all(each, each > 1)", x=values) is False


def test_the_size_of_a_text_is_its_characters():
    assert holds("size(data.x) == 4", x="Z\u00fcri") is True
    assert holds("size(data.x) == 1", x="\N{GRINNING FACE}") is True


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("-false", "- does not take (bool)"),
        ("duration('7d') > duration(data.x)", "String to Duration conversion failed."),
        ("timestamp(data.x) > timestamp('2026-11-06')", "String to Timestamp conversion failed."),
        ("timestamp(data.x).getHours('Europe/Bern') > 8", "Invalid timezone."),
        ("data.x.matches('(?=a)')", "invalid regular expression: invalid perl operator: (?=."),
        ("matches(data.x, '(')", "invalid regular expression: missing )"),
        ("data.x.all(each, each.matches('['))", "invalid regular expression: missing ]"),
        ("data.x > 1 / 0", "divide by zero."),
        ("decimal(data.x) > decimal('1,000')", "decimal takes digits"),
        ("data.x.transformMap(k, v, v) == data.x", "No overload found"),
        ("lists.range(1000000000).size() > int(data.x)", "it needs too much memory."),
    ],
)
def test_what_can_never_be_judged_is_refused(text, reason):
    assert reason in reason_it_is_refused(text)


def test_what_need_not_be_judged_is_not_refused():
    Condition("true || 1 / 0 == 1").try_constants()
    Condition("data.x.matches(data.y)").try_constants()


# Amounts that are written as text.


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(*[st.decimals(allow_nan=False, allow_infinity=False, places=3) | st.decimals("-2", "2")] * 2)
def test_decimals_compare_as_decimals(a, b):
    written = {"a": format(a, "f"), "b": format(b, "f")}
    if all(len(text) < 100 for text in written.values()):
        assert holds("decimal(data.a) < decimal(data.b)", **written) is (a < b)
        assert holds("decimal(data.a) == decimal(data.b)", **written) is (a == b)


@pytest.mark.parametrize("amount", ["249.90", "249.9", "0249.900", 249.9])
def test_an_amount_is_compared_without_doubles(amount):
    assert holds("decimal(data.x) == decimal('249.90')", x=amount) is True
    assert holds("decimal(data.x) > decimal('249.8999999999999999999')", x=amount) is True
    assert holds("decimal(data.x) < decimal(250) && decimal(data.x) > decimal(-1)", x=amount)
    assert holds("decimal(data.x) in [decimal('249.90'), decimal(1)]", x=amount)


@pytest.mark.parametrize("amount", ["1e5", "", "-", ".5", "1.", "1 000", "+1", "NaN", "\u0663"])
def test_what_is_no_decimal_fails(amount):
    assert "decimal takes digits" in reason_it_fails("decimal(data.x) > decimal(1)", x=amount)


# Whatever is sent.


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.text(max_size=60) | st.text("data.nlistm[]().&|!=<>'\"19ex ,{}:?+-*/%", max_size=60))
def test_any_text_is_a_condition_with_an_answer_or_says_why_not(text):
    assert describe_outcome(text, REFUND).isprintable()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=8,
)
CONDITIONS = ["data.x == 1", "data.x.all(i, i == 1)", "size(data.x) > 1 || data.x > 1", "data.x"]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(JSON, st.sampled_from(CONDITIONS))
def test_no_payload_gets_anything_but_an_answer_or_a_failure(value, text):
    assert describe_outcome(text, {**REFUND, "data": {"x": value}}).isprintable()


BOTH_WAYS = ["data.x == 'a'", "[data.x].exists(x, x == 'a')"]
"""The first is evaluated here, the second in a process beside."""


@pytest.mark.parametrize("text", BOTH_WAYS)
def test_texts_are_compared(text):
    assert holds(text, x="a") is True
    assert holds(text, x="\u00e9") is False


@pytest.mark.parametrize("text", BOTH_WAYS)
@pytest.mark.parametrize("value", ["a\0", "\0", "\ud800", "a\udfff"], ids=ascii)
def test_what_cel_would_read_differently_fails(text, value):
    assert reason_it_fails(text, x=value) == "the task holds a NUL or half a character."


@pytest.mark.parametrize("text", BOTH_WAYS)
@pytest.mark.parametrize("value", ["\N{GRINNING FACE}", "\\u0000", "\\ud800"], ids=ascii)
def test_what_only_looks_like_it_does_not_fail(text, value):
    assert holds(text, x=value) is False


@pytest.mark.parametrize("value", [object(), float("nan"), float("inf")])
def test_what_is_not_json_fails(value):
    assert reason_it_fails("data.x > 1", x=value) == "the task is not plain JSON."


@pytest.mark.parametrize("text", ["data.x == 'a'", "[data.x].exists(x, x == ['a'])"])
def test_a_payload_nested_beyond_reason_has_an_outcome(text):
    nested = "a"
    for _ in range(3_000):
        nested = [nested]
    assert describe_outcome(text, {**REFUND, "data": {"x": nested}}) != "it holds"


@pytest.mark.parametrize(
    ("text", "needs"),
    [
        ("data.count > 1", "data data.count"),
        ("has(data.iban) || data . count > 1", "data data.count data.iban"),
        ("data.customer.country == context.model", "context context.model data data.customer"),
        ("description == agent", "agent description"),
        ("data.note == 'data.secret'", "data data.note"),
        ("data['count'] > 1", "data data.count"),
        ("data.?note.orValue(1) == 1", "data data.note"),
        ("data.lines.all(data, data.quantity > 0)", "data data.lines"),
        ("data.lines.all(line, line.quantity > data.count)", "data data.count data.lines"),
        # Where a variable may be read whole, it is.
        ("'count' in data", "data"),
        ("data[agent] > 1", "agent data"),
        ("data.size() > 1", "data"),
        ("data.count > 1 && size(data) > 1", "data"),
        ("data.all(key, key != 'iban')", "data"),
        ("data == context", "context data"),
        ("{'a': data}.a.count > 1", "data"),
        ("cel.bind(whole, data, whole.count > 1)", "data"),
    ],
)
def test_it_reads_what_it_names_and_no_more(text, needs):
    condition = Condition(text)
    assert sorted(condition.needs) == needs.split()
    facts = {**REFUND, "data": {**REFUND["data"], "iban": "AT61"}}
    assert describe_outcome(text, facts) == describe_outcome(f"data == data && ({text})", facts)


def test_what_a_condition_does_not_read_is_not_converted():
    odd = {"count": 1, "rest": object()}
    assert holds("data.count == 1", **odd) is True
    assert holds("[1].all(i, i == data.count)", **odd) is True
    assert reason_it_fails("size(data) == 2", **odd) == "the task is not plain JSON."


@pytest.mark.parametrize("data", [None, [], "text", 1])
def test_data_that_is_no_object_has_no_members(data):
    facts = {**REFUND, "data": data}
    assert describe_outcome("data.count == 1", facts) not in ("it holds", "it does not hold")
    assert describe_outcome("data == data", facts) == "it holds"
