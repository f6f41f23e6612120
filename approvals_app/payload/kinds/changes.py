"""Changes that other tools of infrastructure announce, each read by a module of its own."""

from collections.abc import Callable
from typing import Final

from approvals_app.payload.facts import Data, Path, Reading
from approvals_app.payload.kinds import _ansible, _cloudformation, _helm, _pulumi
from approvals_app.payload.kinds._resources import read_text
from approvals_app.payload.walking import Names

TOOLS: Final[tuple[Callable[[Data, Path], Reading | None], ...]] = (
    _cloudformation.read,
    _pulumi.read,
    _ansible.read,
    _helm.read,
)
MARKS: Final = ('"ResourceChange"', '"urn:pulumi:', '"plays"', '"changeType"', '"change"')
"""One of these stands in the tools' output where it is sent as a text."""


MEMBERS: Final = frozenset(["Changes", "steps", "events", "plays"])


def may_read(names: Names) -> bool:
    """Whether an object with these members may be of one of the tools."""
    return not MEMBERS.isdisjoint(names.exact)


def may_hold_list(names: Names) -> bool:
    """Whether a payload with these names may hold a list of helm-diff, at whatever member."""
    return "kind" in names.exact and not names.exact.isdisjoint(("change", "changeType"))


def read(data: Data, path: Path) -> Reading | None:
    """A CloudFormation change set, a Pulumi preview, an Ansible check or a Helm diff."""
    return _read_object(data, path) or read_text(data, path, MARKS, _read_object)


def _read_object(data: Data, path: Path) -> Reading | None:
    for read_tool in TOOLS:
        if reading := read_tool(data, path):
            return reading
    return None
