"""What Ansible's ``json`` callback writes, most often of ``ansible-playbook --check --diff``."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from approvals_app.payload.facts import Data, Level, Path, Reading, clip, count, name_some
from approvals_app.payload.kinds._resources import Group, Things, choose_facts, list_of, tell

COMMANDS: Final = (
    "command",
    "shell",
    "raw",
    "script",
    "win_command",
    "win_shell",
    "expect",
    "psexec",
)
"""Modules that do not run in check mode: what they would do, nobody knows."""
OPENS: Final = re.compile(
    r"^\s*(?:PermitRootLogin\s+(?:yes|without-password|prohibit-password)"
    r"|PasswordAuthentication\s+yes|PermitEmptyPasswords\s+yes)\b"
    r"|\bNOPASSWD\b|\b0\.0\.0\.0/0\b|(?<![\w:])::/0\b",
    re.IGNORECASE,
)
"""Lines that let more people in: logins as root or by password, sudo without one, any address."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one task says of one host, or of one item of its loop there."""

    path: Path
    host: str
    task: str
    action: str
    members: Mapping[str, Any]

    @property
    def diffs(self) -> list[Mapping[str, Any]]:
        diff = self.members.get("diff")
        return [
            each for each in (diff if isinstance(diff, list) else [diff]) if isinstance(each, dict)
        ]

    @property
    def is_changed(self) -> bool:
        return self.members.get("changed") is True


def read(data: Data, path: Path) -> Reading | None:
    """What goes, what opens and what changes on which hosts, and what could not be tried."""
    if not any(_list_tasks(each) for each in list_of(data, "plays")):
        return None
    whole = (*path, "plays")
    results = list(_walk_results(data, whole))
    removed = _list_removed(results)
    facts = [
        *_tell_failures(results, data, path),
        *tell("removed", removed, whole, Level.DANGER),
        *tell("opens access", _list_opened(results), whole, Level.DANGER),
        *tell("not tried in check mode", _list_untried(results), whole, Level.NOTICE),
        *tell("hidden by no_log", _list_hidden(results), whole, Level.NOTICE),
        *_tell_changes(results, whole),
    ]
    used = {"plays", "stats"} & data.keys()
    total = _count(results, whole)
    traits = {"destroys": len(removed)}
    headline = _write_headline(results, len(removed))
    return Reading("ansible", choose_facts(facts, total), used, traits, headline)


def _write_headline(results: list[Result], removed: int) -> str:
    changed = [each for each in results if each.is_changed]
    hosts, tasks = (len({getattr(each, name) for each in changed}) for name in ("host", "task"))
    if not changed:
        return f"Change none of {count(len({each.host for each in results}), 'host')}"
    text = f"{count(hosts, 'host')} by {count(tasks, 'task')} of Ansible"
    return f"Remove {removed:,}, change {text}" if removed else f"Change {text}"


def _list_tasks(play: Any) -> list[Mapping[str, Any]]:
    tasks = list_of(play, "tasks") if isinstance(play, dict) else []
    return [
        each for each in tasks if isinstance(each, dict) and isinstance(each.get("hosts"), dict)
    ]


def _walk_results(data: Data, whole: Path) -> Iterator[Result]:
    for play_place, play in enumerate(list_of(data, "plays")):
        for place, task in enumerate(list_of(play, "tasks") if isinstance(play, dict) else []):
            hosts = task.get("hosts") if isinstance(task, dict) else None
            about = task.get("task") if isinstance(task, dict) else None
            about = about if isinstance(about, dict) else {}
            for host, members in hosts.items() if isinstance(hosts, dict) else []:
                if isinstance(members, dict):
                    at = (*whole, play_place, "tasks", place, "hosts", host)
                    action = members.get("action") or about.get("action") or ""
                    name = clip(str(about.get("name") or action or "a task"))
                    yield from _split_loop(Result(at, str(host), name, str(action), members))


def _split_loop(result: Result) -> Iterator[Result]:
    """Each item of a loop, which has a result of its own; else the result."""
    items = [
        (place, each)
        for place, each in enumerate(list_of(result.members, "results"))
        if isinstance(each, dict)
    ]
    if not items:
        yield result
    for place, members in items:
        at = (*result.path, "results", place)
        yield Result(at, result.host, result.task, result.action, members)


def _tell_failures(results: list[Result], data: Data, path: Path) -> list[Group]:
    failed = [
        (f"{each.host}: {each.task}: {_say_failure(each)}", each.path)
        for each in results
        if each.members.get("failed") is True or each.members.get("unreachable") is True
    ]
    if failed:
        return tell("failed", failed, (*path, "plays"), Level.DANGER)
    # A payload that was cut down may hold the counts alone.
    stats = data.get("stats")
    counted: Things = [
        (f"{host}: {counts[name]} {name}", (*path, "stats", host, name))
        for host, counts in (stats.items() if isinstance(stats, dict) else [])
        if isinstance(counts, dict)
        for name in ("failures", "unreachable")
        if isinstance(counts.get(name), int) and counts[name] > 0
    ]
    return tell("failed", counted, (*path, "stats"), Level.DANGER)


def _say_failure(result: Result) -> str:
    message = result.members.get("msg")
    kind = "unreachable" if result.members.get("unreachable") is True else "failed"
    return f"{kind}: {clip(message, 120)}" if isinstance(message, str) and message else kind


def _list_removed(results: list[Result]) -> Things:
    """Things whose state becomes ``absent``, by path or name."""
    removed: Things = []
    for each in results:
        if not each.is_changed:
            continue
        paths = [text for diff in each.diffs if (text := _describe_removed(diff))]
        arguments = _arguments_of(each)
        if not paths and str(arguments.get("state")) in ("absent", "removed", "deleted"):
            names = [arguments.get(key) for key in ("path", "dest", "name", "id")]
            paths = [next((clip(str(name)) for name in names if name), "a thing")]
        removed += [(f"{each.host}: {text} ({each.task})", each.path) for text in paths]
    return removed


def _describe_removed(diff: Mapping[str, Any]) -> str:
    before, after = diff.get("before"), diff.get("after")
    if not isinstance(after, dict) or after.get("state") != "absent":
        return ""
    old = before if isinstance(before, dict) else {}
    text = clip(str(after.get("path") or old.get("path") or "a thing"))
    state = old.get("state")
    inside = old.get("path_content")
    sizes = [
        count(len(names), one, many)
        for key, one, many in (("directories", "directory", "directories"), ("files", "file", ""))
        if isinstance(inside, dict) and (names := inside.get(key)) and isinstance(names, list)
    ]
    content = f" with {' and '.join(sizes)}" if sizes else ""
    return f"{text}, a {state}{content}" if isinstance(state, str) else text


def _arguments_of(result: Result) -> Mapping[str, Any]:
    invocation = result.members.get("invocation")
    arguments = invocation.get("module_args") if isinstance(invocation, dict) else None
    return arguments if isinstance(arguments, dict) else {}


def _list_opened(results: list[Result]) -> Things:
    opened: Things = []
    for each in results:
        for diff in each.diffs:
            lines = [clip(line.strip()) for line in _list_new_lines(diff) if OPENS.search(line)]
            if lines:
                file = diff.get("before_header") or diff.get("after_header") or each.task
                opened.append(
                    (f"{each.host}: {clip(str(file), 60)}: {name_some(lines)}", each.path)
                )
    return opened


def _list_new_lines(diff: Mapping[str, Any]) -> list[str]:
    after = diff.get("after")
    if isinstance(after, str):
        before = diff.get("before")
        old = set(before.splitlines()) if isinstance(before, str) else set()
        return [line for line in after.splitlines() if line not in old]
    prepared = diff.get("prepared")
    lines = prepared.splitlines() if isinstance(prepared, str) else []
    return [line[1:] for line in lines if line.startswith("+") and not line.startswith("+++")]


def _list_untried(results: list[Result]) -> Things:
    """Commands that check mode did not run; those that a condition skips will not run either."""
    return [(_describe_command(each), each.path) for each in results if _is_untried(each)]


def _is_untried(result: Result) -> bool:
    # A command with ``creates`` says changed, others say skipped, and raw says no more than that.
    if "check mode" in str(result.members.get("msg", "")):
        return True
    by_condition = "skip_reason" in result.members or "false_condition" in result.members
    is_command = result.action.rpartition(".")[2] in COMMANDS
    return is_command and result.members.get("skipped") is True and not by_condition


def _describe_command(result: Result) -> str:
    line = result.members.get("cmd") or _arguments_of(result).get("_raw_params")
    words = " ".join(map(str, line)) if isinstance(line, list) else line
    text = f"{result.host}: {result.task} ({result.action.rpartition('.')[2] or 'a module'})"
    return f"{text}: {clip(words)}" if isinstance(words, str) and words else text


def _list_hidden(results: list[Result]) -> Things:
    return [
        (f"{each.host}: {each.task}", each.path)
        for each in results
        if each.members.get("_ansible_no_log") is True or "censored" in each.members
    ]


def _tell_changes(results: list[Result], whole: Path) -> list[Group]:
    changed = [each for each in results if each.is_changed]
    hosts = Counter(each.host for each in changed)
    tasks = Counter(each.task for each in changed)
    facts: list[Group] = []
    if hosts:
        texts = [f"{host} ({number:,})" for host, number in hosts.items()]
        facts += tell("hosts that change", [(f"{len(hosts):,}: {name_some(texts)}", whole)], whole)
        headers = _find_headers(changed)
        texts = [f"{name} ({headers[name]})" if name in headers else name for name in tasks]
        facts += tell("tasks that change", [(f"{len(tasks):,}: {name_some(texts)}", whole)], whole)
    return facts


def _find_headers(changed: list[Result]) -> dict[str, str]:
    """The file that each task changes, where its difference names one."""
    headers: dict[str, str] = {}
    for each in changed:
        if each.task not in headers:
            for diff in each.diffs:
                if header := diff.get("before_header"):
                    headers.setdefault(each.task, str(header))
    return headers


def _count(results: list[Result], whole: Path) -> list[Group]:
    changed = sum(each.is_changed for each in results)
    skipped = sum(each.members.get("skipped") is True for each in results)
    hosts = len({each.host for each in results})
    text = f"{changed:,} of {len(results):,} change on {count(hosts, 'host')}"
    return tell("results", [(f"{text}, {skipped:,} skipped" if skipped else text, whole)], whole)
