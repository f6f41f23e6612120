-- What 0001 left open: an event's own text needs no canonical form made anew (that took seconds for
-- large metadata, and a restored dump did not find the functions), and every function says of which
-- schema it speaks, so that no temporary table stands in for a real one.

ALTER TABLE audit_events DROP CONSTRAINT audit_events_entry_is_canonical;
ALTER TABLE audit_events ADD CONSTRAINT audit_events_entry_is_its_columns CHECK (
    entry = audit_entry(event_type, actor, actor_id, subject_type, subject_id, seq, from_state,
        to_state, role, trace_id, (entry::json -> 'metadata')::text, id, "timestamp")
);
DROP FUNCTION audit_canonical, audit_utf16, audit_number;

CREATE OR REPLACE FUNCTION audit_event_written() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    purged boolean;
BEGIN
    IF NEW.xid <> pg_current_xact_id() THEN
        RAISE EXCEPTION 'an audit event belongs to the transaction that writes it'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    -- A clock may be set while a transaction runs; nobody needs more than seconds for that.
    IF NEW."timestamp" NOT BETWEEN transaction_timestamp() - interval '5 seconds'
                               AND clock_timestamp() + interval '5 seconds' THEN
        RAISE EXCEPTION 'an audit event is written when it happens'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.seq = 1 THEN
        IF NEW.from_state IS NOT NULL THEN
            RAISE EXCEPTION 'a first event has no state before it'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END IF;
    SELECT from_state IS NOT NULL AND to_state IS NULL INTO purged FROM public.audit_events
        WHERE subject_type = NEW.subject_type AND subject_id = NEW.subject_id
          AND seq = NEW.seq - 1;
    IF NOT FOUND OR purged THEN
        RAISE EXCEPTION 'audit event % of % % %', NEW.seq, NEW.subject_type, NEW.subject_id,
                CASE WHEN purged THEN 'comes after it was purged' ELSE 'leaves a gap' END
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit_event_written() IS
    'Trigger: an event names its transaction and its time, and follows the subject''s last event.';

CREATE FUNCTION audit_judge() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    subject uuid;
    expected bigint;
    before text;
    after text;
    event text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        subject := NEW.id; expected := NEW.version; after := NEW.status;
    ELSIF TG_OP = 'DELETE' THEN
        subject := OLD.id; expected := OLD.version + 1; before := OLD.status;
    ELSE
        subject := NEW.id; expected := OLD.version + 1;
        IF NEW.version <> expected OR NEW.id <> OLD.id THEN
            RAISE EXCEPTION 'a row of % changed without its audit event', TG_TABLE_NAME
                USING ERRCODE = 'integrity_constraint_violation',
                      DETAIL = format('%s %s must go from version %s to %s.',
                                      TG_ARGV[0], OLD.id, OLD.version, expected);
        END IF;
        IF OLD.status <> NEW.status THEN
            before := OLD.status; after := NEW.status;
        END IF;
    END IF;

    SELECT event_type INTO event FROM public.audit_events
        WHERE subject_type = TG_ARGV[0] AND subject_id = subject AND seq = expected
          AND xid = pg_current_xact_id()
          AND from_state IS NOT DISTINCT FROM before AND to_state IS NOT DISTINCT FROM after;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a row of % changed without its audit event', TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('%s %s: %s -> %s has no event %s in this transaction.', TG_ARGV[0],
                                  subject, coalesce(before, '-'), coalesce(after, '-'), expected);
    END IF;
    IF position(format(' %s:%s>%s ', event, before, after) IN TG_ARGV[1]) = 0 THEN
        RAISE EXCEPTION 'a % can not go from % to % by %', TG_ARGV[0],
                coalesce(before, 'nothing'), coalesce(after, 'nothing'), event
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit_judge() IS
    'Trigger, deferred: each change of a guarded row has its event, of a kind that makes it.';
