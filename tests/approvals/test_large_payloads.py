"""A page of a hostile payload: what it leaves out, how large it gets, and where the rest is."""

import json

import pytest
from django.db import connections
from django.test import Client
from django.test.signals import template_rendered

from tests.factories import TaskFactory, the_approval

MOST = 3_000_000
SIZE = 900_000


@pytest.fixture
def window(alice):
    client = Client()
    client.force_login(alice)
    return client


def approval_of(bot, data):
    return the_approval(TaskFactory(agent=bot, task_type="anything", data=data))


def address_of(approval, more=""):
    return f"/admin/approvals_app/approval/{approval.pk}/{more or 'change/'}"


def fill(text):
    return text * (SIZE // len(text.encode()))


HOSTILE = {
    "zero widths": {"note": fill("\u200b")},
    "zero widths between letters": {"note": fill("a\u200b")},
    "escapes": {"note": fill('&"')},
    "mixed alphabets": {"note": fill("p\u0430y ")},
    "links": {"note": fill("http://a@b ")},
    "links of zero widths": {"note": fill("http://" + "\u200b\u200c" * 300 + " ")},
    "look-alikes": {"note": fill("\uff41 ")},
    "sentences": {"note": fill("approve this now ")},
    "lines of mail": {"subject": "s", "to": "a@b.example", "body": fill("\n")},
    "names": {f"{n:04}" + "\u200b\u200c" * 10: "\u200d\u200b" * 5 for n in range(9_000)},
    "rows": {"rows": [{"a": "&" * 150, "b": n} for n in range(4_900)]},
    "changes": {
        "resource_changes": [
            {"address": f"a.{n}", "change": {"actions": ["create"], "after": {"x": "&" * 430}}}
            for n in range(1_900)
        ]
    },
}


EDITABLE = {"sentences"}
"""A form of it is small enough to be sent."""
WHOLE = {"zero widths", "lines of mail"}


@pytest.mark.parametrize("kind", HOSTILE)
def test_no_page_is_larger_than_three_megabytes_and_it_says_what_it_leaves_out(bot, window, kind):
    approval = approval_of(bot, HOSTILE[kind])
    page = window.get(address_of(approval))

    assert len(page.content) < MOST
    assert page.content.count(b"<mark ") <= 1_000
    text = page.content.decode()
    assert ("This page does not show the whole payload" in text) == (kind not in WHOLE)
    assert f'href="{address_of(approval, "payload/")}"' in text
    # The rest of the page is whole.
    assert ">Approve</button>" in text
    assert "Full timeline" in text
    assert text.rstrip().endswith("</html>")


@pytest.mark.parametrize("kind", HOSTILE)
def test_the_editor_is_no_larger_and_says_what_it_can_not_edit(bot, window, kind):
    approval = approval_of(bot, HOSTILE[kind])
    page = window.get(address_of(approval, "edit/"))

    assert len(page.content) < MOST
    text = page.content.decode()
    is_said = "This payload is too large to be edited here." in text
    assert is_said == (kind not in EDITABLE)
    assert is_said == ('name="data_json"' not in text)
    assert is_said == (f'href="{address_of(approval, "payload/")}?exact"' in text)


def test_an_editor_sees_what_can_not_be_seen(bot, window):
    page = window.get(address_of(approval_of(bot, {"to": "a\u200bb"}), "edit/"))
    assert r"a\u200bb" in page.content.decode()
    assert "\u200b" not in page.content.decode()


def test_equal_characters_are_one_mark_with_their_count(bot, window):
    page = window.get(address_of(approval_of(bot, {"note": "a" + "\u200b" * 5_000 + "b"})))

    assert "U+200B × 5,000" in page.content.decode()


def test_what_needs_no_mark_is_shown_although_the_marks_are_used_up(bot, window):
    data = {"a": "x\u200b" * 2_000, "b": "the end"}
    page = window.get(address_of(approval_of(bot, data))).content.decode()

    assert "the end" in page
    assert "1,999 more characters" in page
    assert "hidden characters (1,000) and more" in page


def test_all_of_it_is_shown_in_ascii_and_as_bytes(bot, window, alice):
    data = {"note": "p\u0430y\u200b\x7f\u202e<script>"}
    approval = approval_of(bot, data)
    shown = window.get(address_of(approval, "payload/"))

    assert shown.headers["Content-Type"] == "text/plain; charset=us-ascii"
    assert shown.headers["X-Content-Type-Options"] == "nosniff"
    assert r"p\u0430y\u200b\u007f\u202e<script>" in shown.content.decode("ascii")
    assert json.loads(shown.content)["data"] == data
    exact = window.get(address_of(approval, "payload/?exact"))
    assert exact.content == approval.task.payload_bytes
    name = f'attachment; filename="{approval.payload_digest}.json"'
    assert exact.headers["Content-Disposition"] == name


def test_nobody_sees_a_payload_that_they_may_not_see(bot, charlie):
    approval = approval_of(bot, {})
    other = Client()
    other.force_login(charlie)

    assert other.get(address_of(approval, "payload/")).status_code == 404
    assert Client().get(address_of(approval, "payload/")).status_code == 302


def test_no_connection_is_held_and_nothing_asked_while_the_page_is_drawn(bot, window):
    approval = approval_of(bot, {"sql": "SELECT 1", "database": "books", "more": [1, 2]})
    connection, held = connections["default"], []

    def note(template, **_):
        held.append((template.name, connection.connection is not None))

    template_rendered.connect(note)
    try:
        page = window.get(address_of(approval))
    finally:
        template_rendered.disconnect(note)

    assert page.status_code == 200
    assert ("admin/approvals_app/payload/statement.html", False) in held
    assert [name for name, is_held in held if is_held] == []
