"""Commands: text, lists of words, scripts of steps; the whole line, its programs, root, hosts."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from approvals_app.payload.facts import (
    Data,
    Fact,
    Level,
    Path,
    Reading,
    clip,
    count,
    fit,
    name_some,
    share_path,
)
from approvals_app.payload.kinds import statement
from approvals_app.payload.kinds._shell import (
    INTERPRETERS,
    ROOT,
    SHELLS,
    Code,
    has_flag,
    name_program,
    name_unread,
    read_code,
    read_words,
    shlex_join,
)

LINES: Final = ("command", "cmd", "argv", "Command", "Cmd", "exec", "command_line", "CommandLine")
SCRIPTS: Final = (
    *("commands", "script", "run", "shell", "raw", "before_script", "after_script", "user_data"),
    *("ansible.builtin.shell", "ansible.builtin.command", "ansible.builtin.raw"),
)
ARGUMENTS: Final = ("args", "arguments", "Args")
HOLDERS: Final = (
    "steps",
    "tasks",
    "commands",
    "containers",
    "containerOverrides",
    "initContainers",
)
"""Lists of objects that hold commands."""
INPUTS: Final = ("stdin", "input", "heredoc")
HOSTS: Final = (
    *("hosts", "host", "targets", "target", "nodes", "servers", "inventory", "limit", "hostname"),
    *("InstanceIds", "Targets", "instance_ids", "minions", "tgt", "ip", "addresses"),
)
PLACES: Final = ("image", "cwd", "working_directory", "workdir", "container", "namespace", "pod")
ROOT_SWITCHES: Final = (
    *("sudo", "become", "privileged", "as_root", "asRoot", "run_as_root", "elevated", "use_sudo"),
    *("requires_root", "root", "Privileged"),
)
ROOT_NAMES: Final = (
    *("user", "run_as", "runAs", "runas", "become_user", "remote_user", "username", "User"),
    *("uid", "runAsUser", "run_as_user", "sudo_user", "login"),
)
YES: Final = ("true", "yes", "1", "on", "root")
NO: Final = ("false", "no", "0", "off", "", "none", "null")
MANY_HOSTS: Final = 10
MOST_SIGNS: Final = 40_000
"""How much is read of all commands together."""
_DESTROYING: Final = (
    # The program, and what stands behind it.
    ("rm unlink srm Remove-Item rd", r""),
    ("rmdir del", r" /[sS]\b"),
    ("mkfs", r""),
    ("shred wipefs fdisk sgdisk parted blkdiscard dropdb dropuser userdel lvremove vgremove", r""),
    ("dd", r"\bof="),
    ("find fd", r" -delete\b"),
    ("truncate", r" (-s|--size)"),
    (
        "git",
        r" (push\b.*(-f\b|--force|--delete|--mirror)|reset\b.*--hard|clean\b.*-\w*f|branch\b.*-D)",
    ),
    ("kubectl oc", r" (delete|drain|replace\b.*--force)\b"),
    ("kubectl oc", r" scale\b.*--replicas[= ]0\b"),
    ("helm helmfile", r" (uninstall|delete|destroy)\b"),
    (
        "terraform tofu terragrunt pulumi cdk",
        r" (destroy|-destroy|state rm|apply\b.*-auto-approve)\b",
    ),
    ("terraform tofu terragrunt pulumi", r" up\b.*(--yes|-y)\b"),
    ("docker podman nerdctl", r" (rm|rmi|prune|down\b.*(-v|--volumes)|volume rm|system prune)\b"),
    ("aws", r" (rm|rb|delete\S*|terminate\S*|deregister\S*|remove\S*|sync\b.*--delete)( |$)"),
    (
        "gcloud gsutil bq az doctl heroku flyctl fly",
        r" (delete|rm|destroy|purge|\S+:destroy|\S+:reset)\b",
    ),
    ("redis-cli valkey-cli", r" (flushall|flushdb)\b"),
    ("zfs zpool", r" destroy\b"),
    ("rsync", r" --delete"),
    ("crontab", r" -r\b"),
    ("iptables nft ufw", r" (-F|--flush|flush|reset|disable)\b"),
    ("mongo mongosh", r"drop(Database)?\("),
    ("kafka-topics kafka-topics.sh", r" --delete\b"),
    ("tar", r" --remove-files\b"),
)
_UNUSUAL: Final = (
    ("stops", "shutdown reboot halt poweroff init killall pkill kill", r""),
    ("stops", "systemctl service", r" (stop|disable|mask|kill|poweroff|reboot|halt)\b"),
    ("opens to everyone", "chmod", r" (-R |--recursive )?([ao]*\+\w*w|0?[0-7]?[0-7]{2}[2367])\b"),
    (
        "installs",
        "apt apt-get yum dnf apk pip pip3 npm gem brew zypper pacman",
        r" (install|add|-S)\b",
    ),
    ("changes rights", "chown chgrp setfacl usermod visudo passwd", r""),
    ("sends data", "nc ncat netcat socat", r""),
)
_SQL_CLIENTS: Final = re.compile(r"psql|mysql|mariadb|sqlite3?|clickhouse(-client)?|sqlcmd|duckdb")


@dataclass(frozen=True, slots=True)
class _Line:
    """A command as it stands in the payload: a list of words, or a text for the shell."""

    steps: Path
    text: str
    words: tuple[str, ...] = ()


def read(data: Data, path: Path) -> Reading | None:
    """Commands in members such as ``command``, ``argv``, ``script`` and ``steps``."""
    lines = list(_find_lines(data))
    if not lines:
        return None
    facts: list[Fact] = []
    used = {str(step) for line in lines for step in line.steps[:1]}
    destroys = 0
    read_lines: list[tuple[Path, Code]] = []
    left = MOST_SIGNS
    for at, line in enumerate(lines):
        if left <= 0:
            rest = "\n".join(each.text for each in lines[at:])
            read_lines.append(((*path, *line.steps), Code(unread=name_unread(rest))))
            break
        left -= len(line.text) + 100
        read_lines.append(((*path, *line.steps), _read_line(line)))
    shells = any(name_program(words[0]) in SHELLS for _, c in read_lines for words in c.commands)
    for name in INPUTS:
        if isinstance(data.get(name), str) and data[name]:
            used.add(name)
            if shells:
                read_lines.append(((*path, name), read_code(data[name])))
            facts.append(Fact(name, clip(data[name], 160), (*path, name)))
    root = any(code.as_root for _, code in read_lines)
    switches, switched = _read_switches(data, path)
    root = root or switched
    facts += switches
    facts += _tell(read_lines)
    for where, code in read_lines[:200]:
        for fact, number in _read_sql(code, where):
            facts.append(fact)
            destroys += number
    facts += _tell_hosts(data, path, read_lines)
    facts.append(_tell_line(lines, path))
    programs = dict.fromkeys(
        name_program(words[0]) for _, code in read_lines for words in code.commands
    )
    if programs:
        label = "program" if len(programs) == 1 else f"{len(programs)} programs"
        where = share_path([where for where, _ in read_lines])
        facts.append(Fact(label, name_some(list(programs), 12), where))
    for name in PLACES:
        if isinstance(data.get(name), str) and data[name]:
            facts.append(Fact(name.replace("_", " "), clip(data[name]), (*path, name)))
    told = {str(fact.path[len(path)]) for fact in facts if len(fact.path) > len(path)}
    return Reading(
        "command",
        _choose(facts),
        {name for name in used | told | {*ARGUMENTS, *HOSTS} if name in data},
        {"as_root": root, "destroys": destroys},
    )


def _choose(facts: list[Fact]) -> list[Fact]:
    """At most seven, the most dangerous first, the whole line always."""
    whole = next(fact for fact in facts if fact.label in ("command", "commands"))
    others = fit([fact for fact in facts if fact is not whole], 6)
    return fit([*others, whole])


def _find_lines(data: Data, steps: Path = (), depth: int = 3) -> Iterator[_Line]:
    for name in LINES:
        yield from _lines_of(data, name, steps)
    for name in SCRIPTS:
        if name == "shell" and "run" in data:
            continue  # the name of the shell
        yield from _scripts_of(data.get(name), (*steps, name))
    for name in HOLDERS:
        each = data.get(name)
        if isinstance(each, list) and depth:
            for at, inner in enumerate(each):
                if isinstance(inner, Mapping):
                    yield from _find_lines(inner, (*steps, name, at), depth - 1)
                elif isinstance(inner, str) and name == "steps" and inner.strip():
                    yield _Line((*steps, name, at), inner)
    parameters = data.get("Parameters") or data.get("parameters")
    if isinstance(parameters, Mapping) and "DocumentName" in data:
        yield from _scripts_of(parameters.get("commands"), (*steps, "Parameters", "commands"))


def _lines_of(data: Data, name: str, steps: Path) -> Iterator[_Line]:
    value = data.get(name)
    arguments: list[str] = []
    for each in ARGUMENTS:
        arguments += _as_words(data.get(each))
    if isinstance(value, str) and value.strip():
        more = f" {shlex_join(arguments)}" if arguments else ""
        plain = bool(arguments) and not re.search(r"\s", value)
        yield _Line((*steps, name), value + more, (value, *arguments) if plain else ())
    elif words := _as_words(value):
        words += arguments
        yield _Line((*steps, name), shlex_join(words), tuple(words))
    elif isinstance(value, Mapping):  # Ansible: {"command": {"cmd": …}}, {"argv": […]}
        for inner in ("cmd", "argv"):
            yield from _lines_of(value, inner, (*steps, name))


def _scripts_of(value: Any, steps: Path) -> Iterator[_Line]:
    if (isinstance(value, str) and re.search(r"\s", value.strip())) or (
        isinstance(value, str) and value.strip() and steps[-1] not in ("run", "shell", "script")
    ):
        yield _Line(steps, value)
    elif isinstance(value, list):
        for at, each in enumerate(value):
            if isinstance(each, str) and each.strip():
                yield _Line((*steps, at), each)
            elif isinstance(each, list) and (words := _as_words(each)):
                yield _Line((*steps, at), shlex_join(words), tuple(words))
    elif isinstance(value, Mapping):
        for inner in ("cmd", "argv"):
            yield from _lines_of(value, inner, steps)


def _as_words(value: Any) -> list[str]:
    """A list of texts and numbers; empty for anything else, a text split at blanks."""
    if isinstance(value, str):
        return value.split()
    if isinstance(value, list) and all(
        isinstance(each, str | int | float) and not isinstance(each, bool) for each in value
    ):
        return [str(each) for each in value]
    return []


def _read_line(line: _Line) -> Code:
    code = Code()
    if line.words:
        read_words([word[:20_000] for word in line.words[:500]], code)
        if len(line.words) > 500:
            code.unread = count(len(line.words) - 500, "word")
    else:
        read_code(line.text, code)
    return code


def _tell(read_lines: list[tuple[Path, Code]]) -> Iterator[Fact]:
    """One fact for each kind of danger, at the first command that has it."""
    groups: dict[tuple[str, Level], dict[str, Path]] = {}

    def add(label: str, level: Level, where: Path, what: str) -> None:
        groups.setdefault((label, level), {}).setdefault(what, where)

    for where, code in read_lines:
        for what in code.as_root:
            add("runs as root", Level.DANGER, where, what)
        for what in code.into_shell:
            add("what comes in is run", Level.DANGER, where, what)
        for words in code.commands:
            for label, level in _judge(words):
                add(label, level, where, shlex_join(words))
        for what in code.writes:
            level = Level.DANGER if re.match(r"/(dev|etc|boot|proc|sys)/", what) else Level.NOTICE
            add("writes to", level, where, what)
        for what in code.as_other:
            add("runs as another user", Level.NOTICE, where, what)
        for what in code.broken:
            add("not understood", Level.NOTICE, where, what)
        if code.unread:
            level = Level.DANGER if ", with" in code.unread else Level.NOTICE
            add("not read", level, where, code.unread)
    for (label, level), names in groups.items():
        where = share_path(list(names.values()))
        value = name_some(list(names)) if len(names) > 1 else clip(next(iter(names)), 160)
        yield Fact(label, value, where, level)


def _judge(words: Sequence[str]) -> Iterator[tuple[str, Level]]:
    program, line = name_program(words[0]), " " + " ".join(words[1:])[:5_000]
    start = program.split(".")[0]
    for names, pattern in _DESTROYING:
        if (program in names.split() or start == names) and re.search(pattern, line):
            yield "destroys", Level.DANGER
            break
    for label, names, pattern in _UNUSUAL:
        if program in names.split() and re.search(pattern, line):
            level = Level.DANGER if label == "opens to everyone" else Level.NOTICE
            yield label, level
    if "/dev/tcp/" in line or (program in ("nc", "ncat") and has_flag(words, "ec")):
        yield "opens a connection to a shell", Level.DANGER
    if program in INTERPRETERS - SHELLS and has_flag(words, "ce"):
        yield "runs code that is not read", Level.NOTICE
    if words[0][:1] in "$`" and len(words[0]) > 1:
        yield "program known only when it runs", Level.NOTICE


def _read_sql(code: Code, where: Path) -> Iterator[tuple[Fact, int]]:
    """The dangers of SQL that a client gets as a word: ``psql -c 'DROP TABLE …'``."""
    for words in code.commands[:200]:
        if not _SQL_CLIENTS.fullmatch(name_program(words[0])):
            continue
        for text in [word for word in words[1:] if " " in word][:5]:
            reading = statement.read({"query": text[:5_000]}, ())
            for fact in reading.facts if reading else []:
                if fact.level is Level.DANGER:
                    number = reading.traits.get("destroys", 0) if reading else 0
                    yield Fact(fact.label, fact.value, where, fact.level), number


def _read_switches(data: Data, path: Path) -> tuple[list[Fact], bool]:
    """Root by a member: ``sudo``, ``become``, ``user``, a security context; facts, and if it is."""
    facts: list[Fact] = []
    other = next(
        (str(data[name]) for name in ("become_user", "sudo_user") if data.get(name)), "root"
    )
    for name, where, value in _walk_members(data, path):
        text = str(value).strip().lower() if isinstance(value, str | int | bool) else ""
        if name in ROOT_SWITCHES and text not in NO:
            if text in YES and other.lower() in ROOT:
                facts.append(Fact("runs as root", f"{name}: {value}", where, Level.DANGER))
            elif text in YES:
                facts.append(Fact("runs as another user", f"{name}: {value}", where, Level.NOTICE))
            else:
                facts.append(Fact("perhaps as root", f"{name}: {value}", where, Level.DANGER))
        elif name in ROOT_NAMES and text in ROOT and value is not False:
            facts.append(Fact("runs as root", f"{name}: {value}", where, Level.DANGER))
        elif name in ROOT_NAMES and isinstance(value, str) and text:
            facts.append(Fact("user", clip(value), where))
    return facts[:4], any(fact.label == "runs as root" for fact in facts)


def _walk_members(data: Data, path: Path) -> Iterator[tuple[str, Path, Any]]:
    """The members of ``data``, of its security context, and of the steps that it holds."""
    for name, value in data.items():
        if name in (*ROOT_SWITCHES, *ROOT_NAMES):
            yield name, (*path, name), value
        elif name in ("securityContext", "security_context", "options") and isinstance(
            value, Mapping
        ):
            yield from _walk_members(value, (*path, name))
        elif name in HOLDERS and isinstance(value, list):
            for at, each in enumerate(value[:500]):
                if isinstance(each, Mapping):
                    yield from _walk_members(each, (*path, name, at))


def _tell_hosts(data: Data, path: Path, lines: list[tuple[Path, Code]]) -> Iterator[Fact]:
    for name in HOSTS:
        value = data.get(name)
        names = [value] if isinstance(value, str) and value.strip() else []
        if isinstance(value, list):
            names = [host for each in value for host in _name_host(each)]
        if not names:
            continue
        where, shown = (*path, name), name_some(names)
        if len(names) == 1 and isinstance(value, str):
            yield Fact("host" if name in ("host", "hostname") else name, shown, where)
        else:
            level = Level.NOTICE if len(names) >= MANY_HOSTS else Level.PLAIN
            yield Fact("runs on", f"{count(len(names), 'host')}: {shown}", where, level)
    if reached := dict.fromkeys(host for _, code in lines for host in code.hosts):
        where = next(where for where, code in lines if code.hosts)
        yield Fact("reaches over ssh", name_some(list(reached)), where, Level.NOTICE)


def _name_host(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        for name in ("name", "host", "hostname", "address", "ip"):
            if isinstance(value.get(name), str):
                return [value[name]]
        if isinstance(value.get("Values"), list):  # {"Key": "tag:role", "Values": ["web"]}
            return [f"{value.get('Key')}={each}" for each in value["Values"]]
    return []


def _tell_line(lines: list[_Line], path: Path) -> Fact:
    where = share_path([(*path, *line.steps) for line in lines])
    if len(lines) == 1:
        rows = [row for row in lines[0].text.splitlines() if row.strip()]
        if len(rows) <= 3:
            return Fact("command", clip(lines[0].text, 400), where)
        return Fact("commands", f"{len(rows):,} lines: {clip('; '.join(rows[:50]), 300)}", where)
    shown = "; ".join(line.text for line in lines[:20])
    return Fact("commands", f"{len(lines):,}: {clip(shown, 300)}", where)
