-- Whoever remembers whose a key is hears of each change of an agent or of a key with its commit
-- (sessions_app/known_keys.py). When a key was used last is no such change.
CREATE FUNCTION identities_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    PERFORM pg_notify('orchestrator_identities', '');
    RETURN NULL;
END $$;
COMMENT ON FUNCTION identities_changed() IS
    'Trigger: tells the web processes that an agent or a key is not what it was.';
CREATE TRIGGER identities_changed AFTER UPDATE OR DELETE OR TRUNCATE ON agents
    FOR EACH STATEMENT EXECUTE FUNCTION identities_changed();
CREATE TRIGGER identities_changed
    AFTER UPDATE OF id, agent_id, hash, revoked_at OR DELETE OR TRUNCATE ON agent_keys
    FOR EACH STATEMENT EXECUTE FUNCTION identities_changed();
