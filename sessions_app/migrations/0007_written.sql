-- A payload says each thing once: a reader who takes the first of two members and one who takes the
-- last would read two payloads of one digest. SQL/JSON says so since PostgreSQL 16.
CREATE FUNCTION audit_unique_members(value json) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    CASE json_typeof(value)
    WHEN 'object' THEN
        RETURN (SELECT count(*) = count(DISTINCT name)
                AND coalesce(bool_and(public.audit_unique_members(member)), true)
            FROM json_each(value) AS found (name, member));
    WHEN 'array' THEN
        RETURN (SELECT coalesce(bool_and(public.audit_unique_members(item)), true)
            FROM json_array_elements(value) AS found (item));
    ELSE
        RETURN true;
    END CASE;
END $$;
COMMENT ON FUNCTION audit_unique_members(json) IS 'Whether no object in a JSON text has a member twice.';

CREATE FUNCTION tasks_unambiguous() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER tasks_unambiguous BEFORE INSERT OR UPDATE OF payload ON tasks
    FOR EACH ROW EXECUTE FUNCTION tasks_unambiguous();

CREATE FUNCTION tasks_written() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.audit_events
        WHERE subject_type = 'task' AND subject_id = NEW.id AND seq > OLD.version
          AND event_type = 'task.revised' AND xid = pg_current_xact_id()
          AND CASE WHEN NEW.edited_by_id IS NULL THEN NOT starts_with(actor, 'human:')
              ELSE starts_with(actor, 'human:') AND actor_id = NEW.edited_by_id::text END;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the revision of task % is another''s than its event says', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION tasks_written() IS
    'Trigger, deferred: who wrote a revision is whom its event names.';
CREATE CONSTRAINT TRIGGER tasks_written AFTER UPDATE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (OLD.revision <> NEW.revision)
    EXECUTE FUNCTION tasks_written();

-- A revision is the one change that leaves the state alone, and it changes nothing else.
CREATE CONSTRAINT TRIGGER tasks_unchanged AFTER UPDATE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = NEW.status AND (OLD.revision = NEW.revision
        OR (OLD.claimed_by_id, OLD.claimed_session_id, OLD.lease_expires_at, OLD.result, OLD.error)
            IS DISTINCT FROM (NEW.claimed_by_id, NEW.claimed_session_id, NEW.lease_expires_at,
                NEW.result, NEW.error)))
    EXECUTE FUNCTION audit_refuse();
