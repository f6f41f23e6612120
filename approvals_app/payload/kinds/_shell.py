"""Reads shell code: every program that runs, also those that sudo, ssh, sh -c and others start.

tree-sitter-bash reads the code; what it can't read, it marks and goes on. A command is a list of
texts without their quotes; what is known at run time only stays as written: ``$DIR``, ``$(date)``.
"""

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

import tree_sitter_bash
from tree_sitter import Language, Node, Parser

MOST_SIGNS: Final = 20_000
"""How much code is parsed; the words of what follows are searched."""
MOST_DEPTH: Final = 6
"""How many programs that start others are followed: ``ssh`` of ``sudo`` of ``sh -c`` of …."""
SHELLS: Final = frozenset(
    ["sh", "bash", "dash", "zsh", "ksh", "ash", "fish", "busybox", "pwsh", "powershell"]
)
INTERPRETERS: Final = SHELLS | frozenset(
    ["python", "python3", "perl", "ruby", "node", "php", "lua"]
)
ROOT: Final = frozenset(("root", "0", "root:root", "0:0", "root:0", "0:root", "#0"))
_WRAPPERS: Final = {
    # With the options that take a value, as their next word.
    "env": "-u --unset -C --chdir -S",
    "nohup": "",
    "time": "-f -o",
    "nice": "-n",
    "ionice": "-c -n",
    "setsid": "",
    "stdbuf": "-i -o -e",
    "timeout": "-s -k",
    "xargs": "-I -n -P -d -L -s -a -E",
    "parallel": "-j --jobs",
    "command": "",
    "builtin": "",
    "exec": "-a",
    "chroot": "",
    "watch": "-n -d",
    "flock": "-w -E",
    "nsenter": "-t --target -S -G",
    "unshare": "",
    "strace": "-o -e -p",
    "busybox": "",
    "systemd-run": "-p --property -u --unit",
    "sudo": "-u --user -g --group -h -p -C -r -t -D -R -T -U",
    "doas": "-u -C",
    "pkexec": "--user",
    "run0": "-u --user -g",
    "runuser": "-u --user -g -G",
    "su": "-g -G -s --shell",
    "gosu": "",
    "su-exec": "",
}
_BECOMES_ROOT: Final = frozenset(
    ["sudo", "doas", "pkexec", "run0", "runuser", "su", "gosu", "su-exec"]
)
_TAKES_ONE: Final = frozenset(["timeout", "chroot", "flock", "gosu", "su-exec"])
"""Their first word is a time, a folder, a file or a user."""
_SSH_VALUES: Final = frozenset(
    [
        "-i",
        "-p",
        "-l",
        "-o",
        "-F",
        "-J",
        "-L",
        "-R",
        "-D",
        "-b",
        "-c",
        "-E",
        "-e",
        "-I",
        "-m",
        "-O",
        "-Q",
        "-S",
        "-W",
        "-w",
        "-B",
    ]
)
_QUOTES: Final = re.compile(
    r"""\$'((?:[^'\\]|\\.)*)'|'([^']*)'|\$?"((?:[^"\\]|\\.)*)"|\\(\n|.)""", re.DOTALL
)
_READ_TYPES: Final = frozenset(
    ("command", "pipeline", "file_redirect", "heredoc_body", "herestring_redirect", "ERROR")
)
_SHELL_WORD: Final = re.compile(rf"\b({'|'.join(sorted(SHELLS))}|ssh|eval)\b")
ROOT_WORDS: Final = frozenset(["sudo", "doas", "su"])
_RISKY: Final = re.compile(
    r"\b(?:sudo|doas|su|rm|dd|mkfs|shred|curl|wget|ssh|eval|bash|sh|delete|destroy|drop|truncate)\b"
)


@dataclass(slots=True)
class Code:
    """What shell code does. ``commands`` in their order, each a list of its words."""

    commands: list[list[str]] = field(default_factory=list)
    as_root: list[str] = field(default_factory=list)
    as_other: list[str] = field(default_factory=list)
    into_shell: list[str] = field(default_factory=list)
    writes: list[str] = field(default_factory=list)
    hosts: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    unread: str = ""
    may_be_root: bool = False


def read_code(text: str, code: Code | None = None, depth: int = 0) -> Code:
    """Read shell code."""
    code = code or Code()
    if len(text) > MOST_SIGNS:
        end = text.rfind("\n", 0, MOST_SIGNS) + 1 or MOST_SIGNS
        text, rest = text[:end], text[end:]
        skip_code(rest, code)
    root = _parse(text)
    if root is None:
        code.broken.append(text)
        _read_crudely(text, code, depth)
        return code
    nodes = _collect(root)
    code.broken += [_text(node).strip() for node in nodes["ERROR"][:5]]
    for node in nodes["command"]:
        if words_of := _words(node):
            read_words(words_of, code, depth)
    for node in nodes["pipeline"]:
        _read_pipeline(node, code)
    for node in nodes["file_redirect"]:
        _read_redirect(node, code)
    if depth < MOST_DEPTH:
        _read_heredocs(nodes["heredoc_body"], code, depth)
        _read_heredocs(nodes["herestring_redirect"], code, depth)
    return code


def _parse(text: str) -> Node | None:
    """The tree; None where it takes too many steps: broken pipelines take their square."""
    source = text.encode("utf-8", "replace")
    steps, most = 0, 40 + len(source) // 60
    if source.count(b"=(") > 300:  # and so do arrays that nobody closes, at once
        return None

    def is_enough(_offset: int, _has_error: bool) -> bool:
        nonlocal steps
        steps += 1
        return steps > most

    parser = _parser()
    try:
        return parser.parse(
            lambda offset, _point: source[offset : offset + 4096], progress_callback=is_enough
        ).root_node
    except ValueError:
        parser.reset()
        return None


def _collect(root: Node) -> dict[str, list[Node]]:
    """The nodes that matter, by type, in their order. A query would take the square of it."""
    found: dict[str, list[Node]] = {each: [] for each in _READ_TYPES}
    cursor = root.walk()
    while True:
        node = cursor.node
        if node is not None and node.type in found:
            found[node.type].append(node)
        if cursor.goto_first_child():
            continue
        while not cursor.goto_next_sibling():
            if not cursor.goto_parent():
                return found


def _read_crudely(text: str, code: Code, depth: int) -> None:
    """Code without a tree, cut at every sign that may end a command."""
    for part in dict.fromkeys(re.split(r"[;|&\n(){}`<>]+", text)):
        if words := [unquote(word) for word in part.split()]:
            read_words(words, code, max(depth, MOST_DEPTH - 2))


def read_words(words: Sequence[str], code: Code, depth: int = 0) -> None:
    """Read one command, and what it starts."""
    words = list(words)
    while words and (words[0] == "--" or re.fullmatch(r"\w+=.*", words[0], re.DOTALL)):
        del words[0]
    if not words:
        return
    code.commands.append(words)
    if depth >= MOST_DEPTH:
        return
    program = name_program(words[0])
    _note_root(program, words, code)
    if program in SHELLS or program == "su" or program == "runuser":
        _read_shell(words, code, depth)
    if program in ("eval", "source", "."):
        if any(re.search(r"\$\(|`|<\(", each) for each in words[1:]):
            code.into_shell.append(shlex_join(words))
        elif program == "eval":
            read_code(" ".join(words[1:]), code, depth + 1)
    elif program == "ansible":
        if has_flag(words, "bK", "--become"):
            code.as_root.append(shlex_join(words))
        read_code(_option(words, "-a", "--args"), code, depth + 1)
    elif program == "tee":
        code.writes += [word for word in words[1:] if not word.startswith("-")]
    elif program in ("cp", "mv", "install", "ln") and re.match(r"/(dev|etc|boot)/", words[-1]):
        code.writes.append(words[-1])
    elif program == "ssh":
        _read_ssh(words, code, depth)
    elif program in ("find", "fd"):
        for at, each in enumerate(words):
            if each in ("-exec", "-execdir", "-ok", "-x"):
                read_words(words[at + 1 :], code, depth + 1)
    elif program in ("docker", "podman", "kubectl", "nerdctl", "oc", "crictl"):
        _read_container(words, code, depth)
    elif program in _WRAPPERS and program not in ("su",):
        inner = _skip_options(words, _WRAPPERS[program].split(), program in _TAKES_ONE)
        if inner:
            read_words(inner, code, depth + 1)


def skip_code(text: str, code: Code | None = None) -> Code:
    """Note that ``text`` is not read, and which of its words make that a danger."""
    code = code or Code()
    words = dict.fromkeys(_RISKY.findall(text))
    code.unread = f"{len(text):,} characters" + (f", with {', '.join(words)}" if words else "")
    code.may_be_root = not ROOT_WORDS.isdisjoint(words)
    return code


def name_program(word: str) -> str:
    """``rm`` of ``/bin/rm``."""
    return word.rstrip("/").rpartition("/")[2] or word


def shlex_join(words: Sequence[str]) -> str:
    """The words as one line; those with an expansion as they are."""
    return " ".join(
        word
        if re.search(r"[$`*?{}~<>|;&]", word) and not re.search(r"\s", word)
        else shlex.quote(word)
        for word in words
    )


def has_flag(words: Sequence[str], letters: str, *long: str) -> bool:
    """Whether one of the letters stands in a short option, or one of the long options is there."""
    return any(
        word.split("=")[0] in long
        or (word[:1] == "-" and word[:2] != "--" and any(each in word for each in letters))
        for word in words[1:]
    )


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_bash.language()))


def _text(node: Node) -> str:
    return (node.text or b"").decode("utf-8", "replace")


def _words(node: Node) -> list[str]:
    """The words of a command, without assignments before it and redirects."""
    return [
        unquote(_text(child))
        for child in node.children
        if child.is_named
        and child.type
        not in ("variable_assignment", "file_redirect", "herestring_redirect", "comment")
    ]


def unquote(text: str) -> str:
    """``text`` as the shell passes it on, as far as that is known without running it."""
    if text.startswith(("$(", "`", "<(", ">(")):
        return text
    return _QUOTES.sub(_unquote_one, text)


def _unquote_one(found: re.Match[str]) -> str:
    ansi, single, double, escaped = found.groups()
    if ansi is not None:
        return re.sub(
            r"\\x([0-9a-fA-F]{1,2})|\\([0-7]{1,3})|\\(.)",
            lambda each: (
                chr(int(each[1], 16)) if each[1] else chr(int(each[2], 8)) if each[2] else each[3]
            ),
            ansi,
        )
    if double is not None:
        return re.sub(r'\\([$`"\\\n])', r"\1", double)
    return single if single is not None else escaped.replace("\n", "")


def _skip_options(words: Sequence[str], with_value: Sequence[str], takes_one: bool) -> list[str]:
    """The command that a program such as sudo, env or timeout starts."""
    at = 1
    while at < len(words):
        word = words[at]
        if word == "--":
            at += 1
            break
        if word in with_value:
            at += 2
        elif (word.startswith("-") and len(word) > 1) or re.match(r"\w+=", word):
            at += 1
        else:
            break
    return list(words[at + takes_one :])


def _note_root(program: str, words: Sequence[str], code: Code) -> None:
    line = shlex_join(words)
    if program in _BECOMES_ROOT:
        user = _find_user(program, words)
        (code.as_root if user in ROOT else code.as_other).append(
            line if user in ROOT else f"{user}: {line}"
        )
    elif (
        program in ("chroot", "nsenter")
        or "--privileged" in words
        or (program in ("docker", "podman") and _option(words, "-u", "--user") in ROOT)
        or (
            program in ("ssh", "scp", "rsync", "sftp")
            and (
                any(re.match(r"(ssh://)?root@", word) for word in words[1:])
                or _option(words, "-l") == "root"
            )
        )
    ):
        code.as_root.append(line)


def _find_user(program: str, words: Sequence[str]) -> str:
    if user := _option(words, "-u", "--user"):
        return user
    if program not in ("su", "gosu", "su-exec", "runuser"):
        return "root"
    at = 1
    while at < len(words) and words[at].startswith("-"):
        at += 2 if words[at] in ("-c", "--command", "-s", "-g", "-G") else 1
    return words[at] if at < len(words) else "root"


def _option(words: Sequence[str], *names: str) -> str:
    """The value of an option: ``-u root``, ``-uroot``, ``--user=root``; empty without it."""
    for at, word in enumerate(words[1:], 1):
        for name in names:
            if word == name and at + 1 < len(words):
                return words[at + 1]
            if word.startswith(f"{name}="):
                return word[len(name) + 1 :]
            if len(name) == 2 and word.startswith(name) and len(word) > 2:
                return word[2:]
    return ""


def _read_shell(words: Sequence[str], code: Code, depth: int) -> None:
    """``sh -c CODE``, ``su -c CODE``, and a shell that reads what another program writes."""
    for at, word in enumerate(words[1:], 1):
        if re.fullmatch(r"-[a-z]*c|--command|-Command", word) and at + 1 < len(words):
            text = words[at + 1] if words[at + 1] != "--" else " ".join(words[at + 2 : at + 3])
            if re.match(r"\s*(\$\(|`)", text):
                code.into_shell.append(shlex_join(words))
            read_code(text, code, depth + 1)
            return
        if word.startswith("--command="):
            read_code(word[10:], code, depth + 1)
            return
        if word.startswith("<("):
            code.into_shell.append(shlex_join(words))
            return


def _read_ssh(words: Sequence[str], code: Code, depth: int) -> None:
    rest = _skip_options(words, list(_SSH_VALUES), takes_one=False)
    if rest:
        code.hosts.append(rest[0].rpartition("@")[2])
        if rest[1:]:
            read_code(" ".join(rest[1:]), code, depth + 1)


def _read_container(words: Sequence[str], code: Code, depth: int) -> None:
    """``docker exec NAME COMMAND`` and ``kubectl exec NAME -- COMMAND``."""
    if "--" in words:
        inner = list(words[words.index("--") + 1 :])
    elif any(each in words[1:3] for each in ("exec", "run")):
        start = next(at for at, each in enumerate(words) if each in ("exec", "run"))
        values = [
            "-u",
            "--user",
            "-e",
            "--env",
            "-w",
            "--workdir",
            "-v",
            "--volume",
            "--name",
            "--network",
            "-p",
            "--entrypoint",
            "-n",
        ]
        inner = _skip_options(words[start:], values, takes_one=True)
    else:
        return
    if inner:
        read_words(inner, code, depth + 1)


def _read_pipeline(node: Node, code: Code) -> None:
    """A program that writes into a shell: ``curl … | sh``."""
    for child in [each for each in node.children if each.is_named][1:]:
        command = _find_command(child)
        words = _words(command) if command else []
        while words and name_program(words[0]) in _WRAPPERS and words[0] != "busybox":
            name = name_program(words[0])
            words = _skip_options(words, _WRAPPERS[name].split(), name in _TAKES_ONE)
        if words and _reads_code(words):
            code.into_shell.append(_text(node))
            return


def _find_command(node: Node) -> Node | None:
    while node.type != "command":
        inner = next((each for each in node.children if each.is_named), None)
        if inner is None:
            return None
        node = inner
    return node


def _reads_code(words: Sequence[str]) -> bool:
    program = name_program(words[0])
    if re.sub(r"[\d.]+$", "", program) not in INTERPRETERS:
        return False
    rest = [word for word in words[1:] if word not in ("-", "-s", "--", "-x", "-e", "-ex", "-l")]
    # With a file or code of its own, what comes through the pipe is only its input.
    return not rest or "-s" in words or words[1:2] == ["-"]


def _read_redirect(node: Node, code: Code) -> None:
    text = _text(node)
    if found := re.match(r"\d*&?>+[|&]?\s*(.+)", text, re.DOTALL):
        target = unquote(found[1].strip())
        if not re.fullmatch(r"\d|-|/dev/(null|stdout|stderr|tty)", target):
            code.writes.append(f"{target} (appends)" if ">>" in text else target)


def _read_heredocs(bodies: Sequence[Node], code: Code, depth: int) -> None:
    """A here-document or here-string that goes into a shell, also over ssh, is code."""
    for body in bodies[:100]:
        holder = body.parent
        while holder is not None and holder.type not in ("redirected_statement", "command"):
            holder = holder.parent
        before = (holder.text or b"").partition(body.text or b"")[0] if holder is not None else b""
        if _SHELL_WORD.search(before.decode("utf-8", "replace")):
            read_code(unquote(_text(body).removeprefix("<<<").strip()), code, depth + 1)
