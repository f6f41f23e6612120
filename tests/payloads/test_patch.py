"""Patches, lists of files, helm diff and kubectl diff: what is removed, moved and changed."""

from typing import Any

import pytest

from approvals_app.payload.facts import find
from approvals_app.payload.kinds import patch
from tests.payloads.reading import facts_of, load, say, summarize_data

pytestmark = pytest.mark.pure

FILES = (
    "git_rename_mode",
    "helm_diff",
    "git_env_added",
    "git_symlink",
    "github_pull_files",
    "gitlab_changes",
    "github_create_commit",
    "github_push_commit",
    "kubectl_diff",
    "helm_diff_colour",
    "helm_diff_simple",
)


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        (
            "git_rename_mode",
            [
                "danger key or secret: renamed secrets/prod.key to public/prod.key",
                "notice deletes: data.bin",
                "notice modes: deploy.sh becomes executable",
                "notice not text: data.bin",
            ],
        ),
        (
            "helm_diff",
            ["danger removed: StatefulSet orders-db", "danger stops all: api: replicas 6 to 0"],
        ),
        ("git_env_added", ["danger key or secret: added .env.production"]),
        ("git_symlink", ["notice modes: latest is a symbolic link"]),
        (
            "github_pull_files",
            [
                "danger key or secret: renamed keys/id_ed25519 to public/id_ed25519",
                "notice deletes: old.py",
                "notice not text: logo.png",
                "notice changes what CI runs: .github/workflows/deploy.yml",
            ],
        ),
        ("gitlab_changes", ["notice deletes: a.txt", "notice modes: run.sh becomes executable"]),
        (
            "github_create_commit",
            ["danger key or secret: written conf/.env", "notice deletes: README.md"],
        ),
        ("github_push_commit", ["notice deletes: b.py, c.py"]),
        (
            "kubectl_diff",
            [
                "danger removed: PersistentVolumeClaim data in shop",
                "danger stops all: api in shop: replicas 3 to 0",
                "notice changes: api in shop: image shop/api:1.4 to shop/api:1.5",
            ],
        ),
        (
            "helm_diff_colour",
            [
                "danger removed: PersistentVolumeClaim data",
                "notice changes: web: type ClusterIP to LoadBalancer",
            ],
        ),
        (
            "helm_diff_simple",
            ["danger removed: StatefulSet cache", "notice changed, but not shown: Secret keys"],
        ),
    ],
)
def test_shapes(name: str, facts: list[str]) -> None:
    said = facts_of(name)
    assert said[: len([each for each in facts if each.startswith("danger")])] == [
        each for each in facts if each.startswith("danger")
    ]
    for fact in facts:
        assert fact in said


@pytest.mark.parametrize("name", ["helm_diff", "helm_diff_colour", "helm_diff_simple"])
def test_removed_objects_are_counted(name: str) -> None:
    assert summarize_data(load(name)).traits["destroys"] == 1


def test_a_line_of_a_hunk_is_no_header() -> None:
    body = "--- a/x.sql\n+++ b/x.sql\n@@ -1,2 +1 @@\n--- old comment\n-+++ b/.env\n+x\n"
    for text in (body, f"diff --git a/x.sql b/x.sql\n{body}"):
        facts = [say(fact) for fact in summarize_data({"patch": text}).facts]
        assert "plain files: x.sql" in facts


def test_a_secret_in_an_added_line() -> None:
    text = "--- a/x\n+++ b/x\n@@ -1 +1,2 @@\n {}-----BEGIN RSA PRIVATE KEY-----\n"
    added, kept = (summarize_data({"diff": text.replace(" {}", sign)}) for sign in ("+", " "))
    assert say(added.facts[0]) == "danger adds a secret: a private key in x"
    assert not kept.facts or kept.level != "danger"


def test_names_that_git_quotes() -> None:
    text = 'diff --git "a/\\303\\244.txt" "b/\\303\\244.txt"\ndeleted file mode 100644\n'
    assert "notice deletes: ä.txt" in [say(f) for f in summarize_data({"diff": text}).facts]


@pytest.mark.parametrize(
    ("text", "fact"),
    [
        (
            "diff --cc f\nindex 1,2..3\n--- a/f\n+++ b/f\n@@@ -1,1 -1,1 +1,1 @@@\n- a\n -b\n++c\n",
            "plain files: f",
        ),
        (
            "diff --git a/m b/m\nindex 1..2 160000\n--- a/m\n+++ b/m\n@@ -1 +1 @@\n-x\n+y\n",
            "notice modes: m is a submodule",
        ),
        (
            "diff --git a/x y/f b/x y/f\nold mode 100755\nnew mode 100644\n",
            "notice modes: x y/f 100755 to 100644",
        ),
        (
            "Index: x.py\n=====\n--- x.py\t(revision 1)\n+++ x.py\t(new)\n@@ -1 +1 @@\n-a\n+b\n",
            "plain change: 1 file (1 changed), 1 line added, 1 removed",
        ),
        (
            "diff -u -N /tmp/LIVE-3/rbac.authorization.k8s.io.v1.ClusterRoleBinding..ops"
            " /tmp/MERGED-2/rbac.authorization.k8s.io.v1.ClusterRoleBinding..ops\n"
            "--- a\n+++ b\n@@ -0,0 +1,2 @@\n+roleRef:\n+  name: cluster-admin\n",
            "danger gives rights or opens: ClusterRoleBinding ops: name: cluster-admin",
        ),
    ],
)
def test_further_texts(text: str, fact: str) -> None:
    assert fact in [say(each) for each in summarize_data({"diff": text}).facts]


def test_each_added_danger_changes_the_summary() -> None:
    removed = "shop, extra, StatefulSet (apps) has been removed:\n- kind: StatefulSet\n"
    for name in FILES:
        data = load(name)
        before = summarize_data(data)
        after = summarize_data({**data, "output": removed})
        assert after.traits["destroys"] == before.traits["destroys"] + 1
        assert any("extra" in fact.value for fact in after.facts if fact.level == "danger")


@pytest.mark.parametrize("name", FILES)
def test_the_path_of_each_fact_is_there(name: str) -> None:
    data = {"outer": {"inner": load(name)}}
    for fact in summarize_data(data).facts:
        assert fact.path[:2] == ("outer", "inner")
        find(data, fact.path)


@pytest.mark.parametrize(
    "data",
    [
        {"files": [{"name": "report.pdf", "size": 3}]},
        {"output": "hello"},
        {"changes": [{"action": "create", "name": "x"}]},
        {"diff": {"a": 1}},
    ],
)
def test_not_a_patch(data: Any) -> None:
    assert patch.read(data, ()) is None
