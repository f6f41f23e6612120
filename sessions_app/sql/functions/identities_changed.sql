-- Whoever remembers whose a key is hears of each change of an agent or of a key with its commit
-- (sessions_app/api_keys.py). When a key was used last is no such change.
CREATE OR REPLACE FUNCTION identities_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('orchestrator_identities', '');
    RETURN NULL;
END $$;
COMMENT ON FUNCTION identities_changed() IS
    'Trigger: tells the web processes that an agent or a key is not what it was.';
