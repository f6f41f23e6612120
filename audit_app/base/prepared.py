"""Querysets whose SQL is written once.

Django writes a queryset's SQL anew each time, which costs several times what PostgreSQL needs to
answer. A ``Prepared`` queryset is built once for each shape of what it is given, with values in it
that nobody else uses; after that, only those are exchanged. So the rules of who may see what stay
where they are, in querysets, and hot paths ask by them all the same.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any, Generic, TypeVar
from uuid import UUID
from weakref import WeakKeyDictionary

import django
from django.core.exceptions import EmptyResultSet
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import QuerySet
from django.db.models.base import ModelState
from django.db.models.query import get_related_populators
from psycopg import Cursor

from audit_app.base.actors import Actor

T = TypeVar("T")
Converters = list[tuple[int, Any, list[Callable[..., Any]]]]
Read = Callable[[tuple[Any, ...]], Any]
Bound = Callable[[Mapping[str, Any]], Any]

FETCH_MODE: tuple[Any, ...] = ()
if django.VERSION >= (6, 1):
    from django.db.models.fetch_modes import FETCH_ONE

    FETCH_MODE = (FETCH_ONE,)

_direct: "WeakKeyDictionary[Any, bool]" = WeakKeyDictionary()
_unused = count(1_900_000_001)
"""Numbers that stand for values while SQL is written; no constant of ours is among them."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    sql: str
    bound: tuple[Bound, ...]
    converters: Converters
    read: Read


def planned_once() -> Any:
    """A cursor like Django's own, for a statement that is sent again and again: PostgreSQL plans it
    once a connection. Not behind a pooler, where a connection is anybody's; nor where queries are
    logged, which are to be whole.
    """
    ours: Any = connections[DEFAULT_DB_ALIAS]  # once: each look through the proxy has its price
    ours.ensure_connection()
    own = ours.connection
    if ours.queries_logged or not _is_direct(own):
        return ours.cursor()
    if own.prepare_threshold != 0:  # Django's own cursors bind their values themselves
        own.prepare_threshold = 0
    return ours._prepare_cursor(Cursor(own))


def _planned_anew() -> Any:
    """Of this thread's connection."""
    return connection.cursor()


def _is_direct(own: Any) -> bool:
    if own not in _direct:
        with connection.cursor() as cursor:
            _direct[own] = leads_to_one_process(cursor)
    return _direct[own]


class Prepared(Generic[T]):
    """What ``build(actor, **values)`` finds, as a list.

    ``build`` returns a queryset of instances, or one of ``values_list``, and may use what it is
    given in no other way than to put it into that queryset: text, UUIDs, numbers, and lists of one
    of these; None is handed on as it is, a shape of its own. It may branch on an actor's kind, on
    whether they are an auditor and on their rights; not on their roles or their assurance. Nothing
    is prefetched. With ``planned_anew``, PostgreSQL plans it for the values of each call. Raises
    TypeError where a value does not come out as it went in, and where ``build`` asks of an actor
    what it may not.
    """

    def __init__(
        self, build: Callable[..., "QuerySet[Any, Any]"], *, planned_anew: bool = False
    ) -> None:
        self._build = build
        self._cursor = _planned_anew if planned_anew else planned_once
        self._known: dict[Any, _Compiled | None] = {}

    def __call__(self, actor: Actor | None = None, **values: Any) -> list[T]:
        given = values if actor is None else {**values, **_told(actor)}
        shape = (
            actor and (actor.kind, actor.auditor, actor.rights),
            *((name, _shape(value)) for name, value in given.items()),
        )
        if shape not in self._known:
            self._known[shape] = self._compile(actor, given, values)
        compiled = self._known[shape]
        if compiled is None:
            return []
        with self._cursor() as cursor:
            cursor.execute(compiled.sql, [value(given) for value in compiled.bound])
            rows = cursor.fetchall()
        if compiled.converters:
            rows = [_converted(row, compiled.converters) for row in rows]
        return [compiled.read(row) for row in rows]

    def _compile(
        self, actor: Actor | None, given: dict[str, Any], values: dict[str, Any]
    ) -> _Compiled | None:
        """None where there is nothing to find, whatever the values are."""
        slots: dict[str, Bound] = {}
        stands = {name: _stand_in(name, value, slots) for name, value in given.items()}
        theirs = {name: stands[name] for name in values}
        somebody = actor and _StandInActor(
            actor.kind,
            stands["id"],
            stands["name"],
            _Roles(stands["roles"]),
            actor.auditor,
            actor.rights,
            _Untold(),  # type: ignore[arg-type]
        )
        rows = self._build(*([somebody] if somebody else []), **theirs)
        compiler: Any = rows.query.get_compiler(connection=connection)
        try:
            sql, parameters = compiler.as_sql()
        except EmptyResultSet:
            return None
        bound = tuple(_bound(parameter, slots) for parameter in parameters)
        _none_is_lost(theirs, slots, [str(parameter) for parameter in parameters])
        found = compiler.get_converters([column[0] for column in compiler.select])
        converters = [(place, expression, how) for place, (how, expression) in found.items()]
        return _Compiled(sql, bound, converters, _reader(compiler))


class _StandInActor(Actor):
    """Has what shapes have of an actor, and stand-ins for what is exchanged. All else raises: a
    rule that asked for it would hold for everybody as it holds for the stand-in."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise _refusal("compares an actor")

    def __hash__(self) -> int:
        raise _refusal("compares an actor")


class _Roles(tuple[str, ...]):
    """Go into a queryset, which asks in SQL; Python is not told what is among them."""

    __slots__ = ()

    def __contains__(self, role: object) -> bool:
        raise _refusal("asks for an actor's role outside of its SQL")


class _Untold:
    """How somebody proved who they are, which differs from one sign-in to the next."""

    def __getattr__(self, name: str) -> Any:
        raise _refusal("asks for an actor's assurance")

    def __eq__(self, other: object) -> bool:
        raise _refusal("asks for an actor's assurance")

    __hash__ = None  # type: ignore[assignment]


def _refusal(what: str) -> TypeError:
    return TypeError(f"a prepared queryset {what}")


def attach(rows: Sequence[Any], relation: str, related: Iterable[Any], key: str) -> None:
    """Let each of ``rows`` know which of ``related`` are its own, by ``key``: as prefetching does,
    but that ``row.relation`` is good for ``all()`` alone."""
    own: dict[Any, list[Any]] = {row.pk: [] for row in rows}
    for each in related:
        own[getattr(each, key)].append(each)
    for row in rows:
        row.__dict__.setdefault("_prefetched_objects_cache", {})[relation] = own[row.pk]


def _told(actor: Actor) -> dict[str, Any]:
    """What is exchanged of ``actor``; their kind, their rights, and whether they are an auditor are
    of the shape."""
    return {"id": actor.id, "name": actor.name, "roles": actor.roles}


def _none_is_lost(
    theirs: dict[str, Any], slots: Mapping[str, Bound], parameters: list[str]
) -> None:
    given = [value for value in theirs.values() if value is not None]
    wanted = {str(each) for v in given for each in (v if isinstance(v, list) else [v])}
    hidden = any(slot in text and slot != text for slot in slots for text in parameters)
    if hidden or wanted - set(parameters):
        raise _refusal("does something to a value that it is given")


def _shape(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return (len(value), *{type(each) for each in value})
    return type(value)


def _stand_in(name: str, value: Any, slots: dict[str, Bound]) -> Any:
    """What stands for ``value``: of its type, and used nowhere else."""
    if value is None:
        return None
    if isinstance(value, list | tuple):
        stands = []
        for place, each in enumerate(value):
            stands.append(_unlike(each))
            slots[str(stands[-1])] = lambda given, place=place: given[name][place]  # type: ignore[misc]
        return stands
    stand = _unlike(value)
    slots[str(stand)] = lambda given: given[name]
    return stand


def _unlike(value: Any) -> Any:
    number = next(_unused)
    if isinstance(value, UUID):
        return UUID(int=number)
    if isinstance(value, str):
        # An id is text in an Actor, of a number or of a UUID.
        return str(UUID(int=number)) if len(value) == 36 else str(number)
    if isinstance(value, int):
        return number
    raise _refusal(f"takes no {type(value).__name__}")


def _bound(parameter: Any, slots: dict[str, Bound]) -> Bound:
    """How to get at a parameter: by what it stands for, as the type that the field made of it."""
    value = slots.get(str(parameter))
    if value is None:
        return lambda _: parameter
    kind = type(parameter)
    if kind is UUID:
        return lambda given: v if isinstance(v := value(given), UUID) else UUID(v)
    return lambda given: kind(value(given))


def _converted(row: tuple[Any, ...], converters: Converters) -> tuple[Any, ...]:
    values = list(row)
    for place, expression, convert in converters:
        for each in convert:
            values[place] = each(values[place], expression, connection)
    return tuple(values)


def _made(model: Any, names: Sequence[str], values: Sequence[Any]) -> Any:
    """What ``model.from_db`` makes, but that no field is asked about its value: each keeps it as it
    comes, and nobody is told of the instance (``post_init``)."""
    instance = model.__new__(model)
    state = instance._state = ModelState()
    state.adding, state.db = False, "default"
    if FETCH_MODE:
        state.fetch_mode = FETCH_MODE[0]
    instance.__dict__.update(zip(names, values, strict=True))
    return instance


def _reader(compiler: Any) -> Read:
    """What makes of a row an instance, with those that select_related names and with what it is
    annotated with."""
    if compiler.query.values_select:
        return lambda row: row
    fields = compiler.klass_info["select_fields"]
    first, end = fields[0], fields[-1] + 1
    names = [column[0].target.attname for column in compiler.select[first:end]]
    model = compiler.klass_info["model"]
    related = get_related_populators(compiler.klass_info, compiler.select, "default", *FETCH_MODE)
    annotated = list(compiler.annotation_col_map.items())

    def read(row: tuple[Any, ...]) -> Any:
        instance = _made(model, names, row[first:end])
        for each in related:
            each.populate(row, instance)
        for name, place in annotated:
            setattr(instance, name, row[place])
        return instance

    return read


def leads_to_one_process(cursor: Any) -> bool:
    """Whether the connection of ``cursor`` is not a pooler's: that tells of another process than
    the one that answers."""
    cursor.execute("SELECT pg_backend_pid()")
    return bool(cursor.fetchone()[0] == cursor.connection.info.backend_pid)
