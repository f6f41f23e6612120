CREATE OR REPLACE FUNCTION freezes_serialize() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('freezes'));
    RETURN NULL;
END $$;
COMMENT ON FUNCTION freezes_serialize() IS
    'Trigger: a freeze waits for the claims that have begun; once it commits, none can commit.';
