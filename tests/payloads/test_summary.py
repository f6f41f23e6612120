"""What every summary keeps to, whatever the kind."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from approvals_app.payload.facts import LONGEST_HEADLINE, Level, find, format_path
from approvals_app.payload.summary import MOST_FACTS, summarize, summarize_text
from bench.summaries import PAYLOADS
from tests.payloads.reading import FOLDER, load, say, summarize_data

pytestmark = pytest.mark.pure

NAMES = sorted(path.stem for path in FOLDER.glob("*.json"))
NOT_READ = {"sql_graphql"}  # a query, and not of SQL
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-10, 10**6) | st.floats(allow_nan=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["amount", "sql", "to", "x"]), inner)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("name", NAMES)
def test_every_fact_comes_from_where_it_says(name):
    data = load(name)
    summary = summarize_data(data)
    assert bool(summary.facts) is (name not in NOT_READ)
    for fact in summary.facts:
        find(data, fact.path)
        assert fact.label
        assert fact.value
        assert len(fact.value.splitlines()) == 1


@pytest.mark.parametrize("name", NAMES)
def test_the_most_dangerous_stand_first(name):
    levels = [list(Level).index(fact.level) for fact in summarize_data(load(name)).facts]
    assert levels == sorted(levels)
    assert len(levels) <= MOST_FACTS


@pytest.mark.parametrize("name", NAMES)
def test_it_is_found_under_any_member(name):
    facts = [(fact.label, fact.value) for fact in summarize_data(load(name)).facts]
    nested = summarize_data({"request": {"payload": load(name)}})
    assert [(fact.label, fact.value) for fact in nested.facts] == facts
    assert all(fact.path[:2] == ("request", "payload") for fact in nested.facts)


@settings(max_examples=500, deadline=None, suppress_health_check=list(HealthCheck))
@given(JSON, st.text())
def test_any_json_has_a_summary(data, description):
    summary = summarize_data(data, description)
    check_headline(summary)
    assert all(find(data, fact.path) is not Ellipsis for fact in summary.facts)
    assert summary.unread >= 0
    assert len(summary.line.splitlines()) <= 1


@pytest.mark.parametrize(
    ("description", "strange"),
    [
        ("Refund 249.90 EUR", ()),
        ("Refund 249.9 for order 2026-118204", ()),
        ("Refund 1,000.00", ("1,000.00",)),
        ("Refund 24.90 EUR", ("24.90",)),
        ("Refund 249.90 EUR on 25 November 2026", ()),
        ("Refund 249.90 EUR on 26 November 2026", ("26",)),
        ("Two of 3 items", ()),  # a single digit is no figure
        ("", ()),
    ],
)
def test_a_number_of_the_description_that_the_payload_lacks_is_named(description, strange):
    data = {
        "amount": "249.90",
        "currency": "EUR",
        "order": "2026-118204",
        "on": ["2026", "2026-11-25T10:00:00Z"],
    }
    assert summarize_data(data, description).strange_numbers == strange


def test_a_number_in_a_name_of_the_payload_is_known():
    data = {"address": "aws_s3_bucket.flow_logs_2024", "host": "web-14"}
    description = "Destroy the flow logs of 2024 on web 14 and 3,000 objects."
    assert summarize_data(data, description).strange_numbers == ("3,000",)


HEADLINES = {
    "plan_many_noop": "Destroy 1, change 1, create 1 of 98 resources",
    "plan_format_01": "Destroy 2 resources",
    "plan_replace_create_delete": "Replace 1 resource: aws_db_instance.orders",
    "plan_deferred_delete": (
        "Create 1 resource: aws_sns_topic.a; destroy 1 resource in a later plan"
    ),
    "plan_moved_import": (
        "Change 1 of 3 resources: aws_iam_user.root; move 1 resource; import 2 resources"
    ),
    "plan_errored_empty": "Failed plan: Change nothing",
    "plan_actions_only": "Run 1 action of providers",
    "cfn_change_set": "Remove 1, replace 1, change 1 of 3 resources",
    "pulumi_preview_46_steps": "Delete 1 of 46 resources: orders (aws:rds/instance:Instance)",
    "ansible_check": "Remove 1, change 1 host by 2 tasks of Ansible",
    "helm_json": "Remove 2, change 2 of 4 Kubernetes objects",
    "kubectl_diff": "Remove 1, change 1 of 2 Kubernetes objects",
    "gitlab_changes": "Delete 1, change 1 of 2 files",
    "stripe_refund": "Refund 249.90 EUR",
    "stripe_refund_of_all": "Refund all that is left of pi_X1",
    "payments_30_rows": "Pay 988,206.00 EUR in 30 payments",
    "pain008_debits": "Collect 35.50 EUR in 2 payments",
    "vendor_account_changed": "Pay 1,200.50 EUR to Huber GmbH",
    "mail_bcc_many": "Send a mail to 1,201 recipients",
    "mail_text_html_differ": "Send a mail to anna@example.org: Your invoice",
    "sql_do_block": "DELETE without WHERE on orders",
    "sql_query_no_db": "DROP TABLE orders",
    "cmd_ssh_hosts": "Run on 60 hosts: systemctl restart nginx",
    "cmd_sudo_text": "Run as root: rm -rf /srv/data",
    "cmd_github_steps": "Run as root: sudo rm -rf /srv/cache, and 1 more command",
    "sql_graphql": "",
}


@pytest.mark.parametrize("name", HEADLINES)
def test_the_headline_says_what_will_happen(name):
    assert summarize_data(load(name)).headline == HEADLINES[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_headline_is_one_line(name):
    summary = summarize_data(load(name))
    check_headline(summary)
    assert bool(summary.headline) is bool(summary.facts)


def check_headline(summary):
    assert len(summary.headline) <= LONGEST_HEADLINE
    assert len(summary.headline.splitlines()) <= 1
    assert bool(summary.headline) is bool(summary.kinds)


def test_the_headline_tells_the_gravest_and_that_there_is_more():
    mail = {"to": "a@example.com", "subject": "Hi", "text": "x"}
    data = {"mail": mail, "step": {"sql": "DROP TABLE orders"}}
    assert summarize_data(data).headline == "DROP TABLE orders; and 1 more"


def test_dangerous_paths_lead_to_each_thing_that_a_fact_counts():
    data = load("plan_many_noop")
    change = next(e for e in data["resource_changes"] if e["change"]["actions"] == ["delete"])
    data["resource_changes"] = [change] * 40
    summary = summarize_data({"plan": data})
    assert summary.facts[0].path == ("plan", "resource_changes")
    assert summary.dangerous_paths >= {("plan", "resource_changes", at) for at in range(40)}
    for path in summary.dangerous_paths:
        find({"plan": data}, path)
    assert not summarize_data({"amount": "1.00", "currency": "EUR", "to": "Ida"}).dangerous_paths


PAY = {"charge": "ch_X1", "amount": 100, "currency": "eur"}
MAIL = {"to": "a@example.com", "subject": "Hi", "text": "x"}


def texts_of(data, **options):
    return [say(fact) for fact in summarize_data(data, **options).facts]


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        ({"sql": "DROP TABLE orders"}, "danger drops: TABLE orders"),
        ({"command": "rm -rf /srv"}, "danger destroys: rm -rf /srv"),
        (PAY, "plain amount: 1.00 EUR"),
        (MAIL, "plain to: a@example.com"),
        ({"diff": "--- a/x\n+++ /dev/null\n@@ -1 +0,0 @@\n-a\n"}, "notice deletes: x"),
    ],
)
@pytest.mark.parametrize("wrap", [lambda x: [x], lambda x: {"do": [[{"a": 1}, {"it": x}]]}])
def test_what_stands_in_lists_is_read(inner, text, wrap):
    data = wrap(inner)
    assert text in texts_of(data)
    for fact in summarize_data(data).facts:
        find(data, fact.path)


def test_a_plan_in_a_list_is_read():
    [fact, *_] = summarize_data({"steps": [{"plan": load("plan_many_noop")}]}).facts
    assert fact.label == "destroyed"
    assert fact.path[:3] == ("steps", 0, "plan")


def test_the_same_of_several_objects_is_one_fact():
    steps = [{"do": {"sql": f"DROP TABLE t{at}"}} for at in range(5)]
    summary = summarize_data({"steps": steps})
    assert say(summary.facts[0]) == "danger drops: TABLE t0, TABLE t1, TABLE t2 and 2 more"
    assert ("steps", 4, "do", "sql") in summary.dangerous_paths
    assert summary.headline == "DROP TABLE t0 and 4 more"


@pytest.mark.parametrize(
    "data",
    [
        {"sql": "SELECT 1", "then": {"sql": "DROP TABLE a"}},
        {"sql": "SELECT 1", "steps": [{"sql": "SELECT 2"}, {"run": "x", "sql": "DROP TABLE a"}]},
        {"command": "ls", "after": {"statement": "DROP TABLE a"}},
    ],
)
def test_one_object_does_not_hide_another_inside_it(data):
    assert summarize_data(data).traits["destroys"] == 1


def test_what_a_plan_holds_is_not_read_as_something_to_do():
    plan = load("plan_many_noop")
    plan["resource_changes"][0]["change"]["after"] = {
        "command": "sudo rm -rf /",
        "sql": "DROP TABLE a",
    }
    summary = summarize_data({"plan": plan})
    assert summary.kinds == ("plan",)
    assert summary.traits["as_root"] is False


def test_traits_of_several_objects_combine():
    traits = summarize_data(
        [
            {"sql": "DROP TABLE a"},
            {"plan": load("plan_many_noop")},
            {"do": {"command": "sudo ls"}},
            {"do": {"command": "ls"}},
            {"mail": MAIL},
            {"mail": {**MAIL, "to": ["b@example.com", "c@example.com"]}},
        ]
    ).traits
    assert traits == {
        "destroys": 2,
        "forgets": 0,
        "actions": 0,
        "recipients": 3,
        "as_root": True,
        "amounts": {},
        "partial": False,
    }


@pytest.mark.parametrize(
    ("name", "forgets", "actions"),
    [
        ("plan_forget", 2, 0),
        ("tofu_forget_create", 1, 0),
        ("plan_actions", 0, 1),
        ("plan_actions_only", 0, 1),
        ("plan_deferred_action", 0, 1),
        ("cfn_partial", 1, 0),
        ("pulumi_replace", 1, 0),
        ("plan_many_noop", 0, 0),
    ],
)
def test_what_is_let_go_and_actions_count_too(name, forgets, actions):
    traits = summarize_data(load(name)).traits
    assert (traits["forgets"], traits["actions"]) == (forgets, actions)


def test_amounts_add_up_by_currency():
    assert summarize_data([PAY, PAY]).traits["amount"] == "2.00 EUR"
    traits = summarize_data([PAY, PAY, {**PAY, "currency": "jpy"}]).traits
    assert "amount" not in traits
    assert traits["amounts"] == {"EUR": "2.00", "JPY": "100"}
    unknown = summarize_data([PAY, {"charge": "ch_X2", "amount": 5}]).traits
    assert unknown["amounts"] == {"EUR": "1.00"}
    assert "amount" not in unknown


def test_members_that_no_fact_tells_of_are_counted():
    data = {"sql": "SELECT 1", "surprise": 1, "other": {"deep": 1}}
    assert summarize_data(data).unread == 2
    assert summarize_data(data).unread_names == ("surprise", "other")
    assert summarize_data({"surprise": 1}).unread == 1
    assert summarize_data([1, 2]).unread_names == ("[0]", "[1]")


@pytest.mark.parametrize(
    ("data", "names"),
    [
        (load("plan_many_noop") | {"terraform_version": "1.14.0", "format_version": "1.2"}, ()),
        ({"a": {"sql": "SELECT 1", "x": 1}, "steps": [{"run": "ls -l"}, {"y": 1}]}, ("a.x",)),
        ({"list": [{"do": {"sql": "SELECT 1"}}, {"y": 1}, 5]}, ("list[1]", "list[2]")),
        ({"run_at": "2026-12-05", "note": "x"}, ("note",)),
        (load("mail_gmail_raw"), ("userId",)),
        (load("payments_30_rows"), ()),
    ],
)
def test_members_that_no_fact_tells_of_are_named(data, names):
    summary = summarize_data(data)
    assert summary.unread_names == names
    assert summary.unread == len(names)


def test_a_raw_mail_is_no_command():
    assert summarize_data(load("mail_gmail_raw")).kinds == ("mail",)


def test_paths_are_written_as_conditions_write_them():
    assert format_path(("plan", "changes", 3, "a")) == "plan.changes[3].a"
    assert format_path(("due-date", 'a"b')) == '["due-date"]["a\\"b"]'


def test_a_summary_is_the_same_from_memory():
    payload = '{"context":{},"data":{"sql":"DROP TABLE orders"},"description":"","task_type":"x"}'
    assert summarize_text(payload) is summarize_text(payload)
    assert summarize_text(payload).facts[0].level is Level.DANGER


def test_traits_are_what_policies_ask_for():
    traits = summarize({"data": load("cmd_sudo_text"), "description": ""}).traits
    assert traits["as_root"] is True
    assert summarize_data(load("plan_many_noop")).traits["destroys"] == 1
    assert summarize_data(load("mail_bcc_many")).traits["recipients"] == 1_201
    assert summarize_data(load("stripe_refund")).traits["amount"] == "249.90 EUR"
    assert "amount" not in summarize_data(load("stripe_refund_no_currency")).traits


GRAVE_AT_THE_END = [
    *("plan, updates", "plan in a text", "CloudFormation change set", "Pulumi preview"),
    *("Ansible check", "helm diff, structured", "helm diff, text", "SQL, inserts", "SQL, updates"),
    *("SQL, drops", "SQL, selects", "SQL, one insert", "SQL, empty statements", "SQL, comments"),
    *("SQL, quotes", "SQL, brackets", "script of short lines", "script, sudo", "script, pipes"),
    *("script of one line", "argv of many words", "steps with commands", "payments"),
    *("payments, short", "mail, text and HTML", "steps of four kinds", "deep nesting"),
    *("rows of no kind", "rows of one member", "empty objects", "rows with one amount"),
]


@pytest.mark.parametrize("name", GRAVE_AT_THE_END)
def test_what_stands_at_the_end_of_a_megabyte_is_told(name):
    data, _ = PAYLOADS[name]()
    summary = summarize_data(data)
    assert summary.level is Level.DANGER
    assert (
        summary.traits["destroys"]
        or summary.traits["partial"]
        or summary.kinds
        in (
            ("money",),
            ("mail",),
        )
    )


def test_a_sum_of_what_was_not_all_read_is_no_clear_one():
    rows = [{"amount": "1.00", "currency": "EUR"}] * 12_001
    traits = summarize_data({"rows": rows}).traits
    assert traits["partial"] is True
    assert "amount" not in traits


def test_the_headline_names_the_command_that_runs_as_root():
    steps = [{"run": "ls -l"}, {"run": "id -u", "sudo": True}]
    assert summarize_data({"steps": steps}).headline == "Run as root: id -u, and 1 more command"
