"""Terraform's and OpenTofu's plans: what a reviewer reads before the plan itself."""

import copy
import json
from typing import Any

import pytest

from approvals_app.payload.kinds import plan
from approvals_app.payload.kinds._resources import name_store
from tests.payloads.reading import facts_of, load, summarize_data

pytestmark = pytest.mark.pure

FACTS = {
    "plan_actions": [
        "danger action runs: action.aws_lambda_invoke.wipe after update aws_instance.web:"
        ' function_name wipe-customer-data, payload {"all": true}',
        "plain changed: aws_instance.web: tags.a none → b",
        "plain resources: 1 to change",
    ],
    "plan_actions_only": [
        "danger action runs: action.aws_lambda_invoke.wipe: function_name wipe-customer-data,"
        ' payload {"all": true}',
    ],
    "plan_deferred_delete": [
        "danger plan incomplete: it is partial: further changes need another plan",
        "danger destroyed in a later plan: aws_db_instance.orders (database; no final snapshot;"
        " the provider's settings are not known yet)",
        "plain created: aws_sns_topic.a",
        "plain resources: 1 to create",
    ],
    "plan_errored_partial": [
        "danger plan failed: it is partial",
        "danger check fails: check.backup: No backup in 24 h",
        "plain created: aws_sns_topic.a",
        "plain resources: 1 to create",
    ],
    "plan_forget": [
        "notice no longer managed: aws_db_instance.orders stays alive",
        "notice no longer managed: aws_db_instance.ledger: a new one; the old one stays alive",
        "plain resources: 1 no longer managed, 1 created anew, the old one kept",
    ],
    "plan_list_unknown": [
        "notice known after apply: aws_lb.main: subnets[1]",
        "plain changed: aws_lb.main",
        "plain resources: 1 to change",
    ],
    "plan_many_noop": [
        "danger destroyed: aws_db_instance.orders (database; no final snapshot; no longer in the"
        " configuration)",
        "danger open to the world: aws_security_group_rule.ssh: port 22 from 0.0.0.0/0",
        "danger made public: aws_s3_bucket_public_access_block.exports: block_public_acls off,"
        " block_public_policy off",
        "plain changed: aws_s3_bucket_public_access_block.exports: block_public_acls true → false,"
        " block_public_policy true → false",
        "plain created: aws_security_group_rule.ssh",
        "plain resources: 1 to destroy, 1 to create, 1 to change, 5 to read, 90 unchanged",
    ],
    "plan_moved_import": [
        "notice weakened: aws_iam_user.root: force_destroy false → true",
        "notice moved: aws_vpc.main → module.net.aws_vpc.main",
        "notice imported: aws_iam_role.admin",
        "notice imported: aws_iam_user.root, then changed",
        "plain changed: aws_iam_user.root: force_destroy false → true",
        "plain resources: 1 to change, 2 unchanged",
    ],
    "plan_read_and_count": [
        "danger destroyed: aws_instance.web[0] (machine; its module is gone)",
        "plain resources: 1 to destroy, 1 to read",
    ],
    "plan_replace_create_delete": [
        "danger replaced: aws_db_instance.orders: two at once: created, then destroyed; forced by"
        " storage_encrypted false → true; it cannot be changed in place; database;"
        " no final snapshot",
        "plain resources: 1 to replace",
    ],
    "plan_replace_delete_create": [
        "danger replaced: aws_db_instance.orders: destroyed, then created: down in between; forced"
        " by storage_encrypted false → true; it cannot be changed in place; database;"
        " no final snapshot",
        "plain resources: 1 to replace",
    ],
    "plan_sensitive": [
        "notice sensitive values change: aws_db_instance.orders: password",
        "plain changed: aws_db_instance.orders: password (sensitive)",
        "plain outputs change: admin_password (sensitive)",
        "plain resources: 1 to change",
    ],
    "plan_update_unknown": [
        "notice known after apply: aws_s3_bucket.reports: policy, kms_key_id",
        "plain changed: aws_s3_bucket.reports",
        "plain resources: 1 to change",
    ],
    # Further shapes of the tools.
    "plan_azure_open": [
        "danger open to the world: azurerm_network_security_rule.rdp: port 3389 from *",
        "danger made public: azurerm_storage_container.scans: container_access_type blob",
        "plain changed: 2: azurerm_network_security_rule.rdp: source_address_prefix 10.4.0.0/16"
        " → *, azurerm_storage_container.scans: container_access_type private → blob",
        "plain created: 2: azurerm_network_security_rule.out, azurerm_network_security_rule.deny",
        "plain resources: 2 to create, 2 to change",
    ],
    "plan_bucket_policies": [
        "danger made public: aws_s3_bucket_policy.invoices: a policy allows everyone",
        "danger made public: aws_s3_bucket_public_access_block.invoices: the block of public"
        " access goes",
        "notice destroyed: aws_s3_bucket_public_access_block.invoices",
        "plain changed: 2: aws_s3_bucket_policy.same, aws_s3_bucket_policy.invoices: policy",
        "plain resources: 1 to destroy, 2 to change",
    ],
    "plan_conditions": [
        "danger condition fails: aws_sns_topic.a: The region is frozen until Monday.",
        "plain created: aws_sns_topic.a",
        "plain resources: 1 to create",
    ],
    "plan_deferred_action": [
        "danger plan incomplete: it is partial: further changes need another plan",
        "notice action runs in a later plan: action.aws_ssm_run.rotate before create aws_kms_key.a:"
        " document rotate-keys, token (sensitive), count 3",
    ],
    "plan_deposed": [
        "danger destroyed: module.db.aws_ebs_volume.data (deposed object 5f2d9c01) (disk)",
        "plain resources: 1 to destroy",
    ],
    "plan_drift": [
        "notice changed outside: aws_s3_bucket.logs is gone",
        "notice changed outside: aws_instance.app",
        "plain changed: aws_instance.app: ami ami-1 → ami-2",
        "plain resources: 1 to change",
    ],
    "plan_errored_empty": ["danger plan failed: it is partial"],
    "plan_format_01": [
        "danger destroyed: aws_route53_zone.shop (DNS zone; even if it is not empty)",
        "notice also destroyed: aws_route53_zone_association.vpc",
        "plain resources: 2 to destroy",
    ],
    "plan_google_open": [
        "danger destroyed: google_dns_managed_zone.old (DNS zone; no longer in for_each)",
        "danger open to the world: google_compute_firewall.db: ports 5432, 6432 from 0.0.0.0/1,"
        " ports 5432, 6432 from 128.0.0.0/1",
        "danger made public: google_storage_bucket_iam_member.all: granted to allUsers",
        "plain created: 2: google_compute_firewall.db, google_storage_bucket_iam_member.all",
        "plain resources: 1 to destroy, 2 to create",
    ],
    "plan_replace_several": [
        "danger replaced: aws_elasticache_cluster.sessions: destroyed, then created: down in"
        " between; it is marked as tainted; cache",
        "danger replaced: aws_db_instance.users: two at once: created, then destroyed; forced by"
        " username (sensitive), kms_key_id (known after apply); it cannot be changed in place;"
        " database",
        "notice also replaced: null_resource.hook: destroyed, then created: down in between;"
        " forced by triggers.v 1 → 2; replace_triggered_by",
        "notice sensitive values change: aws_db_instance.users: username",
        "plain resources: 3 to replace",
    ],
    "plan_ways_out": [
        "plain created: 3: aws_route.internet, aws_route_table.main, aws_security_group.app",
        "plain resources: 3 to create",
    ],
    "tofu_forget_create": [
        "danger destroyed: aws_sqs_queue.mails (queue; enabled is false)",
        "notice no longer managed: aws_kms_key.ledger: a new one; the old one stays alive",
        "plain resources: 1 to destroy, 1 created anew, the old one kept",
    ],
}
DESTROYS = {
    "plan_deferred_delete": 1,
    "plan_many_noop": 1,
    "plan_read_and_count": 1,
    "plan_replace_create_delete": 1,
    "plan_replace_delete_create": 1,
    "plan_bucket_policies": 1,
    "plan_deposed": 1,
    "plan_format_01": 2,
    "plan_google_open": 1,
    "plan_replace_several": 3,
    "tofu_forget_create": 1,
}
DELETED = {
    "address": "module.extra.aws_s3_bucket.last",
    "type": "aws_s3_bucket",
    "change": {"actions": ["delete"], "before": {"id": "last"}, "after": None},
}


@pytest.mark.parametrize("name", FACTS)
def test_the_summary_says(name: str) -> None:
    assert facts_of(name) == FACTS[name]


@pytest.mark.parametrize("name", FACTS)
def test_policies_can_ask_how_many_resources_go(name: str) -> None:
    assert summarize_data(load(name)).traits["destroys"] == DESTROYS.get(name, 0)


@pytest.mark.parametrize("name", FACTS)
def test_no_sensitive_value_is_told(name: str) -> None:
    told = "\n".join(facts_of(name))
    assert not any(secret in told for secret in ("Passw0rd", "t0p", "old-owner", "new-owner"))


@pytest.mark.parametrize("name", [name for name in FACTS if "resource_changes" in load(name)])
def test_a_further_destroy_anywhere_changes_the_summary(name: str) -> None:
    data = load(name)
    for place in range(0, len(data["resource_changes"]) + 1, 7):
        more = copy.deepcopy(data)
        more["resource_changes"].insert(place, DELETED)
        summary = summarize_data(more)
        assert summary.traits["destroys"] == DESTROYS.get(name, 0) + 1
        assert any("aws_s3_bucket.last" in fact.value for fact in summary.facts)


@pytest.mark.parametrize("name", FACTS)
def test_nested_and_as_text_it_is_the_same_plan(name: str) -> None:
    data = load(name)
    wanted = [(fact.label, fact.value) for fact in summarize_data(data).facts]
    nested = summarize_data({"request": {"plan": data}, "ticket": "OPS-4"})
    assert [(fact.label, fact.value) for fact in nested.facts] == wanted
    assert all(fact.path[:2] == ("request", "plan") for fact in nested.facts)
    sent = summarize_data({"plan_json": json.dumps(data)})
    assert [(fact.label, fact.value) for fact in sent.facts] == wanted
    assert {fact.path for fact in sent.facts} == {("plan_json",)}


def test_a_state_is_no_plan() -> None:
    state = {"format_version": "1.0", "terraform_version": "1.13.2", "values": {"root_module": {}}}
    assert plan.read(state, ()) is None


def test_an_entry_that_is_not_understood_is_told() -> None:
    data = load("plan_drift")
    data["resource_changes"] += [{"address": "aws_vpc.x"}, change("aws_vpc.y", ["explode"])]
    assert "notice not understood: entry 2" in facts_of_data(data)
    assert "notice not understood: aws_vpc.y: explode" in facts_of_data(data)


def test_a_long_address_does_not_hide_what_happens() -> None:
    data = load("plan_replace_delete_create")
    address = data["resource_changes"][0]["address"] = f"module.{'a' * 900}.aws_db_instance.orders"
    fact = summarize_data(data).facts[0]
    assert fact.value.startswith(address[:50])
    assert "destroyed, then created: down in between" in fact.value


def test_a_combination_with_delete_deletes() -> None:
    data = load("plan_drift")
    data["resource_changes"] = [change("aws_ebs_volume.x", ["update", "delete"])]
    assert summarize_data(data).traits["destroys"] == 1


def test_many_dangers_are_joined_and_none_is_lost() -> None:
    data = load("plan_many_noop")
    data |= {"errored": True, **{key: load("plan_actions")[key] for key in ["action_invocations"]}}
    data["deferred_changes"] = load("plan_deferred_delete")["deferred_changes"]
    data["checks"] = load("plan_errored_partial")["checks"]
    data["resource_changes"] += load("plan_replace_several")["resource_changes"]
    facts = facts_of_data(data)
    assert len(facts) == 7
    last = facts[5]
    assert last.startswith("danger and also: ")
    for label in ("open to the world", "made public", "action runs", "also replaced"):
        assert any(label in fact for fact in facts), label
    assert facts[6].startswith("plain resources: ")


def test_what_was_open_before_is_not_news() -> None:
    data = load("plan_azure_open")
    rule = data["resource_changes"][0]["change"]
    rule["before"] = {**rule["after"], "priority": 100}
    assert not any("rdp: port" in fact for fact in facts_of_data(data))


@pytest.mark.parametrize(
    ("kind", "store"),
    [
        ("aws_db_instance", "database"),
        ("AWS::RDS::DBInstance", "database"),
        ("aws:rds/instance:Instance", "database"),
        ("gcp:sql/databaseInstance:DatabaseInstance", "database"),
        ("AWS::DynamoDB::Table", "table"),
        ("aws_route_table", ""),
        ("aws_s3_bucket", "bucket"),
        ("aws:s3/bucketV2:BucketV2", "bucket"),
        ("aws_s3_bucket_policy", ""),
        ("azurerm_storage_account", "bucket"),
        ("aws_ebs_volume", "disk"),
        ("azurerm_managed_disk", "disk"),
        ("aws_volume_attachment", ""),
        ("kubernetes:core/v1:PersistentVolumeClaim", "disk"),
        ("kubernetes_persistent_volume_claim_v1", "disk"),
        ("aws_kms_key", "key"),
        ("AWS::KMS::Key", "key"),
        ("aws_kms_alias", ""),
        ("google_kms_crypto_key", "key"),
        ("aws_route53_zone", "DNS zone"),
        ("AWS::Route53::HostedZone", "DNS zone"),
        ("AWS::Route53::RecordSet", ""),
        ("aws_cloudwatch_log_group", "log"),
        ("aws_cloudwatch_log_stream", ""),
        ("random_password", ""),
    ],
)
def test_a_type_says_what_goes_with_it(kind: str, store: str) -> None:
    assert name_store(kind) == store


def change(address: str, actions: list[str]) -> dict[str, Any]:
    return {
        "address": address,
        "type": address.split(".", maxsplit=1)[0],
        "change": {"actions": actions, "before": {}, "after": {}},
    }


def facts_of_data(data: Any) -> list[str]:
    return [f"{fact.level} {fact.label}: {fact.value}" for fact in summarize_data(data).facts]
