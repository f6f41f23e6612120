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
    IF NEW.subject_type = 'note' AND NOT starts_with(NEW.actor, 'agent:') THEN
        RAISE EXCEPTION 'a note is an agent''s own'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    -- MAX_METADATA, and room for the other members.
    IF length(NEW.entry) > 65536 + 4096 THEN
        RAISE EXCEPTION 'an audit event has more than % characters', 65536 + 4096
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
