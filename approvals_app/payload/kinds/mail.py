"""Mails: everyone who gets them, what they say in text and in HTML, and what is attached."""

import re
from collections import Counter
from typing import Final

from approvals_app.payload.facts import (
    Data,
    Fact,
    Level,
    Path,
    Reading,
    clip,
    count,
    name_some,
)
from approvals_app.payload.kinds._amounts import name_set
from approvals_app.payload.kinds._messages import (
    Attachment,
    Body,
    Mail,
    Person,
    find_mails,
    may_be_mail,
)
from approvals_app.payload.kinds._words import (
    find_false_link,
    find_links,
    find_own_words,
    read_html,
)

MOST_FACTS: Final = 7
DEEPEST: Final = 3
"""An only mail at most so many steps from the payload is told of by its own object."""
MANY: Final = 50
LABELS: Final = {
    "to": ("to", Level.PLAIN),
    "cc": ("cc", Level.PLAIN),
    "bcc": ("hidden (bcc)", Level.NOTICE),
    "envelope": ("only in the envelope", Level.NOTICE),
}
"""How the recipients in each role are told of."""
PROGRAMS: Final = name_set(
    "exe scr com bat cmd ps1 vbs vbe js jse wsf hta msi jar lnk iso img docm xlsm pptm dll reg "
    "html htm svg app dmg pkg sh"
)
LEVELS: Final = {level: rank for rank, level in enumerate(Level)}


def read(data: Data, path: Path) -> Reading | None:
    """The mails in ``data``, if it is one or holds several."""
    # What is inside the outermost object is read with it, or is the only mail, and left to here.
    mails = find_mails(data, path) if not path or may_be_mail(data) else []
    if not mails or _is_deeper(path, mails):
        return None
    facts = [fact for mail in mails for fact in _check_bodies(mail)][:3]
    facts += [*_tell_people(mails, path), *_check_replies(mails), *_tell_attachments(mails)]
    facts += [*_tell_subjects(mails), *_tell_sender(mails), *_tell_text(mails)]
    facts.sort(key=lambda fact: LEVELS[fact.level])
    return Reading(
        "mail",
        facts[:MOST_FACTS],
        _find_used(mails, path),
        {"recipients": len(_find_distinct(_find_recipients(mails)))},
    )


def _is_deeper(path: Path, mails: list[Mail]) -> bool:
    """Whether the only mail is an object further in, which this kind is called with later."""
    inner = mails[0].path[len(path) :]
    visited = len(mails[0].path) <= DEEPEST and all(isinstance(step, str) for step in inner)
    return len(mails) == 1 and bool(inner) and visited


def _find_used(mails: list[Mail], path: Path) -> set[str]:
    paths = [each.path for each in mails]
    for mail in mails:
        paths += [each.path for each in mail.people]
        paths += [each.path for each in mail.bodies]
        paths += [each.path for each in mail.attachments]
        paths += [where for where, _ in (*mail.subjects, *mail.templates)]
    return {str(each[len(path)]) for each in paths if len(each) > len(path)}


def _find_recipients(mails: list[Mail]) -> list[Person]:
    return [each for mail in mails for each in mail.recipients]


def _find_distinct(people: list[Person]) -> set[str]:
    return {each.address.casefold() for each in people}


# --- who gets it ---


def _tell_people(mails: list[Mail], path: Path) -> list[Fact]:
    recipients = _find_recipients(mails)
    facts = _tell_outside(mails, path)
    number = len(_find_distinct(recipients))
    # Two or three are seen below with their number; how many of them are outside is said above.
    if number > (3 if facts else 1):
        roles = Counter(each.role for each in recipients)
        parts = ", ".join(f"{roles[role]:,} {role}" for role in LABELS if roles[role])
        level = Level.NOTICE if number >= MANY else Level.PLAIN
        where = _find_shared_path(recipients) or path
        facts.append(Fact("recipients", f"{number:,} ({parts})", where, level))
    for role, (label, level) in LABELS.items():
        people = [each for mail in mails for each in _find_role(mail, role)]
        if people:
            names = list(dict.fromkeys(each.address for each in people))
            facts.append(Fact(label, name_some(names, 5), _find_shared_path(people), level))
    return facts


def _find_role(mail: Mail, role: str) -> list[Person]:
    """The recipients in ``role``; of the envelope, those that the mail itself does not name."""
    people = [each for each in mail.recipients if each.role == role]
    if role != "envelope":
        return people
    named = _find_distinct([each for each in mail.recipients if each.role != "envelope"])
    return [each for each in people if each.address.casefold() not in named]


def _tell_outside(mails: list[Mail], path: Path) -> list[Fact]:
    """The recipients in other domains than their sender's, by domain."""
    outside = [each for mail in mails for each in _find_outside(mail)]
    if not outside:
        return []
    domains: dict[str, set[str]] = {}
    for each in outside:
        domains.setdefault(each.domain, set()).add(each.address.casefold())
    ordered = sorted(domains.items(), key=lambda each: -len(each[1]))
    texts = [f"{domain} ({len(some):,})" for domain, some in ordered]
    every = count(len(_find_distinct(_find_recipients(mails))), "recipient")
    value = f"{len(_find_distinct(outside)):,} of {every}: {name_some(texts, 4)}"
    return [Fact("outside", value, _find_shared_path(outside) or path, Level.NOTICE)]


def _find_outside(mail: Mail) -> list[Person]:
    senders = {each.domain for each in mail.people if each.role == "from" and each.domain}
    if not senders:  # who sends is not said: nobody is known to be inside
        return []
    domains = {each.domain for each in mail.recipients}
    inside = {each for each in domains if any(_is_inside(each, sender) for sender in senders)}
    return [each for each in mail.recipients if each.domain and each.domain not in inside]


def _is_inside(domain: str, sender: str) -> bool:
    return domain == sender or domain.endswith(f".{sender}") or sender.endswith(f".{domain}")


def _check_replies(mails: list[Mail]) -> list[Fact]:
    """Replies that go to another domain than the sender's."""
    for mail in mails:
        senders = [each.domain for each in mail.people if each.role == "from" and each.domain]
        for each in mail.people:
            if each.role != "reply_to" or not each.domain or not senders:
                continue
            if not any(_is_inside(each.domain, one) for one in senders):
                return [Fact("replies go to", clip(each.address), each.path, Level.NOTICE)]
    return []


def _find_shared_path(people: list[Person]) -> Path:
    """The innermost member that holds all of them."""
    shared = people[0].path
    for each in people[1:]:
        while each.path[: len(shared)] != shared:
            shared = shared[:-1]
    return shared


# --- what it says ---


def _check_bodies(mail: Mail) -> list[Fact]:
    facts = []
    for body in mail.bodies:
        false = find_false_link(body.text) if body.is_html else None
        if false:
            value = f"shows {clip(false[0])}, leads to {clip(false[1])}"
            facts.append(Fact("false link", value, body.path, Level.DANGER))
    if mail.bodies:
        # The HTML is what most people see: it is compared with each other body.
        main = next((each for each in mail.bodies if each.is_html), mail.bodies[0])
        for other in mail.bodies:
            if other is not main:
                facts += _compare(main, other)
    return facts


def _compare(main: Body, other: Body) -> list[Fact]:
    one, two = _read_words(main), _read_words(other)
    if one == two:
        return []
    # Text says where a link leads, HTML hides it: that is no difference.
    links = " ".join(href for href, _ in find_links(main.text)) if main.is_html else ""
    facts = [
        _tell_own(name, body, words, quoted)
        for name, body, (words, quoted) in (
            (_name(main, other), main, find_own_words(one, two)),
            (_name(other, main), other, find_own_words(two, one, links)),
        )
        if words
    ]
    strange = any(fact.level is Level.DANGER for fact in facts)
    level = Level.DANGER if strange else Level.NOTICE
    return [Fact(fact.label, fact.value, fact.path, level) for fact in facts]


def _tell_own(name: str, body: Body, words: list[str], quoted: str) -> Fact:
    telling = len(words) >= 3 or any(re.search(r"[\d@]", word) for word in words)
    level = Level.DANGER if telling else Level.NOTICE
    return Fact(f"only in the {name}", clip(quoted[:5_000], 160), body.path, level)


def _name(body: Body, other: Body) -> str:
    """``HTML``, ``text``, or the member's name where both are of one sort."""
    if body.is_html == other.is_html:
        return clip(str(body.path[-1]), 20) if body.path else "body"
    return "HTML" if body.is_html else "text"


def _read_words(body: Body) -> str:
    return read_html(body.text) if body.is_html else body.text


def _tell_text(mails: list[Mail]) -> list[Fact]:
    bodies = [body for mail in mails for body in mail.bodies]
    templates = [each for mail in mails for each in mail.templates]
    facts = [Fact("template", clip(text), where) for where, text in templates[:1]]
    if bodies:
        first = next((each for each in bodies if each.is_html), bodies[0])
        words = clip(_read_words(first)[:5_000], 160)
        facts.append(Fact("text", words or "no words", first.path))
    return facts


def _tell_subjects(mails: list[Mail]) -> list[Fact]:
    subjects = [each for mail in mails for each in mail.subjects]
    facts = []
    if len(mails) > 1:
        shared = mails[0].path
        for each in mails[1:]:
            while each.path[: len(shared)] != shared:
                shared = shared[:-1]
        facts.append(Fact("mails", f"{len(mails):,}", shared))
    if subjects:
        texts = list(dict.fromkeys(text for _, text in subjects))
        label = "subject" if len(texts) == 1 else "subjects"
        facts.append(Fact(label, name_some(texts), subjects[0][0]))
    return facts


def _tell_sender(mails: list[Mail]) -> list[Fact]:
    senders = [each for mail in mails for each in mail.people if each.role == "from"]
    names = list(dict.fromkeys(each.address for each in senders))
    return [Fact("from", name_some(names), senders[0].path)] if senders else []


# --- what is attached ---


def _tell_attachments(mails: list[Mail]) -> list[Fact]:
    attached = [each for mail in mails for each in mail.attachments]
    facts = []
    programs = [each for each in attached if _is_program(each)]
    if programs:
        names = name_some([each.name for each in programs])
        facts.append(Fact("attached program", names, programs[0].path, Level.DANGER))
    read = [each for each in attached if each.source]
    if read:
        value = name_some([each.source for each in read])
        facts.append(Fact("attached from elsewhere", value, read[0].path, Level.NOTICE))
    if attached:
        names = name_some([_describe(each) for each in attached])
        label = "attachment" if len(attached) == 1 else f"{len(attached):,} attachments"
        facts.append(Fact(label, names, attached[0].path))
    return facts


def _is_program(attachment: Attachment) -> bool:
    """Whether it can run, or opens as a page, when it is opened."""
    return attachment.name.strip().rpartition(".")[2].lower() in PROGRAMS


def _describe(attachment: Attachment) -> str:
    size = "" if attachment.size is None else _write_size(attachment.size)
    about = ", ".join(filter(None, [clip(attachment.kind, 40), size]))
    return clip(attachment.name, 50) + (f" ({about})" if about else "")


def _write_size(size: int) -> str:
    """``3 bytes``, ``12 kB``, ``1.5 MB``."""
    if abs(size) < 1_000:
        return count(size, "byte")
    if abs(size) < 1_000_000:
        return f"{size // 1000:,} kB"
    return f"{size // 100_000 / 10:,.1f} MB" if abs(size) < 10**15 else "more than 1,000 TB"
