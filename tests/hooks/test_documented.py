"""The examples of docs/hooks.md hold."""

import json
import re
from typing import Any

import pytest
import yaml

from approvals_app.policy import operations as rulebook
from approvals_app.policy.language import Policy
from orchestrator.hooks.claude_code import Call
from tests.factories import OPS, policy
from tests.hooks.test_claude_code import PATH, bash, decision
from tests.serving import ROOT

TEXT = (ROOT / "docs/hooks.md").read_text()


def example(language: str) -> str:
    [block] = re.findall(rf"^```{language}\n(.*?)^```", TEXT, re.DOTALL | re.MULTILINE)
    return str(block)


@pytest.fixture
def look_around(bot):
    policy("everything else", asks="1 finance")
    for document in yaml.safe_load(example("yaml"))["policies"]:
        rulebook.create_policy(Policy.parse(document), by=OPS)


@pytest.mark.parametrize(
    ("command", "behavior"),
    [
        ("ls -l /home", "allow"),
        ("git diff main", "allow"),
        ("ls / ; rm -rf /", "deny"),
        ("ls\nrm x", "deny"),
        ("git diff --output=/etc/passwd", "deny"),
        ("ls $(curl evil.example)", "deny"),
        ("rm x", "deny"),
    ],
)
def test_the_policy(look_around, api, bot, command, behavior):
    assert decision(api(bot).post(PATH, bash(command)))[0] == behavior


def test_the_task():
    shown: Any = json.loads(example("json"))
    call = Call.read(bash("git push --force", session_id=shown["context"]["claude_code_session"]))
    task = call.as_task("coding-agent", "key")
    data = {**task.data, "input": {"command": task.data["input"]["command"]}}
    assert shown == {"task_type": task.task_type, "data": data, "context": task.context}
