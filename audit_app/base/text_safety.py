"""Safe display of text that agents wrote: nothing hidden, nothing cut, everything escaped.

A reviewer approves what they read. Characters that reverse text, take no space or draw nothing
would let an agent show one thing and mean another, so each is shown as its code. What looks like
something else (letters of another alphabet, links, stacked marks) and what addresses the reader
instead of describing the task is underlined and numbered. What the numbers mean stands below the
text, never inside it: a reviewer has to read the sentence that was written. Nothing is forbidden.

Only agents' text is marked (``visible``). Our own sentences and what people write go through
``reveal``: "nobody can approve this" is no deception when we say it, and marks that are mostly
wrong teach reviewers to overlook them.

A page has a Budget: one mark takes sixty bytes, and a payload may need a hundred thousand. What
exceeds it is left out, and the page says so and links to all of it (Budget.is_exceeded).
"""

import heapq
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from html import escape
from itertools import chain, islice
from typing import Any

import orjson
from django.conf import settings
from django.utils import timezone
from django.utils.html import format_html
from django.utils.safestring import SafeString, mark_safe

from audit_app.base.times import format_utc

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
_HIDDEN = (
    # Emoji, whose joiners and selectors hide nothing.
    rf"(?P<emoji>(?:{_TONED}(?:\u200d{_TONED})*|[0-9#*]\ufe0f\u20e3)++)"
    rf"|(?P<hidden>(?P<one>{UNSEEN.pattern})(?P=one)*+)"
)
HIDDEN = re.compile(_HIDDEN)
PIECE = re.compile(
    rf"{_HIDDEN}"
    r"|(?P<link>https?://[^\s<>\"']{1,2000})"
    r"|(?P<stacked>[\u0300-\u036f\u0483-\u0489\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]{3,})"
    # Full width, mathematical and enclosed letters and digits.
    r"|(?P<lookalike>[\uff10-\uff19\uff21-\uff3a\uff41-\uff5a\u24b6-\u24e9\U0001d400-\U0001d7ff]+)"
)
IN_ASCII = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]|://")
"""ASCII text without one of these needs no marking; a quick test before the slow one."""
UNSEEN_RUN = re.compile(rf"(?P<one>{UNSEEN.pattern})(?P=one)*+")
WORD = re.compile(r"\w+")
ALPHABETS = ("LATIN", "CYRILLIC", "GREEK", "ARMENIAN", "CHEROKEE", "COPTIC", "LISU")
LETTERS = (range(0x41, 0x3000), range(0xA000, 0xAC00), range(0xFB00, 0xFB18))
"""Where the letters of ALPHABETS are, but for those of archaic and phonetic writing."""
AS_LATIN = re.compile(
    r"(?<!\w)[\u0430\u0441\u0435\u043e\u0440\u0445\u0443\u0456\u0458\u0455\u04bb\u0501\u051b"
    r"\u051d\u04cf\u0410\u0412\u0421\u0415\u041d\u041a\u041c\u041e\u0420\u0422\u0425\u0406"
    r"\u0408\u0405\u03bf\u03bd\u03b1\u03c1\u03c5\u03b9\u0391\u0392\u0395\u0396\u0397\u0399"
    r"\u039a\u039c\u039d\u039f\u03a1\u03a4\u03a5\u03a7]{2,}+(?!\w)"
)
"""A word whose Cyrillic or Greek letters all look like Latin ones."""
NOT_AS_LATIN = re.compile(
    r"[\u0432\u043a\u043c\u043d\u0442\u0431\u0433\u0434\u0436\u0437\u0438\u0439\u043b"
    r"\u043f\u0444\u0446\u0447\u0448\u0449\u044a\u044b\u044c\u044d\u044e\u044f\u03b2\u03b3"
    r"\u03b4\u03b6\u03b7\u03b8\u03bb\u03be\u03c0\u03c3\u03c6\u03c8\u03c9]"
)
"""Letters that show that a text is genuinely Cyrillic or Greek."""
_SENTENCES = (
    r"\b(?:ignore|disregard|forget)\s+(?:(?:all|any|the|your|previous|prior|above|earlier)\s+){1,4}"
    r"(?:instructions?|rules?|prompts?|polic(?:y|ies))\b"
    r"|\b(?:this|it)\s+(?:has|have)\s+(?:already\s+)?been\s+(?:pre-?\s?)?(?:approved|authori[sz]ed|signed\s+off)\b"
    r"|\b(?:already|pre-?)\s?(?:approved|authori[sz]ed)\s+by\b|\bpre-?approved\b|\bapproved\s+by\s+\w+\s*[\u2713\u2714\u2705]"
    r"|\b(?:please\s+)?(?:just\s+)?(?:approve|accept|confirm)\s+(?:this|it|immediately|now|without)\b"
    r"|\b(?:you\s+(?:must|should|can\s+safely|may\s+safely)\s+approve)\b|\bno\s+(?:need\s+to\s+)?review\s+(?:is\s+)?(?:needed|required|necessary)?\b"
    r"|\bas\s+(?:an?|the|your)\s+(?:administrator|admin|system|developer|security\s+team)\b"
    r"|\byou\s+are\s+(?:now\s+)?(?:an?|the)\s+(?:\w+\s+)?(?:assistant|ai|model|agent|reviewer)\b"
    r"|\bas\s+an\s+ai\b|<\|?(?:im_start|system|endoftext)\|?>|\[/?INST\]"
    r"|\b(?:new|system)\s+(?:prompt|instructions?)\s*:"
)
ADDRESSES_THE_READER = re.compile(
    # As an alternative at each position it would take a megabyte 0.2 s. Its first characters are
    # searched for at ten times the speed; the sentence itself is group 1.
    rf"[acdfijnpstyACDFIJNPSTY\u0130\u0131\u017f<\[](?<!\w[^<\[])(?<=(?=(?i:({_SENTENCES}))).)"
)
SPEAKS_IN_A_LINE = re.compile(r"^[^\S\n]*+(?:system|assistant)\s*:", re.IGNORECASE | re.MULTILINE)
HINT = re.compile(
    r"a(?:ccept|dmin|pprove|s\s+an\s+ai|ssistant|uthori[sz])|confirm|d(?:eveloper|isregard)|endoftext"
    r"|forget|i(?:gnore|m_start|nst(?:\]|ruction))|prompt|review|s(?:ecurity\s+team|igned\s+off"
    r"|ystem)|you\s+are"
)
"""Part of whatever speaks to the reader, case folded; a quick test before the slow one."""
LONGEST_HOST = 253
"""Characters of a host name, by the DNS. Converting a longer one takes quadratic time."""
INVALID_HOST = "no valid host name"
LIST_TEXT = 120
MOST_MARKS = 1_000
"""Marks on one page, and parts of a payload that ``find_suspicious`` counts."""
MOST_BYTES = 2_200_000
"""Bytes of HTML that a page makes of agents' texts."""
RESERVED_BYTES = 400_000
"""As many more for short texts, so that a large payload leaves the rest of the page whole."""
MOST_CUTS = 100
"""Texts of one page that are left out in part; then the page ends."""
SHORT = 1_000
"""Characters of a text that may use the reserve."""
OVERHEAD = 60
"""Bytes of markup around one text, about."""
CHUNK = 50_000
"""Characters that are escaped at a time."""


Piece = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class Link:
    """A fact shown as a link to its own page."""

    text: str
    href: str


WORDS = {
    "hidden": "hidden characters",
    "mixed": "mixed alphabets",
    "lookalike": "look-alike letters",
    "stacked": "marks piled on one letter",
    "speaks": "text addressed to you",
    "link": "links that lead elsewhere than they seem",
}
LONGEST_NOTE = 120


class Notes:
    """What the numbers beside underlined parts mean. Equal notes of one page share a number."""

    __slots__ = ("numbers", "used")

    def __init__(self, numbers: dict[str, int] | None = None) -> None:
        self.numbers = {} if numbers is None else numbers
        self.used: dict[str, int] = {}

    def mark(self, kind: str, inner: str, note: str) -> str:
        """``inner``, HTML, underlined and numbered."""
        note = UNSEEN.sub(lambda match: f"U+{ord(match[0]):04X}", shorten(note, LONGEST_NOTE))
        number = self.numbers.setdefault(note, len(self.numbers) + 1)
        self.used[note] = number
        return format_html(
            '<mark class="o-{}" title="{}">{}</mark>'
            '<sup class="o-ref"><span class="o-sr">warning </span>{}</sup>',
            kind,
            note,
            mark_safe(inner),  # noqa: S308  # escaped by whoever drew it
            number,
        )

    def render(self) -> str:
        """The notes that were used since the last call, as HTML that stands below their text."""
        if not self.used:
            return ""
        lines = (
            format_html("<span><sup>{}</sup> {}</span>", number, note)
            for note, number in self.used.items()
        )
        html = f'<span class="o-warnings">{"".join(lines)}</span>'
        self.used = {}
        return html


gathered: ContextVar[Notes] = ContextVar("text_notes")
"""The notes of several texts that have one list of notes; without it, each text has its own."""


@contextmanager
def gather_notes() -> Iterator[Notes]:
    """Leave the notes of what is drawn inside to the caller, who renders them once."""
    notes = _new_notes()
    token = gathered.set(notes)
    try:
        yield notes
    finally:
        gathered.reset(token)


def _new_notes() -> Notes:
    present = budget.get(None)
    return Notes(present.numbers if present else None)


class Budget:
    """What one page may still draw of agents' texts."""

    __slots__ = ("cuts", "marks", "numbers", "pieces", "reserve", "size")

    def __init__(self) -> None:
        self.pieces: dict[str, list[Piece]] = {}
        self.numbers: dict[str, int] = {}
        self.marks, self.size, self.reserve = MOST_MARKS, MOST_BYTES, RESERVED_BYTES
        self.cuts = 0

    @property
    def is_exceeded(self) -> bool:
        """Whether anything was left out."""
        return self.cuts > 0 or self.is_spent

    @property
    def is_spent(self) -> bool:
        """Whether long texts, trees and lists have to end here."""
        return self.size <= 0

    def draw(self, text: str, notes: Notes, kinds: frozenset[str]) -> str:
        """``text`` as HTML, as far as it is affordable; then how much was left out."""
        if len(text) <= SHORT and _is_plain(text):  # nearly all of them, and thousands on a page
            html = escape(text)
            if self._pay(len(html) + OVERHEAD, 0, is_short=True):
                return html
        out: list[str] = []
        for html, marks, start in _draw(text, notes, kinds):
            if not self._pay(len(html.encode()), marks, is_short=len(text) <= SHORT):
                out.append(self._leave_out(len(text) - start))
                break
            out.append(html)
        self.charge(OVERHEAD)
        return "".join(out)

    def charge(self, size: int) -> None:
        """Count ``size`` bytes of markup."""
        self.size -= size

    def _pay(self, size: int, marks: int, *, is_short: bool) -> bool:
        if marks > self.marks:
            return False
        if size <= self.size:
            self.size -= size
        elif is_short and size <= self.reserve:
            self.reserve -= size
        else:
            self.size = min(self.size, 0)
            return False
        self.marks -= marks
        return True

    def _leave_out(self, count: int) -> str:
        self.cuts += 1
        if self.cuts > MOST_CUTS:
            self.size = min(self.size, 0)
            return ""
        return f'<span class="o-quiet">… {count:,} more characters</span>'


budget: ContextVar[Budget] = ContextVar("text_budget")
"""The budget of the page that this request builds; without one, everything is drawn."""


@contextmanager
def limit_page() -> Iterator[None]:
    """Give what is drawn inside one Budget."""
    token = budget.set(Budget())
    try:
        yield
    finally:
        budget.reset(token)


def is_budget_spent() -> bool:
    """Whether a long text, tree or list has to end here."""
    present = budget.get(None)
    return present is not None and present.is_spent


@dataclass(frozen=True, slots=True)
class SuspiciousText:
    """How often each kind of suspicious text occurs."""

    counts: Counter[str]
    is_complete: bool = True

    def __bool__(self) -> bool:
        return bool(self.counts)

    def words(self) -> str:
        """``hidden characters (3), text addressed to you (1)``."""
        present = ((self.counts[kind], name) for kind, name in WORDS.items() if self.counts[kind])
        words = ", ".join(f"{name} ({count:,})" for count, name in present)
        return words if self.is_complete else f"{words} and more"


def visible(text: object) -> SafeString:
    """An agent's ``text`` as HTML: escaped, invisible characters as their codes, suspicious parts
    underlined and numbered; the notes stand below it.

    Within a Budget, what exceeds it is left out.
    """
    notes = gathered.get(None)
    if notes is not None:
        return SafeString(_draw_within_budget(text, notes, ALL_KINDS))
    notes = _new_notes()
    return SafeString(_draw_within_budget(text, notes, ALL_KINDS) + notes.render())


def reveal(text: object) -> SafeString:
    """Text of ours or of a person as HTML: escaped, invisible characters as their codes. Nothing
    else is marked."""
    return SafeString(_draw_within_budget(text, Notes(), ONLY_HIDDEN))


def _draw_within_budget(text: object, notes: Notes, kinds: frozenset[str]) -> str:
    text = str(text).replace("\r\n", "\n")
    present = budget.get(None)
    return present.draw(text, notes, kinds) if present else _render(text, notes, kinds)


def who(actor: str) -> SafeString:
    """An event's actor, ``kind:name``, as HTML."""
    # Only the name is untrusted: "system:" must not be marked as addressing the reader.
    kind, colon, name = actor.partition(":")
    return format_html("{}{}{}", kind, colon, visible(name))


def find_suspicious(value: Any) -> SuspiciousText:
    """Count what ``visible`` would mark in all strings of a JSON value, member names included; at
    most MOST_MARKS of them."""
    counts: Counter[str] = Counter()
    found = _find_counts(value)
    for each in islice(found, MOST_MARKS):
        counts.update(each)
    return SuspiciousText(counts, is_complete=next(found, None) is None)


def is_suspicious(value: Any) -> bool:
    """Whether ``find_suspicious`` finds anything: it stops at the first."""
    return next(_find_counts(value), None) is not None


def _find_counts(value: Any) -> Iterator[dict[str, int]]:
    """What each suspicious part of a JSON value adds to the counts by kind."""
    texts = list(_walk_texts(value))
    if _is_plain("\n".join(texts)):  # quick, and true of most
        return
    for text in texts:
        for kind, start, end in _find_and_keep(text):
            part = text[start:end]
            counts = {kind: len(part) if kind == "hidden" else 1}
            if kind == "link" and not _link_deceives(part):
                del counts["link"]
            if kind in ("link", "speaks") and (hidden := len(UNSEEN.findall(part))):
                counts["hidden"] = hidden
            if counts:
                yield counts


def _find_and_keep(text: str) -> Iterable[Piece]:
    """What ``_find_pieces`` finds, kept for the page that will draw ``text``: as many as it can
    draw, and one more."""
    present = budget.get(None)
    if present is None or len(text) <= SHORT:
        return _find_pieces(text, ALL_KINDS)
    if text not in present.pieces:
        present.pieces[text] = list(islice(_find_pieces(text, ALL_KINDS), MOST_MARKS + 1))
    return present.pieces[text]


def pretty(value: Any) -> str:
    """A JSON value as indented text with sorted keys."""
    try:
        return orjson.dumps(value, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS).decode()
    except TypeError:  # integers beyond 64 bits, lone surrogates
        return json.dumps(value, indent=2, ensure_ascii=False, sort_keys=True)


def pretty_ascii(value: Any) -> str:
    """As ``pretty``, with characters that can't be seen as JSON's escapes: for an editor."""
    return UNSEEN.sub(lambda match: json.dumps(match[0])[1:-1], pretty(value))


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
    markup = '<time class="o-time" datetime="{}" title="{}">{}</time>'
    return format_html(markup, at.isoformat(), format_utc(at), text)


def badge(state: str) -> SafeString:
    """A state as a badge."""
    words = state.replace("_", " ")
    return format_html('<span class="o-state o-state-{}">{}</span>', state, words)


def _render(text: str, notes: Notes, kinds: frozenset[str]) -> str:
    return "".join(html for html, _, _ in _draw(text, notes, kinds))


def _draw(text: str, notes: Notes, kinds: frozenset[str]) -> Iterator[tuple[str, int, int]]:
    """``text`` in pieces: the HTML, how many marks it has, and where in ``text`` it begins."""
    at = 0
    present = budget.get(None)
    pieces: Iterable[Piece] = ()
    if present and kinds is ALL_KINDS and text in present.pieces:
        pieces = present.pieces[text]
    elif not _is_plain(text):
        pieces = _find_pieces(text, kinds)
    for kind, start, end in pieces:
        yield from _draw_plain(text, at, start)
        html = MARKS[kind](text[start:end], notes)
        yield html, max(1, html.count("<mark")), start
        at = end
    yield from _draw_plain(text, at, len(text))


def _draw_plain(text: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    for at in range(start, end, CHUNK):
        yield escape(text[at : min(at + CHUNK, end)]), 0, at


def _is_plain(text: str) -> bool:
    """Whether ``text`` certainly needs no marking; False where that takes a closer look."""
    return text.isascii() and not IN_ASCII.search(text) and not HINT.search(text.casefold())


def _find_pieces(text: str, kinds: frozenset[str]) -> Iterator[Piece]:
    """The parts of ``text`` to mark, as kind, start and end; in order, without overlaps."""
    if kinds is ONLY_HIDDEN:
        found = ((str(m.lastgroup), m) for m in HIDDEN.finditer(text))
        yield from ((kind, *m.span()) for kind, m in found if kind != "emoji")
        return
    # Found one by one: whoever has seen enough of a hostile text stops.
    sources: list[Iterator[Piece]] = []
    if not text.isascii() or IN_ASCII.search(text):
        found = ((str(m.lastgroup), m) for m in PIECE.finditer(text))
        sources.append((kind, *m.span()) for kind, m in found if kind != "emoji")
    if not text.isascii() and _foreign_letters().search(text):
        sources.append(("mixed", start, end) for start, end in _find_mixed(text))
        # A text with letters that no Latin one resembles is written in that alphabet, so its
        # look-alike words are no deception.
        if not NOT_AS_LATIN.search(text):
            sources.append(("mixed", *m.span()) for m in AS_LATIN.finditer(text))
    if "speaks" in kinds and HINT.search(text.casefold()):
        sources.append(("speaks", *m.span(1)) for m in ADDRESSES_THE_READER.finditer(text))
        sources.append(("speaks", *m.span()) for m in SPEAKS_IN_A_LINE.finditer(text))
    at = 0
    for piece in heapq.merge(*sources, key=lambda piece: (piece[1], -piece[2])):
        if piece[1] >= at:
            yield piece
            at = piece[2]


def _find_mixed(text: str) -> Iterator[tuple[int, int]]:
    """The words of ``text`` with letters of several alphabets."""
    letters = _letters()
    present = tuple(name for name in ALPHABETS if letters[name].search(text))
    if len(present) < 2:
        return
    change, at = _change_of_alphabet(present), 0
    while match := change.search(text, at):
        start = match.start()
        while start > at and (text[start - 1].isalnum() or text[start - 1] == "_"):
            start -= 1
        word = WORD.match(text, start)
        assert word
        at = word.end()
        yield start, at


@cache
def _letters() -> dict[str, re.Pattern[str]]:
    """For each of ALPHABETS, the class of its letters."""
    known: dict[str, str] = dict.fromkeys(ALPHABETS, "")
    for letter in map(chr, chain.from_iterable(LETTERS)):
        if (name := _alphabet(letter)) in known:
            known[name] += letter
    return {name: re.compile(f"[{letters}]") for name, letters in known.items()}


@cache
def _foreign_letters() -> re.Pattern[str]:
    """Matches a letter of ALPHABETS that is not Latin."""
    others = (letters.pattern[1:-1] for name, letters in _letters().items() if name != "LATIN")
    return re.compile(f"[{''.join(others)}]")


@lru_cache(maxsize=128)
def _change_of_alphabet(alphabets: Sequence[str]) -> re.Pattern[str]:
    """Matches from a letter of one alphabet to the next of another one within the same word."""
    letters = {name: _letters()[name].pattern[1:-1] for name in alphabets}
    neutral = rf"[^\W{''.join(letters.values())}]*+"
    changes = []
    for name in alphabets:
        others = "".join(letters[other] for other in alphabets if other != name)
        changes.append(f"[{letters[name]}]{neutral}[{others}]")
    return re.compile("|".join(changes))


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


@lru_cache(maxsize=4096)
def _alphabet(letter: str) -> str:
    return unicodedata.name(letter, "").partition(" ")[0] if letter.isalpha() else ""


def _render_hidden(text: str, notes: Notes) -> str:
    return _spell_out(text)


def _spell_out(text: str) -> str:
    """A run of one invisible character as its code."""
    name = unicodedata.name(text[0], "control character")
    code = f"U+{ord(text[0]):04X}" + (f" × {len(text):,}" if len(text) > 1 else "")
    return format_html('<mark class="o-unseen" title="{}">{}</mark>', name, code)


def _render_mixed(word: str, notes: Notes) -> str:
    foreign = sorted({_alphabet(letter) for letter in word}.intersection(ALPHABETS) - {"LATIN"})
    names = " and ".join(name.capitalize() for name in foreign)
    return notes.mark("mixed", escape(word), f"mixed alphabets: {names} letters")


def _render_lookalike(text: str, notes: Notes) -> str:
    plain = unicodedata.normalize("NFKC", text[:LONGEST_NOTE])
    return notes.mark("lookalike", escape(text), f"look-alike letters: reads {plain}")


def _render_stacked(text: str, notes: Notes) -> str:
    # The marks themselves would cover the lines around.
    code = f'<span class="o-unseen">U+{ord(text[0]):04X} …</span>'
    return notes.mark("stacked", code, f"{len(text):,} marks on one letter")


def _render_speech(text: str, notes: Notes) -> str:
    return notes.mark("speaks", _render(text, notes, NOT_SPEECH), "text addressed to you")


def _render_link(text: str, notes: Notes) -> str:
    """A URL as text with its host emphasised. It is a script that makes links of those."""
    scheme, before, host, after = _parts_of(text)
    pieces = (mark_safe(_escape(piece)) for piece in (scheme + before, host, after))  # noqa: S308
    note = _describe_real_host(before, host)
    kind = "o-url o-url-known" if not note and _is_known_host(host) else "o-url"
    link = format_html('<span class="{}">{}<b class="o-host">{}</b>{}</span>', kind, *pieces)
    return notes.mark("deceives", link, note) if note else link


def _describe_real_host(before: str, host: str) -> str:
    """Where a link leads that seems to lead elsewhere; empty if it leads where it seems to."""
    other = _other_form(host)
    if other == INVALID_HOST:
        return other
    if host.isascii() and other:  # xn--…
        return f"real host: {host}, which reads {other}"
    return f"real host: {other or host}" if before or other else ""


def _is_known_host(host: str) -> bool:
    """Whether the operator lets links to ``host`` open with one click."""
    name = host.lower()
    return any(
        name == known or (known.startswith("*.") and name.endswith(known[1:]))
        for known in settings.PAYLOAD_LINK_HOSTS
    )


def _link_deceives(text: str) -> bool:
    _, before, host, _ = _parts_of(text)
    return bool(_describe_real_host(before, host))


def _parts_of(link: str) -> tuple[str, str, str, str]:
    """The scheme, the part before an ``@``, the host with its port, and the rest (RFC 3986)."""
    scheme, _, rest = link.partition("://")
    authority = re.split(r"[/?#\\]", rest, maxsplit=1)[0]
    before, at, host = authority.rpartition("@")
    return f"{scheme}://", before + at, host, rest[len(authority) :]


def _other_form(host: str) -> str:
    """The ASCII form of an internationalised host name, or the reverse; empty if there is none."""
    name = host.partition(":")[0]
    if len(name) > LONGEST_HOST:
        return INVALID_HOST
    try:
        if not name.isascii():
            return name.encode("idna").decode()
        if "xn--" in name.lower():
            return name.encode().decode("idna")
    except UnicodeError:
        return INVALID_HOST
    return ""


def _escape(text: str) -> str:
    return UNSEEN_RUN.sub(lambda match: _spell_out(match[0]), escape(text))


MARKS: dict[str, Callable[[str, Notes], str]] = {
    "hidden": _render_hidden,
    "link": _render_link,
    "stacked": _render_stacked,
    "lookalike": _render_lookalike,
    "mixed": _render_mixed,
    "speaks": _render_speech,
}
ALL_KINDS = frozenset(MARKS)
NOT_SPEECH = ALL_KINDS - {"speaks"}
ONLY_HIDDEN = frozenset({"hidden"})
