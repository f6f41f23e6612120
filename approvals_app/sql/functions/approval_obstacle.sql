CREATE OR REPLACE FUNCTION approval_obstacle(approval uuid)
RETURNS TABLE (code text, reason text) LANGUAGE sql STABLE ROWS 1 AS $$
    SELECT CASE WHEN asked.status <> 'pending' THEN 'already_decided' ELSE 'approval_expired' END,
        CASE WHEN asked.status <> 'pending' THEN 'it is decided or given up.'
            ELSE 'its deadline has passed.' END
    FROM public.approvals AS asked
    WHERE asked.id = approval AND (asked.status <> 'pending'
        -- What was approved alone is reviewed late rather than never.
        OR (asked.override_id IS NULL AND asked.expires_at <= clock_timestamp()))
$$;
COMMENT ON FUNCTION approval_obstacle(uuid) IS
    'Why nobody may vote on an approval, as the code of the error and the reason; no row: its '
    'voters may.';
