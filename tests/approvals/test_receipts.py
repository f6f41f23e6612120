"""Receipts: what is signed of a decision, and that whoever executes can check it alone."""

import json
from base64 import urlsafe_b64decode

import jwt
import pytest
from django.contrib.auth.models import Permission
from jwt.api_jwk import PyJWK
from orchestrator_client.receipts import ReceiptError, digest_payload, verify_receipt

from audit_app.proof import keys
from sessions_app.models import Task
from tests.audit.test_sealing import seal_all
from tests.factories import (
    AgentFactory,
    TaskFactory,
    approve_task,
    find_approval,
    policy,
    the_approval,
)


@pytest.fixture
def agent():
    return AgentFactory()


@pytest.fixture
def refund(agent, alice):
    return approve_task(TaskFactory(agent=agent), by=alice)


@pytest.fixture
def fetch(api, agent):
    def get(task, **query):
        return api(agent).get(f"/tasks/{task.pk}/receipt", **query)

    return get


def payload_of(task):
    return json.loads(task.payload)


def claims_of(receipt):
    return json.loads(urlsafe_b64decode(receipt.split(".")[1] + "=="))


def check(answer, payload, **options):
    assert answer.status_code == 200, answer.content
    return verify_receipt(answer.content.decode(), payload, keys.publish_keys(), **options)


def log_keys(api):
    return api().get("/audit/log/keys").content.decode().splitlines()


def test_it_binds_the_payload_to_who_said_yes(fetch, refund, alice):
    answer = fetch(refund)
    assert answer.headers["Content-Type"] == "application/jose"
    receipt = check(answer, payload_of(refund))
    assert (receipt.task_id, receipt.voters) == (str(refund.pk), ["alice"])
    assert receipt.claims["payload_digest"] == digest_payload(payload_of(refund))
    [approval] = receipt.claims["approvals"]
    assert (approval["role"], approval["needed"], approval["decided_by"]) == ("finance", 1, "votes")
    [vote] = approval["votes"]
    assert vote["voter"] == vote["seat_of"] == {"id": str(alice.pk), "name": "alice"}
    assert receipt.claims["single_use"] is True
    assert not receipt.in_log
    assert fetch(refund).content == answer.content, "the same facts are the same file"


def test_another_payload_is_refused(fetch, refund):
    for change in ({"data": {"amount": "42.51"}}, {"to_role": "ops"}, {"description": "x"}):
        with pytest.raises(ReceiptError) as refused:
            check(fetch(refund), payload_of(refund) | change)
        assert refused.value.code == "payload"


def test_another_key_is_refused(fetch, refund, tmp_path):
    other = keys.make_key(tmp_path / "key.pem").as_jwk()
    with pytest.raises(ReceiptError) as refused:
        verify_receipt(fetch(refund).content.decode(), payload_of(refund), {"keys": [other]})
    assert refused.value.code == "signature"


def test_it_is_used_once(fetch, refund):
    used = set()

    def use_once(jti):
        return jti not in used and not used.add(jti)

    check(fetch(refund), payload_of(refund), use_once=use_once)
    with pytest.raises(ReceiptError, match="was used before"):
        check(fetch(refund), payload_of(refund), use_once=use_once)
    assert used == {claims_of(fetch(refund).content.decode())["jti"]}


def test_it_ends_with_the_approval(fetch, agent, alice):
    policy(asks="1 finance", valid_for="10m")
    task = approve_task(TaskFactory(agent=agent), by=alice)
    answer = fetch(task)
    until = int(task.approved_until.timestamp())
    assert check(answer, payload_of(task), now=until - 1).claims["exp"] == until
    with pytest.raises(ReceiptError) as refused:
        check(answer, payload_of(task), now=until)
    assert refused.value.code == "expired"


def test_every_group_is_counted_again(fetch, say, agent, alice, bob, dave, erin):
    policy(asks="2 finance, 1 legal")
    task = TaskFactory(agent=agent)
    assert fetch(task).status_code == 409
    for person, role in ((alice, "finance"), (erin, "legal"), (dave, "finance")):
        assert say(person, "approve", find_approval(task, role)).status_code == 200
    receipt = check(fetch(task), payload_of(task), require_people=True)
    assert sorted(receipt.voters) == ["alice", "dave", "erin"]


def test_a_rejection_has_one_too_and_allows_nothing(fetch, say, agent, alice):
    task = TaskFactory(agent=agent)
    say(alice, "reject", the_approval(task), notes="No.")
    with pytest.raises(ReceiptError) as refused:
        check(fetch(task), payload_of(task))
    assert refused.value.code == "rejected"


def test_what_a_policy_let_pass_names_nobody(fetch, agent):
    policy(then="approve")
    task = TaskFactory(agent=agent)
    assert check(fetch(task), payload_of(task)).voters == []
    with pytest.raises(ReceiptError) as refused:
        check(fetch(task), payload_of(task), require_people=True)
    assert refused.value.code == "votes"


def test_an_override_says_so(fetch, say, agent, breaker):
    task = TaskFactory(agent=agent)
    say(breaker, "break_glass", the_approval(task), reason="The plant is on fire.")
    receipt = check(fetch(task), payload_of(task))
    assert receipt.claims["override"]["by"]["name"] == "alice"
    with pytest.raises(ReceiptError, match="Not everybody"):
        check(fetch(task), payload_of(task), require_people=True)


def test_there_is_none_before_a_decision_or_after_its_end(fetch, api, agent):
    task = TaskFactory(agent=agent)
    answer = fetch(task)
    assert (answer.status_code, answer.json()["code"]) == (409, "not_decided")
    assert api(agent).get(f"/tasks/{task.pk}").json()["receipt"] is None
    api(agent).post(f"/tasks/{task.pk}/cancel")
    assert fetch(task).json()["code"] == "not_decided"


def test_a_claimed_and_a_completed_task_keep_theirs(fetch, api, refund):
    executor = AgentFactory(roles=["finance"])
    before = fetch(refund).content
    assert api(executor).post(f"/tasks/{refund.pk}/claim").status_code == 200
    assert fetch(refund).content == before
    assert api(executor).post(f"/tasks/{refund.pk}/complete", {"result": 1}).status_code == 200
    assert fetch(refund).content == before


def test_strangers_get_none_and_reviewers_do(fetch, api, refund, alice):
    assert api(AgentFactory()).get(f"/tasks/{refund.pk}/receipt").status_code == 404
    path = f"/approvals/{the_approval(refund).pk}/receipt"
    assert api(user=alice).get(path).content == fetch(refund).content


def test_a_task_says_where_it_is(api, agent, refund):
    shown = api(agent).get(f"/tasks/{refund.pk}").json()
    assert shown["receipt"] == f"/tasks/{refund.pk}/receipt"


class TestSealed:
    def test_an_operator_may_hold_receipts_until_they_are(self, fetch, api, refund, settings):
        settings.RECEIPTS_SEALED = True
        answer = fetch(refund)
        assert (answer.status_code, answer.json()["code"]) == (409, "not_sealed_yet")
        seal_all()
        receipt = check(
            fetch(refund),
            payload_of(refund),
            log_keys=log_keys(api),
            require_log=True,
        )
        assert receipt.in_log

    @pytest.mark.parametrize(
        "how", ["groups", "policy", "override", "revised", "revised_for_policy"]
    )
    def test_however_it_was_decided(self, fetch, api, say, agent, breaker, erin, dave, how):
        if how == "groups":
            policy(asks="1 finance, 1 legal")
        elif how == "policy":
            policy(then="approve")
        task = TaskFactory(agent=agent)
        if how == "override":
            say(breaker, "break_glass", the_approval(task), reason="The plant is on fire.")
        elif how == "groups":
            say(erin, "approve", find_approval(task, "legal"))
            say(dave, "approve", find_approval(task, "finance"))
        elif how.startswith("revised"):
            if how == "revised_for_policy":
                policy(then="approve")
            change = {"data": {"amount": "1"}}
            revised = api(agent).post(f"/tasks/{task.pk}/revise", change)
            assert revised.status_code == 200, revised.content
        if how == "revised":
            say(dave, "approve", task.approvals.pending().get())
        task = Task.objects.get(pk=task.pk)
        seal_all()
        options = {"log_keys": log_keys(api), "require_log": True}
        assert check(fetch(task), payload_of(task), **options).in_log

    def test_without_a_proof_or_a_key_it_is_refused_on_demand(self, fetch, api, refund):
        with pytest.raises(ReceiptError, match="no proof"):
            check(fetch(refund), payload_of(refund), require_log=True)
        seal_all()
        with pytest.raises(ReceiptError, match="no key"):
            check(fetch(refund), payload_of(refund), require_log=True)

    def test_another_logs_key_is_refused(self, fetch, refund, tmp_path):
        seal_all()
        other = keys.make_key(tmp_path / "key.pem").verifier_key("elsewhere")
        with pytest.raises(ReceiptError, match="None of the log's keys"):
            check(fetch(refund), payload_of(refund), log_keys=[str(other)])

    @pytest.mark.parametrize("what", ["entry", "proof", "index", "checkpoint", "vote", "voter"])
    def test_a_forged_proof_is_refused(self, fetch, api, refund, what):
        """Whoever has the signing key of receipts still needs the log."""
        seal_all()
        claims = claims_of(fetch(refund).content.decode())
        decision, *_ = claims["log"]["events"]
        if what == "entry":
            decision["entry"] = decision["entry"].replace("alice", "carol")
        elif what == "proof":
            decision["proof"] = decision["proof"][:-1]
        elif what == "index":
            decision["index"] += 1
        elif what == "checkpoint":
            claims["log"]["checkpoint"] = claims["log"]["checkpoint"].replace("\n", "\n1", 1)
        elif what == "voter":
            claims["approvals"][0]["votes"][0]["voter"] = {"id": "0", "name": "carol"}
        else:
            claims["log"]["events"].pop()
        with pytest.raises(ReceiptError) as refused:
            verify_receipt(
                sign(claims), payload_of(refund), keys.publish_keys(), log_keys=log_keys(api)
            )
        assert refused.value.code == "log"


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda claims: claims["approvals"][0].update(needed=2), "votes"),
        (lambda claims: claims["approvals"][0]["votes"].clear(), "votes"),
        (lambda claims: claims["approvals"].clear(), "malformed"),
        (lambda claims: claims["approvals"][0].update(status="pending"), "votes"),
        (lambda claims: claims["approvals"].append(claims["approvals"][0]), "votes"),
        (lambda claims: claims.pop("approvals"), "malformed"),
        (lambda claims: claims.update(payload_digest="0" * 64), "payload"),
    ],
)
def test_even_a_signed_receipt_is_counted_again(fetch, agent, alice, change, code):
    policy(asks="1 finance")
    task = approve_task(TaskFactory(agent=agent), by=alice)
    claims = claims_of(fetch(task).content.decode())
    change(claims)
    with pytest.raises(ReceiptError) as refused:
        verify_receipt(sign(claims), payload_of(task), keys.publish_keys())
    assert refused.value.code in (code, "votes")


def sign(claims):
    from joserfc import jws
    from joserfc.jwk import OKPKey

    header = {"alg": "Ed25519", "typ": "approval-receipt+jwt"}
    key = OKPKey.import_key(keys.signing_keys()[0].private)
    return jws.serialize_compact(header, json.dumps(claims).encode(), key, algorithms=["Ed25519"])


@pytest.mark.parametrize("text", ["", "a.b.c", "e30.e30.AAAA", "nonsense"])
def test_what_is_no_receipt_is_one_error(text):
    with pytest.raises(ReceiptError) as refused:
        verify_receipt(text, {}, keys.publish_keys())
    assert refused.value.code == "signature"


def test_pyjwt_reads_the_old_name_of_the_algorithm_alone(fetch, refund, settings):
    """docs/clients.md says which libraries read which."""
    key = PyJWK(keys.publish_keys()["keys"][0] | {"alg": "EdDSA"})
    with pytest.raises(jwt.InvalidAlgorithmError):
        jwt.api_jws.decode(fetch(refund).content, key, algorithms=["Ed25519"])
    settings.RECEIPT_ALGORITHM = "EdDSA"
    with pytest.warns(Warning, match="EdDSA is deprecated"):
        receipt = fetch(refund).content
    assert json.loads(jwt.api_jws.decode(receipt, key, algorithms=["EdDSA"]))["decision"]


def test_without_a_key_it_says_so(fetch, refund, settings):
    settings.TRIAL = False
    answer = fetch(refund)
    assert answer.status_code == 409
    assert "AUDIT_SIGNING_KEYS" in answer.json()["detail"]


def test_auditors_read_it(api, refund, bob):
    bob.user_permissions.add(Permission.objects.get(codename="read_everything"))
    assert api(user=bob).get(f"/tasks/{refund.pk}/receipt").status_code == 200


def test_reviewers_download_it_from_the_page(client, refund, alice):
    client.force_login(alice)
    page = client.get(f"/admin/approvals_app/approval/{the_approval(refund).pk}/change/")
    path = f"/tasks/{refund.pk}/receipt"
    assert f'href="{path}" download' in page.content.decode()
    answer = client.get(path)
    assert answer.headers["Content-Disposition"].startswith("attachment; ")
