"""Safe display of text that agents wrote: nothing hidden, nothing cut, everything escaped.

A reviewer approves what they read. Characters that reverse text, take no space or draw nothing
would let an agent show one thing and mean another, so each is shown as its code. What looks like
something else (letters of another alphabet, links, stacked marks) and what addresses the reader
instead of describing the task is marked, and counted by ``find_suspicious``. Nothing is forbidden.
"""

import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from html import escape
from typing import Any

import orjson
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

# Controls but newline and tab, formatting characters (bidirectional overrides, zero widths, tags),
# private use, and letters that look like blanks.
UNSEEN = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    r"\u200b-\u200f\u2028-\u202e\u2060-\u206f\u2800\u3164\ue000-\uf8ff\ufe00-\ufe0f\ufeff\uffa0"
    r"\ufff9-\ufffb\u0600-\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
    r"\U00013430-\U0001345f\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U0010ffff]"
)
_PICTURE = (
    r"[\u00a9\u00ae\u203c\u2049\u2122\u2139\u2194-\u21aa\u231a-\u27bf\u2934-\u2bff\u3030"
    r"\u303d\u3297\u3299\U0001f000-\U0001faff]"
)
_TONED = f"{_PICTURE}[\ufe0e\ufe0f\U0001f3fb-\U0001f3ff]?"
PIECE = re.compile(
    # An emoji, whose joiners and selectors hide nothing.
    rf"(?P<emoji>{_TONED}(?:\u200d{_TONED})*|[0-9#*]\ufe0f\u20e3)"
    rf"|(?P<hidden>{UNSEEN.pattern})"
    r"|(?P<link>https?://[^\s<>\"']{1,2000})"
    r"|(?P<stacked>[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{3,})"
    # Full width, mathematical and enclosed letters and digits.
    r"|(?P<lookalike>[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\u24b6-\u24e9\U0001d400-\U0001d7ff]+)"
)
IN_ASCII = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]|://")
"""ASCII text without one of these needs no marking; a quick test before the slow one."""
WORD = re.compile(r"\w+")
ALPHABETS = frozenset(("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU"))
AS_LATIN = re.compile(
    r"[\u0430\u0441\u0435\u043e\u0440\u0445\u0443\u0456\u0458\u0455\u04bb\u0501\u051b"
    r"\u051d\u04cf\u0410\u0412\u0421\u0415\u041d\u041a\u041c\u041e\u0420\u0422\u0425\u0406"
    r"\u0408\u0405\u03bf\u03bd\u03b1\u03c1\u03c5\u03b9\u0391\u0392\u0395\u0396\u0397\u0399"
    r"\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7]{2,}"
)
"""A word whose Cyrillic or Greek letters all look like Latin ones."""
NOT_AS_LATIN = re.compile(
    r"[\u0432\u043a\u043c\u043d\u0442\u0431\u0433\u0434\u0436\u0437\u0438\u0439\u043b"
    r"\u043f\u0444\u0446\u0447\u0448\u0449\u044a\u044b\u044c\u044d\u044e\u044f\u03b2\u03b3"
    r"\u03b4\u03b6\u03b7\u03b8\u03bb\u03be\u03c0\u03c3\u03c6\u03c8\u03c9]"
)
"""Letters that show that a text is genuinely Cyrillic or Greek."""
ADDRESSES_THE_READER = re.compile(
    r"\b(?:ignore|disregard|forget)\s+(?:(?:all|any|the|your|previous|prior|above|earlier)\s+){1,4}"
    r"(?:instructions?|rules?|prompts?|polic(?:y|ies))\b"
    r"|\b(?:this|it)\s+(?:has|have)\s+(?:already\s+)?been\s+(?:pre-?\s?)?(?:approved|authori[sz]ed|signed\s+off)\b"
    r"|\b(?:already|pre-?)\s?(?:approved|authori[sz]ed)\s+by\b|\bpre-?approved\b|\bapproved\s+by\s+\w+\s*[\u2713\u2714\u2705]"
    r"|\b(?:please\s+)?(?:just\s+)?(?:approve|accept|confirm)\s+(?:this|it|immediately|now|without)\b"
    r"|\b(?:you\s+(?:must|should|can\s+safely|may\s+safely)\s+approve)\b|\bno\s+(?:need\s+to\s+)?review\s+(?:is\s+)?(?:needed|required|necessary)?\b"
    r"|\bas\s+(?:an?|the|your)\s+(?:administrator|admin|system|developer|security\s+team)\b"
    r"|\byou\s+are\s+(?:now\s+)?(?:an?|the)\s+(?:\w+\s+)?(?:assistant|ai|model|agent|reviewer)\b"
    r"|\bas\s+an\s+ai\b|<\|?(?:im_start|system|endoftext)\|?>|\[/?INST\]|^\s*(?:system|assistant)\s*:"
    r"|\b(?:new|system)\s+(?:prompt|instructions?)\s*:",
    re.IGNORECASE | re.MULTILINE,
)
HINT = re.compile(
    r"a(?:ccept|dmin|pprove|s\s+an\s+ai|ssistant|uthori[sz])|confirm|d(?:eveloper|isregard)|endoftext"
    r"|forget|i(?:gnore|m_start|nst(?:\]|ruction))|prompt|review|s(?:ecurity\s+team|igned\s+off"
    r"|ystem)|you\s+are"
)
"""Part of whatever ADDRESSES_THE_READER matches, case folded; a quick test before the slow one."""
LIST_TEXT = 120


@dataclass(frozen=True, slots=True)
class Link:
    """A fact shown as a link to its own page."""

    text: str
    href: str


WORDS = {
    "hidden": ("hidden character", "hidden characters"),
    "mixed": ("word of mixed alphabets", "words of mixed alphabets"),
    "lookalike": ("word in look-alike letters", "words in look-alike letters"),
    "stacked": ("pile of marks on a letter", "piles of marks on letters"),
    "speaks": ("sentence that speaks to the reader", "sentences that speak to the reader"),
    "link": ("link that leads elsewhere than it seems", "links that lead elsewhere than they seem"),
}


@dataclass(frozen=True, slots=True)
class SuspiciousText:
    """How often each kind of suspicious text occurs."""

    counts: Counter[str]

    def __bool__(self) -> bool:
        return bool(self.counts)

    def words(self) -> str:
        """``3 hidden characters, 1 word of mixed alphabets``."""
        present = ((self.counts[kind], names) for kind, names in WORDS.items() if self.counts[kind])
        return ", ".join(f"{n:,} {names[0] if n == 1 else names[1]}" for n, names in present)


def visible(text: object) -> SafeString:
    """``text`` as HTML: escaped, invisible characters as their codes, suspicious parts marked."""
    return SafeString(_render(str(text).replace("\r\n", "\n")))  # escaped in pieces


def who(actor: str) -> SafeString:
    """An event's actor, ``kind:name``, as HTML."""
    # Only the name is untrusted: "system:" must not be marked as addressing the reader.
    kind, colon, name = actor.partition(":")
    return format_html("{}{}{}", kind, colon, visible(name))


def find_suspicious(value: Any) -> SuspiciousText:
    """Count what ``visible`` would mark in all strings of a JSON value, member names included."""
    counts: Counter[str] = Counter()
    texts = list(_walk_texts(value))
    if _is_plain("\n".join(texts)):  # quick, and true of most
        return SuspiciousText(counts)
    for text in texts:
        for kind, start, end in _find_pieces(text):
            if kind == "link":
                counts["link"] += _link_deceives(text[start:end])
                counts["hidden"] += len(UNSEEN.findall(text[start:end]))
            elif kind != "emoji":
                counts[kind] += 1
                if kind == "speaks":
                    counts["hidden"] += len(UNSEEN.findall(text[start:end]))
    return SuspiciousText(+counts)


def pretty(value: Any) -> str:
    """A JSON value as indented text with sorted keys."""
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # integers beyond 64 bits, lone surrogates
        return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)


def shorten(text: str, length: int) -> str:
    """The start of ``text`` on one line, at most ``length`` characters."""
    line = " ".join(text.split())
    return line if len(line) <= length else f"{line[: length - 1].rstrip()}…"


def in_a_list(text: str) -> SafeString:
    """The start of ``text`` for a list whose rows link to the whole."""
    return format_html('<span class="o-long">{}</span>', visible(shorten(text, LIST_TEXT)))


def moment(at: datetime) -> SafeString:
    """A time in a list, to the second."""
    text = f"{timezone.localtime(at):%Y-%m-%d %H:%M:%S}"
    return format_html('<time class="o-time" datetime="{}">{}</time>', at.isoformat(), text)


def badge(state: str) -> SafeString:
    """A state as a badge."""
    words = state.replace("_", " ")
    return format_html('<span class="o-state o-state-{}">{}</span>', state, words)


def _render(text: str, *, speaks: bool = True) -> str:
    if _is_plain(text):
        return escape(text)
    out: list[str] = []
    at = 0
    for kind, start, end in _find_pieces(text, speaks=speaks):
        if start < at:
            continue
        out += (escape(text[at:start]), MARKS[kind](text[start:end]))
        at = end
    return "".join((*out, escape(text[at:])))


def _is_plain(text: str) -> bool:
    """Whether ``text`` certainly needs no marking; False where that takes a closer look."""
    return text.isascii() and not IN_ASCII.search(text) and not HINT.search(text.casefold())


Piece = tuple[str, int, int]


def _find_pieces(text: str, *, speaks: bool = True) -> Iterator[Piece]:
    """The parts of ``text`` to mark, as kind, start and end; in order, without overlaps."""
    found: list[Piece] = []
    if not text.isascii() or IN_ASCII.search(text):
        found = [(str(m.lastgroup), *m.span()) for m in PIECE.finditer(text)]
    if not text.isascii():
        honest = NOT_AS_LATIN.search(text) is not None
        words = (word for word in WORD.finditer(text) if not word[0].isascii())
        found += [("mixed", *w.span()) for w in words if _is_mixed(w[0], honest=honest)]
    if speaks and HINT.search(text.casefold()):
        found += [("speaks", *m.span()) for m in ADDRESSES_THE_READER.finditer(text) if m[0]]
    found.sort(key=lambda piece: (piece[1], -piece[2]))
    at = 0
    for piece in found:
        if piece[1] >= at:
            yield piece
            at = piece[2]


def _walk_texts(value: Any) -> Iterator[str]:
    remaining = [value]
    while remaining:
        match remaining.pop():
            case str() as text:
                yield text
            case dict() as members:
                yield from members
                remaining.extend(members.values())
            case list() as items:
                remaining.extend(items)


def _is_mixed(word: str, *, honest: bool) -> bool:
    alphabets = {_alphabet(letter) for letter in word} & ALPHABETS
    return len(alphabets) > 1 or (not honest and AS_LATIN.fullmatch(word) is not None)


@lru_cache(maxsize=4096)
def _alphabet(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0] if letter.isalpha() else ""


@lru_cache(maxsize=4096)
def _render_hidden(text: str) -> str:
    name = unicodedata.name(text, "control character")
    return format_html('<mark class="o-unseen" title="{}">U+{}</mark>', name, f"{ord(text):04X}")


def _render_mixed(word: str) -> str:
    foreign = sorted({_alphabet(letter) for letter in word} & ALPHABETS - {"LATIN"})
    names = " and ".join(name.capitalize() for name in foreign)
    markup = '<mark class="o-mixed">{}<small> with {} letters</small></mark>'
    return format_html(markup, word, names)


def _render_lookalike(text: str) -> str:
    plain = unicodedata.normalize("NFKC", text)
    markup = '<mark class="o-lookalike">{}<small> looks like {}</small></mark>'
    return format_html(markup, text, plain)


def _render_stacked(text: str) -> str:
    return format_html('<mark class="o-stacked">{} marks on one letter</mark>', len(text))


def _render_speech(text: str) -> str:
    inner = mark_safe(_render(text, speaks=False))  # noqa: S308  # escaped in pieces
    markup = '<mark class="o-speaks">{}<small> speaks to the reader</small></mark>'
    return format_html(markup, inner)


def _render_link(text: str) -> str:
    """A URL as text with its host emphasised; not clickable."""
    scheme, before, host, after = _parts_of(text)
    warning = ""
    if before:
        warning = "what is before the @ is not where it leads"
    elif other := _other_form(host):
        warning = f"the same as {other}"
    pieces = (mark_safe(_escape(piece)) for piece in (scheme + before, host, after))  # noqa: S308
    link = format_html('{}<b class="o-host">{}</b>{}', *pieces)
    if not warning:
        return link
    return format_html('<mark class="o-deceives">{}<small> {}</small></mark>', link, warning)


def _link_deceives(text: str) -> bool:
    _, before, host, _ = _parts_of(text)
    return bool(before) or bool(_other_form(host))


def _parts_of(link: str) -> tuple[str, str, str, str]:
    """The scheme, the part before an ``@``, the host with its port, and the rest (RFC 3986)."""
    scheme, _, rest = link.partition("://")
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    before, at, host = authority.rpartition("@")
    return f"{scheme}://", before + at, host, rest[len(authority) :]


def _other_form(host: str) -> str:
    """The ASCII form of an internationalised host name, or the reverse; empty if there is none."""
    name = host.partition(":")[0]
    try:
        if not name.isascii():
            return name.encode("idna").decode()
        if "xn--" in name.lower():
            return name.encode().decode("idna")
    except UnicodeError:
        return "no valid host name"
    return ""


def _escape(text: str) -> str:
    return UNSEEN.sub(lambda match: _render_hidden(match[0]), escape(text))


MARKS: dict[str, Callable[[str], str]] = {
    "emoji": escape,
    "hidden": _render_hidden,
    "link": _render_link,
    "stacked": _render_stacked,
    "lookalike": _render_lookalike,
    "mixed": _render_mixed,
    "speaks": _render_speech,
}
