CREATE TRIGGER person_aliases_remember AFTER UPDATE OF username, email ON auth_user
    FOR EACH ROW EXECUTE FUNCTION person_aliases_remember();
