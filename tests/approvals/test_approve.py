"""A human says yes."""

from tests.factories import TaskFactory, the_approval


def test_alice_approves_a_refund_and_the_payer_executes_it(api, alice, bot, payer):
    task = TaskFactory(agent=bot)
    approval = the_approval(task)

    said = api(user=alice).post(
        f"/approvals/{approval.pk}/approve",
        {"payload_digest": approval.payload_digest, "notes": "Checked the order."},
    )

    assert said.status_code == 200
    assert said.json()["status"] == "approved"
    assert said.json()["decided_by"] == "alice"
    assert api(bot).get(f"/tasks/{task.pk}").json()["status"] == "approved"
    assert api(payer).post(f"/tasks/{task.pk}/claim").json()["claimed_by"] == "payer"
