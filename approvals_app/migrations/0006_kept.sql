-- Who may not decide: one place for votes, decisions and overrides.
CREATE FUNCTION approvals_excluded(asked public.tasks, asking uuid[], people integer[])
RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM public.auth_user AS person WHERE person.id = ANY(people) AND (
        person.id = (asked).edited_by_id
        OR EXISTS (SELECT FROM public.task_revisions
            WHERE task_id = (asked).id AND edited_by_id = person.id)
        OR ((asked).on_behalf_of <> '' AND upper((asked).on_behalf_of)
            IN (upper(person.username), upper(person.email)))
        OR EXISTS (SELECT FROM public.agents
            WHERE id = ANY(asking || (asked).agent_id) AND owner_id = person.id)))
$$;
COMMENT ON FUNCTION approvals_excluded(public.tasks, uuid[], integer[]) IS
    'Separation of duties: whether one of these people owns an agent that asks, is whom it is '
    'asked for, or wrote any revision.';

CREATE FUNCTION approvals_voices(approval public.approvals) RETURNS SETOF public.votes
LANGUAGE sql STABLE AS $$
    SELECT vote.* FROM public.votes AS vote JOIN public.approvals AS other
        ON other.id = vote.approval_id
    WHERE other.task_id = (approval).task_id AND other.revision = (approval).revision
      AND other.override_id IS NOT DISTINCT FROM (approval).override_id
      AND vote.status = 'cast' AND NOT (other.status = 'expired' AND vote.choice = 'yes')
$$;
COMMENT ON FUNCTION approvals_voices(public.approvals) IS
    'The voices in one decision. A yes to an approval that was given up counts no more; what '
    'speaks against the task does.';

CREATE FUNCTION approvals_member(person integer, role text) RETURNS boolean LANGUAGE sql STABLE AS $$
    SELECT EXISTS (SELECT FROM public.auth_user AS member
        JOIN public.auth_user_groups AS membership ON membership.user_id = member.id
        JOIN public.auth_group AS found ON found.id = membership.group_id
        WHERE member.id = person AND member.is_active AND found.name = role)
$$;
COMMENT ON FUNCTION approvals_member(integer, text) IS
    'Whether a person is active, and a member of the group.';

CREATE OR REPLACE FUNCTION approvals_quorum() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    asked public.tasks;
    said bigint;
    rightful bigint;
BEGIN
    IF NEW.decision_at NOT BETWEEN
        transaction_timestamp() - interval '5 seconds' AND clock_timestamp() + interval '5 seconds'
    THEN
        RAISE EXCEPTION 'approval % is decided when it is decided', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT * INTO asked FROM public.tasks WHERE id = NEW.task_id;
    IF NEW.decided_by_id IS NULL THEN
        IF NEW.override_id IS NOT NULL OR NEW.decision_at > clock_timestamp()
           OR NEW.at_deadline ->> 'then' IS DISTINCT FROM 'approve_without_a_human'
           OR NEW.at_deadline #>> '{escalate,0}' IS NOT NULL THEN
            RAISE EXCEPTION 'the deadline of approval % has not passed', NEW.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        PERFORM FROM public.approvals_voices(NEW) WHERE choice <> 'yes';
        IF FOUND THEN
            RAISE EXCEPTION 'somebody spoke against approval %, and silence does not', NEW.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END IF;
    IF NEW.status = 'rejected' THEN
        SELECT count(*) INTO said FROM public.approvals_voices(NEW) WHERE choice = 'no';
        PERFORM FROM public.votes WHERE approval_id = NEW.id AND status = 'cast'
            AND voter_id = NEW.decided_by_id AND choice = 'no';
        IF said < NEW.deny_threshold OR NOT FOUND THEN
            RAISE EXCEPTION 'approval % was rejected without the votes for it', NEW.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END IF;
    PERFORM FROM public.overrides
        WHERE task_id = NEW.task_id AND revision = NEW.revision
          AND opened_by_id = NEW.decided_by_id AND NEW.override_id IS NULL;
    IF FOUND THEN
        RETURN NULL;
    END IF;
    PERFORM FROM public.approvals_voices(NEW) WHERE choice = 'changes';
    IF FOUND THEN
        RAISE EXCEPTION 'approval % was approved without the votes for it: changes are asked for',
            NEW.id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT count(*), count(*) FILTER (WHERE public.approvals_member(seat_of_id, NEW.approver_role)
            AND EXISTS (SELECT FROM public.auth_user WHERE id = voter_id AND is_active)
            AND NOT public.approvals_excluded(
                asked, ARRAY[NEW.requested_by_id], ARRAY[voter_id, seat_of_id]))
        INTO said, rightful
        FROM public.approvals_voices(NEW) WHERE approval_id = NEW.id AND choice = 'yes';
    PERFORM FROM public.votes WHERE approval_id = NEW.id AND status = 'cast'
        AND voter_id = NEW.decided_by_id AND choice = 'yes';
    IF said < NEW.needed OR NOT FOUND THEN
        RAISE EXCEPTION 'approval % was approved without the votes for it', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF rightful < NEW.needed THEN
        -- Tried again, the operation sees who may not say so any more.
        RAISE EXCEPTION 'approval % was approved by somebody who may not any more', NEW.id
            USING ERRCODE = 'serialization_failure';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION approvals_expired() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.escalated_to_id IS NULL THEN
        IF NEW.expires_at > clock_timestamp() THEN
            RAISE EXCEPTION 'the deadline of approval % has not passed', NEW.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END IF;
    PERFORM FROM public.approvals AS next
        WHERE next.id = NEW.escalated_to_id AND next.id <> NEW.id
          AND next.task_id = NEW.task_id AND next.revision = NEW.revision
          AND next.override_id IS NULL AND NEW.override_id IS NULL
          AND next.deny_threshold <= NEW.deny_threshold
          AND (next.status = 'pending' OR next.updated_at >= transaction_timestamp())
          AND ((NEW.expires_at <= clock_timestamp()
                AND next.approver_role = NEW.at_deadline #>> '{escalate,0,role}'
                AND next.needed >= (NEW.at_deadline #>> '{escalate,0,count}')::int)
            -- Its people are asked for more voices, since another approval came to them.
            OR (next.approver_role = NEW.approver_role AND next.needed >= NEW.needed
                AND EXISTS (SELECT FROM public.approvals AS late
                    WHERE late.escalated_to_id = next.id AND late.id <> NEW.id
                      AND late.approver_role <> next.approver_role)));
    IF NOT FOUND THEN
        RAISE EXCEPTION 'approval % was escalated otherwise than it says', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION approvals_expired() IS
    'Trigger, deferred: an approval expires after its deadline, to whom it says.';
CREATE CONSTRAINT TRIGGER approvals_expired AFTER UPDATE ON approvals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = 'pending' AND NEW.status = 'expired')
    EXECUTE FUNCTION approvals_expired();

CREATE FUNCTION approvals_withdrawn() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.override_id IS NULL THEN
        PERFORM FROM public.tasks WHERE id = NEW.task_id
            AND (status <> 'awaiting_approval' OR revision <> NEW.revision);
    ELSE
        PERFORM FROM public.overrides WHERE id = NEW.override_id AND status <> 'open';
    END IF;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'approval % is still waited for', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION approvals_withdrawn() IS
    'Trigger, deferred: an approval is withdrawn when nothing waits for it any more.';
CREATE CONSTRAINT TRIGGER approvals_withdrawn AFTER UPDATE ON approvals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = 'pending' AND NEW.status = 'withdrawn')
    EXECUTE FUNCTION approvals_withdrawn();

-- A reminder is the one change that leaves the state alone, and it changes nothing else.
CREATE CONSTRAINT TRIGGER approvals_unchanged AFTER UPDATE ON approvals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = NEW.status AND (OLD.status <> 'pending'
        OR (OLD.decided_by_id, OLD.decision_at, OLD.notes, OLD.escalated_to_id)
            IS DISTINCT FROM (NEW.decided_by_id, NEW.decision_at, NEW.notes, NEW.escalated_to_id)))
    EXECUTE FUNCTION audit_refuse();

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

CREATE FUNCTION tasks_settled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.approvals
        WHERE task_id = NEW.id AND status = 'pending' AND override_id IS NULL;
    IF FOUND THEN
        RAISE EXCEPTION 'people are still asked about task %, which does not wait', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION tasks_settled() IS
    'Trigger, deferred: nobody is asked about a task that waits no more.';
CREATE CONSTRAINT TRIGGER tasks_settled AFTER UPDATE ON tasks
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = 'awaiting_approval' AND NEW.status <> 'awaiting_approval')
    EXECUTE FUNCTION tasks_settled();

CREATE OR REPLACE FUNCTION votes_eligible() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    approval public.approvals;
    task public.tasks;
    people integer[] := ARRAY[NEW.voter_id, NEW.seat_of_id];
    leeway interval := '5 seconds';
BEGIN
    SELECT * INTO approval FROM public.approvals WHERE id = NEW.approval_id;
    -- Votes on one task wait for each other here, whoever casts them.
    SELECT * INTO task FROM public.tasks WHERE id = approval.task_id FOR NO KEY UPDATE;
    SELECT * INTO approval FROM public.approvals WHERE id = NEW.approval_id;
    IF approval.status <> 'pending' OR approval.approver_role <> NEW.role
       OR approval.payload_digest <> NEW.payload_digest
       -- The operation judged the deadline a moment ago, and CHECKs hold the decision to it.
       OR (approval.override_id IS NULL AND (approval.expires_at <= clock_timestamp() - leeway
           OR approval.revision <> task.revision OR task.status <> 'awaiting_approval')) THEN
        RAISE EXCEPTION 'approval % is not open for this vote', NEW.approval_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NOT public.approvals_member(NEW.seat_of_id, NEW.role) THEN
        RAISE EXCEPTION 'user % is no member of %', NEW.seat_of_id, NEW.role
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.voter_id <> NEW.seat_of_id THEN
        PERFORM FROM public.delegations AS delegation
            JOIN public.auth_user AS delegate ON delegate.id = delegate_id
            WHERE delegator_id = NEW.seat_of_id AND delegate_id = NEW.voter_id
              AND status = 'active' AND delegate.is_active
              AND starts_at <= clock_timestamp()
              AND (ends_at IS NULL OR ends_at > clock_timestamp() - leeway)
              AND (delegation.approval_id IS NULL OR delegation.approval_id = approval.id);
        IF NOT FOUND THEN
            RAISE EXCEPTION 'user % does not stand in for user %', NEW.voter_id, NEW.seat_of_id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
    PERFORM FROM public.overrides
        WHERE id = approval.override_id AND opened_by_id = ANY(people);
    IF FOUND OR public.approvals_excluded(task, ARRAY[approval.requested_by_id], people) THEN
        RAISE EXCEPTION 'separation of duties: this vote on approval % is excluded', approval.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    PERFORM FROM public.approvals_voices(approval) AS vote
        WHERE vote.id <> NEW.id AND (vote.voter_id = ANY(people) OR vote.seat_of_id = ANY(people));
    IF FOUND THEN
        RAISE EXCEPTION 'one person has one voice in the decision on task %', approval.task_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION votes_open() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.approvals AS approval JOIN public.tasks AS task ON task.id = approval.task_id
        WHERE approval.id = NEW.approval_id AND (approval.status = 'pending'
            -- What was said against the task counts on where others are asked instead.
            OR (approval.escalated_to_id IS NOT NULL AND task.status = 'awaiting_approval'
                AND task.revision = approval.revision))
        FOR NO KEY UPDATE OF task, approval;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'approval % is decided; its votes stay', NEW.approval_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;

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
    IF public.approvals_excluded(approved, ARRAY(SELECT requested_by_id FROM public.approvals
            WHERE task_id = NEW.task_id AND revision = NEW.revision AND override_id IS NULL
              AND requested_by_id IS NOT NULL), ARRAY[NEW.opened_by_id]) THEN
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

CREATE OR REPLACE FUNCTION overrides_reviewed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.approvals WHERE override_id = NEW.id
        HAVING CASE NEW.status WHEN 'upheld' THEN bool_and(status = 'approved')
               ELSE bool_or(status = 'rejected') END;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'override % was % without its reviews', NEW.id, NEW.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    PERFORM FROM public.tasks WHERE id = NEW.task_id AND status = 'approved';
    IF FOUND AND NEW.status = 'condemned' THEN
        RAISE EXCEPTION 'task % was condemned before anybody took it, and can still be taken',
            NEW.task_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

-- What belongs to a task goes with it.
CREATE FUNCTION approvals_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.tasks WHERE id = OLD.task_id;
    IF FOUND THEN
        RAISE EXCEPTION 'a row of % goes with its task', TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION approvals_kept() IS
    'Trigger, deferred: approvals and overrides are purged with their task alone.';
CREATE CONSTRAINT TRIGGER approvals_kept AFTER DELETE ON approvals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION approvals_kept();
CREATE CONSTRAINT TRIGGER overrides_kept AFTER DELETE ON overrides
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION approvals_kept();

CREATE FUNCTION votes_kept() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.approvals WHERE id = OLD.approval_id;
    IF FOUND OR (OLD.approval_id IS NULL AND OLD.status = 'active') THEN
        RAISE EXCEPTION 'a row of % goes with its approval', TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION votes_kept() IS
    'Trigger, deferred: votes and delegations are purged with their approval alone.';
CREATE CONSTRAINT TRIGGER votes_kept AFTER DELETE ON votes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION votes_kept();
CREATE CONSTRAINT TRIGGER delegations_kept AFTER DELETE ON delegations
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION votes_kept();
