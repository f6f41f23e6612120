"""Policies as a file under version control: YAML, in the order in which they are asked."""

from typing import Any

import yaml

from approvals_app.policy.language import Policy, RuleInvalid

LARGEST = 1_000_000
HEAD = "# Who must approve what. Checked by `policies plan`, put in force by `policies apply`.\n"


class FileInvalid(ValueError):
    """The file holds no policies; says why, and where, in one sentence."""


class _Loader(yaml.SafeLoader):
    """Plain YAML: no key twice, and no alias, by which a small file becomes a large one."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise FileInvalid(f"Line {mark.line + 1}: aliases are not understood here.")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        seen: set[Any] = set()
        for key, _ in node.value:
            if key.value in seen:
                line = key.start_mark.line + 1
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
    """The policies of a file, first one first. Raises FileInvalid."""
    if len(text) > LARGEST:
        raise FileInvalid(f"The file is longer than {LARGEST:,} characters.")
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
        content = loader.construct_document(node) if node is not None else None
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"Line {mark.line + 1}: " if mark else ""
        raise FileInvalid(f"{place}{error.problem or error.context}.") from None
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        if isinstance(error, FileInvalid):
            raise
        raise FileInvalid("The file is no YAML.") from None
    if not isinstance(content, dict) or content.keys() != {"policies"}:
        raise FileInvalid("The file must have one key at its top, policies.")
    found = content["policies"] if content["policies"] is not None else []
    if not isinstance(found, list):
        raise FileInvalid("policies must be a list.")
    lines = _find_lines(node)
    rules = [_parse_policy(item, lines[index]) for index, item in enumerate(found)]
    names = [rule.name for rule in rules]
    for index, name in enumerate(names):
        if name in names[:index]:
            raise FileInvalid(f"Line {lines[index]}: the policy {name} is there twice.")
    return sorted(rules, key=lambda rule: (rule.priority, rule.name))


def dump_file(rules: list[Policy]) -> str:
    """A file that ``parse_file`` makes the same policies of, always in the same order."""
    ordered = sorted(rules, key=lambda rule: (rule.priority, rule.name))
    content = {"policies": [rule.as_document() for rule in ordered]}
    text: str = yaml.dump(
        content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, indent=2
    )
    return HEAD + text


def dump(rule: Policy) -> str:
    """One policy by itself, to be shown or compared."""
    text: str = yaml.dump(
        rule.as_document(), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100
    )
    return text


def _parse_policy(item: Any, line: int) -> Policy:
    try:
        return Policy.parse(item)
    except RuleInvalid as error:
        name = item.get("name") if isinstance(item, dict) else None
        called = f" ({name})" if isinstance(name, str) and name.isprintable() else ""
        raise FileInvalid(
            f"The policy at line {line}{called}: {error.data['field']}: {error.data['reason']}"
        ) from None


def _find_lines(node: Any) -> list[int]:
    """Where each policy of the document begins."""
    for key, value in node.value:
        if key.value == "policies" and hasattr(value, "value") and isinstance(value.value, list):
            return [item.start_mark.line + 1 for item in value.value]
    return []
