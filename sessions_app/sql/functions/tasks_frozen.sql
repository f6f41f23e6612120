CREATE OR REPLACE FUNCTION tasks_frozen() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    stop public.freezes;
    target text;
BEGIN
    -- What the last claimant did is reported under a claim that is over already: it starts nothing.
    IF NEW.lease_expires_at <= clock_timestamp()
       AND NEW.claimed_by_id IN (OLD.claimed_by_id, OLD.consumed_by_id) THEN
        RETURN NEW;
    END IF;
    -- Shared with other claims; freezes_serialize() takes it alone. Whoever began to claim before a
    -- freeze has committed once it is written, and whoever waited here sees it below.
    PERFORM pg_advisory_xact_lock_shared(hashtext('freezes'));
    SELECT * INTO stop FROM public.freezes_covering(
            OLD.agent_id, NEW.claimed_by_id, OLD.from_role, OLD.to_role)
        WHERE status = 'active' ORDER BY created_at LIMIT 1;
    IF FOUND THEN
        target := CASE stop.scope
            WHEN 'agent' THEN 'Agent ' || (SELECT name FROM public.agents WHERE id = stop.agent_id)
            WHEN 'role' THEN 'Role ' || stop.role
            ELSE 'Everything' END;
        RAISE EXCEPTION '% is frozen', target USING ERRCODE = 'OR001',
            DETAIL = jsonb_build_object('target', target, 'reason', stop.reason);
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION tasks_frozen() IS
    'Trigger: nothing is claimed while a freeze covers the task, its agent, the claimant or its roles.';
