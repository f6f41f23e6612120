"""An amount is shown in one way, and may be typed in any way that can be read in one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from approvals_app.payload.money import group_digits, is_same_amount

pytestmark = pytest.mark.pure


@pytest.mark.parametrize(
    ("value", "currency", "typed"),
    [
        *(
            ("4980.00", "EUR", typed)
            for typed in (
                "4980.00",
                "4980",
                "4980.0",
                "4,980",
                "4,980.00",
                "4 980.00",
                "4\u00a0980,00",
                "4'980.00",
                "4.980,00",
                "4980,00",
                "4,980.00 EUR",
                "4,980.00 eur",
                "EUR 4980",
                "€4,980.00",
                "4.980,00 €",
            )
        ),
        (4980, "USD", "4,980 USD"),
        (4980.5, None, "4,980.50"),
        ("-4980.00", "EUR", "-4,980.00"),
        ("1234567.89", "", "1,234,567.89"),
        (0, "EUR", "0.00"),
    ],
)
def test_the_same_amount_may_be_written_otherwise(value, currency, typed):
    assert is_same_amount(value, typed, currency)


@pytest.mark.parametrize(
    ("value", "currency", "typed"),
    [
        *(
            ("4980.00", "EUR", typed)
            for typed in (
                "",
                "EUR",
                "4.980",
                "49,80.00",
                "4,98",
                "4,980.01",
                "498000",
                "-4980",
                "4,980.00 USD",
                "$4,980.00",
                "4,980.00 EUR EUR",
                "4,9 80",
                "4'980 000",
                "4980.",
                "٤٩٨٠",
                "4.98e3",
                "+4980",
            )
        ),
        ("4980.00", None, "4,980.00 EUR"),  # the payload has no currency to compare with
        ("4.980", "EUR", "4980"),
        ("1.234", "EUR", "1,234"),
        ("4,980.00", "EUR", "4980"),  # a text, which is typed as it is
        ("0012345", None, "12345"),
        ("12 pieces", None, "12"),
        (True, None, "1"),
        (None, None, "0"),
        (1e30, None, "1e+30"),
    ],
)
def test_another_amount_or_one_that_can_be_read_in_two_ways_is_refused(value, currency, typed):
    assert not is_same_amount(value, typed, currency)


@given(
    st.decimals(
        allow_nan=False, allow_infinity=False, places=2, min_value=-(10**12), max_value=10**12
    )
)
def test_what_our_pages_show_can_be_typed(number):
    shown = group_digits(f"{number} EUR")
    assert is_same_amount(str(number), shown, "EUR")
