CREATE OR REPLACE FUNCTION tasks_policy() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    policy public.approval_policies;
BEGIN
    IF NEW.verdict = 'require' THEN
        PERFORM FROM public.approvals WHERE task_id = NEW.id AND revision = NEW.revision;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'task % needs an approval and asks for none', NEW.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
    IF NEW.policy = '' THEN
        RETURN NULL;
    END IF;
    SELECT * INTO policy FROM public.approval_policies WHERE name = NEW.policy;
    IF NOT FOUND OR policy.version < NEW.policy_version OR NEW.policy_version IS NULL THEN
        RAISE EXCEPTION 'there is no version % of the policy % that task % names',
            NEW.policy_version, NEW.policy, NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    -- A policy that has changed meanwhile no longer tells what its former version said. A condition
    -- that failed makes every policy ask.
    IF policy.version <> NEW.policy_version OR NEW.verdict = 'require'
       AND policy.rule ->> 'then' <> 'require' THEN
        RETURN NULL;
    END IF;
    IF policy.rule ->> 'then' <> NEW.verdict THEN
        RAISE EXCEPTION 'policy % does not say % of task %', NEW.policy, NEW.verdict, NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.verdict <> 'require' THEN
        RETURN NULL;
    END IF;
    PERFORM FROM jsonb_to_recordset(policy.rule -> 'approvals') AS asked (role text, count integer)
        WHERE NOT EXISTS (SELECT FROM public.approvals
            WHERE task_id = NEW.id AND revision = NEW.revision AND needed >= coalesce(asked.count, 1)
              AND approver_role = CASE asked.role WHEN '$to_role' THEN NEW.to_role
                  ELSE asked.role END);
    IF FOUND THEN
        RAISE EXCEPTION 'task % asks fewer people than its policy %', NEW.id, NEW.policy
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION tasks_policy() IS
    'Trigger, deferred: a task asks whom its policy wants, and names a policy that there is.';
