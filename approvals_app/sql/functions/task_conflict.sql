CREATE OR REPLACE FUNCTION task_conflict(
    task uuid, asker uuid, override uuid, person integer, agents uuid[], names text[])
RETURNS TABLE (reason text) LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT CASE
        WHEN decided.on_behalf_of <> '' AND upper(decided.on_behalf_of) = ANY (names)
            THEN 'the agent asks on their behalf.'
        WHEN override IS NOT NULL AND EXISTS (SELECT FROM public.overrides AS opened
                WHERE opened.id = override AND opened.opened_by_id = person)
            THEN 'they approved it alone.'
        WHEN decided.edited_by_id = person
            THEN 'they wrote this revision.'
        WHEN decided.agent_id = ANY (agents) OR asker = ANY (agents)
            THEN 'they own the agent that asks.'
        WHEN decided.revision > 1 AND EXISTS (SELECT FROM public.task_revisions AS earlier
                WHERE earlier.task_id = decided.id AND earlier.edited_by_id = person)
            THEN 'they wrote an earlier revision.'
    END
    FROM public.tasks AS decided
    WHERE decided.id = task
    OFFSET 0  -- or it would be planned anew wherever the reason is named
$$;
COMMENT ON FUNCTION task_conflict(uuid, uuid, uuid, integer, uuid[], text[]) IS
    'Separation of duties: why a person, with their reviewer_facts(), may not decide on a task '
    'that this agent asks about, or review this override of it; NULL: they may.';
