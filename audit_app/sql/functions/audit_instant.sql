CREATE OR REPLACE FUNCTION audit_instant(text) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN $1::timestamptz;
END $$;
COMMENT ON FUNCTION audit_instant(text) IS
    'An RFC 3339 instant with its offset; immutable, since with an offset no setting matters.';
