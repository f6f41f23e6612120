"""Commands: text, lists of words, scripts of steps; the whole line, its programs, root, hosts."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from approvals_app.payload.facts import (
    LONGEST_HEADLINE,
    MOST_FACTS,
    RANKS,
    Data,
    Fact,
    Found,
    Level,
    Path,
    Reading,
    Text,
    clip,
    count,
    fit,
    join_alike,
    name_some,
    share_path,
)
from approvals_app.payload.kinds import statement
from approvals_app.payload.kinds._messages import is_raw_mail
from approvals_app.payload.kinds._shell import (
    INTERPRETERS,
    ROOT,
    SHELLS,
    Code,
    has_flag,
    name_program,
    read_code,
    read_words,
    shlex_join,
    skip_code,
)
from approvals_app.payload.walking import Names

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
CONTEXTS: Final = ("securityContext", "security_context", "options")
AS_ROOT: Final = "runs as root"
FROM_OUTSIDE: Final = "what comes in is run"
UNREAD: Final = {
    "not read",
    "not understood",
    "runs code that is not read",
    "program known only when it runs",
    FROM_OUTSIDE,
}
"""What a command may do beyond what was read."""
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


MEMBERS: Final = frozenset([*LINES, *SCRIPTS, *HOLDERS, "DocumentName"])


def may_read(names: Names) -> bool:
    """Whether an object with these members may hold commands."""
    return not MEMBERS.isdisjoint(names.exact)


def read(data: Data, path: Path) -> Reading | None:
    """Commands in members such as ``command``, ``argv``, ``script`` and ``steps``."""
    lines = find(data)
    readings = read_several([Found(path, data, lines)]) if lines else []
    return readings[0][1] if readings else None


def find(data: Data) -> list[Text]:
    """The commands in ``data``, in itself and in the steps that it lists."""
    return list(_find_lines(data))


_Signs = dict[tuple[str, Level], dict[str, Path]]


@dataclass(slots=True)
class _Script:
    """The commands of one object and what they do; ``switch`` makes all of them root."""

    found: Found
    codes: list[tuple[Path, Code]]
    inputs: list[Fact]
    switches: list[Fact]
    hosts: list[Fact]
    switch: bool

    @property
    def as_root(self) -> bool:
        return self.switch or any(code.as_root or code.may_be_root for _, code in self.codes)


def read_several(objects: Sequence[Found]) -> list[tuple[Path, Reading]]:
    """Read all commands of a payload; the first reading says what all of them do."""
    left = MOST_SIGNS
    scripts = []
    for each in objects:
        script, left = _read_script(each, left)
        scripts.append(script)
    facts, traits = _tell_scripts(scripts)
    readings = [(each.found.path, Reading("command", used=_find_used(each))) for each in scripts]
    first = readings[0][1]
    first.facts = _choose(facts)
    first.headline = _write_headline(scripts, facts)
    first.traits = traits
    return readings


def _read_script(found: Found, left: int) -> tuple[_Script, int]:
    """What the commands of ``found`` do, and how many more characters are read after them."""
    data, path = found.data, found.path
    codes: list[tuple[Path, Code]] = []
    for at, line in enumerate(found.texts):
        if left <= 0:
            rest = "\n".join(each.text for each in found.texts[at:])
            codes.append(((*path, *line.steps), skip_code(rest)))
            break
        left -= len(line.text) + 100
        codes.append(((*path, *line.steps), _read_line(line)))
    shells = any(name_program(words[0]) in SHELLS for _, c in codes for words in c.commands)
    inputs = []
    for name in INPUTS:
        if isinstance(data.get(name), str) and data[name].strip():
            if shells:
                codes.append(((*path, name), read_code(data[name])))
            inputs.append(Fact(name, clip(data[name], 160), (*path, name)))
    switches, switch = _read_switches(data, path)
    hosts = list(_tell_hosts(data, path, codes))
    return _Script(found, codes, inputs, switches, hosts, switch), left


def _tell_scripts(scripts: list[_Script]) -> tuple[list[Fact], dict[str, Any]]:
    """The facts of all scripts, and what policies ask of them."""
    codes = [each for script in scripts for each in script.codes]
    facts = [fact for each in scripts for fact in (*each.inputs, *each.switches)]
    signs = _group_signs(codes)
    facts += _tell(signs)
    destroys = len(signs.get(("destroys", Level.DANGER), ()))
    for fact, number in _read_clients(codes):
        facts.append(fact)
        destroys += number
    facts += [fact for each in scripts for fact in each.hosts]
    facts.append(_tell_line([each.found for each in scripts]))
    programs = dict.fromkeys(name_program(words[0]) for _, code in codes for words in code.commands)
    if programs:
        label = "program" if len(programs) == 1 else f"{len(programs):,} programs"
        where = share_path([where for where, _ in codes])
        facts.append(Fact(label, name_some(list(programs), 12), where))
    for script in scripts:
        data, path = script.found.data, script.found.path
        for name in _places_of(data):
            facts.append(Fact(name.replace("_", " "), clip(data[name]), (*path, name)))
    traits = {
        "as_root": any(each.as_root for each in scripts),
        "destroys": destroys,
        "partial": any(label in UNREAD for label, _ in signs),
    }
    return join_alike(facts), traits


def _places_of(data: Data) -> list[str]:
    return [name for name in PLACES if isinstance(data.get(name), str) and data[name].strip()]


def _find_used(script: _Script) -> set[str]:
    data, path = script.found.data, script.found.path
    told = {each.steps[0] for each in script.found.texts}
    facts = [*script.inputs, *script.switches, *script.hosts]
    told |= {fact.path[len(path)] for fact in facts if len(fact.path) > len(path)}
    told |= {*_places_of(data), *ARGUMENTS, *HOSTS}
    return {str(name) for name in told if name in data}


def _write_headline(scripts: list[_Script], facts: list[Fact]) -> str:
    """The gravest command, as it stands; root and many hosts before it."""
    lines = {
        (*each.found.path, *line.steps): (each, line)
        for each in reversed(scripts)
        for line in reversed(each.found.texts)
    }
    worst = sorted(facts, key=lambda fact: RANKS[fact.level])
    beside = {path[:-1]: path for path in lines}
    places = [_leave_context(path) for fact in worst for path in (fact.path, *fact.members[:1])]
    found = (path if path in lines else beside.get(path[:-1]) for path in places)
    start = next(filter(None, found), next(reversed(lines)))
    script, line = lines[start]
    root = any(code.as_root for where, code in script.codes if where == start) or any(
        start[: len(switch)] == switch
        for switch in (_leave_context(f.path)[:-1] for f in script.switches if f.label == AS_ROOT)
    )
    hosts = next(
        (f" on {f.value.partition(':')[0]}" for f in script.hosts if f.label == "runs on"), ""
    )
    begin = f"Run{' as root' if root else ''}{hosts}: "
    rest = f", and {count(len(lines) - 1, 'more command')}" if len(lines) > 1 else ""
    return f"{begin}{clip(line.text, LONGEST_HEADLINE - len(begin + rest))}{rest}"


def _leave_context(path: Path) -> Path:
    """The path of a member of a security context as if it stood beside the command."""
    return (*path[:-2], path[-1]) if path[-2:-1] and path[-2] in CONTEXTS else path


def _choose(facts: list[Fact]) -> list[Fact]:
    """At most seven, the most dangerous first, the whole line always."""
    whole = next(fact for fact in facts if fact.label in ("command", "commands"))
    others = fit([fact for fact in facts if fact is not whole], MOST_FACTS - 1)
    return fit([*others, whole])


def _find_lines(data: Data, steps: Path = (), depth: int = 3) -> Iterator[Text]:
    present = data.keys() & MEMBERS
    if not present:
        return
    for name in LINES:
        if name in present:
            yield from _lines_of(data, name, steps)
    for name in SCRIPTS:
        if name not in present or (name == "shell" and "run" in data):
            continue  # the name of the shell
        if name == "raw" and is_raw_mail(data[name]):
            continue  # Gmail's, and no module of Ansible
        yield from _scripts_of(data[name], (*steps, name))
    for name in HOLDERS:
        each = data.get(name) if name in present else None
        if isinstance(each, list) and depth:
            for at, inner in enumerate(each):
                if isinstance(inner, dict):
                    yield from _find_lines(inner, (*steps, name, at), depth - 1)
                elif isinstance(inner, str) and name == "steps" and inner.strip():
                    yield Text((*steps, name, at), inner)
    if "DocumentName" in present:
        for name in ("Parameters", "parameters"):
            if isinstance(parameters := data.get(name), dict):
                yield from _scripts_of(parameters.get("commands"), (*steps, name, "commands"))


def _lines_of(data: Data, name: str, steps: Path) -> Iterator[Text]:
    value = data.get(name)
    arguments = [word for each in ARGUMENTS if each in data for word in _as_words(data[each])]
    if isinstance(value, str):
        if value.strip():
            more = f" {shlex_join(arguments)}" if arguments else ""
            plain = bool(arguments) and not re.search(r"\s", value)
            yield Text((*steps, name), value + more, (value, *arguments) if plain else ())
    elif words := _as_words(value):
        words += arguments
        yield Text((*steps, name), shlex_join(words), tuple(words))
    elif isinstance(value, dict):  # Ansible: {"command": {"cmd": …}}, {"argv": […]}
        for inner in ("cmd", "argv"):
            yield from _lines_of(value, inner, (*steps, name))


def _scripts_of(value: Any, steps: Path) -> Iterator[Text]:
    if (isinstance(value, str) and re.search(r"\s", value.strip())) or (
        isinstance(value, str) and value.strip() and steps[-1] not in ("run", "shell", "script")
    ):
        yield Text(steps, value)
    elif isinstance(value, list):
        for at, each in enumerate(value):
            if isinstance(each, str) and each.strip():
                yield Text((*steps, at), each)
            elif isinstance(each, list) and (words := _as_words(each)):
                yield Text((*steps, at), shlex_join(words), tuple(words))
    elif isinstance(value, dict):
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


def _read_line(line: Text) -> Code:
    code = Code()
    if line.words:
        read_words([word[:20_000] for word in line.words[:500]], code)
        if len(line.words) > 500:
            code.unread = count(len(line.words) - 500, "word")
    else:
        read_code(line.text, code)
    return code


def _group_signs(read_lines: list[tuple[Path, Code]]) -> _Signs:
    """What is dangerous or unusual, by its label: the commands that have it, and where."""
    groups: _Signs = {}

    def add(label: str, level: Level, where: Path, what: str) -> None:
        groups.setdefault((label, level), {}).setdefault(what, where)

    for where, code in read_lines:
        for what in code.as_root:
            add(AS_ROOT, Level.DANGER, where, what)
        for what in code.into_shell:
            add(FROM_OUTSIDE, Level.DANGER, where, what)
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
    return groups


def _tell(groups: _Signs) -> Iterator[Fact]:
    """One fact for each kind of danger, at the first command that has it."""
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


def _read_clients(codes: list[tuple[Path, Code]]) -> Iterator[tuple[Fact, int]]:
    """The dangers of SQL that a client gets as a word: ``psql -c 'DROP TABLE …'``."""
    objects = [
        Found(where, {}, [Text((), word)])
        for where, code in codes
        for words in code.commands
        if _SQL_CLIENTS.fullmatch(name_program(words[0]))
        for word in words[1:]
        if " " in word and statement.looks_like_sql(word)
    ]
    readings = statement.read_several(objects) if objects else []
    for _, reading in readings[:1]:
        number = reading.traits["destroys"]
        for fact in reading.facts:
            if fact.level is Level.DANGER:
                yield replace(fact), number
                number = 0


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
                facts.append(Fact(AS_ROOT, f"{name}: {value}", where, Level.DANGER))
            elif text in YES:
                facts.append(Fact("runs as another user", f"{name}: {value}", where, Level.NOTICE))
            else:
                facts.append(Fact("perhaps as root", f"{name}: {value}", where, Level.DANGER))
        elif name in ROOT_NAMES and text in ROOT and value is not False:
            facts.append(Fact(AS_ROOT, f"{name}: {value}", where, Level.DANGER))
        elif name in ROOT_NAMES and isinstance(value, str) and text:
            facts.append(Fact("user", clip(value), where))
    return facts[:4], any(fact.label == AS_ROOT for fact in facts)


def _walk_members(data: Data, path: Path) -> Iterator[tuple[str, Path, Any]]:
    """The members of ``data``, of its security context, and of the steps that it holds."""
    for name, value in data.items():
        if name in (*ROOT_SWITCHES, *ROOT_NAMES):
            yield name, (*path, name), value
        elif name in CONTEXTS and isinstance(value, Mapping):
            yield from _walk_members(value, (*path, name))
        elif name in HOLDERS and isinstance(value, list):
            for at, each in enumerate(value):
                if isinstance(each, dict):
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
    if isinstance(value, dict):
        for name in ("name", "host", "hostname", "address", "ip"):
            if isinstance(value.get(name), str):
                return [value[name]]
        if isinstance(value.get("Values"), list):  # {"Key": "tag:role", "Values": ["web"]}
            return [f"{value.get('Key')}={each}" for each in value["Values"]]
    return []


def _tell_line(objects: Sequence[Found]) -> Fact:
    paths = [(*each.path, *line.steps) for each in objects for line in each.texts]
    texts = [line.text for each in objects for line in each.texts]
    where = share_path(paths)
    if len(texts) == 1:
        rows = [row for row in texts[0].splitlines() if row.strip()]
        if len(rows) <= 3:
            return Fact("command", clip(texts[0], 400), where)
        return Fact("commands", f"{len(rows):,} lines: {clip('; '.join(rows[:50]), 300)}", where)
    return Fact("commands", f"{len(texts):,}: {clip('; '.join(texts[:20]), 300)}", where)
