"""The triggers that refuse an unrecorded change. Used by migrations.

The functions themselves are made by audit_app's first migration; ``guard`` and ``freeze`` hang
them on a table. It is plain SQL in the end: psql, another language and a shell meet the same rule.
"""

from collections.abc import Iterable

from django.db.migrations import RunSQL


def judge(table: str, subject_type: str, changes: Iterable[str]) -> RunSQL:
    """Replace ``guard``'s triggers by ones that ask which kind of event made a change as well.

    ``changes`` are ``event:before>after``: ``task.approved:awaiting_approval>approved`` is one,
    ``task.routed:>approved`` a first state, ``task.purged:failed>`` a state in which a row may be
    purged, and ``session.updated:>`` a change that leaves the state alone. The function that looks
    for an event's change names its schema, so that no temporary table can stand in.
    """
    legal = " ".join(["", *changes, ""])
    return RunSQL(
        f"""
        DROP TRIGGER {table}_guard_insert_delete ON {table};
        DROP TRIGGER {table}_guard_update ON {table};
        CREATE CONSTRAINT TRIGGER {table}_guard_insert_delete
            AFTER INSERT OR DELETE ON {table} DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION audit_judge('{subject_type}', '{legal}');
        CREATE CONSTRAINT TRIGGER {table}_guard_update
            AFTER UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
            EXECUTE FUNCTION audit_judge('{subject_type}', '{legal}');
        CREATE OR REPLACE FUNCTION {table}_event() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            purged boolean := NEW.from_state IS NOT NULL AND NEW.to_state IS NULL;
        BEGIN
            PERFORM FROM public.{table}
                WHERE id = NEW.subject_id AND (purged OR version >= NEW.seq);
            IF FOUND = purged THEN
                RAISE EXCEPTION 'an audit event tells of a change that was not made'
                    USING ERRCODE = 'integrity_constraint_violation',
                          DETAIL = format('{subject_type} %s, seq %s.', NEW.subject_id, NEW.seq);
            END IF;
            RETURN NULL;
        END $$;
        """  # names of ours
    )


def guard(table: str, subject_type: str, transitions: Iterable[str]) -> RunSQL:
    """Refuse, at commit, any change of ``table`` without its audit event, and the reverse.

    ``judge``, run after it, asks for the kind of event, too.

    ``transitions`` are the legal pairs, written ``pending>active``; ``>pending`` is a legal first
    state and ``completed>`` a state in which a row may be purged. A row's change must raise its
    ``version`` by one and have, in the same transaction, the event of that ``seq`` with the same
    states; an event of the ``subject_type`` must have its change, or a forged one would tell of
    what never was. Deferred, so that row and event may be written in either order.
    """
    legal = " ".join(["", *transitions, ""])
    return RunSQL(
        sql=f"""
        CREATE CONSTRAINT TRIGGER {table}_guard_insert_delete
            AFTER INSERT OR DELETE ON {table} DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW EXECUTE FUNCTION audit_guard('{subject_type}', '{legal}');
        CREATE CONSTRAINT TRIGGER {table}_guard_update
            AFTER UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*)
            EXECUTE FUNCTION audit_guard('{subject_type}', '{legal}');
        CREATE TRIGGER {table}_refuse_truncate BEFORE TRUNCATE ON {table}
            FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
        CREATE FUNCTION {table}_event() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            purged boolean := NEW.from_state IS NOT NULL AND NEW.to_state IS NULL;
        BEGIN
            PERFORM FROM {table} WHERE id = NEW.subject_id AND (purged OR version >= NEW.seq);
            IF FOUND = purged THEN
                RAISE EXCEPTION 'an audit event tells of a change that was not made'
                    USING ERRCODE = 'integrity_constraint_violation',
                          DETAIL = format('{subject_type} %s, seq %s.', NEW.subject_id, NEW.seq);
            END IF;
            RETURN NULL;
        END $$;
        COMMENT ON FUNCTION {table}_event() IS
            'Trigger, deferred: every event of {table} has its change.';
        CREATE CONSTRAINT TRIGGER {table}_event
            AFTER INSERT ON audit_events DEFERRABLE INITIALLY DEFERRED
            FOR EACH ROW WHEN (NEW.subject_type = '{subject_type}')
            EXECUTE FUNCTION {table}_event();
        """,
        reverse_sql=f"""
        DROP TRIGGER {table}_event ON audit_events;
        DROP FUNCTION {table}_event;
        DROP TRIGGER {table}_guard_insert_delete ON {table};
        DROP TRIGGER {table}_guard_update ON {table};
        DROP TRIGGER {table}_refuse_truncate ON {table};
        """,
    )


def freeze(table: str, columns: Iterable[str]) -> RunSQL:
    """Refuse any UPDATE of ``table`` that changes one of ``columns``: what was asked stays."""
    changed = " OR ".join(f"OLD.{column} IS DISTINCT FROM NEW.{column}" for column in columns)
    return RunSQL(
        sql=f"""
        CREATE TRIGGER {table}_freeze BEFORE UPDATE ON {table}
            FOR EACH ROW WHEN ({changed}) EXECUTE FUNCTION audit_refuse();
        """,
        reverse_sql=f"DROP TRIGGER {table}_freeze ON {table};",
    )
