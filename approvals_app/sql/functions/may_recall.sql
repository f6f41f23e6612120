-- The only definition of who may recall an approved task. The trigger, the operation and the page ask
-- it.
CREATE OR REPLACE FUNCTION may_recall(task uuid, revision integer, person integer)
RETURNS boolean LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM public.auth_user AS member
            WHERE member.id = person AND member.is_active)
        AND EXISTS (SELECT FROM public.approvals AS asked
            CROSS JOIN LATERAL public.reviewer_facts(person) AS facts
            WHERE asked.task_id = task AND asked.revision = may_recall.revision
              AND (asked.approver_role = ANY (facts.roles) OR asked.decided_by_id = person
                OR EXISTS (SELECT FROM public.votes AS vote
                    WHERE vote.approval_id = asked.id AND vote.status = 'cast'
                      AND person IN (vote.voter_id, vote.seat_of_id))));
END $$;
COMMENT ON FUNCTION may_recall(uuid, integer, integer) IS
    'Whether a person may recall the approval of a revision: they voted on it, somebody voted in '
    'their seat, or they are a member of a group that was asked. Whoever may not approve may stop.';
