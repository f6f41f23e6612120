CREATE OR REPLACE FUNCTION approvals_member(person integer, role text) RETURNS boolean
LANGUAGE plpgsql STABLE AS $$
BEGIN
    RETURN EXISTS (SELECT FROM public.auth_user AS member
        JOIN public.auth_user_groups AS membership ON membership.user_id = member.id
        JOIN public.auth_group AS the_group ON the_group.id = membership.group_id
        WHERE member.id = person AND member.is_active AND the_group.name = role);
END $$;
COMMENT ON FUNCTION approvals_member(integer, text) IS
    'Whether a person is active, and a member of the group.';
