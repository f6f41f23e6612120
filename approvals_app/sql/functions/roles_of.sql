CREATE OR REPLACE FUNCTION roles_of(person integer) RETURNS SETOF text LANGUAGE sql STABLE AS $$
    SELECT the_group.name
    FROM public.auth_user AS member
    JOIN public.auth_user_groups AS membership ON membership.user_id = member.id
    JOIN public.auth_group AS the_group ON the_group.id = membership.group_id
    WHERE member.id = person AND member.is_active
$$;
COMMENT ON FUNCTION roles_of(integer) IS 'The groups that an active person is a member of.';
