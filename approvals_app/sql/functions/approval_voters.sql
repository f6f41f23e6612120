CREATE OR REPLACE FUNCTION approval_voters(approval uuid) RETURNS SETOF integer
LANGUAGE sql STABLE AS $$
    SELECT possible.voter
    FROM public.approvals AS asked CROSS JOIN LATERAL (
        SELECT member AS voter FROM public.members_of(asked.approver_role) AS member
        UNION
        SELECT lent.delegate_id FROM public.delegations AS lent
        WHERE lent.status = 'active' AND (lent.approval_id = asked.id OR lent.approval_id IS NULL)
          AND lent.delegator_id IN (SELECT public.members_of(asked.approver_role))
    ) AS possible
    WHERE asked.id = approval AND EXISTS (
        SELECT FROM public.voting_seats(asked.id, possible.voter) AS voting
        WHERE voting.code IS NULL)
$$;
COMMENT ON FUNCTION approval_voters(uuid) IS 'Everybody who may vote on an approval now.';
