"""Where the sensitive values of a plan stand, so that a page can mask them."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from approvals_app.payload.facts import Data, Path
from approvals_app.payload.kinds._resources import list_marked, look_up

MASKS: Final = {
    "before": "before_sensitive",
    "after": "after_sensitive",
    "values": "sensitive_values",
    "config_values": "config_sensitive",
    "value": "sensitive",
}
"""Beside the values, Terraform writes an object of the same structure with ``true`` where they are
sensitive; beside the value of an output, ``true`` alone."""


def find_sensitive(data: Data, path: Path = ()) -> list[Path]:
    """The paths of the sensitive values of the plan ``data``, which itself stands at ``path``.

    Terraform writes the values of variables without a mask. Those that the configuration declares
    sensitive are found, and those that equal a value that is masked elsewhere.
    """
    found = dict.fromkeys(_walk_masks(data))
    secrets = [value for place in found if isinstance(value := look_up(data, place), str)]
    variables = data.get("variables")
    for name, each in variables.items() if isinstance(variables, Mapping) else []:
        value = each.get("value") if isinstance(each, Mapping) else None
        if value is not None and (_is_declared_sensitive(data, name) or value in secrets):
            found["variables", name, "value"] = None
    return [(*path, *place) for place in found]


def _walk_masks(data: Any) -> Iterator[Path]:
    pending: list[tuple[Path, Any]] = [((), data)]
    while pending:
        path, each = pending.pop()
        if isinstance(each, Mapping):
            for values, mask in MASKS.items():
                if values in each and mask in each:
                    for place in list_marked(each[mask]):
                        # A mask covers what is not there, too: what is known only after apply.
                        if look_up(each[values], place) is not None:
                            yield (*path, values, *place)
            pending += [((*path, name), inner) for name, inner in each.items()]
        elif isinstance(each, list):
            pending += [((*path, place), inner) for place, inner in enumerate(each)]


def _is_declared_sensitive(data: Data, name: str) -> bool:
    path: Path = ("configuration", "root_module", "variables", name, "sensitive")
    return look_up(data, path) is True
