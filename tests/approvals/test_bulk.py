"""Several decisions at once, each by itself."""

from uuid import uuid4

import pytest

from approvals_app.models import Approval
from audit_app.models import Event, RequestReceipt
from tests.factories import AgentFactory, TaskFactory, find_approval

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
        assert "2 approved, 1 not approved" in shown
        assert "the task changed since you opened it" in shown
        states = [Approval.objects.get(pk=a.pk).status for a in three]
        assert states == ["approved", "pending", "approved"]

    def test_nothing_chosen_is_said(self, page, client):
        assert page().status_code == 302
        assert "Select 1 to 50 requests." in client.get("/admin/").content.decode()
