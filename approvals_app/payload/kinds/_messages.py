"""Finds the mails of a JSON value: their people, bodies and attachments, in any service's shape.

Members are recognised by their names without case and separators, in the object itself and in the
containers that SendGrid, SES, Graph, Gmail, Postmark, Mailjet, Mandrill, Brevo and SMTP put around.
"""

import base64
import binascii
import email
import re
from collections.abc import Iterator, Set
from dataclasses import dataclass, field, replace
from email.errors import MessageError
from email.header import decode_header
from email.message import Message as Mime
from functools import lru_cache
from typing import Any, Final

from approvals_app.payload.facts import Data, Path
from approvals_app.payload.kinds._amounts import name_set, normalize
from approvals_app.payload.walking import DEEPEST

ROLES: Final = {
    **dict.fromkeys(name_set("to toaddresses torecipients recipients recipient"), "to"),
    "rcptto": "envelope",
    **dict.fromkeys(name_set("cc ccaddresses ccrecipients"), "cc"),
    **dict.fromkeys(name_set("bcc bccaddresses bccrecipients"), "bcc"),
    **dict.fromkeys(name_set("replyto replytoaddresses replytolist"), "reply_to"),
    **dict.fromkeys(name_set("from source fromemailaddress fromemail sender mailfrom"), "from"),
}
RECIPIENTS: Final = ("to", "cc", "bcc", "envelope")
TEXTS: Final = name_set("text textbody textpart textcontent plain plaintext bodytext")
HTMLS: Final = name_set("html htmlbody htmlpart htmlcontent bodyhtml")
EITHER: Final = name_set("body content message")
RAW: Final = name_set("raw rawmessage mime eml rfc822 data")
CONTAINERS: Final = name_set(
    "message destination destinations content simple envelope personalizations body payload "
    "parts email mail messageversions bulkemailentries defaultcontent headers globals options"
)
ATTACHMENTS: Final = name_set("attachments attachment inlinedattachments inlineattachments files")
TEMPLATES: Final = name_set("template templateid templatename templatealias")
ADDRESS: Final = name_set("email address emailaddress mail")
CONTENT: Final = ("content", "contentbytes", "base64content", "rawcontent", "data", "b64")
PART: Final = re.compile(r'(?:"[^"]*"|<[^<>]*>|[^,;"<])+')
ANGLE: Final = re.compile(r"<([^<>]*)>")
# It starts only where a word starts: else a long text without an @ is searched from each letter.
MAILBOX: Final = re.compile(r"(?<![^\s<>,;\"()])[^\s<>,;\"()@]+@[^\s<>,;\"()]+")
HTML: Final = re.compile(
    r"<(?:!doctype|html|body|p|div|br|a|table|span|h[1-6]|img|ul|b|strong)\b", re.IGNORECASE
)
HEADERS: Final = re.compile(r"\s{0,9}[A-Za-z][A-Za-z0-9-]{0,60}:[^\n]*\n")
TYPES: Final = name_set("type contenttype mimetype")
KNOWN: Final = ROLES.keys() | TEXTS | HTMLS | EITHER | RAW | ATTACHMENTS | TEMPLATES | {"subject"}
"""The members of a mail."""
WHOLE: Final = EITHER | RAW
GOES: Final = frozenset(name for name, role in ROLES.items() if role in RECIPIENTS)
CONTENTS: Final = TEXTS | HTMLS | TEMPLATES | ATTACHMENTS | {"subject"}
MOST_NESTED: Final = 50


@dataclass(slots=True)
class Person:
    """An address in one role: ``to``, ``cc``, ``bcc``, ``envelope``, ``reply_to`` or ``from``.

    SMTP delivers to those of the envelope; the mail itself need not name them.
    """

    role: str
    address: str
    path: Path
    domain: str = field(init=False)
    """In lower case; empty if the address has none."""

    def __post_init__(self) -> None:
        _, sign, domain = self.address.rpartition("@")
        self.domain = domain.lower() if sign else ""


@dataclass(frozen=True, slots=True)
class Body:
    text: str
    path: Path
    is_html: bool


@dataclass(frozen=True, slots=True)
class Attachment:
    """``size`` is in bytes; None: not known. ``source``: a file or URL that the mailer reads."""

    name: str
    kind: str
    size: int | None
    source: str
    path: Path


@dataclass(slots=True)
class Mail:
    path: Path
    people: list[Person] = field(default_factory=list)
    subjects: list[tuple[Path, str]] = field(default_factory=list)
    bodies: list[Body] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    templates: list[tuple[Path, str]] = field(default_factory=list)

    @property
    def recipients(self) -> list[Person]:
        return [each for each in self.people if each.role in RECIPIENTS]

    @property
    def goes_to_somebody(self) -> bool:
        return any(each.role in RECIPIENTS for each in self.people)

    @property
    def is_whole(self) -> bool:
        """Whether it can be sent: it goes to somebody and says something."""
        return bool(self.bodies or self.templates) and self.goes_to_somebody

    @property
    def is_mail(self) -> bool:
        """Whether it is a mail, and no message of a chat or transfer ``to`` an account."""
        has_content = bool(self.subjects or self.bodies or self.templates or self.attachments)
        by_mail = bool(self.subjects) or any("@" in each.address for each in self.people)
        return has_content and by_mail and self.goes_to_somebody

    def add(self, other: "Mail") -> None:
        self.people += other.people
        self.subjects += other.subjects
        self.bodies += other.bodies
        self.attachments += other.attachments
        self.templates += other.templates


def may_hold_mails(names: Set[str]) -> bool:
    """Whether a payload with these plain names may hold somebody's mail, or a whole one as text."""
    if not WHOLE.isdisjoint(names):
        return True
    return not (GOES.isdisjoint(names) or CONTENTS.isdisjoint(names))


@lru_cache(maxsize=4096)
def _plain(name: str) -> str:
    return normalize(name.removeprefix("h:"))


def find_mails(value: Any, path: Path) -> list[Mail]:
    """The mails in ``value``, in the order in which they stand."""
    mails: list[Mail] = []
    rest = _collect(value, path, mails, 0)
    if rest.is_mail:
        mails.insert(0, rest)
    elif mails:
        # Who and what stands around several mails is told of once, with the first.
        mails[0].people += rest.people
        mails[0].attachments += rest.attachments
    return mails


def _collect(value: Any, path: Path, mails: list[Mail], depth: int) -> Mail:
    """What ``value`` says of a mail; whole ones inside it are added to ``mails``."""
    mail = Mail(path)
    if depth > DEEPEST:
        return mail
    if isinstance(value, list):
        for position, each in enumerate(value):
            _merge(mail, each, (*path, position), mails, depth, whole=True)
    elif isinstance(value, dict):
        _collect_object(mail, value, path, mails, depth)
    return mail


def _merge(
    mail: Mail, value: Any, path: Path, mails: list[Mail], depth: int, *, whole: bool
) -> None:
    if not isinstance(value, (dict, list)):
        return
    inside = _collect(value, path, mails, depth + 1)
    if inside.is_whole and inside.is_mail:
        mails.append(inside)
    elif whole:
        mail.add(inside)
    else:  # a member of any name may hold further recipients, but its texts are not the mail's
        mail.people += [each for each in inside.recipients if "@" in each.address]


def _collect_object(mail: Mail, value: Data, path: Path, mails: list[Mail], depth: int) -> None:
    if (typed := _read_typed(value, path)) is not None:
        mail.bodies.append(typed)
        return
    if isinstance(value.get("name"), str) and isinstance(value.get("value"), str):
        _read_member(mail, value["name"], value["value"], (*path, "value"))
    for name, each in value.items():
        if _plain(name) not in KNOWN and not isinstance(each, (dict, list)):
            continue
        where = (*path, name)
        if _plain(name) not in KNOWN or not _read_member(mail, name, each, where):
            container = _plain(name) in CONTAINERS
            before = len(mail.people)
            _merge(mail, each, where, mails, depth, whole=container)
            if normalize(name) == "envelope":
                mail.people[before:] = [_envelop(person) for person in mail.people[before:]]


def _envelop(person: Person) -> Person:
    return replace(person, role="envelope") if person.role in RECIPIENTS else person


def _read_member(mail: Mail, name: str, value: Any, path: Path) -> bool:
    """Read what one member says of ``mail``; False if it is no part of a mail by its name."""
    plain = _plain(name)
    if plain in ROLES:
        mail.people += read_people(value, path, ROLES[plain])
        return True
    if plain in ATTACHMENTS:
        mail.attachments += read_attachments(value, path)
        return True
    if plain in RAW and (raw := _read_raw(value, path)) is not None:
        mail.add(_read_mime(*raw))
        return True
    text = _read_text(value, path)
    if text is None:
        return False
    where, words = text
    if plain == "subject":
        mail.subjects.append(text)
    elif plain in TEXTS or plain in HTMLS:
        mail.bodies.append(Body(words, where, plain in HTMLS))
    elif plain in TEMPLATES:
        mail.templates.append(text)
    elif plain in EITHER:
        if HEADERS.match(words) and (raw := _read_raw(value, path)) is not None:
            mail.add(_read_mime(*raw))
        else:
            mail.bodies.append(Body(words, where, bool(HTML.search(words))))
    else:
        return False
    return True


def _read_text(value: Any, path: Path) -> tuple[Path, str] | None:
    """A text, or that in ``{"Data": …}`` as SES writes it."""
    if isinstance(value, str):
        return (path, value) if value.strip() else None
    if isinstance(value, dict):
        for name in ("Data", "data"):
            if isinstance(value.get(name), str) and value[name].strip():
                return (*path, name), value[name]
    return None


def _read_typed(value: Data, path: Path) -> Body | None:
    """``{"type": "text/html", "value": …}`` and the like: the type says what the text is."""
    if not any(_plain(name) in TYPES for name in value):
        return None
    names = {normalize(name): name for name in value}
    kinds = [value[names[each]] for each in ("type", "contenttype", "mimetype") if each in names]
    kind = next((each.lower() for each in kinds if isinstance(each, str)), "")
    if not kind.startswith("text") and kind != "html":
        return None
    for plain in ("value", "content"):
        if isinstance(value.get(names.get(plain, "")), str):
            name = names[plain]
            return Body(value[name], (*path, name), "html" in kind)
    body = value.get("body")
    if isinstance(body, dict) and isinstance(body.get("data"), str):
        data = _decode_base64(body["data"])
        if data is not None:
            return Body(data.decode(errors="replace"), (*path, "body", "data"), "html" in kind)
    return None


# --- people ---


def read_people(value: Any, path: Path, role: str) -> list[Person]:
    """The addresses in a text, an object or a list of them."""
    if isinstance(value, str):
        return [Person(role, address, path) for address in split_addresses(value)]
    if isinstance(value, list):
        several = [((*path, position), each) for position, each in enumerate(value)]
        return [one for where, each in several for one in read_people(each, where, role)]
    if isinstance(value, dict):
        return _read_person(value, path, role)
    return []


def _read_person(value: Data, path: Path, role: str) -> list[Person]:
    kind = value.get("type")
    role = kind if kind in ("to", "cc", "bcc") else role
    found = False
    people: list[Person] = []
    for name, each in value.items():
        plain = normalize(name)
        if plain in ADDRESS:
            people += read_people(each, (*path, name), role)
            found = True
        elif plain in ROLES:  # recipients: {to: […], bcc: […]}
            people += read_people(each, (*path, name), ROLES[plain])
            found = True
    if found:
        return people
    # Some services take an object of names by address.
    return [Person(role, name, (*path, name)) for name in value if MAILBOX.fullmatch(name)]


def split_addresses(text: str) -> list[str]:
    """``"Doe, Jo" <jo@example.com>; b@example.com`` → the two addresses; what is none as it is."""
    if MAILBOX.fullmatch(text):
        return [text]
    addresses = []
    for part in PART.findall(text):
        angle = ANGLE.findall(part)
        mailbox = None if angle else MAILBOX.search(part)
        address = angle[-1] if angle else mailbox[0] if mailbox else part
        if address.strip():
            addresses.append(address.strip())
    return addresses


# --- attachments ---


def read_attachments(value: Any, path: Path) -> list[Attachment]:
    """Attachments as names, objects, or a list of them."""
    if isinstance(value, list):
        several = [((*path, position), each) for position, each in enumerate(value)]
        return [one for where, each in several for one in read_attachments(each, where)]
    if isinstance(value, str) and value.strip():
        return [Attachment(value, "", None, "", path)]
    if not isinstance(value, dict):
        return []
    plain = {normalize(name): each for name, each in value.items()}
    name = _first_text(plain, "filename", "name", "title")
    kind = _first_text(plain, "contenttype", "type", "mimetype", "rawcontenttype")
    source = _first_text(plain, "path", "href", "url", "sourceurl", "fileurl")
    if not (name or kind or source or any(each in plain for each in CONTENT)):
        return []
    return [Attachment(name or source or "no name", kind, _read_size(plain), source, path)]


def _first_text(plain: Data, *names: str) -> str:
    return next((plain[n] for n in names if isinstance(plain.get(n), str) and plain[n]), "")


def _read_size(plain: Data) -> int | None:
    for name in ("size", "contentlength", "length", "bytes"):
        if isinstance(plain.get(name), int) and not isinstance(plain[name], bool):
            return int(plain[name])
    content = _first_text(plain, *CONTENT)
    if not content:
        return None
    # Base64, as all services take it: three bytes in four characters.
    compact = len(content) - content.count("\n") - content.count("\r")
    return compact * 3 // 4 - (content.rstrip().endswith("=") + content.rstrip().endswith("=="))


# --- MIME ---


def _read_raw(value: Any, path: Path) -> tuple[bytes, Path] | None:
    """A whole message of RFC 5322, as it is or in base64 as Gmail and SES take it."""
    text = _read_text(value, path)
    if text is None:
        return None
    where, words = text
    if HEADERS.match(words):
        raw = words.lstrip().encode(errors="replace")
    else:
        decoded = _decode_base64(words)
        if decoded is None or not HEADERS.match(decoded[:2000].decode("latin-1")):
            return None
        raw = decoded.lstrip()
    head = raw[:20_000].lower()
    if raw.lower().count(b"boundary=") > MOST_NESTED:  # the parser recurses into each
        return None
    known = any(name in b"\n" + head for name in (b"\nto:", b"\nsubject:", b"\nfrom:", b"\nbcc:"))
    return (raw, where) if known else None


def is_raw_mail(value: Any) -> bool:
    """Whether ``value`` is a whole mail as a text."""
    return isinstance(value, str) and _read_raw(value, ()) is not None


def _decode_base64(text: str) -> bytes | None:
    compact = "".join(text.split()).replace("-", "+").replace("_", "/").rstrip("=")
    try:
        return base64.b64decode(compact + "=" * (-len(compact) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None


def _read_mime(raw: bytes, path: Path) -> Mail:
    """The mail in ``raw``; every fact of it comes from the member at ``path``."""
    mail = Mail(path)
    try:
        _parse_mime(mail, raw, path)
    except Exception:
        mail.attachments.append(Attachment("a message that can't be read", "", len(raw), "", path))
    return mail


def _parse_mime(mail: Mail, raw: bytes, path: Path) -> None:
    message = email.message_from_bytes(raw)
    for name, value in message.items():
        plain, text = normalize(name), _decode_header(str(value))
        if plain in ROLES:
            mail.people += read_people(text, path, ROLES[plain])
        elif plain == "subject":
            mail.subjects.append((path, text))
    for part in _walk_parts(message):
        _read_part(mail, part, path)


def _walk_parts(message: Mime) -> Iterator[Mime]:
    pending = [message]
    while pending:
        each = pending.pop()
        payload = each.get_payload()
        if isinstance(payload, list):
            pending += [part for part in reversed(payload) if isinstance(part, Mime)]
        else:
            yield each


def _read_part(mail: Mail, part: Mime, path: Path) -> None:
    payload = part.get_payload(decode=True)
    data = payload if isinstance(payload, bytes) else b""
    kind = part.get_content_type()
    name = part.get_filename()
    if name or part.get_content_disposition() == "attachment" or not kind.startswith("text/"):
        name = _decode_header(str(name)) if name else "no name"
        mail.attachments.append(Attachment(name, kind, len(data), "", path))
        return
    try:
        text = data.decode(part.get_content_charset() or "utf-8", errors="replace")
    except LookupError:  # a character set that Python does not know
        text = data.decode("latin-1")
    if text.strip():
        mail.bodies.append(Body(text, path, kind == "text/html"))


def _decode_header(value: str) -> str:
    """RFC 2047's encoded words as text; what can't be decoded stays."""
    try:
        pieces = decode_header(value)
        texts = [p if isinstance(p, str) else p.decode(c or "utf-8", "replace") for p, c in pieces]
    except (ValueError, LookupError, MessageError):
        return value
    return " ".join("".join(texts).split())
