CREATE OR REPLACE FUNCTION approvals_voices(task uuid, revision integer, override uuid)
RETURNS SETOF public.votes LANGUAGE sql STABLE AS $$
    SELECT vote.* FROM public.votes AS vote JOIN public.approvals AS other
        ON other.id = vote.approval_id
    WHERE other.task_id = task AND other.revision = approvals_voices.revision
      AND other.override_id IS NOT DISTINCT FROM override
      AND vote.status = 'cast' AND NOT (other.status = 'expired' AND vote.choice = 'yes')
$$;
COMMENT ON FUNCTION approvals_voices(uuid, integer, uuid) IS
    'The voices in one decision. A yes to an approval that was given up counts no more; what '
    'speaks against the task does.';
