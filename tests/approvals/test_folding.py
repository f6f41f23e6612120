"""What the facts warn of is read without a click, and comes first."""

import re

import pytest
from django.template.loader import render_to_string

from approvals_app.payload import renderers
from approvals_app.payload.emphasis import emphasize
from approvals_app.payload.facts import Fact, Level
from approvals_app.payload.json_tree import Tail, render_tree
from tests.payloads.reading import load

pytestmark = pytest.mark.pure


def draw(value, *warned, level=Level.DANGER):
    """``value`` as a tree, with facts that warn of the members at these paths."""
    return render_tree(value, emphasis=emphasize([Fact("x", "y", path, level) for path in warned]))


def read_unfolded(page):
    """The text of a page outside of what is folded."""
    depth, out = 0, []
    for piece in re.split(r"(<details[^>]*>|</details>)", page):
        if piece.startswith("<details"):
            depth += depth > 0 or " open" not in piece
        elif piece == "</details>":
            depth -= depth > 0
        elif not depth:
            out.append(piece)
    return re.sub(r"<[^>]*>", " ", " ".join(out))


def nest(value, *names):
    for name in reversed(names):
        value = {name: value}
    return value


def test_what_is_deep_inside_is_folded_unless_a_fact_comes_from_it():
    names = ("a", "b", "c", "d")
    value = nest("lost", *names)
    assert "lost" not in read_unfolded(draw(value))
    assert "lost" in read_unfolded(draw(value, names))
    assert "lost" in read_unfolded(draw(value, names, level=Level.NOTICE))
    assert "lost" not in read_unfolded(draw(value, names, level=Level.PLAIN))


def test_of_a_long_list_what_matters_is_before_the_fold_and_the_rest_behind_it():
    value = {"steps": [nest(f"step {n}", "a", "b") for n in range(500)]}
    page = draw(value, ("steps", 437))
    assert "step 437" in read_unfolded(page)
    assert '<li value="438">' in page
    assert "475 other items" in page
    assert page.count("<li") == 500


def test_of_a_long_object_too():
    value = {"settings": {f"k{n:03}": n for n in range(100)}}
    page = draw(value, ("settings", "k077"))
    assert page.index("k077") < page.index("k000")
    assert "75 other fields" in page
    assert len(re.findall(r"k\d{3}", page)) == 100


def test_dangerous_members_come_first_the_others_as_they_were_sent():
    page = draw({"zone": 1, "country": 2, "iban": 3, "amount": 4}, ("iban",))
    assert re.findall(r"<dt>(?:<span.*</span> )?([a-z]+)</dt>", page) == [
        "iban",
        "zone",
        "country",
        "amount",
    ]
    assert "Danger" in page[: page.index("iban")]


def test_a_table_says_its_sum_and_shows_the_largest_row_before_the_fold():
    rows = [{"to": f"Supplier {n}", "amount": "100.00", "currency": "EUR"} for n in range(60)]
    rows[57]["amount"] = "985000.00"
    page = draw({"payments": rows})
    assert "60 items, amount in all 990,900.00 EUR (largest 985,000.00)" in page
    text = read_unfolded(page)
    assert "985000.00" in text
    assert re.search(r"58\s+Largest", text)
    assert page.count("<tr>") == 60 + 2  # each row once, and two heads


def test_a_row_unlike_all_others_stands_before_the_fold():
    rows = [{"host": f"web-{n}", "zone": "eu"} for n in range(50)]
    rows[49]["zone"] = "us"
    assert re.search(r"50\s+Other zone\s+web-49", read_unfolded(draw({"hosts": rows})))


def test_rows_that_facts_warn_of_stand_first():
    rows = [{"host": f"web-{n}", "n": n} for n in range(50)]
    assert re.search(r"41\s+Danger\s+web-40", read_unfolded(draw({"h": rows}, ("h", 40))))


@pytest.mark.parametrize("amount", ["1e99", "1.234,00", "NaN", 1e300, True, None, "9" * 40])
def test_what_is_no_plain_number_is_not_added_up(amount):
    rows = [{"amount": "1.00", "x": n} for n in range(30)] + [{"amount": amount, "x": 0}]
    assert "in all" not in draw({"rows": rows})


def test_several_currencies_are_added_up_apart():
    rows = [{"amount": 5, "currency": each} for each in ("EUR", "USD", "EUR")]
    page = draw(rows)
    assert "3 items, amount in all 10 EUR (largest 5) and 5 USD (largest 5)" in page


def test_the_rest_of_a_list_keeps_its_numbers():
    value = {"changes": Tail(["b", "c"], [7, 9])}
    assert '<li value="8">b</li><li value="10">c</li>' in draw(value)
    assert '<li value="10">' in draw(value, ("changes", 9))


def test_of_a_plan_what_the_facts_warn_of_is_unfolded():
    change = {"actions": ["create"], "before": None, "after": {"cidr_blocks": ["0.0.0.0/0"]}}
    rule = {"address": "aws_security_group_rule.open", "type": "aws_security_group_rule"}
    others = [
        {"address": f"null_resource.n{n}", "type": "null_resource"}
        | {"change": {"actions": ["create"], "before": None, "after": {"n": n}}}
        for n in range(120)
    ]
    rule["change"] = change | {"after": {"type": "ingress", **change["after"], "from_port": 22}}
    data = {"format_version": "1.2", "resource_changes": [*others, rule]}
    drawing = renderers.render("plan", {"data": data, "context": {}, "description": ""})
    page = render_to_string(drawing.template, {"parts": drawing.context})
    assert drawing.context["changes"][0].address == "aws_security_group_rule.open"
    assert "0.0.0.0/0" in read_unfolded(page)


def test_the_one_large_payment_of_thirty_is_not_under_a_fold():
    data = load("payments_30_rows")
    largest = max(data["payments"], key=lambda each: float(each["amount"]))
    drawing = renderers.render("payments", {"data": data, "context": {}, "description": ""})
    assert largest["name"] in read_unfolded(drawing.tree)
