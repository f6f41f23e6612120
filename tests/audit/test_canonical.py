"""RFC 8785: the examples of the RFC, and what has no canonical text."""

import hashlib
import json
import struct

import pytest

from audit_app.base.canonical import canonical, digest

pytestmark = pytest.mark.pure


def test_the_example_of_the_rfc():
    given = json.loads(
        r"""
        {"numbers": [333333333.33333329, 1E30, 4.50, 2e-3, 0.000000000000000000000000001],
         "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
         "literals": [null, true, false]}
        """
    )
    assert canonical(given) == (
        '{"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],'
        '"string":"€$\\u000f\\nA\'B\\"\\\\\\\\\\"/"}'
    )


def test_names_are_sorted_by_utf16_code_units():
    given = {"€": 1, "\r": 2, "\ufb33": 3, "1": 4, "😀": 5, "\x80": 6, "ö": 7}
    assert list(json.loads(canonical(given))) == ["\r", "1", "\x80", "ö", "€", "😀", "\ufb33"]


@pytest.mark.parametrize(
    ("bits", "text"),
    [
        ("0000000000000000", "0"),
        ("8000000000000000", "0"),
        ("0000000000000001", "5e-324"),
        ("7fefffffffffffff", "1.7976931348623157e+308"),
        ("4340000000000000", "9007199254740992"),
        ("c340000000000000", "-9007199254740992"),
        ("44b52d02c7e14af5", "9.999999999999997e+22"),
        ("444b1ae4d6e2ef4f", "999999999999999900000"),
        ("444b1ae4d6e2ef50", "1e+21"),
        ("3eb0c6f7a0b5ed8d", "0.000001"),
        ("3eb0c6f7a0b5ed8c", "9.999999999999997e-7"),
        ("41b3de4355555555", "333333333.3333333"),
    ],
)
def test_numbers_are_written_as_the_rfc_lists_them(bits, text):
    value = struct.unpack(">d", bytes.fromhex(bits))[0]
    assert canonical(value) == text


@pytest.mark.parametrize(
    "value", [float("nan"), float("inf"), -float("inf"), 2**53, -(2**53), "\ud800", {"\udc00": 1}]
)
def test_what_has_no_canonical_text_is_an_error(value):
    with pytest.raises(ValueError, match=r".") as error:
        canonical(value)
    assert str(error.value)


def test_the_digest_is_the_sha256_of_the_utf8_bytes():
    assert digest("€") == hashlib.sha256(b"\xe2\x82\xac").hexdigest()
