-- What was said of a task decides where it begins.
CREATE FUNCTION tasks_judged() RETURNS trigger LANGUAGE plpgsql AS $$
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
CREATE TRIGGER tasks_judged BEFORE INSERT ON tasks
    FOR EACH ROW EXECUTE FUNCTION tasks_judged();

CREATE FUNCTION tasks_revise() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.revision <> OLD.revision + 1 OR NEW.payload = OLD.payload
       OR OLD.status <> 'awaiting_approval' OR NEW.status <> OLD.status THEN
        RAISE EXCEPTION 'the payload of a task changes by one revision, while it waits'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    PERFORM FROM public.task_revisions
        WHERE task_id = OLD.id AND number = OLD.revision AND payload = OLD.payload
          AND edited_by_id IS NOT DISTINCT FROM OLD.edited_by_id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'the payload that a revision replaces is kept'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION tasks_revise() IS
    'Trigger: a payload, and what was said of it, change together, while the task waits.';
CREATE TRIGGER tasks_revise BEFORE UPDATE ON tasks FOR EACH ROW
    WHEN ((OLD.payload, OLD.revision, OLD.edited_by_id, OLD.verdict, OLD.policy,
            OLD.policy_version, OLD.why)
        IS DISTINCT FROM (NEW.payload, NEW.revision, NEW.edited_by_id, NEW.verdict, NEW.policy,
            NEW.policy_version, NEW.why))
    EXECUTE FUNCTION tasks_revise();

CREATE FUNCTION tasks_single_use() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.approved_until IS DISTINCT FROM OLD.approved_until
       AND (OLD.status, NEW.status) <> ('awaiting_approval', 'approved') THEN
        RAISE EXCEPTION 'how long an approval holds is said when it is given'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.consumed_by_id IS DISTINCT FROM OLD.consumed_by_id
       AND (OLD.consumed_by_id IS NOT NULL OR NEW.status <> 'claimed') THEN
        RAISE EXCEPTION 'an approval is used once'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.status = 'claimed' AND OLD.status <> 'claimed' AND NEW.approved_until IS NOT NULL
       AND (NEW.consumed_by_id IS DISTINCT FROM NEW.claimed_by_id
            -- The operation judged the time a moment ago.
            OR NEW.approved_until <= clock_timestamp() - interval '5 seconds') THEN
        RAISE EXCEPTION 'what humans approved is claimed in time, by one agent'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION tasks_single_use() IS
    'Trigger: a human approval is used by the claims of one agent, and for as long as it holds.';
CREATE TRIGGER tasks_single_use BEFORE UPDATE ON tasks FOR EACH ROW
    WHEN ((OLD.status, OLD.approved_until, OLD.consumed_by_id)
        IS DISTINCT FROM (NEW.status, NEW.approved_until, NEW.consumed_by_id))
    EXECUTE FUNCTION tasks_single_use();

CREATE FUNCTION task_revisions_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'DELETE' THEN
        PERFORM FROM public.tasks WHERE id = OLD.task_id;
        IF FOUND THEN
            RAISE EXCEPTION 'a revision goes with its task'
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END IF;
    PERFORM FROM public.tasks JOIN public.audit_events ON subject_id = tasks.id
        WHERE tasks.id = NEW.task_id AND tasks.revision > NEW.number
          AND subject_type = 'task' AND event_type = 'task.revised'
          AND xid = pg_current_xact_id()
          AND audit_events.metadata ->> 'replaces' = NEW.payload_digest;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a revision is kept when the task is revised'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION task_revisions_kept() IS
    'Trigger, deferred: a payload is kept when it is replaced, for as long as its task is there.';
CREATE CONSTRAINT TRIGGER task_revisions_kept AFTER INSERT OR DELETE ON task_revisions
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION task_revisions_kept();
CREATE TRIGGER task_revisions_freeze BEFORE UPDATE ON task_revisions
    FOR EACH ROW EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER task_revisions_refuse_truncate BEFORE TRUNCATE ON task_revisions
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
