-- The only definition of who may vote. The inbox asks it of each of its rows; everything else by
-- voting_seats(), vote_obstacle() and approval_voters().
CREATE OR REPLACE FUNCTION seat_obstacles(
    approval uuid, task uuid, revision integer, override uuid, asker uuid, role text, status text,
    deadline timestamptz, voter integer)
RETURNS TABLE (seat integer, code text, reason text, place integer, lent_at timestamptz)
LANGUAGE sql STABLE AS $$
    -- What depends on people alone: a list finds it once for all of its rows.
    WITH seats AS MATERIALIZED (
        SELECT possible.*, facts.*
        FROM (
            SELECT voter AS seat, 1 AS place, NULL::uuid AS lent_for, NULL::timestamptz AS lent_at,
                true AS in_force
            UNION ALL
            SELECT lent.delegator_id, CASE WHEN lent.approval_id IS NULL THEN 3 ELSE 2 END,
                lent.approval_id, lent.created_at,
                lent.starts_at <= clock_timestamp()
                    AND (lent.ends_at IS NULL OR lent.ends_at > clock_timestamp())
                    AND EXISTS (SELECT FROM public.auth_user AS delegate
                        WHERE delegate.id = voter AND delegate.is_active)
            FROM public.delegations AS lent
            WHERE lent.delegate_id = voter AND lent.status = 'active'
        ) AS possible
        CROSS JOIN LATERAL public.reviewer_facts(possible.seat) AS facts
    )
    SELECT own.seat, found.obstacle[1], found.obstacle[2], own.place, own.lent_at
    FROM seats AS own
    CROSS JOIN LATERAL (SELECT CASE
        WHEN public.approval_obstacle(status, deadline, override) IS NOT NULL
            THEN ARRAY[public.approval_obstacle(status, deadline, override),
                'nobody can any more.']
        WHEN role <> ALL (own.roles)
            THEN ARRAY['not_eligible', 'the seat belongs to no active member of the group.']
        WHEN NOT own.in_force
            THEN ARRAY['not_eligible', 'that member did not delegate to them.']
        ELSE COALESCE(
            (SELECT ARRAY['separation_of_duties', CASE person.seat WHEN voter THEN conflict.reason
                    ELSE 'they would vote for somebody who is excluded.' END]
             FROM seats AS person
             CROSS JOIN LATERAL public.task_conflict(
                task, asker, override, person.seat, person.agents, person.names) AS conflict
             WHERE person.seat IN (voter, own.seat) AND conflict.reason IS NOT NULL
             ORDER BY person.seat <> voter LIMIT 1),
            (SELECT ARRAY['one_voice_each', 'the voter, or whose seat it is, has voted already.']
             FROM public.approvals_voices(task, revision, override) AS vote
             WHERE vote.voter_id IN (voter, own.seat) OR vote.seat_of_id IN (voter, own.seat)
             LIMIT 1))
        END AS obstacle
        OFFSET 0  -- or it would be decided once for each column
    ) AS found
    WHERE own.lent_for IS NULL OR own.lent_for = approval
$$;
COMMENT ON FUNCTION seat_obstacles(
    uuid, uuid, integer, uuid, uuid, text, text, timestamptz, integer) IS
    'voting_seats() of an approval that is at hand, by its columns, so that a list does not look it '
    'up once more for each row.';
