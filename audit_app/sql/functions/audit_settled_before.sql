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
COMMENT ON FUNCTION audit_settled_before() IS
    'The oldest transaction that may still write events, as the statement''s snapshot has it. Those '
    'of the cluster''s other databases are passed over; one that is not known to be theirs counts.';
