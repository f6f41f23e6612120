"""Patches of git, lists of files of GitHub and GitLab, and the diffs of helm and kubectl."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from approvals_app.payload.facts import (
    LONGEST_HEADLINE,
    Data,
    Fact,
    Level,
    Path,
    Reading,
    clip,
    count,
    fit,
    name_some,
    share_path,
    write_headline,
)
from approvals_app.payload.walking import Names

TEXTS: Final = (
    "diff",
    "patch",
    "diffs",
    "patches",
    "unified_diff",
    "output",
    "stdout",
    "manifest_diff",
)
LISTS: Final = ("files", "changes", "diffs", "changed_files", "entries", "tree", "")
NAMES: Final = ("filename", "new_path", "path", "file", "name")
WHERE: Final = (
    "repository",
    "repo",
    "branch",
    "base",
    "head",
    "release",
    "namespace",
    "cluster",
    "context",
)
STATUSES: Final = {
    "removed": "deleted",
    "deleted": "deleted",
    "added": "added",
    "new": "added",
    "renamed": "renamed",
    "copied": "copied",
    "modified": "changed",
    "changed": "changed",
    "unchanged": "unchanged",
}
_SECRET: Final = re.compile(
    r"""(?:^|/)(?:
    \.env(?:\.(?!example|sample|template|dist)[\w.-]+)?
    | id_(?:rsa|dsa|ecdsa|ed25519)(?:_sk)? | \.netrc | \.pgpass | \.htpasswd | \.npmrc | \.pypirc
    | credentials(?:\.json|\.ya?ml)? | secrets?\.(?:ya?ml|json|env|tfvars) | kubeconfig(?:\.\w+)?
    | [^/]*\.(?:key|pem|p12|pfx|jks|keystore|ppk|kdbx|tfstate|asc)
    )$""",
    re.IGNORECASE | re.VERBOSE,
)
_SECRET_TEXT: Final = re.compile(
    r"^\+.*(?:-----BEGIN [A-Z ]*PRIVATE KEY|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{30}"
    r"|\bsk_live_\w{10}|\bxox[abpr]-\w{10})",
    re.MULTILINE,
)
_GIT_FILE: Final = re.compile(r"^diff --(?:git|cc|combined) (.+)$", re.MULTILINE)
_PLAIN_FILE: Final = re.compile(
    r"^--- ([^\t\n]+)[^\n]*\n\+\+\+ ([^\t\n]+)[^\n]*\n(?=@@ )", re.MULTILINE
)
_KUBECTL_FILE: Final = re.compile(
    r"^diff (?:-\S+ )+\S*/LIVE-\d+/(\S+) \S*/MERGED-\d+/\S+$", re.MULTILINE
)
_HELM_OBJECT: Final = re.compile(
    r"^(?:\x1b\[[\d;]*m)*(?P<space>[^,\n]*), (?P<name>[^,\n]+), (?P<kind>\w+) \([^)\n]*\) "
    r"(?P<does>has been added|has been removed|has changed, but diff is empty|has changed"
    r"|changed ownership|to be added|to be removed|to be changed|to change ownership)",
    re.MULTILINE,
)
_HELM_STATUSES: Final = {
    "ADD": "added",
    "REMOVE": "removed",
    "OWNERSHIP": "owner",
    "MODIFY": "changed",
    "MODIFY_SUPPRESSED": "hidden",
}
_COLOURS: Final = re.compile(r"\x1b\[[\d;]*m")
_HEADER: Final = re.compile(
    r"^(old mode|new mode|deleted file mode|new file mode|rename from|rename to|copy from|copy to"
    r"|---|\+\+\+|GIT binary patch|Binary files|similarity index|index) ?(.*)$"
)
_VALUE: Final = re.compile(r"^([-+])([ \t]*(?:- )?)([\w./-]+):([^\n]*)$", re.MULTILINE)
_TELLING: Final = ("replicas", "image", "type", "storage", "privileged", "hostNetwork", "schedule")
_OPEN: Final = re.compile(
    r"^\+.*(?:\b(?:privileged|hostNetwork|hostPID|allowPrivilegeEscalation): *true\b"
    r"|\brunAsUser: *0\b|\bname: *cluster-admin\b|0\.0\.0\.0/0)",
    re.MULTILINE,
)


@dataclass(slots=True)
class _File:
    """One file of a change; ``status`` as in STATUSES, modes as git writes them."""

    steps: Path
    name: str
    old: str = ""
    status: str = "changed"
    mode: tuple[str, str] = ("", "")
    binary: bool = False
    lines: tuple[int, int] = (0, 0)
    secret: str = ""


@dataclass(slots=True)
class _Object:
    """One object of Kubernetes: ``Kind name``, what becomes of it, and its changed lines."""

    steps: Path
    name: str
    status: str
    text: str


MEMBERS: Final = frozenset([*TEXTS, *LISTS, "added", "additions", "deletions"])


def may_read(names: Names) -> bool:
    """Whether an object with these members may hold a patch."""
    return not MEMBERS.isdisjoint(names.exact)


def read(data: Data, path: Path) -> Reading | None:
    """A patch, a list of changed files, or changed objects of Kubernetes."""
    files = list(_read_lists(data, path))
    objects: list[_Object] = []
    for name in TEXTS:
        for steps, text in _texts_of(data.get(name), (*path, name)):
            found = list(_read_objects(text, steps))
            objects += found
            files += [] if found else _read_patch(text, steps)
    if not files and not objects:
        return None
    facts = [*_tell_objects(objects), *_tell_files(files)]
    where = [name for name in WHERE if isinstance(data.get(name), str) and data[name]][:2]
    facts += [Fact(name, clip(data[name]), (*path, name)) for name in where]
    paths = [each.steps for each in files] + [each.steps for each in objects]
    used = {str(steps[len(path)]) for steps in paths} | set(where)
    destroys = sum(each.status == "removed" for each in objects)
    headline = _write_headline(files, objects)
    return Reading("patch", fit(facts), used, {"destroys": destroys}, headline)


def _write_headline(files: list[_File], objects: list[_Object]) -> str:
    of_files = Counter(each.status for each in files)
    of_objects = Counter(each.status for each in objects)
    texts = [
        write_headline(
            {
                "remove": of_objects["removed"],
                "change": len(objects) - of_objects["removed"] - of_objects["added"],
                "add": of_objects["added"],
            },
            len(objects),
            "Kubernetes object",
            objects[0].name if objects else "",
        ),
        write_headline(
            {
                "delete": of_files["deleted"],
                "rename": of_files["renamed"],
                "change": of_files["changed"] + of_files["written"],
                "add": of_files["added"] + of_files["copied"],
            },
            len(files),
            "file",
            next((each.name for each in files if each.status != "unchanged"), ""),
        ),
    ]
    return clip("; ".join(filter(None, texts)), LONGEST_HEADLINE)


def _texts_of(value: Any, steps: Path) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield steps, value
    elif isinstance(value, list):
        yield from (((*steps, at), each) for at, each in enumerate(value) if isinstance(each, str))


def _read_patch(text: str, steps: Path) -> Iterator[_File]:
    starts = list(_GIT_FILE.finditer(text))
    if not starts:
        yield from _read_plain(text, steps)
    for at, start in enumerate(starts):
        end = starts[at + 1].start() if at + 1 < len(starts) else len(text)
        yield _read_file(start[1], text[start.end() + 1 : end], steps)


def _read_plain(text: str, steps: Path) -> Iterator[_File]:
    """A unified diff without git's lines."""
    starts = list(_PLAIN_FILE.finditer(text))
    for at, start in enumerate(starts):
        end = starts[at + 1].start() if at + 1 < len(starts) else len(text)
        old, new = _strip_side(start[1]), _strip_side(start[2])
        status = "added" if old == "/dev/null" else "deleted" if new == "/dev/null" else "changed"
        body = text[start.end() : end]
        name = old if status == "deleted" else new
        yield _File(steps, name, "", status, lines=_count_lines(body), secret=_find_secret(body))


def _read_file(names: str, body: str, steps: Path) -> _File:
    file = _File(steps, _name_of_header(names))
    hunks = re.search(r"^@@ ", body, re.MULTILINE)
    head, rest = (body[: hunks.start()], body[hunks.start() :]) if hunks else (body[:4_000], "")
    for line in head.split("\n")[:20]:
        if found := _HEADER.match(line.rstrip("\r")):
            _apply_header(file, found[1], found[2])
    file.lines, file.secret = _count_lines(rest), _find_secret(rest)
    return file


def _apply_header(file: _File, header: str, value: str) -> None:
    match header:
        case "old mode":
            file.mode = (value, file.mode[1])
        case "new mode":
            file.mode = (file.mode[0], value)
        case "new file mode":
            file.status, file.mode = "added", ("", value)
        case "deleted file mode":
            file.status = "deleted"
        case "rename from" | "copy from":
            file.status, file.old = "renamed" if header[0] == "r" else "copied", _unquote(value)
        case "rename to" | "copy to":
            file.name = _unquote(value)
        case "index" if value.endswith((" 120000", " 160000")):
            file.mode = (value[-6:], value[-6:])
        case "GIT binary patch" | "Binary files":
            file.binary = True
        case "+++" if value != "/dev/null":
            file.name = _strip_side(value)
        case "---" if value != "/dev/null" and file.status == "deleted":
            file.name = _strip_side(value)


def _name_of_header(names: str) -> str:
    """``b`` of ``a/b b/b``: half of it, where no other line tells the name."""
    if names.startswith('"') or names.endswith('"'):
        return _strip_side(names[names.rfind(' "') + 1 :] if names.endswith('"') else names)
    half = names[len(names) // 2 + 1 :]
    first = names[: len(names) // 2]
    return half[2:] if first[2:] == half[2:] else names.rpartition(" b/")[2] or names


def _strip_side(name: str) -> str:
    name = _unquote(name.strip())
    return name[2:] if name[:2] in ("a/", "b/") else name


def _unquote(name: str) -> str:
    """git writes ``"\\303\\244.txt"`` for a name with other characters than ASCII."""
    if len(name) < 2 or name[0] != '"' or name[-1] != '"':
        return name
    plain = re.sub(
        rb"\\([0-7]{3})|\\(.)",
        lambda found: bytes([int(found[1], 8) & 255]) if found[1] else found[2],
        name[1:-1].encode("utf-8", "replace"),
    )
    return plain.decode("utf-8", "replace")


def _count_lines(body: str) -> tuple[int, int]:
    body = "\n" + body
    return body.count("\n+") - body.count("\n+++ "), body.count("\n-") - body.count("\n--- ")


def _find_secret(body: str) -> str:
    found = _SECRET_TEXT.search(body)
    return "a private key" if found and "PRIVATE" in found[0] else "an access key" if found else ""


def _read_lists(data: Data, path: Path) -> Iterator[_File]:
    """GitHub's and GitLab's lists, a commit's three lists of names, and GraphQL's fileChanges."""
    for name in LISTS:
        value = data.get(name)
        if isinstance(value, list):
            for at, each in enumerate(value):
                if isinstance(each, dict) and (file := _read_entry(each, (*path, name, at))):
                    yield file
    if all(isinstance(data.get(name), list) for name in ("added", "removed", "modified")):
        for name in ("added", "removed", "modified"):
            for at, each in enumerate(data[name]):
                if isinstance(each, str):
                    yield _File((*path, name, at), each, "", STATUSES[name])
    for name, status in (("additions", "added"), ("deletions", "deleted")):
        value = data.get(name)
        if isinstance(value, list):
            for at, each in enumerate(value):
                if isinstance(each, dict) and isinstance(each.get("path"), str):
                    # GraphQL's additions also write over a file that is there.
                    known = "written" if status == "added" else status
                    yield _File((*path, name, at), each["path"], "", known)


def _read_entry(entry: Data, steps: Path) -> _File | None:
    name = next((str(entry[key]) for key in NAMES if isinstance(entry.get(key), str)), "")
    status = str(entry.get("status") or "").lower()
    text = next((entry[k] for k in ("patch", "diff") if isinstance(entry.get(k), str)), None)
    if not name:
        return None
    if "old_path" in entry and "new_path" in entry:  # GitLab
        status = next(
            (s for s in ("new", "deleted", "renamed") if entry.get(f"{s}_file") is True), "changed"
        )
    elif "mode" in entry and "sha" in entry and "path" in entry:  # GitHub's git trees
        status = "deleted" if entry["sha"] is None else "changed"
    elif status not in STATUSES or not ("filename" in entry or "path" in entry or text is not None):
        return None
    old = entry.get("previous_filename") or entry.get("old_path") or ""
    modes = (str(entry.get("a_mode") or ""), str(entry.get("b_mode") or entry.get("mode") or ""))
    file = _File(steps, name, str(old) if old != name else "", STATUSES[status], modes)
    if text is not None:
        file.lines, file.secret = _count_lines(text), _find_secret(text)
    added, removed = entry.get("additions"), entry.get("deletions")
    if type(added) is int and type(removed) is int:
        file.lines = (added, removed)
        file.binary = text is None and "changes" in entry and status not in ("renamed", "removed")
    return file


def _read_objects(text: str, steps: Path) -> Iterator[_Object]:
    for pattern in (_HELM_OBJECT, _KUBECTL_FILE):
        starts = list(pattern.finditer(text))
        for at, start in enumerate(starts):
            end = starts[at + 1].start() if at + 1 < len(starts) else len(text)
            body = _COLOURS.sub("", text[start.end() : end][:200_000])
            if pattern is _HELM_OBJECT:
                does = start["does"]
                status = next((e for e in ("added", "removed", "owner") if e in does), "changed")
                status = "hidden" if "empty" in does else status
                yield _Object(steps, f"{start['kind']} {start['name']}", status, body)
            else:
                yield _Object(steps, *_describe_live(start[1], body), body)


def _describe_live(name: str, body: str) -> tuple[str, str]:
    """The name and status of ``apps.v1.Deployment.prod.api``, kubectl's name of a file."""
    parts = name.split(".")
    kind = next((at for at, part in enumerate(parts) if part[:1].isupper()), 0)
    space, rest = (parts[kind + 1 : kind + 2] or [""])[0], ".".join(parts[kind + 2 :])
    status = "changed"
    if re.search(r"^@@ -\S+ \+0,0 @@", body, re.MULTILINE):
        status = "removed"
    elif re.search(r"^@@ -0,0 ", body, re.MULTILINE):
        status = "added"
    return f"{parts[kind]} {rest}{f' in {space}' if space else ''}", status


def _tell_objects(objects: list[_Object]) -> Iterator[Fact]:
    yield from _tell_group("removed", Level.DANGER, [e for e in objects if e.status == "removed"])
    zero: list[_Object] = []
    changed: list[_Object] = []
    opened: list[_Object] = []
    for each in objects:
        if each.status == "removed":
            continue
        for key, before, after in _find_changes(each.text):
            text = f"{each.name.partition(' ')[2]}: {key} {before} to {after}"
            down = key == "replicas" and after.strip("\"'") == "0"
            (zero if down else changed).append(_Object(each.steps, text, "", ""))
        if found := _OPEN.search(each.text):
            text = f"{each.name}: {found[0].strip('+ ')}"
            opened.append(_Object(each.steps, text, "", ""))
    yield from _tell_group("stops all", Level.DANGER, zero)
    yield from _tell_group("gives rights or opens", Level.DANGER, opened)
    yield from _tell_group("changes", Level.NOTICE, changed)
    hidden = [each for each in objects if each.status == "hidden"]
    yield from _tell_group("changed, but not shown", Level.NOTICE, hidden)
    owner = [each for each in objects if each.status == "owner"]
    yield from _tell_group("changes owner", Level.NOTICE, owner)
    yield from _tell_group("added", Level.PLAIN, [e for e in objects if e.status == "added"])
    others = [each for each in objects if each.status == "changed"]
    yield from _tell_group("changed objects", Level.PLAIN, others)


def _find_changes(text: str) -> Iterator[tuple[str, str, str]]:
    """The telling members whose value differs, in the order of the removed lines."""
    before: dict[tuple[str, str], list[str]] = {}
    for sign, indent, key, value in _VALUE.findall(text):
        if key not in _TELLING:
            continue
        value = value.strip()
        waiting = before.setdefault((indent, key), [])
        if sign == "-":
            waiting.append(value)
        elif waiting and (old := waiting.pop(0)) != value:
            yield key, clip(old, 60), clip(value, 60)


def _tell_group(label: str, level: Level, each: list[_Object]) -> Iterator[Fact]:
    if each:
        names = [item.name for item in each]
        number = f"{len(names):,}: " if len(names) > 3 else ""
        yield Fact(label, number + name_some(names), share_path([i.steps for i in each]), level)


def _tell_files(files: list[_File]) -> Iterator[Fact]:
    def tell(label: str, level: Level, some: list[tuple[_File, str]]) -> Iterator[Fact]:
        if some:
            number = f"{len(some):,}: " if len(some) > 3 else ""
            text = number + name_some([text for _, text in some])
            yield Fact(label, text, share_path([file.steps for file, _ in some]), level)

    if not files:
        return
    present = [file for file in files if file.status not in ("deleted", "unchanged")]
    secret = [file for file in present if _SECRET.search(file.name) or _SECRET.search(file.old)]
    yield from tell("key or secret", Level.DANGER, [(f, f"{f.status} {_name(f)}") for f in secret])
    yield from tell(
        "adds a secret", Level.DANGER, [(f, f"{f.secret} in {f.name}") for f in files if f.secret]
    )
    gone = [file for file in files if file.status == "deleted"]
    yield from tell("deletes", Level.NOTICE, [(file, file.name) for file in gone])
    moved = [
        file for file in present if file.status in ("renamed", "copied") and file not in secret
    ]
    yield from tell("renames", Level.NOTICE, [(file, _name(file)) for file in moved])
    modes = [(file, _say_mode(file)) for file in present if _say_mode(file)]
    yield from tell("modes", Level.NOTICE, modes)
    yield from tell("not text", Level.NOTICE, [(file, file.name) for file in files if file.binary])
    runs = [
        file
        for file in files
        if re.search(r"(^|/)\.(github/workflows|gitlab-ci|circleci)", file.name)
    ]
    yield from tell("changes what CI runs", Level.NOTICE, [(file, file.name) for file in runs])
    added, removed = (sum(file.lines[side] for file in files) for side in range(2))
    kinds: dict[str, int] = {}
    for file in files:
        kinds[file.status] = kinds.get(file.status, 0) + 1
    each = ", ".join(f"{number:,} {kind}" for kind, number in kinds.items())
    lines = f"{count(added, 'line')} added, {removed:,} removed"
    text = f"{count(len(files), 'file')} ({each}), {lines}"
    yield Fact("change", text, share_path([file.steps for file in files]))
    yield from tell("files", Level.PLAIN, [(file, file.name) for file in files])


def _name(file: _File) -> str:
    return f"{clip(file.old, 28)} to {clip(file.name, 28)}" if file.old else file.name


def _say_mode(file: _File) -> str:
    old, new = file.mode
    if new.startswith("120"):
        return f"{file.name} is a symbolic link"
    if new.startswith("160"):
        return f"{file.name} is a submodule"
    if old and new and old != new and "0" not in (old, new):
        executable = new.endswith("755") and not old.endswith("755")
        return f"{file.name} {'becomes executable' if executable else f'{old} to {new}'}"
    return (
        f"{file.name} is executable"
        if not old and new.endswith("755") and file.status == "added"
        else ""
    )
