CREATE OR REPLACE FUNCTION approval_policies_told() RETURNS trigger LANGUAGE plpgsql AS $$
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
