CREATE OR REPLACE FUNCTION freezes_covering(agent uuid, claimant uuid, from_role text, to_role text)
RETURNS SETOF freezes LANGUAGE sql STABLE AS $$
    SELECT * FROM public.freezes AS stop
    WHERE stop.scope = 'everything'
       OR stop.agent_id IN (agent, claimant)
       OR stop.role IN (freezes_covering.from_role, freezes_covering.to_role)
$$;
COMMENT ON FUNCTION freezes_covering(uuid, uuid, text, text) IS
    'The freezes, lifted ones too, of the agent that routed a task, the agent that claims it, or its roles.';
