CREATE OR REPLACE FUNCTION voting_seats(approval uuid, voter integer)
RETURNS TABLE (seat integer, code text, reason text, place integer, lent_at timestamptz)
LANGUAGE sql STABLE AS $$
    SELECT own.seat, own.code, own.reason, own.place, own.lent_at
    FROM public.approvals AS asked
    CROSS JOIN LATERAL public.seat_obstacles(asked.id, asked.task_id, asked.revision,
        asked.override_id, asked.requested_by_id, asked.approver_role, asked.status,
        asked.expires_at, voter) AS own
    WHERE asked.id = approval
$$;
COMMENT ON FUNCTION voting_seats(uuid, integer) IS
    'The seats in which a voter could vote on an approval: their own, those lent to them for this '
    'one, and those of whom they stand in for. With why they may not, as the code of the error and '
    'the reason; both NULL: they may.';
