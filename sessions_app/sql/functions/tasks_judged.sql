-- What was said of a task decides where it begins.
CREATE OR REPLACE FUNCTION tasks_judged() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.verdict, NEW.status) NOT IN (
        ('approve', 'approved'), ('require', 'awaiting_approval'), ('refuse', 'rejected')
    ) OR NEW.revision <> 1 OR NEW.edited_by_id IS NOT NULL OR NEW.approved_until IS NOT NULL
      OR NEW.consumed_by_id IS NOT NULL THEN
        RAISE EXCEPTION 'a new task is where its verdict puts it'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION tasks_judged() IS 'Trigger: a new task begins where its verdict puts it.';
