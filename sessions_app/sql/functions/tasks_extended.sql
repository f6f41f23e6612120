CREATE OR REPLACE FUNCTION tasks_extended() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.audit_events
        WHERE subject_type = 'task' AND subject_id = NEW.id AND seq > OLD.version
          AND event_type = 'task.lease_extended' AND xid = pg_current_xact_id()
          AND actor_id = NEW.claimed_by_id::text;
    IF NOT FOUND OR NEW.status <> 'claimed' OR NEW.lease_expires_at IS NULL THEN
        RAISE EXCEPTION 'the lease of task % is extended by its claimant alone', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION tasks_extended() IS
    'Trigger, deferred: a lease is extended by its claimant, and the event says so.';
