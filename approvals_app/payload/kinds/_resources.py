"""What kinds of infrastructure changes share: what a resource stores, what opens it, what differs.

Types of resources are compared in one spelling: ``aws_db_instance``, ``AWS::RDS::DBInstance`` and
``aws:rds/instance:Instance`` all end in words that say what the resource stores.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, Final

from approvals_app.payload.facts import (
    MOST_FACTS,
    MOST_MEMBERS,
    RANKS,
    Data,
    Fact,
    Level,
    Path,
    Reading,
    clip,
    fit,
    format_path,
    name_some,
)

SENSITIVE: Final = "(sensitive)"
LONGEST_VALUE: Final = 320
MOST_OF_NAME: Final = 120
"""Longer names are cut, so that what happens to the thing stays in the line."""

Things = list[tuple[str, Path]]
"""What a fact names, each thing with the path of its member."""

# The end of a type says what the resource is: aws_s3_bucket stores, aws_s3_bucket_policy does not.
STORES: Final = tuple(
    (noun, re.compile(rf"(?:^|_)(?:{ends})(?:_v\d+)?$"))
    for noun, ends in {
        "database": (
            r"db_instance|rds_instance|rds_cluster|db_cluster|global_cluster|docdb_cluster"
            r"|neptune_cluster|redshift_cluster|database|database_(?:instance|cluster|server)"
            r"|(?:mysql|postgresql|mariadb|mssql|sql)_(?:flexible_)?server|flexible_server"
            r"|managed_instance|cosmosdb_account|database_account|spanner_instance"
            r"|bigtable_instance|alloydb_(?:cluster|instance)|mongodbatlas_cluster"
            r"|keyspace|keyspaces_keyspace|schema|bigquery_dataset|dataset|redshiftserverless_namespace"
        ),
        "table": r"(?<!route_)table",
        "bucket": r"bucket|storage_account|storage_container|blob_container|storage_share",
        "object": r"bucket_object(?:v\d)?|s3_object|storage_blob|blob",
        "disk": (
            r"volume|disk|persistent_volume(?:_claim)?|persistentvolume(?:claim)?|datastore"
            r"|logical_volume"
        ),
        "file system": r"file_?system|filestore_instance|file_share|lustre_file_system",
        "backup": r"snapshot|backup|backup_vault|recovery_services_vault|ami",
        "key": r"key|key_ring|crypto_key|key_vault|key_pair|hardware_security_module|vault",
        "secret": r"secret|secret_version|ssm_parameter|parameter_store_parameter",
        "DNS zone": r"zone|dns_zone|hosted_zone|managed_zone|(?:dns|cloud_dns)_domain",
        "search index": r"(?:elasticsearch|opensearch|opensearchservice)_domain|search_service",
        "cache": (
            r"elasticache_cluster|replication_group|redis_(?:cache|instance|cluster)"
            r"|memorydb_cluster|memcache_instance"
        ),
        "queue": (
            r"queue|(?<!log_)stream|(?:kafka|pubsub)_topic|(?:msk|kafka)_cluster|broker|eventhub"
            r"|pubsub_subscription"
        ),
        "repository": r"ecr_repository|container_registry|artifact_registry_repository|repository",
        "log": r"log_group|log_analytics_workspace|logging_project_bucket_config|trail",
        "user directory": r"user_pool|directory_service_directory|identity_pool",
        "stateful service": r"stateful_?set",
        "cluster": r"eks_cluster|container_cluster|kubernetes_cluster|ecs_cluster",
        "machine": r"instance|virtual_machine|server|droplet|vm|linode_instance",
        "all that is in it": (
            r"namespace|resource_group|project|cloudformation_stack|helm_release"
            r"|organizations_account|custom_?resource_?definition"
        ),
    }.items()
)
# Resources whose existence is their point are told without danger, though a type's end says "key".
NO_STORE: Final = re.compile(r"^(?:random|null|time|tls|local)_|_availability_zone$|_db_proxy$")

WORLD: Final = re.compile(r"(?!f[cde])[0-9a-f.:]+/0*[0-7]", re.IGNORECASE)
ANYONE: Final = frozenset({"*", "any", "internet", "0.0.0.0", "::"})  # noqa: S104 # read, not bound
SOURCES: Final = frozenset({"sourceaddressprefix", "sourceaddressprefixes", "sourceranges"})
OUTWARD: Final = frozenset({"egress", "outbound", "out"})
REFUSALS: Final = frozenset({"deny", "drop", "block", "reject"})
DIRECTIONS: Final = ("type", "direction", "trafficdirection")
VERDICTS: Final = ("action", "access", "ruleaction", "policy")
TURNS: Final = frozenset({"egress", *DIRECTIONS, *VERDICTS})
ON_IS_PUBLIC: Final = frozenset(
    {
        "publiclyaccessible",
        "endpointpublicaccess",
        "publicnetworkaccessenabled",
        "publicnetworkaccess",
        "allowblobpublicaccess",
        "allownesteditemstobepublic",
    }
)
OFF_IS_PUBLIC: Final = frozenset(
    {"blockpublicacls", "blockpublicpolicy", "ignorepublicacls", "restrictpublicbuckets"}
)
PUBLIC_VALUES: Final = {
    "acl": {"publicread", "publicreadwrite", "authenticatedread"},
    "accesscontrol": {"publicread", "publicreadwrite", "authenticatedread"},
    "predefinedacl": {"publicread", "publicreadwrite"},
    "containeraccesstype": {"blob", "container"},
    "publicaccess": {"blob", "container"},
    "authorizationtype": {"none"},
    "authtype": {"none"},
}
EVERYONE: Final = ("allUsers", "allAuthenticatedUsers")
ROUTE: Final = re.compile(r"(?:^|_)routes?(?:_table|r)?(?:_|$)|:Route(?:Table|r)?$")
AWAY: Final = ("egress", "outbound", "route", "dest")
PORTS: Final = (
    "destinationportrange",
    "destinationportranges",
    "portrange",
    "ports",
    "port",
    "localport",
)
EVERY_PORT: Final = frozenset({"*", "0-65535", "1-65535", "-1--1", "-1/-1"})

PROTECTIONS: Final = frozenset(
    {
        "deletionprotection",
        "deletionprotectionenabled",
        "enabledeletionprotection",
        "preventdestroy",
        "protect",
        "purgeprotectionenabled",
        "storageencrypted",
        "encrypted",
        "enablekeyrotation",
        "enablelogging",
        "enablelogfilevalidation",
    }
)
RISKS: Final = frozenset({"forcedestroy", "forcedelete", "skipfinalsnapshot", "retainondelete"})
AMOUNTS: Final = frozenset(
    {
        "replicas",
        "desiredcount",
        "desiredcapacity",
        "minsize",
        "backupretentionperiod",
        "retentionindays",
        "recoverywindowindays",
    }
)


@lru_cache(maxsize=1024)
def name_store(resource_type: str) -> str:
    """What goes with a resource of this type: ``database``, ``bucket``; empty if it stores nothing.

    Accepts the spellings of Terraform, CloudFormation, Pulumi and Kubernetes.
    """
    # Pulumi's aws:rds/instance:Instance names the module's file, which would repeat the type.
    spelled = re.sub(r"/[^:]*:", ":", resource_type[-200:])
    spelled = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", spelled)
    name = re.sub(r"[^a-z0-9]+", "_", spelled.lower())
    if NO_STORE.search(name):
        return ""
    return next((noun for noun, ends in STORES if ends.search(name)), "")


@lru_cache(maxsize=4096)
def normalize(key: str) -> str:
    """``from_port``, ``FromPort`` and ``fromPort`` as ``fromport``."""
    return key.replace("_", "").replace("-", "").lower()


@dataclass(slots=True)
class Exposures:
    """``rules`` let the world in at a port, ``grants`` make public; in the payload's order."""

    rules: list[str] = field(default_factory=list)
    grants: list[str] = field(default_factory=list)

    def without(self, other: "Exposures") -> "Exposures":
        """What ``other`` does not open."""
        return Exposures(
            [text for text in self.rules if text not in other.rules],
            [text for text in self.grants if text not in other.grants],
        )


def to_word(value: Any) -> str:
    """A value in small letters: ``true``, ``22``; empty for none, objects and lists."""
    is_word = value is not None and not isinstance(value, (list, dict))
    return str(value)[:100].lower() if is_word else ""


def find_exposures(resource_type: str, value: Any) -> Exposures:
    """What opens a resource to the world or makes it public, however deep in its values."""
    # A route to 0.0.0.0/0 leads out.
    is_route = bool(ROUTE.search(resource_type))
    rules: dict[str, None] = {}
    grants: dict[str, None] = {}
    pending = [value]
    while pending:
        each = pending.pop()
        if isinstance(each, dict):
            members = {normalize(key): inner for key, inner in each.items()}
            if _is_outward(members):
                continue
            inward = {key: inner for key, inner in members.items() if not key.startswith(AWAY)}
            if not is_route:
                rules |= dict.fromkeys(_find_open_rules(inward, members))
            grants |= dict.fromkeys(_find_grants(each))
            pending += [inner for inner in reversed(inward.values()) if _may_expose(inner)]
        elif isinstance(each, list):
            pending += [inner for inner in reversed(each) if _may_expose(inner)]
        elif isinstance(each, str):
            pending.append(parse_json(each))
    return Exposures(list(rules), list(grants))


def find_new_exposures(resource_type: str, before: Any, after: Any) -> Exposures:
    """What ``after`` opens and ``before`` does not."""
    exposures = find_exposures(resource_type, after)
    if exposures.rules or exposures.grants:
        exposures = exposures.without(find_exposures(resource_type, before))
    return exposures


def _may_expose(value: Any) -> bool:
    """Whether something can be inside: an object, a list or a policy as a text."""
    if isinstance(value, str):
        return '"Statement"' in value
    return isinstance(value, (list, dict))


def _is_outward(members: Mapping[str, Any]) -> bool:
    """A rule for traffic that leaves, or one that refuses it."""
    if TURNS.isdisjoint(members):
        return False
    return (
        members.get("egress") is True
        or any(to_word(members.get(key)) in OUTWARD for key in DIRECTIONS)
        or any(to_word(members.get(key)) in REFUSALS for key in VERDICTS)
    )


def _find_open_rules(inward: Mapping[str, Any], members: Mapping[str, Any]) -> Iterator[str]:
    for key, value in inward.items():
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str) or len(text) > 50:
                continue
            if WORLD.fullmatch(text) or (key in SOURCES and text.lower() in ANYONE):
                yield f"{_name_ports(members)} from {text}"


def _name_ports(members: Mapping[str, Any]) -> str:
    ranges = _list_ports(members)
    protocol = to_word(members.get("protocol", members.get("ipprotocol")))
    if protocol in ("-1", "all", "*") or EVERY_PORT.intersection(ranges):
        return "every port"
    if not ranges:
        return "open"
    is_one = len(ranges) == 1 and "-" not in ranges[0]
    return f"port {ranges[0]}" if is_one else f"ports {name_some(ranges)}"


def _list_ports(members: Mapping[str, Any]) -> list[str]:
    low = to_word(members.get("fromport", members.get("portrangemin")))
    high = to_word(members.get("toport", members.get("portrangemax")))
    ranges = []
    if low and high:
        ranges.append(low if low == high else f"{low}-{high}")
    # Google's firewall has its ports in objects beside the sources.
    allowed = members.get("allow", members.get("allowed"))
    holders = [members, *(allowed if isinstance(allowed, list) else [])]
    for holder in holders:
        for key in PORTS if isinstance(holder, dict) else ():
            value = holder.get(key)
            ranges += [clip(word, 20) for each in _as_list(value) if (word := to_word(each))]
    return ranges


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _find_grants(members: Mapping[str, Any]) -> Iterator[str]:
    for name, value in members.items():
        key = normalize(name)
        if key in ON_IS_PUBLIC and to_word(value) in ("true", "enabled"):
            yield f"{name} on"
        elif key in OFF_IS_PUBLIC and to_word(value) == "false":
            yield f"{name} off"
        elif key in PUBLIC_VALUES and normalize(to_word(value)) in PUBLIC_VALUES[key]:
            yield f"{name} {value}"
        elif key in ("member", "members"):
            yield from (f"granted to {each}" for each in EVERYONE if each in _as_list(value))
        elif name == "Statement":
            yield from _find_open_statements(value)


def _find_open_statements(statements: Any) -> Iterator[str]:
    """Grants to everyone and grants of everything in a policy of AWS."""
    for each in _as_list(statements):
        if not isinstance(each, dict) or each.get("Effect") != "Allow":
            continue
        principal = each.get("Principal")
        names = principal.values() if isinstance(principal, dict) else [principal]
        if any("*" in _as_list(name) for name in names):
            yield "a policy allows everyone" + (
                " under a condition" if each.get("Condition") else ""
            )
        if "*" in _as_list(each.get("Action")) and "*" in _as_list(each.get("Resource")):
            yield "a policy allows every action on everything"


def list_of(data: Mapping[str, Any], name: str) -> list[Any]:
    """The list at ``name``; empty if there is none."""
    value = data.get(name)
    return value if isinstance(value, list) else []


def look_up(value: Any, path: Path) -> Any:
    """The value at ``path``; None if there is none."""
    try:
        for step in path:
            value = value[step]
    except (LookupError, TypeError):
        return None
    return value


def parse_json(text: str) -> Any:
    """The value that ``text`` holds as JSON; None if it holds none."""
    if text[:1] not in "{[" or not text:
        return None
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def read_text(
    data: Data,
    path: Path,
    marks: tuple[str, ...],
    read: Callable[[Data, Path], Reading | None],
) -> Reading | None:
    """What ``read`` finds in a tool's output that stands as a text in a member of ``data``.

    Its facts have the path of that text, as nothing inside it has one.
    """
    for name, text in data.items():
        if not isinstance(text, str) or not any(mark in text for mark in marks):
            continue
        parsed = parse_json(text.strip())
        try:
            reading = (
                read({"": parsed} if isinstance(parsed, list) else parsed, ()) if parsed else None
            )
        except RecursionError:  # a text may be nested more deeply than a payload
            continue
        if reading:
            reading.facts = [replace(fact, path=(*path, name)) for fact in reading.facts]
            reading.used = {name}
            return reading
    return None


def is_equal(one: Any, other: Any) -> bool:
    """Equal as JSON, where two texts hold JSON too. ``1`` and ``true`` differ."""
    try:
        if isinstance(one, bool) != isinstance(other, bool):
            return False
        if one == other:
            return True
        if isinstance(one, str) and isinstance(other, str):
            parsed = parse_json(one)
            return parsed is not None and bool(parsed == parse_json(other))
    except RecursionError:  # nested too deeply to compare: shown as a change
        return False
    return False


def compare_values(before: Any, after: Any) -> list[tuple[Path, Any, Any]]:
    """The members of objects that differ, each with its value before and after.

    Objects, and lists of the same length, are compared member by member; other values whole.
    """
    differences: list[tuple[Path, Any, Any]] = []
    pending: list[tuple[Path, Any, Any]] = [((), before, after)]
    while pending:
        path, old, new = pending.pop()
        if isinstance(old, dict) and isinstance(new, dict):
            names = dict.fromkeys([*old, *new])
            pending += [((*path, name), old.get(name), new.get(name)) for name in reversed(names)]
        elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
            pending += [
                ((*path, place), old[place], new[place]) for place in reversed(range(len(old)))
            ]
        elif not is_equal(old, new):
            differences.append((path, old, new))
    return differences


def list_marked(value: Any) -> list[Path]:
    """The paths of ``true`` in Terraform's ``after_unknown`` and ``after_sensitive``."""
    marked: list[Path] = []
    pending: list[tuple[Path, Any]] = [((), value)]
    while pending:
        path, each = pending.pop()
        if each is True:
            marked.append(path)
        elif isinstance(each, dict):
            pending += [((*path, name), inner) for name, inner in reversed(list(each.items()))]
        elif isinstance(each, list):
            pending += [((*path, place), each[place]) for place in reversed(range(len(each)))]
    return marked


def is_marked(path: Path, *masks: Any) -> bool:
    """Whether a mask says true of ``path``, of what it is inside, or of something inside it."""
    for mask in filter(None, masks):
        each = mask
        for step in path:
            if each is True:
                return True
            if isinstance(each, dict):
                each = each.get(step)
            elif isinstance(each, list) and isinstance(step, int) and step < len(each):
                each = each[step]
            else:
                each = None
        if each is True or (each and list_marked(each)):
            return True
    return False


def describe_change(path: Path, old: Any, new: Any) -> str:
    """``replicas 6 → 0``; of values that are not short, the name alone."""
    name = format_path(path) or "value"
    texts = [show_value(value) for value in (old, new)]
    return f"{name} {texts[0]} → {texts[1]}" if all(texts) else name


def show_value(value: Any) -> str:
    """A short value as text; empty if it is an object, a list or long."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, str) and len(value) <= 40:
        return " ".join(value.split()) or '""'
    return ""


def find_weakened(differences: list[tuple[Path, Any, Any]]) -> list[str]:
    """Changes that switch a protection off or take a number of things down to none."""
    weakened = []
    for path, old, new in differences:
        key = normalize(str(path[-1])) if path else ""
        before, after = to_word(old), to_word(new)
        if (
            (key in PROTECTIONS and before == "true" and after != "true")
            or (key in RISKS and before != "true" and after == "true")
            or (key in AMOUNTS and after == "0" and before not in ("0", ""))
        ):
            weakened.append(describe_change(path, old, new))
    return weakened


@dataclass(frozen=True, slots=True)
class Group:
    """Things that one fact, or one fact each, tells of; ``whole`` is the path that holds them."""

    label: str
    things: Things
    whole: Path
    level: Level

    def join(self) -> Fact:
        """One fact: a single thing at its own path, or several by number and name."""
        if len(self.things) == 1:
            return self.split()[0]
        names = [clip(text, 100) for text, _ in self.things[:3]]
        left = len(self.things) - len(names)
        more = f" and {left:,} more" if left else ""
        value = f"{len(self.things):,}: {', '.join(names)}{more}"
        members = tuple(path for _, path in self.things[:MOST_MEMBERS])
        return Fact(self.label, value, self.whole, self.level, members)

    def split(self) -> list[Fact]:
        """A fact for each thing."""
        return [
            Fact(self.label, clip(text, LONGEST_VALUE), path, self.level)
            for text, path in self.things
        ]


def tell(label: str, things: Things, whole: Path, level: Level = Level.PLAIN) -> list[Group]:
    """A group of ``things``; none if there are none."""
    return [Group(label, things, whole, level)] if things else []


def choose_facts(groups: list[Group], total: list[Group]) -> list[Fact]:
    """At most seven facts, the dangerous first, and ``total`` last.

    What is no plain fact gets a fact for each thing as long as there is room.
    """
    ordered = sorted(groups, key=lambda group: RANKS[group.level])
    room = MOST_FACTS - len(total)
    spare = room - len(ordered)
    facts: list[Fact] = []
    for group in ordered:
        extra = len(group.things) - 1
        if group.level is not Level.PLAIN and extra <= spare:
            spare -= extra
            facts += group.split()
        else:
            facts.append(group.join())
    return [*fit(facts, room), *(group.join() for group in total)]
