CREATE OR REPLACE FUNCTION members_of(role text) RETURNS SETOF integer LANGUAGE sql STABLE AS $$
    SELECT member.id
    FROM public.auth_group AS the_group
    JOIN public.auth_user_groups AS membership ON membership.group_id = the_group.id
    JOIN public.auth_user AS member ON member.id = membership.user_id
    WHERE the_group.name = role AND member.is_active
$$;
COMMENT ON FUNCTION members_of(text) IS 'The active members of the group that a role asks.';
