CREATE OR REPLACE FUNCTION audit_entry(
    event_type text, actor text, actor_id text, subject_type text, subject_id uuid, seq bigint,
    from_state text, to_state text, role text, trace_id uuid, metadata text,
    event_id uuid DEFAULT gen_random_uuid(), at timestamptz DEFAULT clock_timestamp()
) RETURNS text
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
AS $$
BEGIN
    RETURN '{"actor":' || to_json(actor)
        || ',"actor_id":' || to_json(actor_id)
        || ',"event_id":"' || event_id
        || '","event_type":' || to_json(event_type)
        || ',"from_state":' || coalesce(to_json(from_state)::text, 'null')
        || ',"metadata":' || metadata
        || ',"role":' || coalesce(to_json(role)::text, 'null')
        || ',"seq":' || seq
        || ',"subject_id":"' || subject_id
        || '","subject_type":' || to_json(subject_type)
        || ',"timestamp":"' || to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
        || '","to_state":' || coalesce(to_json(to_state)::text, 'null')
        || ',"trace_id":' || coalesce('"' || trace_id || '"', 'null')
        || '}';
END $$;
COMMENT ON FUNCTION audit_entry(
    text, text, text, text, uuid, bigint, text, text, text, uuid, text, uuid, timestamptz
) IS 'The RFC 8785 text of an event. metadata is canonical text already.';
