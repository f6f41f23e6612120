CREATE OR REPLACE FUNCTION task_revisions_erase() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    erasable text[] := ARRAY['payload', 'payload_digest', 'erased_digest'];
BEGIN
    PERFORM FROM public.tasks
        WHERE id = NEW.task_id AND erasure IS NOT NULL AND payload = NEW.payload;
    IF NOT FOUND OR OLD.erased_digest IS NOT NULL
       OR NEW.erased_digest IS DISTINCT FROM OLD.payload_digest
       OR to_jsonb(NEW) - erasable <> to_jsonb(OLD) - erasable THEN
        RAISE EXCEPTION 'a revision is kept as it was, until its task is erased'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION task_revisions_erase() IS
    'Trigger: a revision changes only when its payload is erased along with that of its task.';
