CREATE OR REPLACE FUNCTION conflict_of_interest(approval uuid, person integer)
RETURNS TABLE (reason text) LANGUAGE sql STABLE ROWS 1 AS $$
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
        -- As sets of the person's, which a list makes once for all of its rows.
        WHEN task.agent_id IN (SELECT id FROM public.agents WHERE owner_id = person)
                OR asked.requested_by_id IN (SELECT id FROM public.agents WHERE owner_id = person)
            THEN 'they own the agent that asks.'
        WHEN task.revision > 1 AND EXISTS (SELECT FROM public.task_revisions AS earlier
                WHERE earlier.task_id = task.id AND earlier.edited_by_id = person)
            THEN 'they wrote an earlier revision.'
    END
    FROM public.approvals AS asked JOIN public.tasks AS task ON task.id = asked.task_id
    WHERE asked.id = approval
    OFFSET 0  -- or it would be planned anew wherever the reason is named
$$;
COMMENT ON FUNCTION conflict_of_interest(uuid, integer) IS
    'Separation of duties: why a person may not decide on an approval; NULL: they may.';
