-- The ground's own functions: how an event is written, and what refuses an unrecorded change.

CREATE FUNCTION audit_instant(text) RETURNS timestamptz
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT $1::timestamptz $$;
COMMENT ON FUNCTION audit_instant(text) IS
    'An RFC 3339 instant with its offset; immutable, since with an offset no setting matters.';

CREATE FUNCTION audit_sha256(text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$ SELECT encode(sha256(convert_to($1, 'UTF8')), 'hex') $$;
COMMENT ON FUNCTION audit_sha256(text) IS 'Lowercase hex SHA-256 of the UTF-8 bytes.';

CREATE FUNCTION audit_number(value float8) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
SET extra_float_digits = 1
AS $$
DECLARE
    part text[] := regexp_match(value::text, '^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$');
    digits text := part[2] || coalesce(part[3], '');
    point int := part[4]::int + 1;
BEGIN
    IF part IS NULL THEN
        RETURN CASE WHEN value = 0 THEN '0' ELSE value::text END;
    END IF;
    RETURN part[1] || CASE
        WHEN point BETWEEN length(digits) AND 21 THEN digits || repeat('0', point - length(digits))
        WHEN point BETWEEN 1 AND 21 THEN left(digits, point) || '.' || substr(digits, point + 1)
        WHEN point BETWEEN -5 AND 0 THEN '0.' || repeat('0', -point) || digits
        ELSE part[2] || coalesce('.' || part[3], '')
            || 'e' || CASE WHEN point > 0 THEN '+' ELSE '-' END || abs(point - 1)
    END;
END $$;
COMMENT ON FUNCTION audit_number(float8) IS 'A number as ECMAScript writes it (RFC 8785, 3.2.2.3).';

CREATE FUNCTION audit_utf16(text) RETURNS numeric[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT array_agg(CASE WHEN ascii(c) > 65535 THEN 55296 + ascii(c) / 10000000.0 ELSE ascii(c) END)
    FROM regexp_split_to_table($1, '') AS c
$$;
COMMENT ON FUNCTION audit_utf16(text) IS
    'Sorts as UTF-16 code units do: what is beyond the basic plane comes before U+E000.';

CREATE FUNCTION audit_canonical(value jsonb) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE
AS $$
DECLARE
    wide boolean;
BEGIN
    CASE jsonb_typeof(value)
    WHEN 'object' THEN
        wide := value::text ~ '[\U00010000-\U0010FFFF]';
        RETURN '{' || coalesce((
            SELECT string_agg(to_json(name) || ':' || audit_canonical(inner_value), ','
                ORDER BY CASE WHEN wide THEN audit_utf16(name) END, name COLLATE "C")
            FROM jsonb_each(value) AS member (name, inner_value)), '') || '}';
    WHEN 'array' THEN
        RETURN '[' || coalesce((
            SELECT string_agg(audit_canonical(item), ',' ORDER BY place)
            FROM jsonb_array_elements(value) WITH ORDINALITY AS items (item, place)), '') || ']';
    WHEN 'number' THEN
        RETURN audit_number(value::float8);
    ELSE
        RETURN value::text;
    END CASE;
END $$;
COMMENT ON FUNCTION audit_canonical(jsonb) IS 'The RFC 8785 text of a JSON value.';

CREATE FUNCTION audit_entry(
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

CREATE FUNCTION audit_refuse() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% of % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation',
              HINT = 'Audit events are append-only, and what was approved can not be changed.';
END $$;
COMMENT ON FUNCTION audit_refuse() IS 'Trigger: refuses the statement it is hung on.';

CREATE FUNCTION audit_event_written() RETURNS trigger
LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.xid <> pg_current_xact_id() THEN
        RAISE EXCEPTION 'an audit event belongs to the transaction that writes it'
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    IF NEW.seq <> 1 AND NOT EXISTS (
        SELECT FROM audit_events WHERE subject_type = NEW.subject_type
            AND subject_id = NEW.subject_id AND seq = NEW.seq - 1
    ) THEN
        RAISE EXCEPTION 'audit event % of % % leaves a gap', NEW.seq, NEW.subject_type, NEW.subject_id
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit_event_written() IS
    'Trigger: an event names its own transaction and follows the subject''s previous event.';

CREATE FUNCTION audit_guard() RETURNS trigger
LANGUAGE plpgsql AS $$
DECLARE
    subject uuid;
    expected bigint;
    before text;
    after text;
BEGIN
    IF TG_OP = 'INSERT' THEN
        subject := NEW.id; expected := NEW.version; after := NEW.status;
    ELSIF TG_OP = 'DELETE' THEN
        subject := OLD.id; expected := OLD.version + 1; before := OLD.status;
    ELSE
        subject := NEW.id; expected := OLD.version + 1;
        IF NEW.version <> expected OR NEW.id <> OLD.id THEN
            RAISE EXCEPTION 'a row of % changed without its audit event', TG_TABLE_NAME
                USING ERRCODE = 'integrity_constraint_violation',
                      DETAIL = format('%s %s must go from version %s to %s.',
                                      TG_ARGV[0], OLD.id, OLD.version, expected);
        END IF;
        IF OLD.status <> NEW.status THEN
            before := OLD.status; after := NEW.status;
        END IF;
    END IF;

    IF before IS DISTINCT FROM after
       AND position(' ' || coalesce(before, '') || '>' || coalesce(after, '') || ' ' IN TG_ARGV[1]) = 0
    THEN
        RAISE EXCEPTION 'a % can not go from % to %',
                TG_ARGV[0], coalesce(before, 'nothing'), coalesce(after, 'nothing')
            USING ERRCODE = 'integrity_constraint_violation';
    END IF;

    PERFORM FROM audit_events
        WHERE subject_type = TG_ARGV[0] AND subject_id = subject AND seq = expected
          AND xid = pg_current_xact_id()
          AND from_state IS NOT DISTINCT FROM before AND to_state IS NOT DISTINCT FROM after;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'a row of % changed without its audit event', TG_TABLE_NAME
            USING ERRCODE = 'integrity_constraint_violation',
                  DETAIL = format('%s %s: %s -> %s has no event %s in this transaction.', TG_ARGV[0],
                                  subject, coalesce(before, '-'), coalesce(after, '-'), expected);
    END IF;
    RETURN NULL;
END $$;
COMMENT ON FUNCTION audit_guard() IS
    'Trigger, deferred: every change of a guarded row has its event in the same transaction.';
