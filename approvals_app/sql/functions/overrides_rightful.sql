CREATE OR REPLACE FUNCTION overrides_rightful() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    approved public.tasks;
BEGIN
    PERFORM FROM public.audit_events
        WHERE subject_type = 'override' AND subject_id = NEW.id AND seq = NEW.version
          AND starts_with(actor, 'human:') AND actor_id = NEW.opened_by_id::text;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'override % is another''s than its event says', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    -- The right itself: nobody has it by being a superuser. Tried again, the operation says so.
    PERFORM FROM public.auth_user AS person JOIN public.auth_permission AS permission
            ON permission.codename = 'break_glass'
        WHERE person.id = NEW.opened_by_id AND person.is_active AND (
            EXISTS (SELECT FROM public.auth_user_user_permissions AS given
                WHERE given.user_id = person.id AND given.permission_id = permission.id)
            OR EXISTS (SELECT FROM public.auth_user_groups AS membership
                JOIN public.auth_group_permissions AS given USING (group_id)
                WHERE membership.user_id = person.id AND given.permission_id = permission.id));
    IF NOT FOUND THEN
        RAISE EXCEPTION 'user % has no right to break the glass', NEW.opened_by_id
            USING ERRCODE = 'serialization_failure';
    END IF;
    SELECT * INTO approved FROM public.tasks WHERE id = NEW.task_id;
    PERFORM FROM public.approvals AS asked
        CROSS JOIN LATERAL public.conflict_of_interest(asked.id, NEW.opened_by_id) AS conflict
        WHERE asked.task_id = NEW.task_id AND asked.revision = NEW.revision
          AND asked.override_id IS NULL AND conflict.reason IS NOT NULL;
    IF FOUND THEN
        RAISE EXCEPTION 'separation of duties: user % can not override this', NEW.opened_by_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    PERFORM FROM public.overrides
        WHERE status = 'open' AND review_due_at <= clock_timestamp() AND id <> NEW.id;
    IF FOUND THEN
        RAISE EXCEPTION 'an earlier override has not been reviewed in time'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    PERFORM FROM public.approvals WHERE override_id = NEW.id;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'nobody is asked to review override %', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    PERFORM FROM public.approvals AS given
        WHERE given.task_id = NEW.task_id AND given.revision = NEW.revision
          AND given.override_id IS NULL AND given.status = 'approved'
          AND NOT EXISTS (SELECT FROM public.approvals AS review
            WHERE review.override_id = NEW.id AND review.approver_role = given.approver_role
              AND review.needed >= given.needed AND review.deny_threshold <= given.deny_threshold);
    IF FOUND OR (approved.status, approved.revision, approved.payload_digest)
            IS DISTINCT FROM ('approved', NEW.revision, NEW.payload_digest) THEN
        RAISE EXCEPTION 'override % is of what was approved, and all who were asked review it',
            NEW.id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION overrides_rightful() IS
    'Trigger, deferred: who breaks the glass has the right, and the others will review it.';
