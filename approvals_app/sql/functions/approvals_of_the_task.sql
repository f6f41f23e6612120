CREATE OR REPLACE FUNCTION approvals_of_the_task() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    task public.tasks;
BEGIN
    SELECT * INTO task FROM public.tasks WHERE id = NEW.task_id;
    IF (task.revision, task.payload_digest) IS DISTINCT FROM (NEW.revision, NEW.payload_digest) THEN
        RAISE EXCEPTION 'approval % is of another payload than its task has', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.override_id IS NOT NULL THEN
        PERFORM FROM public.overrides
            WHERE id = NEW.override_id AND task_id = NEW.task_id AND revision = NEW.revision;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'approval % reviews an override of another payload', NEW.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
    IF NEW.at_deadline ->> 'then' = 'approve_without_a_human' AND NOT coalesce((
        SELECT event.metadata #>> '{rule,on_timeout}' = 'approve_without_a_human'
        FROM public.approval_policies AS policy JOIN public.audit_events AS event
            ON event.subject_type = 'policy' AND event.subject_id = policy.id
        WHERE policy.name = task.policy AND event.seq <= task.policy_version
          AND event.event_type IN ('policy.created', 'policy.changed')
        ORDER BY event.seq DESC LIMIT 1), false) THEN
        RAISE EXCEPTION 'no policy says that approval % is given when nobody decides', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION approvals_of_the_task() IS
    'Trigger, deferred: an approval is asked for of the payload that the task has, as a policy says.';
