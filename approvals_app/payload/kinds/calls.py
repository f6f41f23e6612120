"""Calls of APIs that delete: an operation of a cloud with its parameters, HTTP's DELETE."""

import re
from collections.abc import Iterator
from typing import Any, Final

from approvals_app.payload.facts import (
    LONGEST_HEADLINE,
    MOST_MEMBERS,
    Data,
    Fact,
    Level,
    Path,
    Reading,
    clip,
    count,
    name_some,
    share_path,
)
from approvals_app.payload.kinds._amounts import normalize
from approvals_app.payload.walking import Names

OPERATIONS: Final = (
    *("operation", "Operation", "operationName", "action", "Action", "apiCall"),
    "tool",  # MCP: {"server", "tool", "arguments"}
)
PARAMETERS: Final = (
    *("parameters", "Parameters", "params", "input", "Input", "requestParameters", "request"),
    *("arguments", "args", "body", "payload", "kwargs"),
)
SERVICES: Final = (
    "service",
    "Service",
    "serviceName",
    "client",
    "api",
    "provider",
    "eventSource",
    "server",
)
ADDRESSES: Final = ("url", "uri", "endpoint", "path", "href")
WRITTEN: Final = re.compile(r"[A-Za-z][\w.:/ -]{2,120}")
WORD: Final = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")
DELETES: Final = frozenset(
    [
        *("delete", "deletion", "terminate", "destroy", "remove", "purge", "drop", "deregister"),
        *("erase", "wipe"),
    ]
)
STOPS: Final = frozenset(["stop", "disable", "revoke", "suspend", "detach", "deactivate", "reboot"])
ALONE: Final = frozenset(["delete", "terminate", "destroy", "remove", "purge", "erase", "wipe"])
"""Clear without an object in the operation's name, if a member beside it names one."""
NAMES: Final = re.compile(
    r"(?:ids?|names?|identifiers?|arns?|buckets?|keys?|instances?|projects?|resources?|targets?"
    r"|users?|emails?|paths?|urls?|objects?|items?|repo|repository)$"
)
FOR_GOOD: Final = {
    "skipfinalsnapshot": "no final snapshot",
    "forcedeletewithoutrecovery": "no recovery",
    "deleteautomatedbackups": "its backups, too",
    "force": "forced",
    "forcedelete": "forced",
    "recursive": "with all that is in it",
    "bypassgovernanceretention": "retention is bypassed",
}
"""What makes a deletion final, where it is true."""
MEMBERS: Final = frozenset([*OPERATIONS, "method"])
DEEPEST: Final = 4


def may_read(names: Names) -> bool:
    """Whether an object with these members may be a call."""
    return not MEMBERS.isdisjoint(names.exact)


def read(data: Data, path: Path) -> Reading | None:
    """A call that deletes or stops something; other calls are left to other kinds."""
    return _read_http(data, path) or _read_operation(data, path)


def _read_http(data: Data, path: Path) -> Reading | None:
    method = data.get("method")
    if not isinstance(method, str) or method.upper() != "DELETE":
        return None
    name = next((each for each in ADDRESSES if _is_text(data.get(each))), None)
    if name is None or "/" not in data[name]:
        return None
    fact = Fact("deletes", f"DELETE {clip(data[name], 200)}", (*path, name), Level.DANGER)
    headline = clip(fact.value, LONGEST_HEADLINE)
    return Reading("call", [fact], {"method", name}, {"destroys": 1}, headline)


def _read_operation(data: Data, path: Path) -> Reading | None:
    name = next((each for each in OPERATIONS if _is_text(data.get(each))), None)
    if name is None or "Effect" in data:  # what a policy of AWS allows is no call
        return None
    operation = data[name].strip()
    words = (
        [word.lower() for word in WORD.findall(operation)] if WRITTEN.fullmatch(operation) else []
    )
    deletes = not DELETES.isdisjoint(words)
    if not deletes and STOPS.isdisjoint(words):
        return None
    member = next((each for each in PARAMETERS if isinstance(data.get(each), (dict, list))), None)
    where: Path = path if member is None else (*path, member)
    parameters: Any = data if member is None else data[member]
    things = list(_find_names(parameters, where, name))
    service = next((data[each] for each in SERVICES if _is_text(data.get(each))), "")
    if len(words) == 1 and not (things and words[0] in ALONE):
        return None
    if not (things or service or member):
        return None
    return _describe(
        name, operation, service, deletes, things, list(_find_flags(parameters, where)), path
    )


def _describe(
    name: str,
    operation: str,
    service: str,
    deletes: bool,
    things: list[tuple[str, Path]],
    flags: list[tuple[str, Path]],
    path: Path,
) -> Reading:
    is_trial = any(text == "dry run" for text, _ in flags)
    level = Level.DANGER if deletes and not is_trial else Level.NOTICE
    call = " ".join(filter(None, [clip(service, 40), clip(operation, 80)]))
    names = [text for text, _ in things]
    number = f"{len(names):,}: " if len(names) > 3 else ""
    value = f"{call}: {number}{name_some(names)}" if names else call
    places = [where for _, where in things]
    at = share_path(places) if places else (*path, name)
    facts = [
        Fact("deletes" if deletes else "stops", value, at, level, tuple(places[:MOST_MEMBERS]))
    ]
    facts += [
        Fact("how", text, where, Level.NOTICE if text == "dry run" else level)
        for text, where in flags[:5]
    ]
    facts.append(Fact("operation", call, (*path, name)))
    told = {str(fact.path[len(path)]) for fact in facts if len(fact.path) > len(path)}
    told |= {str(where[len(path)]) for where in places}
    destroys = max(1, len(names)) if deletes and not is_trial else 0
    what = name_some(names, 2) if len(names) < 3 else count(len(names), "thing")
    headline = clip(f"{call}: {what}" if names else call, LONGEST_HEADLINE)
    return Reading("call", facts, told, {"destroys": destroys}, headline)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _find_names(value: Any, path: Path, besides: str, depth: int = 0) -> Iterator[tuple[str, Path]]:
    """The things that parameters name, by the ends of their members' names."""
    if isinstance(value, list):
        for at, each in enumerate(value):
            if isinstance(each, (dict, list)) and depth < DEEPEST:
                yield from _find_names(each, (*path, at), besides, depth + 1)
        return
    for name, each in value.items():
        at_name = (*path, name)
        if name == besides or name in SERVICES:
            continue
        is_name = bool(NAMES.search(normalize(name)))
        if isinstance(each, str):
            if is_name and each.strip():
                yield clip(each, 60), at_name
        elif isinstance(each, list) and is_name and all(isinstance(one, str) for one in each):
            yield from (
                (clip(one, 60), (*at_name, at)) for at, one in enumerate(each) if one.strip()
            )
        elif isinstance(each, (dict, list)) and depth < DEEPEST:
            yield from _find_names(each, at_name, besides, depth + 1)


def _find_flags(value: Any, path: Path) -> Iterator[tuple[str, Path]]:
    for name, each in value.items() if isinstance(value, dict) else ():
        plain = normalize(name)
        if each is True and plain in FOR_GOOD:
            yield FOR_GOOD[plain], (*path, name)
        elif each is True and plain == "dryrun":
            yield "dry run", (*path, name)
