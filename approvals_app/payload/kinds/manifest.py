"""Objects of Kubernetes to be applied: what they may do, whom they let in, what they stop."""

import re
from collections.abc import Iterator
from typing import Any, Final

from approvals_app.payload.facts import (
    LONGEST_HEADLINE,
    Data,
    Fact,
    Level,
    Path,
    Reading,
    clip,
    fit,
    join_alike,
    name_some,
)
from approvals_app.payload.kinds._resources import list_of, look_up
from approvals_app.payload.walking import Names, walk

VERSION: Final = re.compile(r"(?:[a-z0-9.-]{1,100}/)?v\d\w{0,20}")
RIGHTS: Final = {
    "privileged": "privileged",
    "hostNetwork": "the host's network",
    "hostPID": "the host's processes",
    "hostIPC": "the host's memory",
    "allowPrivilegeEscalation": "may become root",
}
"""What a container gets that it does not have, where the member is true."""
POWERFUL: Final = frozenset(["cluster-admin", "system:masters"])
EVERYONE: Final = frozenset(["system:anonymous", "system:unauthenticated", "system:authenticated"])
WORLD: Final = frozenset(["0.0.0.0/0", "::/0"])


def may_read(names: Names) -> bool:
    """Whether an object with these members may be one of Kubernetes."""
    return "apiVersion" in names.exact and "kind" in names.exact


def read(data: Data, path: Path) -> Reading | None:
    """One object; the commands of its containers are left to the kind of commands."""
    kind, version = data.get("kind"), data.get("apiVersion")
    is_object = isinstance(kind, str) and isinstance(version, str) and VERSION.fullmatch(version)
    if not is_object or not str(kind).strip() or isinstance(data.get("items"), list):
        return None
    name = _name(data)
    rights = _find_rights(data, path)
    facts = [
        *rights,
        *_find_powers(data, path),
        *_find_openings(data, path),
        *_find_stops(data, path),
        Fact("applies", name, path),
        *_find_images(data, path),
    ]
    if kind == "Secret":
        facts.append(Fact("secret", name, path, Level.NOTICE))
    used = {str(fact.path[len(path)]) for fact in facts if len(fact.path) > len(path)}
    return Reading(
        "manifest",
        fit(join_alike(facts)),
        (used | {"apiVersion", "kind", "metadata"}) & data.keys(),
        {"as_root": any(fact.label in ("gives rights", "runs as root") for fact in rights)},
        clip(f"Apply {name}", LONGEST_HEADLINE),
    )


def _name(data: Data) -> str:
    """``Deployment api in prod``."""
    name, space = (look_up(data, ("metadata", each)) for each in ("name", "namespace"))
    text = f"{data['kind']} {name}" if isinstance(name, str) and name else str(data["kind"])
    return clip(f"{text} in {space}" if isinstance(space, str) and space else text, 120)


def _find_rights(data: Data, path: Path) -> list[Fact]:
    """What its containers get of the host, however deep its templates are."""
    facts: list[Fact] = []

    def visit(at: Path, each: Data) -> None:
        for member, text in RIGHTS.items():
            if each.get(member) is True:
                facts.append(Fact("gives rights", text, (*at, member), Level.DANGER))
        if type(each.get("runAsUser")) is int and each["runAsUser"] == 0:
            facts.append(Fact("runs as root", "runAsUser: 0", (*at, "runAsUser"), Level.DANGER))
        host = look_up(each, ("hostPath", "path"))
        if isinstance(host, str) and host:
            text = f"the host's files in {clip(host)}"
            facts.append(Fact("gives rights", text, (*at, "hostPath", "path"), Level.DANGER))

    walk(data, visit, path)
    return facts


def _find_powers(data: Data, path: Path) -> Iterator[Fact]:
    role = look_up(data, ("roleRef", "name"))
    people = [look_up(each, ("name",)) for each in list_of(data, "subjects")]
    names = [each for each in people if isinstance(each, str) and each]
    if role in POWERFUL:
        text = f"{role} to {name_some(names) or 'nobody yet'}"
        yield Fact("gives all rights", text, (*path, "roleRef", "name"), Level.DANGER)
    for place, each in enumerate(people):
        if each in EVERYONE:
            text = f"{role} to {each}"
            yield Fact("gives rights to everyone", text, (*path, "subjects", place), Level.DANGER)
    for place, rule in enumerate(list_of(data, "rules")):
        if isinstance(rule, dict) and "*" in list_of(rule, "verbs"):
            what = [str(each) for each in list_of(rule, "resources")]
            level = Level.DANGER if "*" in what else Level.NOTICE
            text = f"every action on {'everything' if '*' in what else name_some(what) or 'URLs'}"
            yield Fact("allows", text, (*path, "rules", place), level)


def _find_openings(data: Data, path: Path) -> Iterator[Fact]:
    spec = data.get("spec")
    if not isinstance(spec, dict):
        return
    if spec.get("type") in ("LoadBalancer", "NodePort") and data["kind"] == "Service":
        text = f"{_name(data)}, {spec['type']}"
        yield Fact("reachable from outside", text, (*path, "spec", "type"), Level.NOTICE)
    for place, each in enumerate(list_of(spec, "loadBalancerSourceRanges")):
        if isinstance(each, str) and each in WORLD:
            at = (*path, "spec", "loadBalancerSourceRanges", place)
            yield Fact("open to the world", f"{_name(data)} from {each}", at, Level.DANGER)
    for place, rule in enumerate(list_of(spec, "ingress")):
        for side, peer in enumerate(list_of(rule, "from") if isinstance(rule, dict) else []):
            cidr = look_up(peer, ("ipBlock", "cidr"))
            if isinstance(cidr, str) and cidr in WORLD:
                at = (*path, "spec", "ingress", place, "from", side, "ipBlock", "cidr")
                yield Fact("open to the world", f"{_name(data)} from {cidr}", at, Level.DANGER)


def _find_stops(data: Data, path: Path) -> Iterator[Fact]:
    replicas = look_up(data, ("spec", "replicas"))
    if type(replicas) is int and replicas == 0:
        at = (*path, "spec", "replicas")
        yield Fact("stops all", f"{_name(data)}: 0 replicas", at, Level.DANGER)


def _find_images(data: Data, path: Path) -> list[Fact]:
    facts: list[Fact] = []

    def visit(at: Path, each: Data) -> None:
        image: Any = each.get("image")
        if isinstance(image, str) and image.strip():
            facts.append(Fact("image", clip(image), (*at, "image")))

    walk(data, visit, path)
    return facts
