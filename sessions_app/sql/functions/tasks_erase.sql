CREATE OR REPLACE FUNCTION tasks_erase() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    erasable text[] := ARRAY['payload', 'payload_digest', 'description', 'data', 'context',
        'identifiers', 'result', 'error', 'erasure', 'version', 'updated_at'];
BEGIN
    IF OLD.erasure IS NOT NULL THEN
        RAISE EXCEPTION 'the payload of task % is erased; nothing of it changes', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF OLD.status NOT IN ('rejected', 'expired', 'cancelled', 'completed', 'failed') THEN
        RAISE EXCEPTION 'task % has not finished; its payload stays', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.erasure ->> 'payload_digest' IS DISTINCT FROM OLD.payload_digest
       OR to_jsonb(NEW) - erasable <> to_jsonb(OLD) - erasable
       OR NEW.result IS NOT NULL AND NEW.result IS DISTINCT FROM OLD.result
       OR NEW.error IS NOT NULL AND NEW.error IS DISTINCT FROM OLD.error THEN
        RAISE EXCEPTION 'an erasure takes the payload of task % and nothing else', OLD.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION tasks_erase() IS
    'Trigger: the payload of a finished task is erased as a whole, once, and its digest stays.';
