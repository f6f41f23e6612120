CREATE OR REPLACE FUNCTION audit_sha256(text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN encode(sha256(convert_to($1, 'UTF8')), 'hex');
END $$;
COMMENT ON FUNCTION audit_sha256(text) IS 'Lowercase hex SHA-256 of the UTF-8 bytes.';
