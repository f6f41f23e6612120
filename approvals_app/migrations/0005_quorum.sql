DROP FUNCTION audit_guard;

ALTER TABLE audit_events DROP CONSTRAINT audit_events_of_a_known_kind;
ALTER TABLE audit_events ADD CONSTRAINT audit_events_of_a_known_kind CHECK (
    CASE subject_type
        WHEN 'note' THEN event_type LIKE 'agent.%' AND seq = 1 AND to_state IS NULL
        WHEN 'refusal' THEN event_type = 'operation.refused' AND seq = 1 AND to_state IS NULL
        ELSE subject_type IN ('agent', 'session', 'task', 'approval', 'vote', 'delegation',
            'override', 'policy')
    END
);

-- A task's payload may be revised now; an approval is of the payload that it had when asked.
ALTER TABLE approvals DROP CONSTRAINT approvals_digest_is_the_tasks;

CREATE FUNCTION approvals_of_the_task() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    task public.tasks;
BEGIN
    SELECT * INTO task FROM public.tasks WHERE id = NEW.task_id;
    IF (task.revision, task.payload_digest) IS DISTINCT FROM (NEW.revision, NEW.payload_digest) THEN
        RAISE EXCEPTION 'approval % is of another payload than its task has', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.override_id IS NOT NULL THEN
        PERFORM FROM public.overrides
            WHERE id = NEW.override_id AND task_id = NEW.task_id AND revision = NEW.revision;
        IF NOT FOUND THEN
            RAISE EXCEPTION 'approval % reviews an override of another payload', NEW.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
    END IF;
    IF NEW.at_deadline ->> 'then' = 'approve_without_a_human' AND NOT coalesce((
        SELECT event.metadata #>> '{rule,on_timeout}' = 'approve_without_a_human'
        FROM public.approval_policies AS policy JOIN public.audit_events AS event
            ON event.subject_type = 'policy' AND event.subject_id = policy.id
        WHERE policy.name = task.policy AND event.seq <= task.policy_version
          AND event.event_type IN ('policy.created', 'policy.changed')
        ORDER BY event.seq DESC LIMIT 1), false) THEN
        RAISE EXCEPTION 'no policy says that approval % is given when nobody decides', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION approvals_of_the_task() IS
    'Trigger, deferred: an approval is asked for of the payload that the task has, as a policy says.';
CREATE CONSTRAINT TRIGGER approvals_of_the_task AFTER INSERT ON approvals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION approvals_of_the_task();

CREATE FUNCTION approvals_quorum() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    said bigint;
    wanted bigint;
BEGIN
    IF NEW.decision_at IS NULL OR NEW.decision_at NOT BETWEEN
        transaction_timestamp() - interval '5 seconds' AND clock_timestamp() + interval '5 seconds'
    THEN
        RAISE EXCEPTION 'approval % is decided when it is decided', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.decided_by_id IS NULL THEN
        IF NEW.override_id IS NOT NULL OR NEW.decision_at > clock_timestamp()
           OR NEW.at_deadline ->> 'then' IS DISTINCT FROM 'approve_without_a_human'
           OR NEW.at_deadline #>> '{escalate,0}' IS NOT NULL THEN
            RAISE EXCEPTION 'the deadline of approval % has not passed', NEW.id
                USING ERRCODE = 'integrity_constraint_violation';
        END IF;
        RETURN NULL;
    END IF;
    IF NEW.status = 'approved' THEN
        PERFORM FROM public.overrides
            WHERE task_id = NEW.task_id AND revision = NEW.revision
              AND opened_by_id = NEW.decided_by_id AND NEW.override_id IS NULL;
        IF FOUND THEN
            RETURN NULL;
        END IF;
        SELECT count(*) FILTER (WHERE vote.approval_id = NEW.id AND choice = 'yes')
             - 1000 * count(*) FILTER (WHERE choice = 'changes'), NEW.needed
            INTO said, wanted
            FROM public.votes AS vote JOIN public.approvals AS other ON other.id = vote.approval_id
            WHERE other.task_id = NEW.task_id AND other.revision = NEW.revision
              AND other.override_id IS NOT DISTINCT FROM NEW.override_id
              AND vote.status = 'cast'
              AND (other.id = NEW.id OR other.status IN ('pending', 'approved', 'rejected'));
    ELSE
        SELECT count(*), NEW.deny_threshold INTO said, wanted
            FROM public.votes AS vote JOIN public.approvals AS other ON other.id = vote.approval_id
            WHERE other.task_id = NEW.task_id AND other.revision = NEW.revision
              AND other.override_id IS NOT DISTINCT FROM NEW.override_id
              AND vote.status = 'cast' AND choice = 'no';
    END IF;
    PERFORM FROM public.votes WHERE approval_id = NEW.id AND status = 'cast'
        AND voter_id = NEW.decided_by_id
        AND choice = CASE NEW.status WHEN 'approved' THEN 'yes' ELSE 'no' END;
    IF said < wanted OR NOT FOUND THEN
        RAISE EXCEPTION 'approval % was % without the votes for it', NEW.id, NEW.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION approvals_quorum() IS
    'Trigger, deferred: a decision has its votes, or an override, or its policy and its deadline.';
CREATE CONSTRAINT TRIGGER approvals_quorum AFTER UPDATE ON approvals
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = 'pending' AND NEW.status IN ('approved', 'rejected'))
    EXECUTE FUNCTION approvals_quorum();

CREATE OR REPLACE FUNCTION approvals_voice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.audit_events
        WHERE subject_type = 'approval' AND subject_id = NEW.id AND seq = NEW.version
          AND CASE WHEN NEW.decided_by_id IS NULL THEN starts_with(actor, 'system:')
              ELSE starts_with(actor, 'human:') AND actor_id = NEW.decided_by_id::text END;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'approval % was decided by somebody else than its event says', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE OR REPLACE FUNCTION tasks_quorum() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.verdict = 'approve' AND NEW.revision > 1 THEN
        RETURN NULL;  -- what the revision asks for needs nobody
    END IF;
    PERFORM FROM public.approvals AS approval
        WHERE task_id = NEW.id AND revision = NEW.revision AND override_id IS NULL
        HAVING bool_or(status = 'approved') AND bool_and(status = 'approved' OR (
            status = 'expired' AND EXISTS (SELECT FROM public.approvals AS next
                WHERE next.id = approval.escalated_to_id AND next.task_id = approval.task_id
                  AND next.revision = approval.revision)));
    IF NOT FOUND THEN
        RAISE EXCEPTION 'task % was approved without all of its approvals', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.approved_until IS NULL THEN
        RAISE EXCEPTION 'task % was approved by humans for ever', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

-- Whoever votes is asked, is nobody whom separation of duties excludes, and has no other seat.
CREATE FUNCTION votes_eligible() RETURNS trigger LANGUAGE plpgsql AS $$
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
    PERFORM FROM public.auth_user AS member
        JOIN public.auth_user_groups AS membership ON membership.user_id = member.id
        JOIN public.auth_group AS role ON role.id = membership.group_id
        WHERE member.id = NEW.seat_of_id AND member.is_active AND role.name = NEW.role;
    IF NOT FOUND THEN
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
    PERFORM FROM public.auth_user AS person
        WHERE person.id = ANY(people) AND (
            person.id = task.edited_by_id
            OR (task.on_behalf_of <> '' AND lower(task.on_behalf_of)
                IN (lower(person.username), lower(person.email)))
            OR EXISTS (SELECT FROM public.agents
                WHERE id IN (task.agent_id, approval.requested_by_id) AND owner_id = person.id)
            OR EXISTS (SELECT FROM public.overrides
                WHERE id = approval.override_id AND opened_by_id = person.id));
    IF FOUND THEN
        RAISE EXCEPTION 'separation of duties: this vote on approval % is excluded', approval.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    PERFORM FROM public.votes AS vote JOIN public.approvals AS other ON other.id = vote.approval_id
        WHERE vote.id <> NEW.id AND vote.status = 'cast'
          AND other.task_id = approval.task_id AND other.revision = approval.revision
          AND other.override_id IS NOT DISTINCT FROM approval.override_id
          AND other.status IN ('pending', 'approved', 'rejected')
          AND (vote.voter_id = ANY(people) OR vote.seat_of_id = ANY(people));
    IF FOUND THEN
        RAISE EXCEPTION 'one person has one voice in the decision on task %', approval.task_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION votes_eligible() IS
    'Trigger: who votes is asked, is not excluded by separation of duties, and has one seat.';
CREATE TRIGGER votes_eligible AFTER INSERT ON votes
    FOR EACH ROW EXECUTE FUNCTION votes_eligible();

CREATE FUNCTION votes_open() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.approvals WHERE id = NEW.approval_id AND status = 'pending'
        FOR NO KEY UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'approval % is decided; its votes stay', NEW.approval_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NEW;
END $$;
COMMENT ON FUNCTION votes_open() IS 'Trigger: a vote can be withdrawn until the decision.';
CREATE TRIGGER votes_open BEFORE UPDATE ON votes
    FOR EACH ROW EXECUTE FUNCTION votes_open();

CREATE FUNCTION votes_voice() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.audit_events
        WHERE subject_type = 'vote' AND subject_id = NEW.id AND seq = NEW.version
          AND starts_with(actor, 'human:') AND actor_id = NEW.voter_id::text;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'vote % is another''s than its event says', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION votes_voice() IS
    'Trigger, deferred: whom a vote names cast it and withdrew it, by its events too.';
CREATE CONSTRAINT TRIGGER votes_voice AFTER INSERT OR UPDATE ON votes
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION votes_voice();

CREATE FUNCTION delegations_own() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.audit_events
        WHERE subject_type = 'delegation' AND subject_id = NEW.id AND seq = NEW.version
          AND starts_with(actor, 'human:') AND actor_id = NEW.delegator_id::text;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'delegation % is not granted by whose seat it is', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION delegations_own() IS
    'Trigger, deferred: people give away their own seat, and nobody another''s.';
CREATE CONSTRAINT TRIGGER delegations_own AFTER INSERT ON delegations
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION delegations_own();

CREATE FUNCTION overrides_rightful() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.audit_events
        WHERE subject_type = 'override' AND subject_id = NEW.id AND seq = NEW.version
          AND starts_with(actor, 'human:') AND actor_id = NEW.opened_by_id::text;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'override % is another''s than its event says', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    -- The right itself: nobody has it by being a superuser.
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
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    PERFORM FROM public.tasks AS task JOIN public.auth_user AS person ON person.id = NEW.opened_by_id
        WHERE task.id = NEW.task_id AND (
            person.id = task.edited_by_id
            OR (task.on_behalf_of <> '' AND lower(task.on_behalf_of)
                IN (lower(person.username), lower(person.email)))
            OR EXISTS (SELECT FROM public.agents
                WHERE id = task.agent_id AND owner_id = person.id));
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
    RETURN NULL;
END $$;
COMMENT ON FUNCTION overrides_rightful() IS
    'Trigger, deferred: who breaks the glass has the right, and the others will review it.';
CREATE CONSTRAINT TRIGGER overrides_rightful AFTER INSERT ON overrides
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION overrides_rightful();

CREATE FUNCTION overrides_reviewed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.approvals WHERE override_id = NEW.id
        HAVING CASE NEW.status WHEN 'upheld' THEN bool_and(status = 'approved')
               ELSE bool_or(status = 'rejected') END;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'override % was % without its reviews', NEW.id, NEW.status
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION overrides_reviewed() IS
    'Trigger, deferred: the full quorum upholds an override, or one of it condemns it.';
CREATE CONSTRAINT TRIGGER overrides_reviewed AFTER UPDATE ON overrides
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
    WHEN (OLD.status = 'open' AND NEW.status <> 'open')
    EXECUTE FUNCTION overrides_reviewed();

CREATE FUNCTION approval_policies_told() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM public.audit_events
        WHERE subject_type = 'policy' AND subject_id = NEW.id AND seq = NEW.version
          AND metadata @> jsonb_build_object('name', NEW.name, 'priority', NEW.priority,
              'description', NEW.description) AND metadata -> 'rule' = NEW.rule;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'policy % is not what its event says', NEW.name
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION approval_policies_told() IS
    'Trigger, deferred: each version of a policy is written out in its event.';
CREATE CONSTRAINT TRIGGER approval_policies_told AFTER INSERT OR UPDATE ON approval_policies
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION approval_policies_told();
