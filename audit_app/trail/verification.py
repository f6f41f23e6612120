"""Whether the trail is whole: what ``verify_audit`` checks.

Every entry is read as it was written and judged by itself (canonical RFC 8785, the members of an
event), against its subject's earlier entries (a gapless ``seq``, each change of state beginning
where the last one ended, a change that its kind of event can make) and, in the database, against

- the rows: version, status and time of the last change, digests of payloads, who decided, and each
  column that an event states;
- what no operation leaves behind, such as an approval without its votes or a key that no event
  issued (``Subject.contradictions``);
- the catalog: functions, triggers, constraints and rights as this version of the code makes them.

What can't be known here: somebody with a superuser's rights, or the owner of the tables, who
rewrites entries *and* rows so that they agree, or who removes a subject with all of its entries,
or the last entries of a subject that has no row (a refusal, an agent's note), leaves a trail that
is whole by all of these checks; so does who changes a column that no event states (a task's
``result``, an API key's hash, a webhook's secret). So does whoever removes the last lines of an
exported file. Only a digest that was kept elsewhere, such as the SHA-256 that ``export_audit``
prints, tells that.
"""

import contextlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, cast

from django.contrib.auth.base_user import AbstractBaseUser
from django.db import DataError, connection, models, transaction
from django.db.models import Exists, F, OuterRef

from audit_app.base.canonical import canonical, digest
from audit_app.base.events import EventType
from audit_app.models import Event, Subject
from audit_app.trail import catalog

MEMBERS: dict[str, tuple[type, ...]] = {
    "actor": (str,),
    "actor_id": (str,),
    "event_id": (str,),
    "event_type": (str,),
    "from_state": (str, type(None)),
    "metadata": (dict,),
    "role": (str, type(None)),
    "seq": (int,),
    "subject_id": (str,),
    "subject_type": (str,),
    "timestamp": (str,),
    "to_state": (str, type(None)),
    "trace_id": (str, type(None)),
}
SHOWN = 100
EXACT = 2**53
CHUNK = 2_000

What = Literal["changed", "removed", "inserted"]
Progress = Callable[[str], None]
RowChecker = Callable[[], Iterable[tuple[Any, str]]]
"""Returns the ids of a table's rows that are not as they were written, each with a sentence."""

_checkers: dict[str, RowChecker] = {}


def register_checker(kind: str, checker: RowChecker) -> None:
    """Have ``verify_audit`` call ``checker`` for the table of the subject type ``kind``."""
    _checkers[kind] = checker


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is not as it was written: what was done to it, and where."""

    what: What
    reason: str
    subject_type: str | None = None
    subject_id: str | None = None
    seq: int | None = None
    event_id: str | None = None
    place: str | None = None

    def __str__(self) -> str:
        where = [
            f"{self.subject_type} {self.subject_id}" if self.subject_type else None,
            f"seq {self.seq}" if self.seq is not None else None,
            f"event {self.event_id}" if self.event_id else None,
            self.place,
        ]
        line = f"{self.what}: {', '.join(filter(None, where))}: {self.reason}"
        # What was tampered with must not write to the terminal of whoever looks.
        return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class Story:
    """What the entries of one subject say so far."""

    seq: int = 0
    state: str | None = None
    event_id: str | None = None
    timestamp: str | None = None
    digest: str | None = None
    changed_by: tuple[str, str] = ("", "")
    erased: bool = False
    ended: bool = False
    has_row: bool = False


@dataclass(slots=True)
class Verification:
    """Reads entries in the order of the trail, then rows; keeps the first findings and counts all.

    Its memory grows with the number of subjects, not of events.
    """

    events: int = 0
    stories: dict[tuple[str, str], Story] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    found: int = 0
    _named: set[tuple[str | None, str | None]] = field(default_factory=set)
    _changes: dict[str, dict[str, set[tuple[str | None, str | None]]]] = field(init=False)

    def __post_init__(self) -> None:
        self._changes = {kind: changes_of(model) for kind, model in Subject.kinds().items()}
        # Some of these events also change a row in place.
        for kind, model in Subject.kinds().items():
            for event in events_in_place(model) & self._changes[kind].keys():
                self._changes[kind][event].add((None, None))

    @property
    def subjects(self) -> int:
        return len(self.stories)

    def find(self, what: What, reason: str, **where: Any) -> None:
        self.found += 1
        self._named.add((where.get("subject_type"), where.get("subject_id")))
        if len(self.findings) < SHOWN:
            self.findings.append(Finding(what, reason, **where))

    def read(self, text: str, place: str) -> None:
        """Take the next entry of the trail."""
        self.events += 1
        try:
            event = event_in(text)
        except ValueError as error:
            self.find("changed", str(error), place=place, **_named_in(text))
            return
        story = self.stories.setdefault((event["subject_type"], event["subject_id"]), Story())
        where = {name: event[name] for name in ("subject_type", "subject_id", "seq", "event_id")}
        if self._follows(event, story, where | {"place": place}):
            self._moves(event, story, where | {"place": place})
            story.seq = event["seq"]
            story.event_id = event["event_id"]
            story.timestamp = event["timestamp"]

    def _follows(self, event: dict[str, Any], story: Story, where: dict[str, Any]) -> bool:
        """Whether the event comes after those that were read; a gap before it is found here."""
        if story.ended:
            self.find("inserted", "the subject was purged before it", **where)
            return False
        if event["seq"] <= story.seq:
            self.find("inserted", f"the subject's seq had come to {story.seq} before it", **where)
            return False
        first, last = story.seq + 1, event["seq"] - 1
        if first <= last:
            gap = "it is" if first == last else f"events {first} to {last} are"
            self.find(
                "removed",
                f"{gap} missing before event {event['event_id']}",
                **where | {"seq": first, "event_id": None},
            )
            story.state = event["from_state"] or story.state  # what came between is not known
        return True

    def _moves(self, event: dict[str, Any], story: Story, where: dict[str, Any]) -> None:
        kind, change = event["event_type"], (event["from_state"], event["to_state"])
        possible = self._changes.get(event["subject_type"], {}).get(kind)
        if possible is None and None not in change and event["subject_type"] in self._changes:
            self.find("changed", f"{kind} makes no change of a {event['subject_type']}", **where)
        elif possible is not None and change not in possible:
            self.find("changed", f"{kind} never goes {_arrow(*change)}", **where)
        elif change != (None, None) and change[0] != story.state:
            self.find(
                "changed",
                f"it begins at {change[0] or 'nothing'}, but the event before it left the subject "
                f"{story.state or 'nothing'}",
                **where,
            )
        if change != (None, None):
            story.state = change[1]
            story.changed_by = (event["actor"].partition(":")[0], event["actor_id"])
        story.ended = kind == f"{event['subject_type']}.purged"
        story.erased = story.erased or kind == EventType.PAYLOAD_ERASED
        self._names_one_payload(event, story, where)

    def _names_one_payload(
        self, event: dict[str, Any], story: Story, where: dict[str, Any]
    ) -> None:
        said = event["metadata"].get("payload_digest")
        revised = event["event_type"] == "task.revised" and isinstance(said, str)
        if revised and event["metadata"].get("replaces") != story.digest:
            self.find("changed", "it replaces another payload than the one before", **where)
        if revised or (event["seq"] == 1 and isinstance(said, str)):
            story.digest = said
        elif said is not None and story.digest is not None and said != story.digest:
            self.find("changed", "it names another payload than the first event does", **where)

    def compare_rows(self, kind: str, model: type[Subject]) -> None:
        """Hold every row of one table against what its entries say."""
        names = {f.attname for f in model._meta.concrete_fields}
        wanted = ["id", "version", "status", "updated_at"]
        wanted += sorted(names & {"payload", "payload_digest", "erasure", "decided_by_id"})
        for row in model.objects.order_by().values(*wanted).iterator(CHUNK):
            story = self.stories.get((kind, str(row["id"])))
            where: dict[str, Any] = {"subject_type": kind, "subject_id": str(row["id"])}
            if story is None:
                self.find("inserted", "the row has no event", **where)
                continue
            where |= {"seq": story.seq, "event_id": story.event_id}
            story.has_row = True
            if story.ended:
                self.find("inserted", "the row is there, but it was purged", **where)
                continue
            for reason in _differences(row, story, model):
                self.find("changed", reason, **where)
        for (subject_type, subject_id), story in self.stories.items():
            if subject_type == kind and not (story.has_row or story.ended):
                self.find(
                    "removed",
                    "the row is not there, and no event says that it was purged",
                    subject_type=kind,
                    subject_id=subject_id,
                    seq=story.seq,
                    event_id=story.event_id,
                )

    def compare_digests(self, kind: str, model: type[Subject]) -> None:
        """A digest that a row shares with the row it refers to (an approval's with its task's)."""
        for reference in model._meta.concrete_fields:
            other = reference.related_model
            if not (isinstance(other, type) and issubclass(other, Subject)):
                continue
            if not (_has(model, "payload_digest") and _has(other, "payload_digest")):
                continue
            apart = model.objects.exclude(payload_digest=F(f"{reference.name}__payload_digest"))
            if _has(model, "revision") and hasattr(other, "revisions"):
                kept = other.revisions.field.model.objects.filter(
                    task=OuterRef(reference.attname),
                    number=OuterRef("revision"),
                    payload_digest=OuterRef("payload_digest"),
                )
                apart = apart.exclude(Exists(kept))
            for pk in apart.order_by().values_list("pk", flat=True).iterator(CHUNK):
                self.find(
                    "changed",
                    f"the row's payload_digest is not that of its {other.subject_type}",
                    subject_type=kind,
                    subject_id=str(pk),
                )

    def _add(self, kind: str, pk: Any, reason: str, **where: Any) -> None:
        """Find something about a row of which nothing was found yet: one fault shows in many
        places, and the first says the most."""
        if (kind, str(pk)) not in self._named:
            self.find("changed", reason, subject_type=kind, subject_id=str(pk), **where)

    def compare_statements(self, kind: str, model: type[Subject]) -> None:
        """What an event says is in a column, the row says too, until another event says otherwise.

        An event states what it sets: the first one of a row any column, a later one those that may
        change.
        """
        columns = {f.column: f for f in model._meta.concrete_fields}
        stated = model.stated_columns()
        pairs = ", ".join(f"'{name}', row.{_quote(column)}" for name, column in stated.items())
        query = STATEMENTS.format(table=model._meta.db_table, pairs=pairs)
        later = [n for n, column in stated.items() if column not in model.immutable_columns]
        for pk, seq, name, held, said in _select(query, kind, list(stated), later):
            if not _is_same(columns[stated[name]], held, said):
                reason = f"the row's {stated[name]} is not what its event says"
                self._add(kind, pk, reason, seq=seq)

    def compare_filing(self, kind: str, model: type[Subject]) -> None:
        """The role and the trace under which the events are filed, and who made the row."""
        filed = {"role": model.role_column, "trace_id": model.trace_column}
        apart = [f"event.{of} IS DISTINCT FROM row.{_quote(c)}" for of, c in filed.items() if c]
        if author := model.author_column:
            named = f"event.actor_id = row.{_quote(author)}::text"
            person = issubclass(_field(model, author).related_model, AbstractBaseUser)
            kind_of_actor = "human" if person else "agent"
            named += f" AND starts_with(event.actor, '{kind_of_actor}:')"
            apart.append(f"event.seq = 1 AND NOT ({named})")
        if not apart:
            return
        query = FILING.format(table=model._meta.db_table, apart=" OR ".join(apart))
        for pk, seq in _select(query, kind):
            reason = "the event is filed under another role, trace or author than the row"
            self._add(kind, pk, reason, seq=seq)

    def look_for_contradictions(self, kind: str, model: type[Subject]) -> None:
        """Rows that no operation can leave behind, whatever their events say."""
        for sentence, query in model.contradictions:
            for (pk,) in _select(query):
                self._add(kind, pk, sentence)

    def check_signatures(self, kind: str, model: type[Subject]) -> None:
        """What only the app that has the table can check, such as a signature."""
        for pk, reason in _checkers.get(kind, list)():
            self._add(kind, pk, reason)

    def compare_catalog(self) -> None:
        """What would have refused a change: functions, triggers, constraints, rights."""
        for what, reason, place in catalog.find_differences():
            self.find(cast(What, what), reason, place=place)


# The last event that says something of a column is the one that counts.
STATEMENTS = """
SELECT row.id, said.seq, said.key, held.value -> said.key, said.value
FROM {table} AS row
CROSS JOIN LATERAL (SELECT jsonb_build_object({pairs}) AS value) AS held
CROSS JOIN LATERAL (
    SELECT DISTINCT ON (member.key) member.key, member.value, event.seq
    FROM audit_events AS event, jsonb_each(event.metadata) AS member
    WHERE event.subject_type = %s AND event.subject_id = row.id
      AND member.key = ANY(%s) AND (event.seq = 1 OR member.key = ANY(%s))
    ORDER BY member.key, event.seq DESC
) AS said
WHERE held.value -> said.key IS DISTINCT FROM said.value
"""
FILING = """
SELECT row.id, event.seq FROM {table} AS row JOIN audit_events AS event
    ON event.subject_type = %s AND event.subject_id = row.id
WHERE {apart}
"""


def _select(query: str, *params: Any) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, params or None)
        rows: list[tuple[Any, ...]] = cursor.fetchall()
        return rows


def _quote(name: str) -> str:
    return connection.ops.quote_name(name)


def _is_same(column: Any, held: Any, said: Any) -> bool:
    """Whether two JSON values of ``column`` that differ are the same moment."""
    if not isinstance(column, models.DateTimeField):
        return False
    try:
        one, other = (datetime.fromisoformat(json.loads(text)) for text in (held, said))
    except (TypeError, ValueError):
        return False
    return one == other


def check_database(verification: Verification, progress: Progress) -> None:
    """Check the trail and every row as the caller's transaction sees them."""
    verification.compare_catalog()
    for position, entry in entries():
        verification.read(entry, f"position {position}")
        if verification.events % 10_000 == 0:
            progress(f"Read {verification.events:,} events")
    for kind, model in Subject.kinds().items():
        progress(f"Comparing {model._meta.db_table} with their events")
        verification.compare_rows(kind, model)
        verification.compare_digests(kind, model)
        for compare in (
            verification.compare_statements,
            verification.compare_filing,
            verification.look_for_contradictions,
            verification.check_signatures,
        ):
            try:
                with transaction.atomic():
                    compare(kind, model)
            except DataError as error:  # an entry was changed to what can't be compared
                verification.find("changed", str(error).partition("\n")[0], place=kind)


def verify_lines(verification: Verification, lines: Iterator[bytes], progress: Progress) -> None:
    """Check exported entries, one a line; needs no database."""
    for number, line in enumerate(lines, 1):
        text = line.removesuffix(b"\n").decode(errors="surrogateescape")  # has no canonical form
        verification.read(text, f"line {number}")
        if number % 10_000 == 0:
            progress(f"Read {number:,} lines")


@contextlib.contextmanager
def snapshot() -> Iterator[None]:
    """One moment of the database, however long it takes to read; holds up no writer."""
    with transaction.atomic(durable=True), connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        cursor.execute("SET LOCAL statement_timeout = 0")
        # Whoever reads an export may be slower than any limit of ours.
        cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
        yield


def entries() -> Iterator[tuple[int, str]]:
    """Every entry with its position, in order, a chunk in memory at a time."""
    rows = Event.objects.order_by("position").values_list("position", "entry")
    return rows.iterator(CHUNK)


def event_in(text: str) -> dict[str, Any]:
    """The event that an entry is. Raises ValueError saying what is wrong with it."""
    numbers = _Numbers()
    try:
        event = json.loads(
            text,
            parse_int=numbers.integer,
            parse_float=numbers.fraction,
            parse_constant=numbers.refuse,
        )
        simple = text.isascii() and not numbers.fractions
        again = _quickly(event) if simple else canonical(event)
    except (ValueError, RecursionError):
        raise ValueError("the entry is not JSON with a canonical form") from None
    if again != text:
        raise ValueError("the entry is not in its canonical form (RFC 8785)")
    if not isinstance(event, dict) or event.keys() != MEMBERS.keys():
        raise ValueError("the entry has not the members of an event")
    for name, types in MEMBERS.items():
        if type(event[name]) not in types:
            raise ValueError(f"the entry's {name} is not of its type")
    return event


class _Numbers:
    """Numbers as RFC 8785 sees them: IEEE doubles, of which the integers below 2^53 are exact."""

    def __init__(self) -> None:
        self.fractions = False

    def integer(self, text: str) -> int | float:
        if len(text) < 17 and abs(value := int(text)) < EXACT:
            return value
        return self.fraction(text)

    def fraction(self, text: str) -> float:
        self.fractions = True
        return float(text)

    def refuse(self, text: str) -> None:
        raise ValueError(f"{text} is not JSON")


def _quickly(value: Any) -> str:
    """RFC 8785 for ASCII without fractions, where Python's own encoder writes the same."""
    return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))


def _named_in(text: str) -> dict[str, Any]:
    """Whatever an unsound entry still says of where it belongs."""
    with contextlib.suppress(ValueError, RecursionError):
        event = json.loads(text)
        if isinstance(event, dict):
            names = ("subject_type", "subject_id", "event_id")
            found = {name: event[name] for name in names if isinstance(event.get(name), str)}
            return found | ({"seq": event["seq"]} if type(event.get("seq")) is int else {})
    return {}


def changes_of(model: type[Subject]) -> dict[str, set[tuple[str | None, str | None]]]:
    """By name of event, the pairs of states that such an event of ``model`` can go between."""
    status: Any = _field(model, "status")
    changes: dict[str, set[tuple[str | None, str | None]]] = {}
    for transition_ in status.get_all_transitions(model):
        event = str(getattr(model, transition_.name).recorded_as)
        pair = (str(transition_.source), str(transition_.target))
        changes.setdefault(event, set()).add(pair)
    return changes


def events_in_place(model: type[Subject]) -> set[str]:
    """The events of ``model`` that leave the state alone."""
    methods: list[Any] = [getattr(model, name, None) for name in dir(model)]
    return {
        str(method.recorded_as)
        for method in methods
        if hasattr(method, "recorded_as") and not hasattr(method, "_django_fsm")
    }


def _field(model: type[models.Model], name: str) -> Any:
    return model._meta.get_field(name)


def _differences(row: dict[str, Any], story: Story, model: type[Subject]) -> Iterator[str]:
    if row["version"] != story.seq:
        yield f"the row's version is {row['version']}, its last event's seq is {story.seq}"
    if row["status"] != story.state:
        yield f"the row's status is {row['status']}, its events end at {story.state or 'nothing'}"
    if row["version"] == story.seq and _instant(row["updated_at"]) != story.timestamp:
        yield f"the row's updated_at is not the time of its last event, {story.timestamp}"
    if "payload" in row:
        has_payload = digest(row["payload"]) == row["payload_digest"]
        if not (has_payload or story.erased):
            yield "the row's payload_digest is not the SHA-256 of its payload"
        if has_payload and story.erased and row["erasure"] is None:
            yield "its payload is there, but an event says that it was erased"
    if "payload_digest" in row and row["payload_digest"] != story.digest:
        yield f"the row's payload_digest is not that of its first event, {story.digest}"
    if "decided_by_id" in row:
        yield from _check_attribution(row, story, model)


def _check_attribution(row: dict[str, Any], story: Story, model: type[Subject]) -> Iterator[str]:
    """A decision is the act of the human whom the row names; where it names none, the system's."""
    decided = row["status"] in getattr(model, "DECIDED", ())
    kind, actor_id = story.changed_by
    if decided and row["decided_by_id"] is None and kind == "system":
        return
    if decided and kind != "human":
        yield f"the row says a human decided, its events say {kind or 'nobody'}"
    elif decided and str(row["decided_by_id"]) != actor_id:
        yield f"the row says user {row['decided_by_id']} decided, its event says user {actor_id}"
    elif not decided and row["decided_by_id"] is not None:
        yield f"the row says user {row['decided_by_id']} decided, no event does"


def _instant(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _has(model: type[models.Model], name: str) -> bool:
    return name in {f.name for f in model._meta.concrete_fields}


def _arrow(before: str | None, after: str | None) -> str:
    return f"from {before or 'nothing'} to {after or 'nothing'}"
