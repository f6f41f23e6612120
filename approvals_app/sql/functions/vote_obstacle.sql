-- The only definition of who may vote. The trigger votes_eligible raises what it returns; the
-- operation, the inbox, the notices and the pages ask it by voting_seats() and approval_voters().
CREATE OR REPLACE FUNCTION vote_obstacle(approval uuid, voter integer, seat integer)
RETURNS TABLE (code text, reason text) LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT obstacle.code, obstacle.reason
    FROM public.approvals AS asked CROSS JOIN LATERAL (
        SELECT 1 AS place, code, reason FROM public.approval_obstacle(asked.id)
        UNION ALL
        SELECT 2, 'not_eligible', 'the seat belongs to no active member of the group.'
        WHERE NOT EXISTS (
            SELECT FROM public.members_of(asked.approver_role) AS member WHERE member = seat)
        UNION ALL
        SELECT 3, 'not_eligible', 'that member did not delegate to them.'
        WHERE voter <> seat AND NOT EXISTS (
            SELECT FROM public.delegations AS lent
            JOIN public.auth_user AS delegate ON delegate.id = lent.delegate_id
            WHERE lent.delegator_id = seat AND lent.delegate_id = voter AND delegate.is_active
              AND lent.status = 'active' AND lent.starts_at <= clock_timestamp()
              AND (lent.ends_at IS NULL OR lent.ends_at > clock_timestamp())
              AND (lent.approval_id IS NULL OR lent.approval_id = asked.id))
        UNION ALL
        SELECT 4, 'separation_of_duties', conflict.reason
        FROM public.conflict_of_interest(asked.id, voter) AS conflict
        UNION ALL
        SELECT 5, 'separation_of_duties', 'they would vote for somebody who is excluded.'
        FROM public.conflict_of_interest(asked.id, seat) WHERE voter <> seat
        UNION ALL
        SELECT 6, 'one_voice_each', 'the voter, or whose seat it is, has voted in this decision.'
        WHERE EXISTS (
            SELECT FROM public.approvals_voices(asked) AS vote
            WHERE vote.voter_id IN (voter, seat) OR vote.seat_of_id IN (voter, seat))
        ORDER BY place LIMIT 1
    ) AS obstacle
    WHERE asked.id = approval
$$;
COMMENT ON FUNCTION vote_obstacle(uuid, integer, integer) IS
    'Why a voter may not vote on an approval in a seat, as the code of the error and the reason; '
    'no row: they may.';
