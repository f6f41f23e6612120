"""Summaries of mails: everyone who gets them, text against HTML, attachments."""

import base64
import copy

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from approvals_app.payload.facts import find
from approvals_app.payload.kinds import mail
from approvals_app.payload.kinds._messages import split_addresses
from approvals_app.payload.kinds._words import find_own_words, read_html
from tests.payloads.reading import change_anything, check_readings, facts_of, load, summarize_data

pytestmark = pytest.mark.pure

FACTS = {
    "mail_text_html_differ": [
        "danger only in the HTML: Dear Anna, your account is overdue: pay 4,800 EUR to"
        " GB33BUKB20201555555555 today or we sue.",
        "danger only in the text: thank you for your order. … Nothing is due.",
        "plain to: anna@example.org",
        "plain subject: Your invoice",
    ],
    "mail_text_and_body": [
        "danger only in the HTML: Pay now or we sue",
        "danger only in the text: Short and kind.",
    ],
    "mail_to_objects": ["plain to: b@example.org", "plain from: a@example.com"],
    "mail_to_objects_cc_text": [
        "plain recipients: 2 (1 to, 1 cc)",
        "plain to: everyone@example.org",
        "plain cc: boss@example.com",
    ],
    "mail_sendgrid": [
        "notice only in the text: results attached.",
        "notice outside: 1 of 2 recipients: example.net (1)",
        "notice hidden (bcc): outside@example.net",
        "notice replies go to: x@example.net",
        "plain to: board@example.com",
        "plain attachment: results.pdf (application/pdf, 3 bytes)",
    ],
    "mail_bcc_many": [
        "notice outside: 1,201 of 1,201 recipients: example.net (1,200), example.org (1)",
        "notice recipients: 1,201 (1 to, 1,200 bcc)",
        "notice hidden (bcc): c0@example.net, c1@example.net, c2@example.net, c3@example.net,"
        " c4@example.net and 1,195 more",
        "plain to: b@example.org",
    ],
    "mail_ses_v1": [
        "plain to: jon@example.com",
        "plain cc: kim@example.org",
        "plain subject: Plan",
    ],
    "mail_ses_v2": ["notice hidden (bcc): kim@example.net", "plain to: jon@example.com"],
    "mail_graph": [
        "danger attached program: setup.exe",
        "notice hidden (bcc): kim@example.net",
        "plain to: jon@example.com",
        "plain text: Hello",
    ],
    "mail_gmail_raw": [
        "notice outside: 2 of 3 recipients: example.net (2)",
        "notice hidden (bcc): max@example.net",
        "plain to: jon@example.com, kim@example.net",
        "plain attachment: a.pdf (application/pdf, 3 bytes)",
        "plain subject: Grüße",
    ],
    "mail_smtp_envelope": [
        "notice only in the envelope: max@example.net",
        "plain to: jon@example.com, kim@example.net",
        "plain attachment: a.pdf (application/pdf, 3 bytes)",
    ],
    "mail_postmark": [
        "notice hidden (bcc): max@example.org",
        "plain to: jon@example.com, kim@example.com",
        "plain attachment: plan.txt (text/plain, 2 bytes)",
    ],
    "mail_postmark_batch": [
        "danger only in the HTML: Pay 20 EUR",
        "plain recipients: 2 (2 to)",
        "plain mails: 2",
        "plain subjects: Plan, Bill",
    ],
    "mail_mailjet": ["plain to: jon@example.com", "plain text: Hello you"],
    "mail_mandrill": ["notice hidden (bcc): kim@example.net", "plain to: jon@example.com"],
    "mail_brevo_false_link": [
        "danger false link: shows bank.example, leads to collect.example",
        "notice attached from elsewhere: https://files.example/plan.pdf",
    ],
    "mail_nodemailer": [
        "notice hidden (bcc): max@example.net",
        "notice attached from elsewhere: /etc/passwd",
        "plain to: jon@example.com, kim@example.com",
    ],
}
RECIPIENTS = {
    "mail_bcc_many": 1201,
    "mail_sendgrid": 2,
    "mail_gmail_raw": 3,
    "mail_smtp_envelope": 3,
    "mail_postmark": 3,
    "mail_nodemailer": 3,
}


@pytest.mark.parametrize("name", FACTS)
def test_says_who_gets_what(name: str) -> None:
    facts = facts_of(name)
    assert [fact for fact in FACTS[name] if fact not in facts] == [], facts


@pytest.mark.parametrize("name", FACTS)
def test_path_of_each_fact_exists(name: str) -> None:
    data = load(name)
    for fact in summarize_data(data).facts:
        find(data, fact.path)


@pytest.mark.parametrize("name", RECIPIENTS)
def test_policies_get_the_number_of_recipients(name: str) -> None:
    assert summarize_data(load(name)).traits["recipients"] == RECIPIENTS[name]


def test_same_words_are_no_difference() -> None:
    data = load("mail_mailjet")
    data["Messages"][0]["HTMLPart"] = "<!-- x --><style>p{}</style><p>Hel<b>lo</b>&nbsp;you</p>"
    assert not any(fact.label.startswith("only in") for fact in summarize_data(data).facts)


def test_text_may_say_where_a_link_leads() -> None:
    text = "Read it: https://docs.example/a"
    html = "<p>Read <a href='https://docs.example/a'>it</a></p>"
    mail_data = load("mail_to_objects") | {"text": text, "html": html}
    assert not any(fact.label.startswith("only in") for fact in summarize_data(mail_data).facts)


def test_what_is_no_mail_is_left_alone() -> None:
    for data in (
        {"to": "+4930123", "from": "+4930124", "body": "Hello"},
        {"to": "acct", "amount": "1.00", "currency": "EUR", "message": "x"},
        {"source": "a@example.com", "body": "x"},
        {"order": {"to": "a@example.com"}, "product": {"html": "<p>x</p>"}},
    ):
        assert "mail" not in summarize_data(data).kinds, data


@pytest.mark.parametrize(
    ("text", "addresses"),
    [
        ('"Doe, Jon" <jon@example.com>; kim@example.com', ["jon@example.com", "kim@example.com"]),
        ("Jon kim@example.com", ["kim@example.com"]),
        ("boss@example.com <jon@example.net>", ["jon@example.net"]),
        ("everyone", ["everyone"]),
        (" , ;", []),
        ('"<', []),
    ],
)
def test_splits_addresses(text: str, addresses: list[str]) -> None:
    assert split_addresses(text) == addresses


def test_reads_html_as_a_reader_sees_it() -> None:
    html = "<title>t</title><p>4<b>800</b></p><script>x<y</script><p>EUR &lt;1</p><!-- no"
    assert read_html(html).split() == ["4800", "EUR", "<1"]


def test_counts_words() -> None:
    assert find_own_words("pay pay. Now", "now pay") == (["pay"], "pay pay.")


ADDED = [
    ("mail_sendgrid", ("personalizations", 0, "to"), {"email": "new@example.com"}),
    ("mail_sendgrid", ("personalizations", 0, "bcc"), {"email": "new@example.com"}),
    ("mail_sendgrid", ("personalizations",), {"to": [{"email": "new@example.com"}]}),
    ("mail_sendgrid", ("attachments",), {"filename": "x.pdf"}),
    ("mail_bcc_many", ("bcc",), "new@example.net"),
    ("mail_to_objects", ("to",), {"email": "new@example.org"}),
    ("mail_ses_v1", ("Destination", "ToAddresses"), "new@example.com"),
    ("mail_ses_v2", ("Destination", "BccAddresses"), "new@example.com"),
    ("mail_graph", ("message", "toRecipients"), {"emailAddress": {"address": "n@example.com"}}),
    ("mail_smtp_envelope", ("rcpt_to",), "new@example.com"),
    ("mail_mailjet", ("Messages", 0, "To"), {"Email": "new@example.com"}),
    ("mail_mandrill", ("message", "to"), {"email": "new@example.com", "type": "cc"}),
    ("mail_brevo_false_link", ("to",), {"email": "new@example.com"}),
]


@pytest.mark.parametrize(("name", "path", "one"), ADDED)
def test_one_more_changes_the_summary(name: str, path: tuple[str], one: object) -> None:
    data = load(name)
    before = summarize_data(data)
    find(data, path).append(copy.deepcopy(one))
    assert summarize_data(data).facts != before.facts


@pytest.mark.parametrize("member", ["cc", "bcc", "Bcc", "recipients", "settings", "rcpt_to"])
def test_one_member_more_changes_the_summary(member: str) -> None:
    data = load("mail_to_objects")
    before = summarize_data(data).traits["recipients"]
    data[member] = {"bcc": "new@example.net"} if member == "settings" else "new@example.net"
    assert summarize_data(data).traits["recipients"] == before + 1


def test_hostile_mime_is_read() -> None:
    nested = "".join(
        f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(400)
    )
    for raw in (
        f"To: a@example.com\nSubject: x\n{nested}",
        "To: a@example.com\nSubject: =?x?q?=ff?=\nContent-Type: text/plain; charset=nope\n\n\xff",
        "To: =?utf-8?b?!!!?=\nContent-Transfer-Encoding: base64\n\n!",
    ):
        check_readings(mail.read_all, {"raw": base64.b64encode(raw.encode()).decode()})
        check_readings(mail.read_all, {"raw": raw})


EXAMPLES = [load(name) for name in FACTS if name != "mail_bcc_many"]
LEAVES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=12),
    st.sampled_from(["a@example.com", "<p>x</p>", "text/html", "QUJD", "To: a@example.com\n\nx"]),
)
NAMES = st.sampled_from(
    [
        *("to", "cc", "bcc", "from", "reply_to", "subject", "text", "html", "body", "content"),
        *("type", "value", "email", "name", "message", "personalizations", "attachments", "raw"),
        *("envelope", "rcpt_to", "data", "headers", "template_id", "Data", "size", "path", "x"),
    ]
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=5),
    max_leaves=25,
)


@given(st.dictionaries(NAMES, JSON, max_size=6))
@example({"subject": [{"text": "0"}, {"to": "a@example.com"}]})
@settings(max_examples=400, deadline=None)
def test_any_json_is_read(data: object) -> None:
    check_readings(mail.read_all, data)


@given(st.sampled_from(EXAMPLES), st.data())
@settings(max_examples=300, deadline=None)
def test_any_change_of_a_mail_is_read(example: object, data: st.DataObject) -> None:
    check_readings(mail.read_all, change_anything(example, JSON, data))


def test_a_recipient_around_the_mail_counts() -> None:
    inner = {"from": "a@example.com", "to": "b@example.com", "subject": "Hi", "text": "x"}
    summary = summarize_data({"bcc": "spy@example.net", "job": inner})
    assert summary.traits["recipients"] == 2
