CREATE OR REPLACE FUNCTION overrides_reviewed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.approvals WHERE override_id = NEW.id
        HAVING CASE NEW.status WHEN 'upheld' THEN bool_and(status = 'approved')
               ELSE bool_or(status = 'rejected') END;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'override % was % without its reviews', NEW.id, NEW.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    PERFORM FROM public.tasks
        WHERE id = NEW.task_id AND status = 'approved' AND revision = NEW.revision;
    IF FOUND AND NEW.status = 'condemned' THEN
        RAISE EXCEPTION 'task % was condemned before anybody took it, and can still be taken',
            NEW.task_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION overrides_reviewed() IS
    'Trigger, deferred: the full quorum upholds an override, or one of it condemns it.';
