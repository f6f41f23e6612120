CREATE OR REPLACE FUNCTION deadline_passed(
    deadline timestamptz, since timestamptz, agent uuid, claimant uuid, from_role text, to_role text)
RETURNS boolean LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    RETURN CASE
        WHEN deadline > clock_timestamp() THEN false
        WHEN EXISTS (SELECT FROM public.freezes_covering(agent, claimant, from_role, to_role)
            WHERE status = 'active') THEN false
        -- The time of all freezes since then is added; of two at once, it counts once.
        ELSE deadline + coalesce((
            SELECT sum(upper(stopped) - lower(stopped)) FROM (
                SELECT unnest(range_agg(tstzrange(greatest(created_at, since), updated_at)))
                FROM public.freezes_covering(agent, claimant, from_role, to_role)
                WHERE updated_at > since
            ) AS spans (stopped)), '0') <= clock_timestamp()
    END;
END
$$;
COMMENT ON FUNCTION deadline_passed(timestamptz, timestamptz, uuid, uuid, text, text) IS
    'Whether a deadline of a task, set at "since", has passed: it stands still while a freeze covers the task.';
