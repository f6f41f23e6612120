"""The triggers of an audited table, written out from its model.

``<app>/sql/triggers/TABLE_transitions.sql`` holds the result, so that the present rule can be read;
``make docs`` writes it and a test compares. psql, another language and a shell meet the same rule.
"""

from collections.abc import Iterator
from typing import Any

from django.db import models

from audit_app.base.events import EventType
from audit_app.models import Subject
from audit_app.trail.verification import changes_of, events_in_place

TRIGGERS = """\
-- Generated from the model {model} by `make docs`.

-- Every change has its event, and is one of these: event:before>after. By its name it fires before
-- the table's other deferred triggers, so that a missing event is what is told.
CREATE CONSTRAINT TRIGGER {table}_check_transition AFTER INSERT OR UPDATE OR DELETE ON {table}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION audit_check_transition(
        '{subject_type}',
        {changes});

CREATE OR REPLACE FUNCTION {table}_stated() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said jsonb;
BEGIN
    SELECT metadata INTO said FROM public.audit_events
        WHERE subject_type = '{subject_type}' AND subject_id = NEW.id AND seq = NEW.version;
    IF {apart} THEN
        RAISE EXCEPTION 'a row of {table} is not what its audit event says'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('{subject_type} %s, seq %s.', NEW.id, NEW.version);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION {table}_stated() IS
    'Trigger, deferred: what an event says is in a column, the row says too.';
CREATE CONSTRAINT TRIGGER {table}_check_values AFTER INSERT OR UPDATE ON {table}
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION {table}_stated();

CREATE TRIGGER {table}_refuse_truncate BEFORE TRUNCATE ON {table}
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();

CREATE TRIGGER {table}_immutable BEFORE UPDATE ON {table} FOR EACH ROW
    WHEN ({immutable})
    EXECUTE FUNCTION audit_refuse();

CREATE OR REPLACE FUNCTION {table}_event() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    purged boolean := NEW.from_state IS NOT NULL AND NEW.to_state IS NULL;
BEGIN
    PERFORM FROM public.{table} WHERE id = NEW.subject_id AND (purged OR version >= NEW.seq);
    IF FOUND = purged THEN
        RAISE EXCEPTION 'an audit event tells of a change that was not made'
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('{subject_type} %s, seq %s.', NEW.subject_id, NEW.seq);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION {table}_event() IS 'Trigger, deferred: every event of {table} has its change.';
CREATE CONSTRAINT TRIGGER {table}_event AFTER INSERT ON audit_events
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.subject_type = '{subject_type}')
    EXECUTE FUNCTION {table}_event();
"""

NEXT = "\n       OR "


def render_triggers(model: type[Subject]) -> str:
    """The SQL of the triggers that ``model``'s table has as an audited table."""
    immutable = ("id", *model.immutable_columns, "created_at")
    return TRIGGERS.format(
        model=f"{model._meta.app_label}.{model.__name__}",
        table=model._meta.db_table,
        subject_type=model.subject_type,
        changes=",\n        ".join(f"'{change}'" for change in legal_changes(model)),
        apart=NEXT.join(_compare_statements(model)),
        immutable="\n        OR ".join(f"OLD.{c} IS DISTINCT FROM NEW.{c}" for c in immutable),
    )


def _compare_statements(model: type[Subject]) -> Iterator[str]:
    """SQL conditions, each true where an event and the row contradict each other."""
    fields: dict[str, Any] = {str(field.column): field for field in model._meta.concrete_fields}
    if model.must_state:
        names = ", ".join(f"'{name}'" for name in model.must_state)
        yield f"NEW.version = 1 AND NOT said ?& ARRAY[{names}]"
    at_first = []
    for name, column in model.stated_columns().items():
        apart = f"said ? '{name}' AND {_differs(fields[column], name)}"
        if column in model.immutable_columns:
            at_first.append(apart)  # in a later event the name means something else
            continue
        yield apart
        if name in model.must_state:
            changed = f"NEW.{column} IS DISTINCT FROM OLD.{column}"
            yield f"TG_OP = 'UPDATE' AND {changed} AND NOT said ? '{name}'"
    if at_first:
        conditions = "\n           OR ".join(at_first)
        yield f"NEW.version = 1 AND (\n           {conditions})"


def _differs(field: Any, name: str) -> str:
    """The SQL condition that the event's ``name`` is not what the row has in ``field``."""
    column = f"NEW.{field.column}"
    match field.get_internal_type():
        case "DateTimeField":
            return f"(said ->> '{name}')::timestamptz IS DISTINCT FROM {column}"
        case "JSONField":
            return f"said -> '{name}' IS DISTINCT FROM coalesce({column}, 'null')"
        case "ArrayField":
            return f"said -> '{name}' IS DISTINCT FROM to_jsonb({column})"
        case _:
            return f"said ->> '{name}' IS DISTINCT FROM {column}::text"


def legal_changes(model: type[Subject]) -> list[str]:
    """What may happen to a row, as ``event:before>after``.

    ``task.routed:>approved`` is a first state, ``task.purged:failed>`` a state in which a row may
    be purged, and ``session.updated:>`` a change that leaves the state alone.
    """
    changes = {(str(model.created_as), "", state) for state in first_states(model)}
    if model.purged_as:
        changes |= {(str(model.purged_as), state, "") for state in _last_states(model)}
    for event, pairs in changes_of(model).items():
        changes |= {(event, str(before), str(after)) for before, after in pairs}
    changes |= {(event, "", "") for event in events_in_place(model)}
    states = ["", *_states(model)]

    def in_order(change: tuple[str, str, str]) -> tuple[int, int, int]:
        event, before, after = change
        return EventType.values.index(event), states.index(before), states.index(after)

    return [f"{event}:{before}>{after}" for event, before, after in sorted(changes, key=in_order)]


def first_states(model: type[Subject]) -> tuple[str, ...]:
    """The states in which a row of ``model`` may be created."""
    return model.first_states or (_status(model).get_default(),)


def _last_states(model: type[Subject]) -> tuple[str, ...]:
    left = {before for pairs in changes_of(model).values() for before, _ in pairs}
    return model.purged_in or tuple(state for state in _states(model) if state not in left)


def _states(model: type[Subject]) -> list[str]:
    return [state for state, _ in _status(model).choices]


def _status(model: type[models.Model]) -> Any:
    return model._meta.get_field("status")
