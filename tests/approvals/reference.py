"""What the policies say of a task, worked out slowly and plainly, to be held against rules.py."""

from itertools import product


def fits(glob, text):
    """Whether ``text`` is all of ``glob``: ``*`` for any characters, ``?`` for one."""
    if not glob:
        return not text
    if glob[0] == "*":
        return any(fits(glob[1:], text[skipped:]) for skipped in range(len(text) + 1))
    return bool(text) and glob[0] in ("?", text[0]) and fits(glob[1:], text[1:])


HOLDS, DOES_NOT, FAILS = "holds", "does not", "fails"


def conditions(fields, numbers):
    """Conditions as text, each with a function from ``data`` to HOLDS, DOES_NOT or FAILS."""
    found = {"": lambda data: HOLDS, "true": lambda data: HOLDS, "false": lambda data: DOES_NOT}
    for field, number in product(fields, numbers):
        found[f"data.{field} > {number}"] = _compare_field(field, lambda value, n=number: value > n)
        found[f"data.{field} == {number}"] = _equal(field, number)
        found[f"has(data.{field}) && data.{field} == {number}"] = _present_and_equal(field, number)
    for field in fields:
        found[f"has(data.{field})"] = lambda data, f=field: _answer(f in data)
        found[f"data.{field}"] = _read_boolean(field)
    return found


def _answer(answer):
    return HOLDS if answer else DOES_NOT


def _is_number(value):
    return isinstance(value, int) and not isinstance(value, bool)


def _compare_field(field, question):
    def ask(data):
        return _answer(question(data[field])) if _is_number(data.get(field)) else FAILS

    return ask


def _equal(field, number):
    def ask(data):
        # Another kind of value is compared by mistake, and a human is asked.
        return _answer(data[field] == number) if _is_number(data.get(field)) else FAILS

    return ask


def _present_and_equal(field, number):
    return lambda data: _equal(field, number)(data) if field in data else DOES_NOT


def _read_boolean(field):
    return lambda data: _answer(data[field]) if isinstance(data.get(field), bool) else FAILS


def verdict(policies, task, default, answers):
    """The kind, the policy's name, and who is asked (``(role, count)`` each) for ``task``.

    ``answers`` are those of ``conditions``. ``policies`` are documents.
    """
    human, failed = ("require", [(task["to_role"], 1)]), None
    for policy in sorted(policies, key=lambda policy: (policy["priority"], policy["name"])):
        when = policy["when"]
        globs = [when.get(name, "*") for name in ("task_type", "from_role", "to_role")]
        texts = [task[name] for name in ("task_type", "from_role", "to_role")]
        if not all(fits(glob, text) for glob, text in zip(globs, texts, strict=True)):
            continue
        answer = answers[when.get("condition", "")](task["data"])
        if answer == DOES_NOT:
            continue
        if policy["then"] == "require":
            asked = [(asked["role"], asked["count"]) for asked in policy["approvals"]]
            return "require", policy["name"], asked
        if answer == FAILS:
            failed = failed or (human[0], policy["name"], human[1])
            continue
        if failed and policy["then"] == "approve":
            return failed
        return policy["then"], policy["name"], None
    if failed:
        return failed
    asks_anyway = task["task_type"] in ("approval", "approval_request", "question")
    for ending in ("_approval", "_question"):
        asks_anyway = asks_anyway or task["task_type"].endswith(ending)
    if asks_anyway or default == "require":
        return human[0], "", human[1]
    return "approve", "", None
