-- A function in SQL that can't be inlined is planned anew by each statement that calls it; one in
-- PL/pgSQL is planned once a connection. These say what they said before.

CREATE OR REPLACE FUNCTION audit_instant(text) RETURNS timestamptz
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN $1::timestamptz;
END $$;

CREATE OR REPLACE FUNCTION audit_sha256(text) RETURNS text
LANGUAGE plpgsql IMMUTABLE STRICT PARALLEL SAFE AS $$
BEGIN
    RETURN encode(sha256(convert_to($1, 'UTF8')), 'hex');
END $$;

CREATE OR REPLACE FUNCTION audit_settled_before() RETURNS xid8
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog AS $$
BEGIN
    RETURN (
        SELECT coalesce(min(running), pg_snapshot_xmax(pg_current_snapshot()))
        FROM pg_snapshot_xip(pg_current_snapshot()) AS running
        WHERE NOT EXISTS (
            SELECT FROM pg_locks AS held JOIN pg_stat_activity AS whose USING (pid)
            WHERE held.locktype = 'transactionid' AND held.mode = 'ExclusiveLock'
              AND held.transactionid::text = mod(running::text::numeric, 4294967296)::text
              AND whose.datid <> (SELECT oid FROM pg_database WHERE datname = current_database())
        )
    );
END $$;
