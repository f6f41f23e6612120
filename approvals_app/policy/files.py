"""Policies as a YAML file under version control, in order of evaluation."""

from typing import Any

import yaml

from approvals_app.policy.language import Policy, RuleInvalid

LARGEST = 1_000_000
HEAD = "# Who must approve what. Checked by `policies plan`, put in force by `policies apply`.\n"


class FileInvalid(ValueError):
    """The file is not a valid policy file; the message says why and where, in one sentence."""


class _Loader(yaml.SafeLoader):
    """YAML without duplicate keys, which PyYAML accepts, and without aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        # Aliases of aliases expand a small file to gigabytes.
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise FileInvalid(f"Line {mark.line + 1}: aliases are not understood here.")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise FileInvalid(f"Line {line}: a key must be a word, not a list or a mapping.")
            if key.value in seen:
                raise FileInvalid(f"Line {line}: {str(key.value)[:100]} is there twice.")
            seen.add(key.value)
        mapping: dict[Any, Any] = super().construct_mapping(node, deep=deep)
        return mapping


class _Dumper(yaml.SafeDumper):
    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = "|" if "\n" in text else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_text)


def parse_file(text: str) -> list[Policy]:
    """The policies of a file, in order of evaluation. Raises FileInvalid."""
    if len(text) > LARGEST:
        raise FileInvalid(f"The file is longer than {LARGEST:,} characters.")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        content = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"Line {mark.line + 1}: " if mark else ""
        raise FileInvalid(f"{where}{error.problem or error.context}.") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, FileInvalid):
            raise
        raise FileInvalid("The file is no YAML.") from None
    if not isinstance(content, dict) or content.keys() != {"policies"}:
        raise FileInvalid("The file must have one key at its top, policies.")
    items = content["policies"] if content["policies"] is not None else []
    if not isinstance(items, list):
        raise FileInvalid("policies must be a list.")
    lines = _find_lines(node)
    policies = [_parse_policy(item, lines[index]) for index, item in enumerate(items)]
    names = [policy.name for policy in policies]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise FileInvalid(f"Line {lines[index]}: the policy {name} is there twice.")
    return sorted(policies, key=lambda policy: (policy.priority, policy.name))


def dump_file(policies: list[Policy]) -> str:
    """The file that ``parse_file`` reads as ``policies``, in a fixed order."""
    ordered = sorted(policies, key=lambda policy: (policy.priority, policy.name))
    content = {"policies": [policy.as_document() for policy in ordered]}
    text: str = yaml.dump(
        content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, indent=2
    )
    return HEAD + text


def dump(policy: Policy) -> str:
    """One policy as YAML, to show or compare."""
    text: str = yaml.dump(
        policy.as_document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )
    return text


def _parse_policy(item: Any, line: int) -> Policy:
    try:
        return Policy.parse(item)
    except RuleInvalid as error:
        name = item.get("name") if isinstance(item, dict) else None
        title = f" ({name})" if isinstance(name, str) and name.isprintable() else ""
        raise FileInvalid(
            f"The policy at line {line}{title}: {error.data['field']}: {error.data['reason']}"
        ) from None


def _find_lines(node: Any) -> list[int]:
    """The line at which each policy begins."""
    for key, value in node.value:
        if key.value == "policies" and hasattr(value, "value") and isinstance(value.value, list):
            return [item.start_mark.line + 1 for item in value.value]
    return []
