"""Claude Code's settings file, changed in place: what is not ours keeps its bytes."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from json.decoder import JSONDecoder
from typing import Any, Final

PATH: Final = "/hooks/claude-code"
KEY_VARIABLE: Final = "ORCHESTRATOR_KEY"
MATCHER: Final = "^(Bash|PowerShell|Edit|MultiEdit|Write|NotebookEdit|WebFetch|mcp__.*)$"
"""The tools that change something or reach out; the others only read."""

MARGIN: Final = 10
"""Seconds between our answer and the end of the hook's timeout, after which the call would pass in
older versions."""


class InvalidSettings(Exception):
    """The file is not what Claude Code would read."""


@dataclass(slots=True)
class Node:
    """A JSON value and where it stands in the text."""

    start: int
    end: int
    value: Any
    members: list[tuple[Any, int, "Node"]] = field(default_factory=list)
    """Key or index, where the member starts (with its key), and its value."""

    def find(self, *path: Any) -> "Node | None":
        """The node at ``path``; of members with the same name the last, as for JSON.parse."""
        node: Node | None = self
        for step in path:
            members = [each for name, _, each in node.members if name == step] if node else []
            node = members[-1] if members else None
        return node


def build_handler(url: str, timeout: int, *, by_command: bool) -> dict[str, Any]:
    """The hook that asks the orchestrator at ``url``, for at most ``timeout`` seconds.

    ``onFailure`` blocks the call where no decision arrives, since Claude Code 2.1.295. In older
    versions only a command can block it, by exit code 2.
    """
    address = f"{url.rstrip('/')}{PATH}?wait={timeout - MARGIN}"
    shared = {"timeout": timeout, "onFailure": "block", "statusMessage": "Waiting for approval"}
    if by_command:
        return {"type": "command", "command": _build_command(address, timeout), **shared}
    return {
        "type": "http",
        "url": address,
        "headers": {"Authorization": f"Bearer ${KEY_VARIABLE}"},
        "allowedEnvVars": [KEY_VARIABLE],
        **shared,
    }


def _build_command(address: str, timeout: int) -> str:
    # The key goes in by a file descriptor: arguments are seen by everybody on the machine.
    return (
        f"curl -sSf -m {timeout - MARGIN // 2} -K /dev/fd/3 --data-binary @- '{address}' 3<<HEADERS"
        " || { echo 'The orchestrator could not be asked, so this call is blocked.' >&2; exit 2; }"
        "\n"
        'header = "Content-Type: application/json"\n'
        f'header = "Authorization: Bearer ${KEY_VARIABLE}"\n'
        "HEADERS"
    )


def install(text: str, event: str, matcher: str, handler: Mapping[str, Any]) -> str:
    """``text`` with the hook for ``event``, and without those that an earlier run installed.

    Raises InvalidSettings.
    """
    group = {"matcher": matcher, "hooks": [handler]}
    if _is_installed(_parse(text), event, group):
        return text
    text = uninstall(text)
    root = _parse(text)
    hooks, groups = root.find("hooks"), root.find("hooks", event)
    if groups is not None:
        return _append(text, groups, None, group, depth=3)
    if hooks is not None:
        return _append(text, hooks, event, [group], depth=2)
    return _append(text, root, "hooks", {event: [group]}, depth=1)


def uninstall(text: str) -> str:
    """``text`` without our hooks, and without what they leave empty. Raises InvalidSettings."""
    while path := next(_find_ours(_parse(text)), None):
        text = _remove(text, path)
        # A group is nothing without its hooks, an event nothing without groups.
        for container, whole in ((path[:4], path[:3]), (path[:2], path[:2]), (path[:1], path[:1])):
            left = _parse(text).find(*container)
            if left is None or left.members:
                break
            text = _remove(text, whole)
    return text


def _find_ours(root: Node) -> Iterator[tuple[Any, ...]]:
    """The paths of our handlers: hooks, the event, its group, hooks, the handler."""
    for event, _, groups in _members(root.find("hooks")):
        for number, _, group in groups.members:
            for at, _, handler in _members(group.find("hooks")):
                if _is_ours(handler.value):
                    yield "hooks", event, number, "hooks", at


def _members(node: Node | None) -> list[tuple[Any, int, Node]]:
    return node.members if node else []


def _is_ours(handler: Any) -> bool:
    if not isinstance(handler, dict):
        return False
    texts = (handler.get("url"), handler.get("command"))
    return any(isinstance(text, str) and f"{PATH}?wait=" in text for text in texts)


def _is_installed(root: Node, event: str, group: Any) -> bool:
    """Whether exactly ``group`` is there, and nothing else of ours."""
    ours = list(_find_ours(root))
    found = root.find(*ours[0][:3]) if len(ours) == 1 and ours[0][1] == event else None
    return found is not None and bool(found.value == group)


def _parse(text: str) -> Node:
    try:
        root, end = _scan(text, _skip(text, 0))
    except (ValueError, IndexError, RecursionError, StopIteration) as error:
        raise InvalidSettings("It is not JSON.") from error
    hooks = root.value.get("hooks", {}) if isinstance(root.value, dict) else None
    if _skip(text, end) != len(text) or not isinstance(hooks, dict):
        raise InvalidSettings("It is not an object with an object of hooks.")
    if not all(isinstance(groups, list) for groups in hooks.values()):
        raise InvalidSettings("Its hooks are not lists.")
    return root


def _skip(text: str, at: int) -> int:
    while at < len(text) and text[at] in " \t\r\n":
        at += 1
    return at


def _scan(text: str, at: int) -> tuple[Node, int]:
    """The value at ``at``, and where it ends."""
    if text[at] not in "{[":
        value, end = JSONDecoder().raw_decode(text, at)
        return Node(at, end, value), end
    is_object = text[at] == "{"
    node, end = Node(at, at, {} if is_object else []), _skip(text, at + 1)
    while text[end] not in "}]":
        if node.members:
            if text[end] != ",":
                raise ValueError
            end = _skip(text, end + 1)
        start, key = end, len(node.members)
        if is_object:
            if text[end] != '"':
                raise ValueError
            key, end = JSONDecoder().raw_decode(text, end)
            end = _skip(text, end)
            if text[end] != ":":
                raise ValueError
            end = _skip(text, end + 1)
        member, end = _scan(text, end)
        node.members.append((key, start, member))
        end = _skip(text, end)
    if text[end] != ("}" if is_object else "]"):
        raise ValueError
    node.end = end + 1
    values = [(key, member.value) for key, _, member in node.members]
    node.value = dict(values) if is_object else [value for _, value in values]
    return node, node.end


def _append(text: str, node: Node, key: Any, value: Any, *, depth: int) -> str:
    """``text`` with one more member at the end of ``node``, which is ``depth - 1`` levels deep."""
    indent, newline = _find_indent(text), "\r\n" if "\r\n" in text else "\n"
    rendered = json.dumps(value, indent=indent, ensure_ascii=False)
    if key is not None:
        rendered = f"{json.dumps(key)}: {rendered}"
    lines = [indent * depth + line for line in rendered.split("\n")]
    block = newline + newline.join(lines)
    if node.members:
        end = node.members[-1][2].end
        return text[:end] + "," + block + text[end:]
    close = newline + indent * (depth - 1)
    return text[: node.start + 1] + block + close + text[node.end - 1 :]


def _find_indent(text: str) -> str:
    """How one level is indented: as the first line of the file that is."""
    for line in text.splitlines():
        if line[:1] in " \t" and line.strip():
            return line[: len(line) - len(line.lstrip())]
    return "  "


def _remove(text: str, path: tuple[Any, ...]) -> str:
    """``text`` without what is at ``path``, and without its comma."""
    node = _parse(text).find(*path[:-1])
    assert node is not None
    at = max(number for number, (name, _, _) in enumerate(node.members) if name == path[-1])
    _, start, member = node.members[at]
    if at:
        return text[: node.members[at - 1][2].end] + text[member.end :]
    if len(node.members) > 1:
        return text[:start] + text[node.members[1][1] :]
    return text[: node.start + 1] + text[node.end - 1 :]
