-- The only definition of who may vote. The trigger votes_eligible raises what it returns; the
-- operation, the inbox, the notices and the pages ask it by voting_seats() and approval_voters().
CREATE OR REPLACE FUNCTION vote_obstacle(approval uuid, voter integer, seat integer)
RETURNS TABLE (code text, reason text) LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT found.obstacle[1], found.obstacle[2]
    FROM (SELECT CASE
        WHEN public.approval_obstacle(
                asked.status, asked.expires_at, asked.override_id) IS NOT NULL
            THEN ARRAY[public.approval_obstacle(
                asked.status, asked.expires_at, asked.override_id), 'nobody can any more.']
        WHEN asked.approver_role NOT IN (SELECT role FROM public.roles_of(seat) AS role)
            THEN ARRAY['not_eligible', 'the seat belongs to no active member of the group.']
        WHEN voter <> seat AND NOT EXISTS (
                SELECT FROM public.delegations AS lent
                JOIN public.auth_user AS delegate ON delegate.id = lent.delegate_id
                WHERE lent.delegator_id = seat AND lent.delegate_id = voter AND delegate.is_active
                  AND lent.status = 'active' AND lent.starts_at <= clock_timestamp()
                  AND (lent.ends_at IS NULL OR lent.ends_at > clock_timestamp())
                  AND (lent.approval_id IS NULL OR lent.approval_id = asked.id))
            THEN ARRAY['not_eligible', 'that member did not delegate to them.']
        WHEN conflict.reason IS NOT NULL
            THEN ARRAY['separation_of_duties', conflict.reason]
        WHEN voter <> seat AND
                (SELECT reason FROM public.conflict_of_interest(asked.id, seat)) IS NOT NULL
            THEN ARRAY['separation_of_duties', 'they would vote for somebody who is excluded.']
        WHEN EXISTS (
                SELECT FROM public.approvals AS same
                CROSS JOIN LATERAL public.approvals_voices(same) AS vote
                WHERE same.id = asked.id
                  AND (vote.voter_id IN (voter, seat) OR vote.seat_of_id IN (voter, seat)))
            THEN ARRAY['one_voice_each', 'the voter, or whose seat it is, has voted already.']
    END AS obstacle
    FROM public.approvals AS asked
    CROSS JOIN LATERAL public.conflict_of_interest(asked.id, voter) AS conflict
    WHERE asked.id = approval
    OFFSET 0  -- or it would be decided once for each column
    ) AS found
    WHERE found.obstacle IS NOT NULL
$$;
COMMENT ON FUNCTION vote_obstacle(uuid, integer, integer) IS
    'Why a voter may not vote on an approval in a seat, as the code of the error and the reason; '
    'no row: they may.';
