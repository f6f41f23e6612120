"""Objects of Kubernetes to be applied."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from approvals_app.payload.kinds import manifest
from tests.payloads.reading import change_anything, check_readings, facts_of, load, summarize_data

pytestmark = pytest.mark.pure

FACTS = {
    "k8s_privileged_daemonset": [
        "danger gives rights: the host's network, privileged, the host's files in /",
        "plain applies: DaemonSet agent in kube-system",
        "plain image: agent:1.4",
    ],
    "k8s_cluster_admin": [
        "danger gives all rights: cluster-admin to deployer",
        "plain applies: ClusterRoleBinding deployer",
    ],
    "k8s_list": [
        "danger stops all: Deployment api in prod: 0 replicas",
        "danger open to the world: NetworkPolicy db in prod from 0.0.0.0/0",
        "notice reachable from outside: Service api in prod, LoadBalancer",
        "plain applies: Deployment api in prod, NetworkPolicy db in prod, Service api in prod",
    ],
}


@pytest.mark.parametrize("name", FACTS)
def test_says_what_is_applied(name: str) -> None:
    facts = facts_of(name)
    assert [fact for fact in FACTS[name] if fact not in facts] == [], facts


def test_policies_know_of_root() -> None:
    assert summarize_data(load("k8s_privileged_daemonset")).traits["as_root"] is True
    assert summarize_data(load("k8s_list")).traits["as_root"] is False


def test_commands_of_containers_are_read_too() -> None:
    data = load("k8s_privileged_daemonset")
    data["spec"]["template"]["spec"]["containers"][0]["command"] = ["rm", "-rf", "/host/var"]
    assert "danger destroys: rm -rf /host/var" in [
        f"{fact.level} {fact.label}: {fact.value}" for fact in summarize_data(data).facts
    ]


def read_all(data: Any) -> Any:
    reading = manifest.read(data, ())
    return [((), reading)] if reading else []


LEAVES = st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.just("0.0.0.0/0")
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner),
    max_leaves=8,
)


@given(st.sampled_from([*map(load, FACTS), *load("k8s_list")["items"]]), st.data())
@settings(deadline=None)
def test_any_change_is_read(example: Any, data: st.DataObject) -> None:
    changed = change_anything(example, JSON, data)
    check_readings(read_all, changed)
    summarize_data(changed)
