CREATE OR REPLACE FUNCTION assertion_digest(assertion jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN public.audit_sha256('{' || (SELECT string_agg(
        to_jsonb(member.key)::text || ':' || member.value::text, ',' ORDER BY member.key COLLATE "C"
    ) FROM jsonb_each(assertion) AS member) || '}');
END $$;
COMMENT ON FUNCTION assertion_digest(jsonb) IS
    'SHA-256 of a flat object of ASCII texts and whole numbers, as RFC 8785 writes it.';
