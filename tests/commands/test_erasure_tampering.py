"""What a superuser makes of an erased payload, or passes off as one, is found by verify_audit."""

import pytest
from django.contrib.auth.models import Permission

from approvals_app.decisions.erasure import erase_payload
from audit_app.base.actors import Actor
from sessions_app.tasks.operations import cancel
from tests.commands.conftest import expect_failure
from tests.factories import TaskFactory

TAMPERINGS = {
    "another digest": """UPDATE tasks SET erasure = erasure || '{"payload_digest": "0"}'""",
    "another eraser": """UPDATE tasks SET erasure = erasure || '{"by": "bob"}'""",
    "as if it was never erased": "UPDATE tasks SET erasure = NULL",
}
AS_IF_ERASED = """
UPDATE tasks SET description = '', data = '{}', context = '{}', identifiers = '{}',
    payload = format('{"context":{},"data":{},"description":"","from_role":"%%s","task_type":"%%s",'
        '"to_role":"%%s"}', from_role, task_type, to_role),
    erasure = jsonb_build_object('by', 'alice', 'reason', 'x', 'payload_digest', payload_digest)
"""


@pytest.fixture
def finished_task(bot):
    task = TaskFactory(agent=bot)
    return cancel(task.pk, by=bot.as_actor(), reason="Not needed.")


@pytest.mark.parametrize("what", TAMPERINGS)
def test_an_erased_payload(finished_task, alice, tamper, what):
    alice.user_permissions.add(Permission.objects.get(codename="erase_payload"))
    erase_payload(finished_task.pk, by=Actor.human(alice), reason="x")
    tamper(TAMPERINGS[what])
    out, _ = expect_failure("verify_audit")
    assert f"task {finished_task.pk}" in out


def test_a_payload_that_nobody_erased(finished_task, tamper):
    tamper(AS_IF_ERASED)
    out, _ = expect_failure("verify_audit")
    assert f"task {finished_task.pk}" in out
    assert "is not the SHA-256 of its payload" in out
