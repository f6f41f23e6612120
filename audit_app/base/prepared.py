"""Querysets whose SQL is compiled once.

Django compiles a queryset to SQL each time, which takes several times as long as PostgreSQL's
answer. A ``Prepared`` queryset is compiled once for each shape of its arguments, with unique
stand-ins for their values; each call only replaces these. So the rules of who may see what stay in
querysets, and hot paths use them.
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
"""Numbers that stand for values while SQL is compiled; no constant of ours is among them."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    sql: str
    bound: tuple[Bound, ...]
    converters: Converters
    read: Read


def prepared_cursor() -> Any:
    """Return a cursor like Django's, whose statements PostgreSQL prepares once a connection.

    Behind a pooler that shares connections, and where Django logs queries, it is Django's own.
    """
    ours: Any = connections[DEFAULT_DB_ALIAS]  # each access through the proxy has its price
    ours.ensure_connection()
    if ours.queries_logged:
        return ours.cursor()
    own = ours.connection
    if own not in _direct:
        with ours.cursor() as cursor:
            _direct[own] = leads_to_one_process(cursor)
    if not _direct[own]:
        return ours.cursor()
    if own.prepare_threshold != 0:  # no effect on Django's cursors, which bind on the client
        own.prepare_threshold = 0
    return ours._prepare_cursor(Cursor(own))


def _unprepared_cursor() -> Any:
    """Return Django's cursor, by which PostgreSQL plans each statement anew."""
    return connection.cursor()


class Prepared(Generic[T]):
    """Calls return the rows of ``build(actor, **values)`` as a list.

    ``build`` returns a queryset of instances or of ``values_list``. It may only put its arguments
    into that queryset: text, UUIDs, numbers, and lists of one of these; None is passed as it is and
    is a shape of its own. It may branch on an actor's kind, on ``auditor`` and on their rights, but
    not on their roles or their assurance. Nothing is prefetched. With ``planned_anew``, PostgreSQL
    plans it for the values of each call. Raises TypeError where ``build`` changes a value, or reads
    something else of an actor.
    """

    def __init__(
        self, build: Callable[..., "QuerySet[Any, Any]"], *, planned_anew: bool = False
    ) -> None:
        self._build = build
        self._cursor = _unprepared_cursor if planned_anew else prepared_cursor
        self._known: dict[Any, _Compiled | None] = {}

    def __call__(self, actor: Actor | None = None, **values: Any) -> list[T]:
        given, standing = values, None
        if actor is not None:
            # Their kind and rights are of the shape, since rules branch on them; the rest is bound.
            standing = actor.kind, actor.auditor, actor.rights
            given = {**values, "id": actor.id, "name": actor.name, "roles": actor.roles}
        shape = (
            standing,
            *(
                (name, len(v), *{type(each) for each in v})
                if isinstance(v, list | tuple)
                else (name, type(v))
                for name, v in given.items()
            ),
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
            rows = [_convert_row(row, compiled.converters) for row in rows]
        return [compiled.read(row) for row in rows]

    def _compile(
        self, actor: Actor | None, given: dict[str, Any], values: dict[str, Any]
    ) -> _Compiled | None:
        """Return None where no row can match, whatever the values are."""
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
        bound = tuple(_bind_parameter(parameter, slots) for parameter in parameters)
        _check_all_are_bound(theirs, slots, [str(parameter) for parameter in parameters])
        found = compiler.get_converters([column[0] for column in compiler.select])
        converters = [(place, expression, how) for place, (how, expression) in found.items()]
        return _Compiled(sql, bound, converters, _reader(compiler))


class _StandInActor(Actor):
    """An actor with stand-ins for id, name and roles. Reading anything else that is not part of the
    shape raises: the compiled rule would hold for everybody as it holds for the stand-in."""

    __slots__ = ()

    def __eq__(self, other: object) -> bool:
        raise _refusal("compares an actor")

    def __hash__(self) -> int:
        raise _refusal("compares an actor")


class _Roles(tuple[str, ...]):
    """Roles that can go into a queryset; testing membership in Python raises."""

    __slots__ = ()

    def __contains__(self, role: object) -> bool:
        raise _refusal("asks for an actor's role outside of its SQL")


class _Untold:
    """An assurance that can't be read, since it differs from one sign-in to the next."""

    def __getattr__(self, name: str) -> Any:
        raise _refusal("asks for an actor's assurance")

    def __eq__(self, other: object) -> bool:
        raise _refusal("asks for an actor's assurance")

    __hash__ = None  # type: ignore[assignment]


def _refusal(what: str) -> TypeError:
    return TypeError(f"a prepared queryset {what}")


def attach(rows: Sequence[Any], relation: str, related: Iterable[Any], key: str) -> None:
    """Attach ``related`` to their ``rows``, by ``key``, as prefetching does; but ``row.relation``
    then supports only ``all()``."""
    own: dict[Any, list[Any]] = {row.pk: [] for row in rows}
    for each in related:
        own[getattr(each, key)].append(each)
    for row in rows:
        row.__dict__.setdefault("_prefetched_objects_cache", {})[relation] = own[row.pk]


def _check_all_are_bound(
    theirs: dict[str, Any], slots: Mapping[str, Bound], parameters: list[str]
) -> None:
    given = [value for value in theirs.values() if value is not None]
    wanted = {str(each) for v in given for each in (v if isinstance(v, list) else [v])}
    hidden = any(slot in text and slot != text for slot in slots for text in parameters)
    if hidden or wanted - set(parameters):
        raise _refusal("does something to a value that it is given")


def _stand_in(name: str, value: Any, slots: dict[str, Bound]) -> Any:
    """Return a stand-in for ``value``: of its type, and used nowhere else."""
    if value is None:
        return None
    if isinstance(value, list | tuple):
        stands = []
        for place, each in enumerate(value):
            stands.append(_make_unique(each))
            slots[str(stands[-1])] = lambda given, place=place: given[name][place]  # type: ignore[misc]
        return stands
    stand = _make_unique(value)
    slots[str(stand)] = lambda given: given[name]
    return stand


def _make_unique(value: Any) -> Any:
    number = next(_unused)
    if isinstance(value, UUID):
        return UUID(int=number)
    if isinstance(value, str):
        # An id is text in an Actor, of a number or of a UUID.
        return str(UUID(int=number)) if len(value) == 36 else str(number)
    if isinstance(value, int):
        return number
    raise _refusal(f"takes no {type(value).__name__}")


def _bind_parameter(parameter: Any, slots: dict[str, Bound]) -> Bound:
    """Return how to compute a parameter from the arguments, as the type that its field wants."""
    value = slots.get(str(parameter))
    if value is None:
        return lambda _: parameter
    kind = type(parameter)
    if kind is UUID:
        return lambda given: v if isinstance(v := value(given), UUID) else UUID(v)
    return lambda given: kind(value(given))


def _convert_row(row: tuple[Any, ...], converters: Converters) -> tuple[Any, ...]:
    values = list(row)
    for place, expression, convert in converters:
        for each in convert:
            values[place] = each(values[place], expression, connection)
    return tuple(values)


def _reader(compiler: Any) -> Read:
    """Return what turns a row into an instance, with its select_related rows and annotations."""
    if compiler.query.values_select:
        return lambda row: row
    fields = compiler.klass_info["select_fields"]
    first, end = fields[0], fields[-1] + 1
    names = [column[0].target.attname for column in compiler.select[first:end]]
    model = compiler.klass_info["model"]
    related = get_related_populators(compiler.klass_info, compiler.select, "default", *FETCH_MODE)
    annotated = list(compiler.annotation_col_map.items())

    def read(row: tuple[Any, ...]) -> Any:
        # Like model.from_db, but without the fields' checks and the signal post_init.
        instance = model.__new__(model)
        state = instance._state = ModelState()
        state.adding, state.db = False, "default"
        if FETCH_MODE:
            state.fetch_mode = FETCH_MODE[0]
        instance.__dict__.update(zip(names, row[first:end], strict=True))
        for each in related:
            each.populate(row, instance)
        for name, place in annotated:
            setattr(instance, name, row[place])
        return instance

    return read


def leads_to_one_process(cursor: Any) -> bool:
    """Whether the connection of ``cursor`` always leads to the same PostgreSQL process."""
    # A pooler reports another process id than that of the process which answers.
    cursor.execute("SELECT pg_backend_pid()")
    return bool(cursor.fetchone()[0] == cursor.connection.info.backend_pid)
