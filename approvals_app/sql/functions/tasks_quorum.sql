CREATE OR REPLACE FUNCTION tasks_quorum() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.verdict = 'approve' AND NEW.revision > 1 THEN
        RETURN NULL;  -- what the revision asks for needs nobody
    END IF;
    PERFORM FROM public.approvals AS approval
        WHERE task_id = NEW.id AND revision = NEW.revision AND override_id IS NULL
        HAVING bool_or(status = 'approved') AND bool_and(status = 'approved' OR (
            status = 'expired' AND EXISTS (
                WITH RECURSIVE following (id) AS (
                    SELECT approval.escalated_to_id
                    UNION SELECT next.escalated_to_id FROM public.approvals AS next
                        JOIN following USING (id) WHERE next.status = 'expired')
                SELECT FROM following JOIN public.approvals AS next USING (id)
                WHERE next.status = 'approved' AND next.task_id = approval.task_id
                  AND next.revision = approval.revision AND next.override_id IS NULL)));
    IF NOT FOUND THEN
        RAISE EXCEPTION 'task % was approved without all of its approvals', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.approved_until IS NULL THEN
        RAISE EXCEPTION 'task % was approved by humans for ever', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.task_type = 'question' OR right(NEW.task_type, 9) = '_question' THEN
        PERFORM FROM public.votes AS vote JOIN public.approvals AS approval
            ON approval.id = vote.approval_id
            WHERE approval.task_id = NEW.id AND approval.revision = NEW.revision
              AND approval.status = 'approved' AND vote.status = 'cast'
              AND vote.choice = 'yes' AND vote.answer IS NOT NULL;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'question % was approved without an answer', NEW.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION tasks_quorum() IS
    'Trigger, deferred: a task that waited is approved once all who were asked approved.';
