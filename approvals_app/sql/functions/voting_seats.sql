CREATE OR REPLACE FUNCTION voting_seats(approval uuid, voter integer)
RETURNS TABLE (seat integer, code text, reason text, place integer, lent_at timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT voter, obstacle.code, obstacle.reason, 1, NULL::timestamptz
    FROM public.approvals AS asked
    LEFT JOIN LATERAL public.vote_obstacle(asked.id, voter, voter) AS obstacle ON true
    WHERE asked.id = approval
    UNION ALL
    SELECT lent.delegator_id, obstacle.code, obstacle.reason,
        CASE WHEN lent.approval_id IS NULL THEN 3 ELSE 2 END, lent.created_at
    FROM public.approvals AS asked
    JOIN public.delegations AS lent ON lent.delegate_id = voter AND lent.status = 'active'
        AND (lent.approval_id IS NULL OR lent.approval_id = asked.id)
    LEFT JOIN LATERAL public.vote_obstacle(asked.id, voter, lent.delegator_id) AS obstacle ON true
    WHERE asked.id = approval
$$;
COMMENT ON FUNCTION voting_seats(uuid, integer) IS
    'The seats in which a voter could vote on an approval, each with its vote_obstacle(): their '
    'own, those lent to them for this one, and those of whom they stand in for.';
