#!/usr/bin/env bash
# ansible-core 2.19.4: a check says of a shell that would delete a folder: skipped, unchanged, rc 0.
#
# `ansible-playbook --check` runs no command, and reports in three ways that it did not: `shell` is skipped with
# the command and a message, `raw` is skipped without either, and a `command` with `creates` is changed. The recap
# counts the first two like tasks that a condition skips, so a playbook of shells alone ends with "changed=0".
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet --disable-pip-version-check ansible-core==2.19.4
cat > "$place/playbook.yml" <<'PLAYBOOK'
- hosts: localhost
  connection: local
  gather_facts: false
  tasks:
    - {name: shell, ansible.builtin.shell: rm -rf /srv/none}
    - {name: raw, ansible.builtin.raw: rm -rf /srv/none}
    - {name: condition, ansible.builtin.shell: rm -rf /srv/none, when: false}
PLAYBOOK
printf '%s\n' '    - {name: creates, ansible.builtin.command: rm -rf /srv/none creates=/srv/none}' > "$place/creates"
run() {
    ANSIBLE_CALLBACK_RESULT_FORMAT=json ANSIBLE_NOCOLOR=1 "$place/venv/bin/ansible-playbook" -v --check \
        "$place/playbook.yml" 2> /dev/null
}
echo "ansible-core 2.19.4"
run | tee "$place/without" | grep -E '^(skipping|changed|localhost)'
cat "$place/creates" >> "$place/playbook.yml"
run > "$place/with"
grep -E '^changed' "$place/with"
grep -q '^skipping: .*"changed": false, "cmd": "rm -rf /srv/none".*"rc": 0' "$place/without"
grep -q '^skipping: \[localhost\] => {"changed": false}$' "$place/without"
grep -q 'changed=0 .*skipped=3' "$place/without"
grep -q '^changed: .*would have run if not in check mode' "$place/with"
