CREATE OR REPLACE FUNCTION votes_signed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    wanted text;
    stated text;
BEGIN
    SELECT signed INTO wanted FROM public.approvals WHERE id = NEW.approval_id;
    IF NEW.assertion IS NULL AND (wanted = 'required' OR wanted = 'when_possible' AND EXISTS (
            SELECT FROM public.passkeys WHERE user_id = NEW.voter_id AND status = 'active')) THEN
        RAISE EXCEPTION 'vote % is not signed; the policy of approval % wants a passkey',
            NEW.id, NEW.approval_id USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.assertion IS NOT NULL AND NOT EXISTS (SELECT FROM public.passkeys
            WHERE user_id = NEW.voter_id AND status = 'active'
              AND credential_id = NEW.assertion ->> 'credential_id'
              AND public_key = NEW.assertion ->> 'public_key') THEN
        RAISE EXCEPTION 'vote % is signed with no passkey of user %', NEW.id, NEW.voter_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    SELECT metadata ->> 'assertion_digest' INTO stated FROM public.audit_events
        WHERE subject_type = 'vote' AND subject_id = NEW.id AND seq = 1;
    IF stated IS DISTINCT FROM public.assertion_digest(NEW.assertion) THEN
        RAISE EXCEPTION 'vote % is signed otherwise than its event says', NEW.id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION votes_signed() IS
    'Trigger, deferred: a vote is signed where its policy wants it, with a passkey of its voter.';
