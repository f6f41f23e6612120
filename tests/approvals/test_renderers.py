"""What a task carries is drawn by its kind, and nothing of it is left out."""

import json
import re
from pathlib import Path

import pytest
from django.template.loader import render_to_string
from django.utils.html import strip_tags

from approvals_app.payload import renderers
from approvals_app.payload.diffs import diff_lines
from approvals_app.payload.json_tree import render_tree
from approvals_app.templatetags.approvals import code, money
from tests.factories import TaskFactory, find_approval

PAYLOADS = {
    path.stem: json.loads(path.read_text())["task"]
    for path in (Path(__file__).parents[2] / "examples" / "payloads").glob("*.json")
}
KINDS = {
    "bulk_email": "mail",
    "refund": "",
    "shell_command": "command",
    "sql_migration": "statement",
    "terraform_plan": "plan",
    "wire_transfer": "",
}


def render_payload(data, task_type="anything"):
    return renderers.render(task_type, {"data": data, "context": {}, "task_type": task_type})


def render_text(data, task_type="anything"):
    """The text of all that a page shows of ``data``."""
    drawing = render_payload(data, task_type)
    page = (
        render_to_string(drawing.template, {"parts": drawing.context}) if drawing.template else ""
    )
    return page + (render_tree(drawing.remaining) if drawing.remaining else "")


def leaves(value):
    match value:
        case dict():
            for name, inner in value.items():
                yield name
                yield from leaves(inner)
        case list():
            for inner in value:
                yield from leaves(inner)
        case str():
            yield from value.split()
        case None | True | False:
            pass
        case _:
            yield json.dumps(value)


@pytest.mark.parametrize("name", sorted(PAYLOADS))
def test_each_example_is_rendered_by_its_kind(name):
    assert render_payload(PAYLOADS[name]["data"]).name == KINDS[name]


@pytest.mark.parametrize("name", sorted(PAYLOADS))
def test_nothing_is_left_out(name):
    """Every name and every word of the payload is on the page, but for the names that say what a
    drawn part is, and lines of a plan that are the same before and after."""
    data = PAYLOADS[name]["data"]
    text = strip_tags(render_text(data)).replace("&#x27;", "'").replace("&quot;", '"')
    text = text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    drawing = render_payload(data)
    wanted = set(leaves(drawing.remaining))
    assert {word for word in wanted if word not in text} == set()
    whole = set(data) - set(drawing.remaining)
    for member in whole - {"plan"}:
        words = [word for word in leaves(data[member]) if not re.search(r"[*\\]", word)]
        assert {word for word in words if word not in text} == set(), member


def test_a_plan_says_what_is_lost():
    plan = PAYLOADS["terraform_plan"]["data"]
    parts = render_payload(plan).context
    assert parts["counts"] == {"create": 2, "change": 2, "replace": 1, "destroy": 1}
    lost = next(each for each in parts["changes"] if each.does == "destroy")
    assert {sign for sign, _ in lost.lines} == {"-"}
    assert "resource_changes" not in render_payload(plan).remaining["plan"]


@pytest.mark.parametrize(
    "data",
    [
        {"subject": ["a"], "to": "b", "text": "c"},
        {"subject": "a", "to": {"x": 1}, "text": "c"},
        {"subject": "a", "text": "c"},
        {"argv": ["rm", 1]},
        {"argv": []},
        {"sql": {"x": 1}},
        {"query": "select"},
        {"resource_changes": [{"address": "a", "change": {"actions": "delete"}}]},
        {"plan": {"resource_changes": "none"}},
        {"diff": "not one"},
        ["argv"],
        "text",
        None,
    ],
)
def test_what_only_looks_like_a_kind_is_shown_as_it_is(data):
    drawing = render_payload(data)
    if drawing.name:  # a mail whose address is no text leaves it to the tree
        assert drawing.remaining["to"] == {"x": 1}
    else:
        assert drawing.remaining == data


def test_html_of_a_mail_is_its_source_and_never_runs():
    page = render_text({"to": "a@b.c", "subject": "s", "html": "<script>alert(1)</script>"})
    assert "<script" not in page
    assert "alert" in page


@pytest.mark.parametrize("language", ["sql", "bash", "html", "diff"])
def test_code_keeps_every_character(language):
    text = "\ufeffSELECT '\u202e' -- <b>\r\n@@ -1 +1 @@\n-a\n+b\x00\n"
    marked = code(text, language)
    assert marked.count("U+FEFF") == marked.count("U+202E") == marked.count("U+0000") == 1
    assert "<b>" not in marked


def test_long_code_is_not_coloured_and_still_whole():
    assert "o-c-keyword" not in code("SELECT 1;\n" * 20_000, "sql")
    assert code("SELECT 1;\n" * 20_000, "sql").count("SELECT") == 20_000


def test_rows_that_are_alike_are_a_table_and_the_others_a_click_away():
    rows = [{"sku": f"A{n}", "n": n, "note": None} for n in range(60)]
    page = render_tree({"lines": rows})
    assert page.count('<th scope="col">sku</th>') == 2
    assert "35 items more" in page
    assert all(f">A{n}<" in page for n in range(60))


def test_rows_that_differ_are_items():
    assert "<table" not in render_tree([{"a": 1}, {"b": {"c": 1}}])
    assert "<table" not in render_tree([{"a": 1}])


def test_deep_and_wide_values_are_whole():
    deep = value = {}
    for _ in range(31):
        value["inner"] = value = {}
    value["last"] = "here"
    assert "here" in render_tree(deep)
    assert render_tree(list(range(10_000))).count("<li>") == 10_000


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("18750.00 EUR", "18,750.00</data> EUR"),
        ("-1234567.5", "-1,234,567.5</data>"),
        ("4980.00 EUR", "4,980.00</data> EUR"),
        ("1000", "1,000</data>"),
        ("-4980 EUR", "-4,980</data> EUR"),
        ("42.50 EUR", "42.50 EUR"),
        ("0012345 EUR", "0012345 EUR"),
        ("99999999999999999999.99 USD", "99,999,999,999,999,999,999.99</data> USD"),
        ("1.000,00 EUR", "1.000,00 EUR"),
    ],
)
def test_money_is_exact_and_in_threes(given, written):
    assert written in money(given)


class TestDifferences:
    def test_what_is_the_same_is_folded_and_counted(self):
        before = {f"k{n:02}": n for n in range(40)}
        lines = diff_lines(before, before | {"k20": "x"})
        assert [line for line in lines if line[0] in "+-"] == [
            ("-", '  "k20": 20,'),
            ("+", '  "k20": "x",'),
        ]
        same = [words for sign, words in lines if sign == "="]
        assert same == ["18 lines are the same", "17 lines are the same"]

    def test_of_long_values_what_differs_is_shown_however_long_they_are(self):
        before = list(range(20_000))
        lines = diff_lines(before, [*before[:9_000], "x", *before[9_001:]])
        assert [line for line in lines if line[0] in "+-"] == [("-", "  9000,"), ("+", '  "x",')]

    def test_what_is_too_long_to_be_aligned_is_listed_by_side(self):
        before = [f"line {n}" for n in range(20_000)]
        after = ["new", *reversed(before[:-1])]
        lines = diff_lines(before, after)
        assert lines[0] == ("=", "20,000 lines became 20,000; these are on one side only")
        assert ("-", '  "line 19999"') in lines
        assert ("+", '  "new",') in lines

    def test_equal_values_differ_in_nothing(self):
        assert diff_lines([1, 2], [1, 2]) == [("=", "4 lines are the same")]

    def test_from_nothing(self):
        assert diff_lines(None, {"a": 1}) == [("+", "{"), ("+", '  "a": 1'), ("+", "}")]


class TestOperatorsTemplates:
    @pytest.fixture
    def folder(self, tmp_path, settings):
        renderers.custom._engine.cache_clear()
        settings.PAYLOAD_TEMPLATES = tmp_path
        return tmp_path

    def page(self, client, alice, **task):
        approval = find_approval(TaskFactory(target="finance", **task), "finance")
        client.force_login(alice)
        return client.get(f"/admin/approvals_app/approval/{approval.pk}/change/").content.decode()

    def test_draws_its_type_and_everything_is_there_beside(self, folder, client, alice, database):
        (folder / "refund_approval.html").write_text(
            "<h4>Back to {{ data.who }}: {{ data.amount }}</h4>"
        )
        page = self.page(client, alice, data={"who": "<i>Mara\u200b</i>", "amount": "5", "x": "y"})
        assert "<h4>Back to &lt;i&gt;Mara<mark" in page
        assert "All fields" in page
        assert "<dt>x</dt>" in page

    def test_is_told_how_dangerous_each_member_is(self, folder, client, alice, database):
        (folder / "refund_approval.html").write_text(
            "{% for fact in summary.facts %}<i>{{ fact.level }} {{ fact.path }}</i>{% endfor %}"
            "<b>{{ summary.level }} {{ danger.request.sql }} {{ danger.ticket }} {{ danger }}</b>"
            '{% if danger.request.sql == "danger" %}<u>Stop</u>{% endif %}'
            "{% if danger.ticket %}<u>Never</u>{% endif %}"
        )
        data = {"request": {"sql": "DROP TABLE orders"}, "ticket": "OPS-1"}
        page = self.page(client, alice, data=data)
        assert "<i>danger request.sql</i>" in page
        assert "<b>danger danger plain danger</b>" in page
        assert "<u>Stop</u>" in page
        assert "Never" not in page

    def test_that_fails_is_told_and_hides_nothing(self, folder, client, alice, database):
        (folder / "refund_approval.html").write_text("{% nonsense %}")
        page = self.page(client, alice, data={"who": "Mara"})
        assert "The template of this type failed (TemplateSyntaxError)" in page
        assert "Mara" in page

    @pytest.mark.parametrize("task_type", ["../secret", "a/b", ".hidden", "refund approval"])
    def test_is_found_by_a_plain_name_alone(self, folder, task_type):
        (folder.parent / "secret.html").write_text("secret")
        assert render_payload({"a": 1}, task_type).name == ""


def test_the_page_says_what_differs_from_the_last_one_and_what_was_decided(bot, client, alice, say):
    first = find_approval(TaskFactory(agent=bot, data={"amount": "5", "to": "Mara"}), "finance")
    say(alice, "approve", first, notes="A good customer.")
    second = find_approval(TaskFactory(agent=bot, data={"amount": "50", "to": "Mara"}), "finance")
    client.force_login(alice)
    page = client.get(f"/admin/approvals_app/approval/{second.pk}/change/").content.decode()
    assert "Changes since the last approved one" in page
    assert '<span class="o-added">+     &quot;amount&quot;: &quot;50&quot;,</span>' in page
    assert "Similar decisions" in page
    assert "A good customer." in page
