CREATE OR REPLACE FUNCTION voting_seats(approval uuid, voter integer)
RETURNS TABLE (seat integer, code text, reason text) LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT possible.seat, obstacle.code, obstacle.reason
    FROM (
        SELECT voter AS seat, 1 AS place, NULL::timestamptz AS lent_at
        UNION ALL
        SELECT lent.delegator_id, CASE WHEN lent.approval_id IS NULL THEN 3 ELSE 2 END,
            lent.created_at
        FROM public.delegations AS lent
        WHERE lent.delegate_id = voter AND lent.status = 'active'
            AND (lent.approval_id IS NULL OR lent.approval_id = approval)
    ) AS possible
    LEFT JOIN LATERAL public.vote_obstacle(approval, voter, possible.seat) AS obstacle ON true
    WHERE EXISTS (SELECT FROM public.approvals WHERE id = approval)
    -- First a seat that can be used, then one of which there is more to say than that it is not
    -- theirs; one's own before another's.
    ORDER BY obstacle.code IS NOT NULL, obstacle.code = 'not_eligible', possible.place,
        possible.lent_at
$$;
COMMENT ON FUNCTION voting_seats(uuid, integer) IS
    'The seats in which a voter could vote on an approval, each with its vote_obstacle(); the best '
    'one first.';
