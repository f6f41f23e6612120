"""The words of a text and of HTML, as far as a reader sees them; what only one of the two has."""

import html
import re
from collections import Counter
from typing import Final

WORD: Final = re.compile(r"\w+(?:[.,:/@'’_-]+\w+)*")
SENTENCE: Final = re.compile(r"(?<=[.!?])\s+|\n+")
INLINE: Final = re.compile(
    r"</?(?:a|abbr|b|big|code|em|font|i|mark|s|small|span|strong|sub|sup|u)(?=[\s/>])[^<>]*>",
    re.IGNORECASE,
)
TAG: Final = re.compile(r"<[/!?a-zA-Z][^<>]*>")
LINK: Final = re.compile(
    r"<a\s[^<>]*?href\s*=\s*[\"']?([^\"'\s<>]+)[^<>]*>([^<]{0,300})", re.IGNORECASE
)
SHOWN: Final = re.compile(r"\s*(?:https?://)?((?:[a-z0-9-]+\.)+[a-z]{2,})(?:[/?#:]|\s*$)", re.I)
HREF: Final = re.compile(r"https?://(?:[^/@\s]*@)?([^/?#:\s]+)", re.IGNORECASE)
UNSEEN: Final = tuple(
    (re.compile(opening, re.IGNORECASE), re.compile(closing, re.IGNORECASE))
    for opening, closing in (
        ("<!--", "-->"),
        (r"<script\b", r"</script[^<>]*>"),
        (r"<style\b", r"</style[^<>]*>"),
        (r"<title\b", r"</title[^<>]*>"),
    )
)


def read_html(text: str) -> str:
    """The text of HTML: without tags, comments, scripts, styles and the title."""
    for opening, closing in UNSEEN:
        text = _remove(text, opening, closing)
    # An inline tag stands inside a word, every other one between two.
    return html.unescape(TAG.sub(" ", INLINE.sub("", text)))


def _remove(text: str, opening: re.Pattern[str], closing: re.Pattern[str]) -> str:
    # Not one pattern for both ends: it is quadratic where many open and none closes.
    kept, position = [], 0
    while start := opening.search(text, position):
        kept.append(text[position : start.start()])
        end = closing.search(text, start.end())
        if end is None:
            return "".join(kept)
        position = end.end()
    return "".join([*kept, text[position:]])


def find_own_words(text: str, other: str, known: str = "") -> tuple[list[str], str]:
    """The words of ``text`` that ``other`` lacks, and the sentences in which they stand.

    A word of ``known`` is not missed.
    """
    rest = Counter(word.casefold() for word in WORD.findall(other))
    also = {word.casefold() for word in WORD.findall(known)}
    own: list[str] = []
    quoted: list[str] = []
    for sentence in SENTENCE.split(text):
        before = len(own)
        for word in WORD.findall(sentence):
            folded = word.casefold()
            if rest[folded] > 0:
                rest[folded] -= 1
            elif folded not in also:
                own.append(word)
        if len(own) > before:
            quoted.append(sentence.strip())
    return own, " … ".join(quoted[:10])


def find_links(text: str) -> list[tuple[str, str]]:
    """The links of HTML: where each leads and the text that it shows."""
    return [(html.unescape(href), html.unescape(shown)) for href, shown in LINK.findall(text)]


def find_false_link(text: str) -> tuple[str, str] | None:
    """The first link that shows one host and leads to another: both hosts."""
    for href, shown in find_links(text):
        looks, leads = SHOWN.match(shown), HREF.match(href)
        if looks and leads:
            one, other = looks[1].lower(), leads[1].lower()
            if one.removeprefix("www.") != other.removeprefix("www."):
                return one, other
    return None
