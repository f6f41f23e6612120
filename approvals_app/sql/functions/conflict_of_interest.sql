CREATE OR REPLACE FUNCTION conflict_of_interest(approval uuid, person integer)
RETURNS TABLE (reason text) LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT conflict.reason
    FROM public.approvals AS asked JOIN public.tasks AS task ON task.id = asked.task_id
    CROSS JOIN LATERAL (
        SELECT CASE
            WHEN task.on_behalf_of <> '' AND EXISTS (SELECT FROM public.auth_user AS named
                    WHERE named.id = person AND upper(task.on_behalf_of)
                        IN (upper(named.username), upper(named.email)))
                THEN 'the agent asks on their behalf.'
            WHEN asked.override_id IS NOT NULL AND EXISTS (SELECT FROM public.overrides AS override
                    WHERE override.id = asked.override_id AND override.opened_by_id = person)
                THEN 'they approved it alone.'
            WHEN task.edited_by_id = person
                THEN 'they wrote this revision.'
            WHEN EXISTS (SELECT FROM public.agents AS agent
                    WHERE agent.id IN (task.agent_id, asked.requested_by_id)
                        AND agent.owner_id = person)
                THEN 'they own the agent that asks.'
            WHEN task.revision > 1 AND EXISTS (SELECT FROM public.task_revisions AS earlier
                    WHERE earlier.task_id = task.id AND earlier.edited_by_id = person)
                THEN 'they wrote an earlier revision.'
        END AS reason
        OFFSET 0  -- decided once, however often it is named
    ) AS conflict
    WHERE asked.id = approval AND conflict.reason IS NOT NULL
$$;
COMMENT ON FUNCTION conflict_of_interest(uuid, integer) IS
    'Separation of duties: why a person may not decide on an approval; no row: they may.';
