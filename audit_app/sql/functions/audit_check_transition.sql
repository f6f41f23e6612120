CREATE OR REPLACE FUNCTION audit_check_transition() RETURNS trigger
LANGUAGE plpgsql AS $$
-- The arguments are the type of subject and the legal changes, as event:before>after.
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
    ELSIF NEW.version = OLD.version AND NEW IS NOT DISTINCT FROM OLD THEN
        RETURN NULL;
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

    -- IS TRUE keeps the index that begins with the transaction out of it: there, each event of a
    -- batch would be looked for among all that its transaction wrote.
    SELECT event_type INTO event FROM public.audit_events
        WHERE subject_type = TG_ARGV[0] AND subject_id = subject AND seq = expected
          AND (xid = pg_current_xact_id()) IS TRUE
          AND from_state IS NOT DISTINCT FROM before AND to_state IS NOT DISTINCT FROM after;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a row of % changed without its audit event', TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('%s %s: %s -> %s has no event %s in this transaction.', TG_ARGV[0],
                                  subject, coalesce(before, '-'), coalesce(after, '-'), expected);
    END IF;
    IF format('%s:%s>%s', event, before, after) <> ALL (TG_ARGV) THEN
        RAISE EXCEPTION 'a % can not go from % to % by %', TG_ARGV[0],
                coalesce(before, 'nothing'), coalesce(after, 'nothing'), event
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit_check_transition() IS
    'Trigger, deferred: each change of a row has its event, which makes one of the legal changes.';
