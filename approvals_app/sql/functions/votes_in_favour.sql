CREATE OR REPLACE FUNCTION votes_in_favour(approval uuid) RETURNS SETOF uuid
LANGUAGE sql STABLE AS $$
    SELECT vote.id
    FROM public.approvals AS asked CROSS JOIN LATERAL public.approvals_voices(
        asked.task_id, asked.revision, asked.override_id) AS vote
    CROSS JOIN LATERAL public.reviewer_facts(vote.seat_of_id) AS seat
    WHERE asked.id = approval AND vote.approval_id = asked.id AND vote.choice = 'yes'
      AND asked.approver_role = ANY (seat.roles)
      AND EXISTS (SELECT FROM public.auth_user AS voter
          WHERE voter.id = vote.voter_id AND voter.is_active)
      AND NOT EXISTS (SELECT FROM unnest(ARRAY[vote.voter_id, vote.seat_of_id]) AS person
          CROSS JOIN LATERAL public.conflict_of_interest(asked.id, person) AS conflict
          WHERE conflict.reason IS NOT NULL)
$$;
COMMENT ON FUNCTION votes_in_favour(uuid) IS
    'The votes that let an approval be approved: a yes counts while its seat is a member''s and '
    'separation of duties excludes neither of the two.';
