CREATE OR REPLACE FUNCTION votes_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.approvals WHERE id = OLD.approval_id;
    IF FOUND OR (OLD.approval_id IS NULL AND OLD.status = 'active') THEN
        RAISE EXCEPTION 'a row of % goes with its approval', TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION votes_kept() IS
    'Trigger, deferred: votes, comments and delegations are purged with their approval alone.';
