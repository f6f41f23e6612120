"""The example policies and those of the page: what is printed is what is said."""

import json
import re
from datetime import timedelta
from pathlib import Path

import pytest

from approvals_app.models import Approval
from approvals_app.policy import conditions, evaluation, operations
from approvals_app.policy.description import describe_policy
from approvals_app.policy.facts import PayloadFacts
from approvals_app.policy.files import parse_file
from approvals_app.policy.language import Policy, evaluate
from orchestrator.management.commands.dev import DEMO_ROLE, REVIEWERS
from sessions_app.models import Task
from tests.approvals.test_conditions import FUNCTIONS
from tests.factories import OPS

pytestmark = pytest.mark.usefixtures("patient")
ROOT = Path(__file__).parents[2]
PAYLOADS = {
    path.stem: json.loads(path.read_text()) for path in ROOT.glob("examples/payloads/*.json")
}
EXAMPLES = parse_file((ROOT / "examples" / "policies.yaml").read_text())
PAGE = (ROOT / "docs" / "policies.md").read_text()

MEETS = {
    "wire_transfer": (
        "Wire transfers that are large or go to a new account",
        {"finance": 2, "legal": 1},
    ),
    "terraform_plan": ("Terraform plans that destroy, let go or run actions", {"sre": 2}),
    "shell_command": ("Commands as root in production", {"sre": 1}),
    "sql_migration": ("Migrations of production databases", {"dba": 1, "sre": 1}),
    "bulk_email": ("E-mails to more than a thousand people", {"marketing": 1, "legal": 1}),
    "refund": ("Small refunds", {"finance": 1}),
}


def asked_for(body, **change):
    """The variables of a task with this body, whose data is changed by ``change``."""
    facts = {
        "agent": "support-bot",
        "from_role": DEMO_ROLE,
        "to_role": body["target"],
        "context": body.get("context", {}),
        **body["task"],
    }
    facts["data"] = facts["data"] | change
    return PayloadFacts(json.dumps(facts), facts)


def test_there_is_one_policy_for_each_payload():
    assert sorted(MEETS) == sorted(PAYLOADS)
    assert sorted(name for name, _ in MEETS.values()) == sorted(rule.name for rule in EXAMPLES)


@pytest.mark.parametrize("payload", sorted(PAYLOADS))
def test_a_payload_meets_exactly_its_policy(payload):
    facts = asked_for(PAYLOADS[payload])
    speak = {rule.name: evaluate([rule], facts, "allow") for rule in EXAMPLES}
    met = {name: said for name, said in speak.items() if said.policy}
    name, asked = MEETS[payload]
    assert list(met) == [name]
    assert "could not be evaluated" not in met[name].why
    assert {each.role: each.count for each in met[name].plan.approvals} == asked


@pytest.mark.parametrize("payload", sorted(PAYLOADS))
def test_who_the_policy_names_is_asked(api, bot, payload):
    operations.apply_policies(EXAMPLES, by=OPS)
    routed = api(bot).post("/tasks/route", PAYLOADS[payload], {"Idempotency-Key": payload})
    assert (routed.status_code, routed.json()["status"]) == (202, "awaiting_approval")
    asked = Approval.objects.filter(task=routed.json()["task_id"])
    assert {approval.approver_role: approval.needed for approval in asked} == MEETS[payload][1]
    (verdict,) = evaluation.evaluate_tasks([Task.objects.get()])
    assert verdict.policy == MEETS[payload][0]


def test_the_demo_has_enough_people_for_everything_it_asks():
    """Nobody sits in two seats of one decision, so the seats are given out one by one."""

    def can_fill_seats(seats, people):
        if not seats:
            return True
        able = [name for name in people if seats[0] in REVIEWERS[name]]
        return any(can_fill_seats(seats[1:], people - {name}) for name in able)

    for rule in EXAMPLES:
        seats = [asked.role for asked in rule.approvals for _ in range(asked.count)]
        assert can_fill_seats(seats, set(REVIEWERS)), rule.name
        for step in rule.escalate:
            assert sum(step.role in roles for roles in REVIEWERS.values()) >= step.count


SHAPES = [
    ROOT / "tests" / "payloads" / f"{name}.json"
    for name in (
        "plan_forget",
        "tofu_forget_create",
        "plan_deferred_delete",
        "plan_actions",
        "plan_actions_only",
        "plan_deferred_action",
        "plan_deposed",
        "plan_replace_create_delete",
    )
]
"""Plans in which more goes than entries whose actions are "delete" show."""
CHANGES = [
    ("wire_transfer", {"amount": "9999.99"}, True),  # the account is new
    ("wire_transfer", {"amount": "9999.99", "beneficiary": {"iban": "AT61"}}, False),
    ("wire_transfer", {"amount": "10000.01", "beneficiary": {"iban": "AT61"}}, True),
    ("wire_transfer", {"amount": "a lot"}, True),  # what can't be judged asks the same people
    ("terraform_plan", {"plan": {"resource_changes": []}}, False),
    (
        "terraform_plan",
        {"plan": {"resource_changes": [{"change": {"actions": ["create"]}}]}},
        False,
    ),
    *(("terraform_plan", {"plan": json.loads(file.read_text())}, True) for file in SHAPES),
    ("shell_command", {"sudo": False}, False),
    ("shell_command", {"sudo": False, "argv": ["sudo", "rm", "/srv/x"]}, True),
    ("shell_command", {"host": "web-1.staging.internal"}, False),
    ("sql_migration", {"host": "orders.staging.internal"}, True),  # it can't be undone
    (
        "sql_migration",
        {"host": "orders.staging.internal", "sql": "SELECT 1", "rollback_sql": "", "locks": []},
        False,
    ),
    ("bulk_email", {"recipients": {"count": 1000}}, False),
    ("bulk_email", {"recipients": {"count": 1001}}, True),
    ("bulk_email", {"recipients": {}, "to": ["a@example.com"]}, False),
    ("bulk_email", {"recipients": {}, "to": [f"a{n}@example.com" for n in range(1001)]}, True),
    ("refund", {"amount": "500.00"}, True),
    ("refund", {"amount": "500.01"}, False),
    ("refund", {"currency": "CHF"}, False),
]


@pytest.mark.parametrize(("payload", "change", "meets"), CHANGES)
def test_a_changed_payload_meets_its_policy_or_none(payload, change, meets):
    said = evaluate(EXAMPLES, asked_for(PAYLOADS[payload], **change), "require")
    assert said.policy == (MEETS[payload][0] if meets else "")
    if meets:
        assert {each.role: each.count for each in said.plan.approvals} == MEETS[payload][1]


# The page.

EXAMPLE = re.compile(r"```yaml\n(.*?)```\n\n((?:- [^\n]*\n)+)", re.DOTALL)
CASE = re.compile(r"- `(\S+)` to `(\S+)`(?: with `(\{.*?\})`)?: (.*)")
ON_THE_PAGE = [
    (block, *CASE.fullmatch(line).groups())
    for block, cases in EXAMPLE.findall(PAGE)
    for line in cases.splitlines()
    if not line.endswith("*")
]
SENTENCES = [
    (block, [line for line in cases.splitlines() if line.endswith("*")])
    for block, cases in EXAMPLE.findall(PAGE)
]


def test_the_page_has_ten_examples_and_each_is_evaluated():
    assert PAGE.count("```yaml\n") == len(EXAMPLE.findall(PAGE)) == 10
    assert len(ON_THE_PAGE) >= 20


@pytest.mark.parametrize(("block", "lines"), SENTENCES)
def test_the_page_says_what_its_examples_do(block, lines, settings):
    settings.APPROVAL_TTL = timedelta(days=7)
    policies = parse_file(f"policies:\n{block}")
    assert lines == [f"- {each.name}: *{describe_policy(each)}*" for each in policies]


@pytest.mark.parametrize(("block", "task_type", "to_role", "data", "words"), ON_THE_PAGE)
def test_an_example_on_the_page_says_what_the_page_says(block, task_type, to_role, data, words):
    facts = {
        "agent": "support-bot",
        "context": {},
        "data": json.loads(data or "{}"),
        "description": "",
        "from_role": "support-agent",
        "task_type": task_type,
        "to_role": to_role,
    }
    said = evaluate(parse_file(f"policies:\n{block}"), facts, "require")
    assert said.why == words


def test_the_page_names_every_key_and_variable():
    first = {line.split("|")[1].strip() for line in PAGE.splitlines() if line.startswith("| `")}
    keys = {name for cell in first for name in re.findall(r"`([^`]+)`", cell)}
    asked = Policy.__dataclass_fields__.keys() - {"kind", "version", "id"}
    assert asked | {"then", "when"} <= {key.removeprefix("when.") for key in keys} | {"when"}
    assert set(conditions.VARIABLES) <= keys | {key.removeprefix("when.") for key in keys}


def test_the_page_names_every_function_there_is_and_no_other():
    lines = [line for line in PAGE.splitlines() if line.startswith("- Functions on ")]
    named = {name for line in lines for name in re.findall(r"`(\w+)`", line)}
    assert named == FUNCTIONS.keys()
