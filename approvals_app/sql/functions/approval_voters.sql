CREATE OR REPLACE FUNCTION approval_voters(approval uuid) RETURNS SETOF integer
LANGUAGE sql STABLE AS $$
    WITH members AS (
        SELECT membership.user_id AS id
        FROM public.approvals AS asked
        JOIN public.auth_group AS the_group ON the_group.name = asked.approver_role
        JOIN public.auth_user_groups AS membership ON membership.group_id = the_group.id
        WHERE asked.id = approval)
    SELECT possible.voter
    FROM (
        SELECT id AS voter FROM members
        UNION
        SELECT lent.delegate_id FROM public.delegations AS lent
        WHERE lent.status = 'active' AND lent.delegator_id IN (SELECT id FROM members)
    ) AS possible
    WHERE EXISTS (SELECT FROM public.voting_seats(approval, possible.voter) AS voting
        WHERE voting.code IS NULL)
$$;
COMMENT ON FUNCTION approval_voters(uuid) IS 'Everybody who may vote on an approval now.';
