CREATE OR REPLACE FUNCTION tasks_unambiguous() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    unique_members boolean;
BEGIN
    IF current_setting('server_version_num')::int >= 160000 THEN
        EXECUTE 'SELECT $1 IS JSON OBJECT WITH UNIQUE KEYS' INTO unique_members USING NEW.payload;
    ELSE
        unique_members := public.audit_unique_members(NEW.payload::json);
    END IF;
    IF NOT unique_members THEN
        RAISE EXCEPTION 'the payload of task % has a member twice', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION tasks_unambiguous() IS 'Trigger: a payload is read in one way.';
