CREATE OR REPLACE FUNCTION may_vote(approval uuid, voter integer)
RETURNS TABLE (seat integer) LANGUAGE sql STABLE AS $$
    SELECT voter WHERE NOT EXISTS (SELECT FROM public.vote_obstacle(approval, voter, voter))
    UNION ALL
    SELECT lent.delegator_id FROM public.delegations AS lent
    WHERE lent.delegate_id = voter AND lent.status = 'active'
      AND (lent.approval_id IS NULL OR lent.approval_id = approval)
      AND NOT EXISTS (SELECT FROM public.vote_obstacle(approval, voter, lent.delegator_id))
$$;
COMMENT ON FUNCTION may_vote(uuid, integer) IS
    'The seats in which a voter may vote on an approval, for lists: PostgreSQL plans it with them.';
