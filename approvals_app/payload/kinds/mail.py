"""Mails: everyone who gets them, what they say in text and in HTML, and what is attached."""

import re
from collections import Counter
from collections.abc import Mapping
from typing import Final

from approvals_app.payload.facts import (
    LONGEST_HEADLINE,
    Data,
    Fact,
    Level,
    Path,
    Reading,
    clip,
    count,
    find,
    fit,
    name_some,
)
from approvals_app.payload.kinds._amounts import name_set
from approvals_app.payload.kinds._messages import (
    Attachment,
    Body,
    Mail,
    Person,
    find_mails,
    may_hold_mails,
)
from approvals_app.payload.kinds._words import (
    find_false_link,
    find_links,
    find_own_words,
    read_html,
)
from approvals_app.payload.walking import Names, Survey

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


def may_read(names: Names) -> bool:
    """Whether a payload with these names may hold mails."""
    return may_hold_mails(names.plain)


def read_all(data: Data, _seen: Survey | None = None) -> list[tuple[Path, Reading]]:
    """The mails in ``data``, wherever they stand."""
    mails = find_mails(data, ())
    if not mails:
        return []
    recipients = _find_recipients(mails)
    path = _find_holder(data, mails)
    facts = [fact for mail in mails for fact in _check_bodies(mail)][:3]
    facts += [*_tell_people(mails, recipients, path), *_check_replies(mails)]
    facts += [*_tell_attachments(mails), *_tell_subjects(mails), *_tell_sender(mails)]
    facts += _tell_text(mails)
    number = len(_find_distinct(recipients))
    reading = Reading(
        "mail",
        fit(facts),
        _find_used(mails, path),
        {"recipients": number},
        _write_headline(mails, recipients, number),
    )
    return [(path, reading)]


def _find_holder(data: Data, mails: list[Mail]) -> Path:
    """The object of an only mail, if all of it is inside."""
    path = mails[0].path
    places = [each.path for each in mails[0].people] + [each.path for each in mails[0].attachments]
    inside = len(mails) == 1 and all(place[: len(path)] == path for place in places)
    return path if inside and isinstance(find(data, path), Mapping) else ()


def _write_headline(mails: list[Mail], people: list[Person], number: int) -> str:
    what = "a mail" if len(mails) == 1 else f"{len(mails):,} mails"
    if number > 1:
        return f"Send {what} to {number:,} recipients"
    subject = next((text for mail in mails for _, text in mail.subjects), "")
    start = f"Send {what} to {clip(people[0].address, 40)}"
    return clip(f"{start}: {subject}" if subject.strip() else start, LONGEST_HEADLINE)


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


def _tell_people(mails: list[Mail], recipients: list[Person], path: Path) -> list[Fact]:
    facts = _tell_outside(mails, recipients, path)
    number = len(_find_distinct(recipients))
    # Two or three are seen below with their number; how many of them are outside is said above.
    if number > (3 if facts else 1):
        roles = Counter(each.role for each in recipients)
        parts = ", ".join(f"{roles[role]:,} {role}" for role in LABELS if roles[role])
        level = Level.NOTICE if number >= MANY else Level.PLAIN
        where = _find_shared_path(recipients) or path
        facts.append(Fact("recipients", f"{number:,} ({parts})", where, level))
    roles_of = _group_by_role(mails)
    for role, (label, level) in LABELS.items():
        if people := roles_of[role]:
            names = list(dict.fromkeys(each.address for each in people))
            facts.append(Fact(label, name_some(names, 5), _find_shared_path(people), level))
    return facts


def _group_by_role(mails: list[Mail]) -> dict[str, list[Person]]:
    """The recipients by role; of an envelope, those that its mail itself does not name."""
    groups: dict[str, list[Person]] = {role: [] for role in LABELS}
    for mail in mails:
        people = mail.recipients
        named: set[str] = set()
        if any(each.role == "envelope" for each in people):
            named = _find_distinct([each for each in people if each.role != "envelope"])
        for each in people:
            if each.role != "envelope" or each.address.casefold() not in named:
                groups[each.role].append(each)
    return groups


def _tell_outside(mails: list[Mail], recipients: list[Person], path: Path) -> list[Fact]:
    """The recipients in other domains than their sender's, by domain."""
    outside = [each for mail in mails for each in _find_outside(mail)]
    if not outside:
        return []
    domains: dict[str, set[str]] = {}
    for each in outside:
        domains.setdefault(each.domain, set()).add(each.address.casefold())
    ordered = sorted(domains.items(), key=lambda each: -len(each[1]))
    texts = [f"{domain} ({len(some):,})" for domain, some in ordered]
    every = count(len(_find_distinct(recipients)), "recipient")
    value = f"{len(_find_distinct(outside)):,} of {every}: {name_some(texts, 4)}"
    return [Fact("outside", value, _find_shared_path(outside) or path, Level.NOTICE)]


def _find_outside(mail: Mail) -> list[Person]:
    senders = {each.domain for each in mail.people if each.role == "from" and each.domain}
    if not senders:  # who sends is not said: nobody is known to be inside
        return []
    people = mail.recipients
    domains = {each.domain for each in people} - {""}
    outside = {each for each in domains if not any(_is_inside(each, one) for one in senders)}
    return [each for each in people if each.domain in outside] if outside else []


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
