"""Change sets, previews, checks and Helm's diffs: what a reviewer reads first."""

import copy
import json
from typing import Any

import pytest

from tests.payloads.reading import facts_of, load, say, summarize_data

pytestmark = pytest.mark.pure

FACTS = {
    "cfn_change_set": [
        "danger removed: AuditBucket (audit-logs): bucket; deleted",
        "danger replaced: OrdersDb (orders-prod): database; the old one is deleted; forced by"
        " StorageEncrypted false → true",
        "danger may be replaced, with its data: Web (i-1): InstanceType",
        "plain stack: orders, by the change set v42",
        "plain resources: 2 to change, 1 to remove",
    ],
    "pulumi_preview_46_steps": [
        "danger deleted: orders (aws:rds/instance:Instance): database",
        "plain resources: 1 to delete, 45 unchanged",
    ],
    "ansible_check": [
        "danger removed: web1.prod: /srv/data, a directory with 1 directory and 1 file"
        " (remove old data)",
        "danger opens access: web1.prod: /etc/ssh/sshd_config: PermitRootLogin yes,"
        " PasswordAuthentication yes",
        "plain hosts that change: 1: web1.prod (2)",
        "plain tasks that change: 2: remove old data, sshd config (/etc/ssh/sshd_config)",
        "plain results: 2 of 2 change on 1 host",
    ],
    # Further shapes of the tools.
    "cfn_contexts": [
        "danger open to the world: Admin (sg-5): port 22 from 0.0.0.0/0",
        "danger may be replaced, with its data: Ledger (ledger): AvailabilityZone",
        "notice may be replaced: Inner",
        "notice stack whose changes are not shown: Inner",
        "notice weakened: Ledger (ledger): DeletionProtection true → false",
        "plain and also: changed: Admin (sg-5): Properties.SecurityGroupIngre…CidrIp 10.0.0.0/8 →"
        " 0.0.0.0/0; stack: edge, by the change set hotfix",
        "plain resources: 2 to change, 1 not determined yet",
    ],
    "cfn_partial": [
        "danger change set: FAILED: A rule of the organisation refused it.",
        "danger change set incomplete: it is partial: further changes are on the next page",
        "danger removed: Zone: DNS zone; whether it is kept is not said",
        "danger replaced: Db: database; the old one is deleted after a snapshot; forced by Engine",
        "notice no longer managed: Archive (archive-3): bucket; stays alive",
        "notice and also: imported: Topic; stack: ledger",
        "plain resources: 1 to change, 2 to remove, 1 to import",
    ],
    "pulumi_replace": [
        "danger preview failed: preview failed: timeout",
        "danger replaced: ledger (aws:rds/cluster:Cluster): deleted, then created: down in"
        " between; forced by engine; database",
        "danger deletions: 2 of 3 are counted and not listed",
        "danger open to the world: web (aws:ec2/securityGroup:SecurityGroup): ports 8000-8100 from"
        " 0.0.0.0/0",
        "notice no longer managed: scans (aws:s3/bucketV2:BucketV2) stays alive",
        "notice and also: weakened: web (aws:ec2/securityGroup:SecurityGroup): protect true →"
        " none; changed: web (aws:ec2/securityGroup:SecurityGroup): ingress",
        "plain resources: 1 to delete, 1 to replace, 1 to change",
    ],
    "pulumi_events": [
        "danger deleted: carts (kubernetes:core/v1:PersistentVolumeClaim): disk; it is protected:"
        " Pulumi will refuse",
        "plain resources: 1 to delete",
    ],
    "ansible_failures": [
        "danger failed: db3: vacuum: unreachable: ssh: no route",
        "danger removed: db1: eve (old users)",
        "danger opens access: db1: sudoers: deploy ALL=(ALL) NOPASSWD: ALL",
        "notice not tried in check mode: db1: vacuum (shell): vacuumdb --all",
        "notice hidden by no_log: db1: vault",
        "plain and also: hosts that change: 1: db1 (3); tasks that change: 3: old users, vault,"
        " sudoers",
        "plain results: 3 of 7 change on 3 hosts, 2 skipped",
    ],
    "helm_json": [
        "danger removed: PersistentVolumeClaim carts in shop (disk)",
        "notice also removed: ConfigMap old in shop",
        "notice changes that are not shown: Secret tls in shop",
        "plain changed: Deployment api in shop",
        "plain objects: 2 to remove, 1 to change, 1 to change, not shown",
    ],
    "helm_structured": [
        "danger open to the world: Service api in shop: open from 0.0.0.0/0",
        "notice weakened: Deployment api in shop: spec.replicas 6 → 0",
        "plain changed: 3: Deployment api in shop: spec.replicas 6 → 0, Service api in shop:"
        " spec.loadBalancerSourceRanges[0] 10.0.0.0/8 → 0.0.0.0/0, Secret tls in shop: data.key",
        "plain objects: 3 to change",
    ],
}
DESTROYS = {
    "cfn_change_set": 2,
    "cfn_partial": 2,
    "pulumi_preview_46_steps": 1,
    "pulumi_replace": 1,
    "pulumi_events": 1,
    "ansible_check": 1,
    "ansible_failures": 1,
    "helm_json": 2,
}
# A further thing that goes, in the shape of each tool, and the list that it goes into.
REMOVED: dict[str, tuple[str, Any]] = {
    "cfn": (
        "Changes",
        {
            "Type": "Resource",
            "ResourceChange": {
                "Action": "Remove",
                "LogicalResourceId": "Last",
                "ResourceType": "AWS::KMS::Key",
                "PolicyAction": "Delete",
            },
        },
    ),
    "pulumi_events": (
        "events",
        {
            "sequence": 9,
            "resourcePreEvent": {
                "metadata": {"op": "delete", "urn": "urn:pulumi:live::shop::aws:kms/key:Key::Last"}
            },
        },
    ),
    "pulumi": ("steps", {"op": "delete", "urn": "urn:pulumi:live::shop::aws:kms/key:Key::Last"}),
    "ansible": (
        "plays",
        {
            "play": {"name": "more"},
            "tasks": [
                {
                    "task": {"name": "Last"},
                    "hosts": {
                        "h9": {
                            "changed": True,
                            "diff": {"before": {"path": "/a"}, "after": {"state": "absent"}},
                        }
                    },
                }
            ],
        },
    ),
    "helm_json": ("diff", {"kind": "Namespace", "name": "Last", "change": "REMOVE"}),
    "helm_structured": ("changes", {"kind": "Namespace", "name": "Last", "changeType": "REMOVE"}),
}


@pytest.mark.parametrize("name", FACTS)
def test_the_summary_says(name: str) -> None:
    assert facts_of(name) == FACTS[name]


@pytest.mark.parametrize("name", FACTS)
def test_policies_can_ask_how_many_things_go(name: str) -> None:
    assert summarize_data(load(name)).traits["destroys"] == DESTROYS.get(name, 0)


@pytest.mark.parametrize("name", FACTS)
def test_a_further_removal_anywhere_changes_the_summary(name: str) -> None:
    member, thing = next(value for key, value in REMOVED.items() if name.startswith(key))
    data = load(name)
    for place in range(0, len(data[member]) + 1, 5):
        more = copy.deepcopy(data)
        more[member].insert(place, thing)
        summary = summarize_data(more)
        assert summary.traits["destroys"] == DESTROYS.get(name, 0) + 1
        assert summary.facts != summarize_data(data).facts
        assert any("Last" in fact.value for fact in summary.facts)


@pytest.mark.parametrize("name", FACTS)
def test_nested_and_as_text_it_is_the_same(name: str) -> None:
    wanted = [say(fact) for fact in summarize_data(load(name)).facts]
    nested = summarize_data({"request": {"output": load(name)}})
    assert [say(fact) for fact in nested.facts] == wanted
    assert all(fact.path[:2] == ("request", "output") for fact in nested.facts)
    sent = summarize_data({"output": json.dumps(load(name))})
    assert [say(fact) for fact in sent.facts] == wanted


def test_what_only_leaves_the_state_does_not_go() -> None:
    urn = "urn:pulumi:live::shop::aws:kms/key:Key::a"
    for op in ("discard", "discard-replaced", "remove-pending-replace"):
        summary = summarize_data({"steps": [{"op": op, "urn": urn}]})
        assert summary.traits["destroys"] == 0
        assert say(summary.facts[0]) == "notice dropped from the state: a (aws:kms/key:Key)"


def test_values_of_secrets_stay_out() -> None:
    assert not any("b2xk" in fact or "bmV3" in fact for fact in facts_of("helm_structured"))


def test_a_command_that_a_condition_skipped_does_not_run() -> None:
    data = load("ansible_failures")
    del data["plays"][0]["tasks"][0]["hosts"]["db1"]
    untried = [fact for fact in summarize_data(data).facts if fact.label.startswith("not tried")]
    assert not untried


def test_commands_of_all_modules_are_not_tried() -> None:
    data = load("ansible_failures")
    untried = {
        "raw": {"action": "raw", "changed": False, "skipped": True},
        "creates": {
            "action": "ansible.builtin.command",
            "changed": True,
            "cmd": ["rm", "-rf", "/srv/a"],
            "msg": "Command would have run if not in check mode",
        },
    }
    data["plays"] = [
        {"tasks": [{"task": {"name": name}, "hosts": {"h": result}}]}
        for name, result in untried.items()
    ]
    told = [say(fact) for fact in summarize_data(data).facts]
    assert "notice not tried in check mode: h: raw (raw)" in told
    assert "notice not tried in check mode: h: creates (command): rm -rf /srv/a" in told


def test_a_preview_that_counts_more_than_it_lists_says_so() -> None:
    data = load("pulumi_preview_46_steps")
    data["changeSummary"]["delete"] = 5
    assert "danger deletions: 4 of 5 are counted and not listed" in [
        say(fact) for fact in summarize_data(data).facts
    ]
