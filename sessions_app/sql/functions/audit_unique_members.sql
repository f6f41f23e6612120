-- A payload says each thing once: a reader who takes the first of two members and one who takes the
-- last would read two payloads of one digest. SQL/JSON says so since PostgreSQL 16.
CREATE OR REPLACE FUNCTION audit_unique_members(value json) RETURNS boolean
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    CASE json_typeof(value)
    WHEN 'object' THEN
        RETURN (SELECT count(*) = count(DISTINCT name)
                AND coalesce(bool_and(public.audit_unique_members(member)), true)
            FROM json_each(value) AS found (name, member));
    WHEN 'array' THEN
        RETURN (SELECT coalesce(bool_and(public.audit_unique_members(item)), true)
            FROM json_array_elements(value) AS found (item));
    ELSE
        RETURN true;
    END CASE;
END $$;
COMMENT ON FUNCTION audit_unique_members(json) IS 'Whether no object in a JSON text has a member twice.';
