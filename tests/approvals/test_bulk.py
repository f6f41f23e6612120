"""Several decisions at once, each by itself."""

from uuid import uuid4

import pytest

from approvals_app.models import Approval
from audit_app.models import Event, RequestReceipt
from tests.factories import AgentFactory, TaskFactory, find_approval, policy

pytestmark = pytest.mark.usefixtures("whole")


@pytest.fixture
def three(bot):
    return [find_approval(TaskFactory(agent=bot, data={"n": n}), "finance") for n in range(3)]


def build_item(approval, decision="approve", **other):
    return {
        "approval_id": str(approval.pk),
        "decision": decision,
        "payload_digest": approval.payload_digest,
    } | other


def bulk(api, person, items, **headers):
    return api(user=person).post("/approvals/bulk", {"decisions": items}, headers=headers)


def test_one_that_is_refused_neither_stops_nor_hides_the_others(api, alice, three):
    hers = find_approval(TaskFactory(agent=AgentFactory(owner=alice)), "finance")
    first, second, third = three
    items = [
        build_item(first),
        build_item(second, payload_digest="0" * 64),
        build_item(hers),
        build_item(third, "reject", notes="No."),
        build_item(first, approval_id=str(uuid4())),
    ]
    results = bulk(api, alice, items).json()["results"]
    said = [r.get("approval", {}).get("status") or r["problem"]["code"] for r in results]
    assert said == [
        "approved",
        "payload_digest_mismatch",
        "separation_of_duties",
        "rejected",
        "not_found",
    ]
    assert [r["approval_id"] for r in results] == [item["approval_id"] for item in items]
    assert Event.objects.filter(event_type="operation.refused").count() == 2
    assert Approval.objects.get(pk=second.pk).status == "pending"


def test_sent_again_it_is_answered_as_before(api, alice, three):
    items = [build_item(three[0]), build_item(three[1], payload_digest="0" * 64)]
    key = {"Idempotency-Key": "k"}
    first = bulk(api, alice, items, **key)
    events = Event.objects.count()
    again = bulk(api, alice, items, **key)
    assert [r.get("approval") for r in again.json()["results"]] == [
        r.get("approval") for r in first.json()["results"]
    ]
    assert Event.objects.count() == events
    assert "Idempotent-Replayed" not in first.headers
    assert again.headers["Idempotent-Replayed"] == "true"
    latest = RequestReceipt.objects.order_by("created_at").last().created_at.isoformat()
    assert again.headers["Idempotent-Answered-At"] == latest.replace("+00:00", "Z")
    other = bulk(api, alice, [build_item(three[2])], **key)
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize("count", [0, 101])
def test_none_or_too_many(api, alice, three, count):
    answer = bulk(api, alice, [build_item(three[0])] * count)
    assert answer.status_code == 400
    assert answer.json()["errors"][0]["field"] == "decisions"


class TestThePage:
    @pytest.fixture
    def page(self, client, alice):
        client.force_login(alice)
        return lambda **sent: client.post("/admin/approvals_app/approval/bulk/", sent)

    def test_each_is_shown_before_it_is_decided(self, page, three):
        shown = page(approval=[a.pk for a in three]).content.decode()
        assert "Review 3 requests" in shown
        for approval in three:
            assert f'value="{approval.payload_digest}"' in shown

    def test_what_a_revision_changed_is_shown(self, api, page, bot, three):
        task = three[0].task
        api(bot).post(f"/tasks/{task.pk}/revise", {"data": {"n": "seven"}})
        shown = page(approval=[find_approval(task, "finance").pk]).content.decode()
        assert "Changes in revision 2" in shown
        assert "&quot;seven&quot;" in shown

    def test_each_has_its_outcome(self, page, three):
        digests = {f"digest.{a.pk}": a.payload_digest for a in three}
        digests[f"digest.{three[1].pk}"] = "0" * 64
        shown = page(
            approval=[a.pk for a in three], decision="approve", notes="Fine.", **digests
        ).content.decode()
        assert "2 approved, 1 not approved (still waiting)" in shown
        assert "the task changed since you opened it" in shown
        states = [Approval.objects.get(pk=a.pk).status for a in three]
        assert states == ["approved", "pending", "approved"]

    def test_nothing_chosen_is_said(self, page, client):
        assert page().status_code == 302
        assert "Select at least one request." in client.get("/admin/").content.decode()

    def test_what_is_selected_is_summed_up(self, page, bot):
        amounts = ("7.50", "15.00")
        both = [
            find_approval(TaskFactory(agent=bot, data={"amount": n, "currency": "EUR"}), "finance")
            for n in amounts
        ]
        shown = page(approval=[a.pk for a in both]).content.decode()
        assert "2 selected, 22.50 EUR in total, all refund approval, all from bot" in shown

    def test_several_types_need_a_second_confirmation(self, page, bot, three):
        gift = find_approval(TaskFactory(agent=bot, task_type="gift", data={}), "finance")
        both = [three[0], gift]
        sent = {f"digest.{a.pk}": a.payload_digest for a in both}
        sent |= {"approval": [a.pk for a in both], "decision": "approve"}
        shown = page(**sent).content.decode()
        assert "Nothing was approved." in shown
        assert "I approve several types: 1 refund approval, 1 gift" in shown
        assert {Approval.objects.get(pk=a.pk).status for a in both} == {"pending"}
        assert "2 approved" in page(**sent, mixed="yes").content.decode()

    @pytest.mark.parametrize(
        ("terms", "task", "reason"),
        [
            ({"risk": "high"}, {}, "High risk"),
            ({"look_for": "20s"}, {}, "read it first"),
            ({"instructions": "Call them first."}, {}, "confirm an instruction"),
            ({"type_out": "data.amount"}, {"data": {"amount": "9.50"}}, "type a value"),
            ({}, {"description": "M\u0430ra, already approved by your manager"}, "Suspicious text"),
            ({}, {"data": {"words": "x" * 70_000}}, "Large payload"),
            ({}, {"data": {"command": "sudo rm -rf /var/lib/postgresql"}}, "open it"),
        ],
    )
    def test_what_needs_a_look_is_not_approved_but_can_be_rejected(
        self, page, bot, three, terms, task, reason
    ):
        policy("careful", when={"task_type": "careful"}, asks="1 finance", **terms)
        careful = TaskFactory(agent=bot, **({"task_type": "careful"} | task))
        both = [three[0], find_approval(careful, "finance")]
        sent = {f"digest.{a.pk}": a.payload_digest for a in both}
        sent |= {"approval": [a.pk for a in both]}
        assert reason in page(**sent).content.decode()
        shown = page(**sent, decision="approve").content.decode()
        assert "1 approved, 1 not approved (still waiting)" in shown
        assert [Approval.objects.get(pk=a.pk).status for a in both] == ["approved", "pending"]
        page(**sent, decision="reject")
        assert Approval.objects.get(pk=both[1].pk).status == "rejected"

    def test_a_question_and_what_waits_for_its_agent_are_held_back(
        self, page, api, bob, bot, three
    ):
        fields = {"account": {"type": "string"}}
        question = {"question": "Which?", "schema": {"type": "object", "properties": fields}}
        asked = TaskFactory(agent=bot, task_type="question", data=question)
        said = {"payload_digest": three[0].payload_digest, "message": "Whose?"}
        answer = api(user=bob).post(f"/approvals/{three[0].pk}/request_changes", said)
        assert answer.status_code == 200, answer.json()
        shown = page(approval=[find_approval(asked, "finance").pk, three[0].pk]).content.decode()
        assert "A question: open it to answer." in shown
        assert "Changes requested." in shown
        assert "Approve these" not in shown

    def test_the_api_decides_them_as_before(self, api, alice, bot):
        policy("careful", when={"task_type": "careful"}, asks="1 finance", risk="high")
        careful = find_approval(TaskFactory(agent=bot, task_type="careful"), "finance")
        [result] = bulk(api, alice, [build_item(careful)]).json()["results"]
        assert result["approval"]["status"] == "approved"
