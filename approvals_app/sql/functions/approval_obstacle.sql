CREATE OR REPLACE FUNCTION approval_obstacle(status text, expires_at timestamptz, override_id uuid)
RETURNS text LANGUAGE sql VOLATILE AS $$
    SELECT CASE
        WHEN status <> 'pending' THEN 'already_decided'
        -- What was approved alone is reviewed late rather than never.
        WHEN override_id IS NULL AND expires_at <= clock_timestamp() THEN 'approval_expired'
    END
$$;
COMMENT ON FUNCTION approval_obstacle(text, timestamptz, uuid) IS
    'Why nobody may vote on such an approval, as the code of the error; NULL: its voters may.';
