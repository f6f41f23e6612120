CREATE OR REPLACE FUNCTION conflict_of_interest(approval uuid, person integer)
RETURNS TABLE (reason text) LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT conflict.reason
    FROM public.approvals AS asked
    CROSS JOIN LATERAL public.reviewer_facts(person) AS facts
    CROSS JOIN LATERAL public.task_conflict(asked.task_id, asked.requested_by_id,
        asked.override_id, person, facts.agents, facts.names) AS conflict
    WHERE asked.id = approval
$$;
COMMENT ON FUNCTION conflict_of_interest(uuid, integer) IS
    'Separation of duties: why a person may not decide on an approval; NULL: they may.';
