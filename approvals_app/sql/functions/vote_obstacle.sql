CREATE OR REPLACE FUNCTION vote_obstacle(approval uuid, voter integer, seat integer)
RETURNS TABLE (code text, reason text) LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT CASE WHEN found.seat IS NULL THEN 'not_eligible' ELSE found.code END,
        CASE WHEN found.seat IS NULL THEN 'that member did not delegate to them.'
            ELSE found.reason END
    FROM (SELECT) AS one LEFT JOIN LATERAL (
        SELECT voting.seat, voting.code, voting.reason
        FROM public.voting_seats(approval, voter) AS voting
        WHERE voting.seat = vote_obstacle.seat
        ORDER BY voting.code IS NOT NULL LIMIT 1  -- a seat may be lent twice
    ) AS found ON true
    WHERE found.seat IS NULL OR found.code IS NOT NULL
$$;
COMMENT ON FUNCTION vote_obstacle(uuid, integer, integer) IS
    'Why a voter may not vote on an approval in a seat, as the code of the error and the reason; '
    'no row: they may.';
