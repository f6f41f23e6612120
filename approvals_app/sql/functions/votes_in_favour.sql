CREATE OR REPLACE FUNCTION votes_in_favour(approval uuid) RETURNS SETOF uuid
LANGUAGE sql STABLE AS $$
    SELECT vote.id
    FROM public.approvals AS asked CROSS JOIN LATERAL public.approvals_voices(asked) AS vote
    WHERE asked.id = approval AND vote.approval_id = asked.id AND vote.choice = 'yes'
      AND EXISTS (SELECT FROM public.members_of(asked.approver_role) AS member
          WHERE member = vote.seat_of_id)
      AND EXISTS (SELECT FROM public.auth_user AS voter
          WHERE voter.id = vote.voter_id AND voter.is_active)
      AND NOT EXISTS (SELECT FROM public.conflict_of_interest(asked.id, vote.voter_id))
      AND NOT EXISTS (SELECT FROM public.conflict_of_interest(asked.id, vote.seat_of_id))
$$;
COMMENT ON FUNCTION votes_in_favour(uuid) IS
    'The votes that let an approval be approved: a yes counts while its seat is a member''s and '
    'separation of duties excludes neither of the two.';
