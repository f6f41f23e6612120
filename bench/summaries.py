"""The CPU that the summary of a payload of 1 MB takes, of each kind: ``python -m bench.summaries``.

Each payload has as many entries as fit into 1 MB, what is gravest last. Some are ordinary, some
are meant to be slow. The figure is the least of some runs, reading the JSON included; no database
takes part.
"""

import argparse
import base64
import json
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

import orjson

from approvals_app.payload.summary import Summary, summarize

SIZE: Final = 1_000_000
MOST_MS: Final = 150
IBAN: Final = "DE89370400440532013000"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.summaries", description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--only", default="", help="payloads whose name contains this")
    options = parser.parse_args()
    print("| payload | entries | facts | CPU ms |\n| --- | --- | --- | --- |")
    slow = []
    for name, make in PAYLOADS.items():
        if options.only not in name:
            continue
        data, entries = make()
        text = orjson.dumps({"data": data, "description": "", "context": {}})
        took, summary = _measure(text, options.runs)
        print(f"| {name} | {entries:,} | {len(summary.facts)} | {took:.0f} |", flush=True)
        slow += [name] if took > MOST_MS else []
    print(f"\nAt most {MOST_MS} ms are allowed; slower: {', '.join(slow) or 'none'}.")


def _measure(text: bytes, runs: int) -> tuple[float, Summary]:
    """The least CPU time in ms, as other work on the machine only adds to it; and the summary."""
    times = []
    for _ in range(runs):
        start = time.process_time()
        summary = summarize(orjson.loads(text))
        times.append(1000 * (time.process_time() - start))
    return min(times), summary


def _fill(make: Callable[[int], Any], size: int = SIZE) -> list[Any]:
    """Entries made by ``make`` until they have ``size`` bytes as JSON."""
    entries: list[Any] = []
    total = 0
    while total < size:
        entries.append(make(len(entries)))
        total += len(orjson.dumps(entries[-1])) + 1
    return entries


def _lines(make: Callable[[int], str], size: int = SIZE) -> str:
    return "".join(_fill(make, size))


def _change(at: int, actions: list[str], before: Any, after: Any) -> dict[str, Any]:
    kind = ("aws_instance", "aws_security_group_rule", "aws_s3_bucket", "aws_iam_policy")[at % 4]
    return {
        "address": f"{kind}.n{at}",
        "type": kind,
        "name": f"n{at}",
        "change": {"actions": actions, "before": before, "after": after, "after_unknown": {}},
    }


def _make_plan(actions: list[str], tags: int) -> tuple[Any, int]:
    def make(at: int) -> dict[str, Any]:
        values = {f"t{n}": f"v{n}" for n in range(tags)}
        before = {"id": f"i-{at}", "size": "a", "tags": values, "cidr_blocks": ["10.0.0.0/8"]}
        after = {**before, "size": "b"} if actions != ["delete"] else None
        return _change(at, actions, before if actions != ["create"] else None, after)

    entries = [*_fill(make), _change(2, ["delete"], {"id": "last"}, None)]
    return {"format_version": "1.2", "resource_changes": entries}, len(entries)


def _make_plan_of_one() -> tuple[Any, int]:
    before = {f"member_{at}": {"a": at, "b": [at, at]} for at in range(12_000)}
    after = {name: {**each, "a": "x"} for name, each in before.items()}
    change = _change(2, ["update"], before, after)
    return {"format_version": "1.2", "resource_changes": [change]}, 1


def _make_plan_text() -> tuple[Any, int]:
    data, entries = _make_plan(["update"], 4)
    return {"plan": json.dumps(data)}, entries


def _make_change_set() -> tuple[Any, int]:
    def make(at: int) -> dict[str, Any]:
        target: dict[str, Any] = {
            "Attribute": "Properties",
            "Name": "Size",
            "RequiresRecreation": "Never",
        }
        target |= {"BeforeValue": "1", "AfterValue": "2"}
        change: dict[str, Any] = {
            "Action": "Modify",
            "LogicalResourceId": f"R{at}",
            "Replacement": "False",
        }
        change |= {"ResourceType": "AWS::EC2::Instance", "Details": [{"Target": target}]}
        return {"Type": "Resource", "ResourceChange": change}

    changes = _fill(make)
    last = {"Action": "Remove", "LogicalResourceId": "Db", "ResourceType": "AWS::RDS::DBInstance"}
    return {"Changes": [*changes, {"ResourceChange": last}]}, len(changes)


def _make_preview() -> tuple[Any, int]:
    def make(at: int) -> dict[str, Any]:
        urn = f"urn:pulumi:prod::shop::aws:ec2/instance:Instance::n{at}"
        sides = {"inputs": {"size": "a", "tags": {"a": "1"}}}
        return {"op": "update", "urn": urn, "oldState": sides, "newState": sides}

    steps = _fill(make)
    urn = "urn:pulumi:prod::shop::aws:rds/instance:Instance::orders"
    return {"steps": [*steps, {"op": "delete", "urn": urn}]}, len(steps)


def _make_ansible() -> tuple[Any, int]:
    def make(at: int) -> dict[str, Any]:
        diff = {"before": "a\nb\n", "after": "a\nc\n", "before_header": f"/etc/f{at}"}
        result = {"changed": True, "action": "template", "diff": [diff]}
        return {"task": {"name": f"task {at}"}, "hosts": {f"web{at % 40}": result}}

    tasks = _fill(make)
    gone = {"changed": True, "diff": {"before": {"path": "/srv"}, "after": {"state": "absent"}}}
    tasks.append({"task": {"name": "clean"}, "hosts": {"db1": gone}})
    return {"plays": [{"tasks": tasks}]}, len(tasks)


def _make_helm() -> tuple[Any, int]:
    def make(at: int) -> dict[str, Any]:
        field = {"path": "spec", "field": "replicas", "oldValue": 2, "newValue": 3}
        entry = {"kind": "Deployment", "name": f"d{at}", "namespace": "prod"}
        return {**entry, "changeType": "MODIFY", "changes": [field]}

    entries = _fill(make)
    entries.append({"kind": "StatefulSet", "name": "db", "changeType": "REMOVE"})
    return {"diff": entries}, len(entries)


def _make_helm_text() -> tuple[Any, int]:
    def make(at: int) -> str:
        return (
            f"prod, d{at}, Deployment (apps) has changed:\n  spec:\n"
            "-   replicas: 2\n+   replicas: 3\n    template:\n\n"
        )

    text = _lines(make) + "prod, db, StatefulSet (apps) has been removed:\n- kind: StatefulSet\n"
    return {"output": text}, text.count("Deployment")


def _make_kubectl() -> tuple[Any, int]:
    def make(at: int) -> str:
        name = f"apps.v1.Deployment.prod.d{at}"
        return (
            f"diff -u -N /tmp/LIVE-1/{name} /tmp/MERGED-2/{name}\n--- /tmp/LIVE-1/{name}\n"
            f"+++ /tmp/MERGED-2/{name}\n@@ -1,3 +1,3 @@\n a: 1\n-  replicas: 2\n+  replicas: 3\n"
        )

    text = _lines(make)
    return {"diff": text}, text.count("@@ -1")


def _make_patch() -> tuple[Any, int]:
    def make(at: int) -> str:
        return (
            f"diff --git a/src/f{at}.py b/src/f{at}.py\nindex 1..2 100644\n--- a/src/f{at}.py\n"
            f"+++ b/src/f{at}.py\n@@ -1,2 +1,2 @@\n a\n-b\n+c\n"
        )

    text = _lines(make) + "diff --git a/x b/x\ndeleted file mode 100644\n--- a/x\n+++ /dev/null\n"
    return {"patch": text}, text.count("diff --git")


def _make_patch_of_one() -> tuple[Any, int]:
    start = "diff --git a/a b/a\n--- a/a\n+++ b/a\n@@ -1,9 +1,9 @@\n"
    return {"patch": start + _lines(lambda at: f"-old {at}\n+new {at}\n")}, 1


def _make_files() -> tuple[Any, int]:
    def make(at: int) -> dict[str, Any]:
        return {"filename": f"src/f{at}.py", "status": "modified", "additions": 1, "deletions": 0}

    files = _fill(make)
    return {"files": [*files, {"filename": "x", "status": "removed"}]}, len(files)


def _make_sql(make: Callable[[int], str], last: str = "DELETE FROM orders;") -> tuple[Any, int]:
    text = _lines(make)
    return {"sql": text + last}, text.count(";")


def _make_insert() -> tuple[Any, int]:
    rows = _lines(lambda at: f"({at}, 'name {at}'),")
    return {"sql": f"INSERT INTO a (id, name) VALUES {rows[:-1]}; DROP TABLE b"}, 2  # noqa: S608  # read, not run


def _make_script(make: Callable[[int], str]) -> tuple[Any, int]:
    text = _lines(make)
    return {"command": text + "rm -rf /srv/data\n"}, text.count("\n")


def _make_argv() -> tuple[Any, int]:
    words = _fill(lambda at: f"/srv/f{at}")
    return {"argv": ["rm", "-rf", *words]}, len(words)


def _make_steps() -> tuple[Any, int]:
    steps = _fill(lambda at: {"name": f"step {at}", "run": f"systemctl restart app{at}"})
    return {"steps": [*steps, {"run": "rm -rf /srv", "sudo": True}]}, len(steps)


def _make_pay(at: int) -> dict[str, Any]:
    return {"amount": f"{at % 900}.50", "currency": "EUR", "name": f"N{at}", "iban": f"{IBAN}"}


def _make_payments(make: Callable[[int], dict[str, Any]]) -> tuple[Any, int]:
    payments = [*_fill(make), _make_pay(1) | {"amount": "985000.00", "iban": "X"}]
    return {"payments": payments}, len(payments)


def _make_accounts(at: int) -> dict[str, Any]:
    digits = f"{at:018d}"
    check = 98 - int(f"{digits}131400") % 97
    return _make_pay(at) | {"iban": f"DE{check:02d}{digits}"}


def _make_pain() -> tuple[Any, int]:
    def make(at: int) -> dict[str, Any]:
        return {
            "Amt": {"InstdAmt": {"@Ccy": "EUR", "#text": "10.50"}},
            "Cdtr": {"Nm": f"N{at}"},
            "CdtrAcct": {"Id": {"IBAN": IBAN}},
        }

    payments = _fill(make)
    block = {"ReqdExctnDt": "2020-01-01", "CdtTrfTxInf": payments}
    return {"Document": {"CstmrCdtTrfInitn": {"PmtInf": block}}}, len(payments)


def _make_pain_xml() -> tuple[Any, int]:
    rows = _lines(
        lambda at: (
            f'<CdtTrfTxInf><Amt><InstdAmt Ccy="EUR">10.50</InstdAmt></Amt><Cdtr><Nm>N{at}</Nm>'
            f"</Cdtr><CdtrAcct><Id><IBAN>{IBAN}</IBAN></Id></CdtrAcct></CdtTrfTxInf>"
        )
    )
    text = f"<Document><CstmrCdtTrfInitn><PmtInf>{rows}</PmtInf></CstmrCdtTrfInitn></Document>"
    return {"file": text}, rows.count("<Nm>")


def _make_mail(recipients: list[Any], text: str = "Hello") -> tuple[Any, int]:
    mail = {"from": "a@example.com", "to": recipients, "subject": "Hi", "text": text}
    return mail, len(recipients)


def _make_letter() -> tuple[Any, int]:
    words = _lines(lambda at: f"word{at} and more. ", SIZE // 2)
    html = "".join(f"<p>{each}.</p>" for each in words.split(". "))
    mail = {"from": "a@example.com", "to": "b@example.com", "subject": "Hi"}
    return {**mail, "text": words, "html": html + "<p>Pay 4,800 EUR</p>"}, 1


def _make_raw() -> tuple[Any, int]:
    head = "From: a@example.com\r\nTo: b@example.com\r\nSubject: Hi\r\n\r\n"
    text = head + _lines(lambda at: f"line {at}\r\n", SIZE * 3 // 4)
    return {"raw": base64.urlsafe_b64encode(text.encode()).decode()}, 1


def _make_mails() -> tuple[Any, int]:
    def make(at: int) -> dict[str, Any]:
        return {"To": f"n{at}@example.com", "From": "a@example.com", "Subject": "Hi"} | {
            "TextBody": f"Hello {at}"
        }

    mails = _fill(make)
    return {"batch": mails}, len(mails)


def _make_steps_of_kinds() -> tuple[Any, int]:
    def make(at: int) -> dict[str, Any]:
        return (
            {"request": {"charge": f"ch_X{at}", "amount": 100, "currency": "eur"}},
            {"do": {"command": f"systemctl restart app{at}"}},
            {"mail": {"to": f"n{at}@example.com", "subject": "Hi", "text": "x"}},
            {"do": {"sql": f"UPDATE a SET b = {at} WHERE id = {at}"}},  # noqa: S608  # read, not run
        )[at % 4]

    steps = _fill(make)
    return [*steps, {"do": {"sql": "DROP TABLE orders"}}], len(steps)


def _nest(depth: int, value: Any) -> Any:
    for at in range(depth):
        value = {"inner": value} if at % 2 else [value]
    return value


def _make_deep() -> tuple[Any, int]:
    entries = _fill(lambda _: _nest(60, {"a": 1}))
    return {"entries": [*entries, {"sql": "DROP TABLE a"}]}, len(entries)


def _make_objects(make: Callable[[int], dict[str, Any]]) -> tuple[Any, int]:
    entries = _fill(make)
    return {"rows": [*entries, {"sql": "DROP TABLE orders"}]}, len(entries)


def _make_members() -> tuple[Any, int]:
    members = {f"member {at}": at for at in range(SIZE // 22)}
    return members, len(members)


def _make_calls() -> Iterator[tuple[str, Callable[[], tuple[Any, int]]]]:
    yield "plan, updates", lambda: _make_plan(["update"], 4)
    yield "plan, creates", lambda: _make_plan(["create"], 4)
    yield "plan, deletes", lambda: _make_plan(["delete"], 0)
    yield "plan, no-op", lambda: _make_plan(["no-op"], 4)
    yield "plan, one large update", _make_plan_of_one
    yield "plan in a text", _make_plan_text
    yield "CloudFormation change set", _make_change_set
    yield "Pulumi preview", _make_preview
    yield "Ansible check", _make_ansible
    yield "helm diff, structured", _make_helm
    yield "helm diff, text", _make_helm_text
    yield "kubectl diff", _make_kubectl
    yield "patch, many files", _make_patch
    yield "patch, one file", _make_patch_of_one
    yield "list of files", _make_files
    yield "SQL, inserts", lambda: _make_sql(lambda at: f"INSERT INTO a VALUES ({at}, 'x');\n")  # noqa: S608  # read, not run
    yield "SQL, updates", lambda: _make_sql(lambda at: f"UPDATE a SET b = {at} WHERE id = {at};\n")  # noqa: S608  # read, not run
    yield "SQL, drops", lambda: _make_sql(lambda at: f"DROP TABLE a{at};")
    yield "SQL, selects", lambda: _make_sql(lambda at: f"SELECT a FROM b WHERE c = 'it''s {at}';\n")  # noqa: S608  # read, not run
    yield "SQL, one insert", _make_insert
    yield "SQL, empty statements", lambda: _make_sql(lambda _: ";" * 1_000)
    yield "SQL, comments", lambda: _make_sql(lambda at: f"-- {at}\n/* ; */;", "-- x\nDROP TABLE a")
    yield "SQL, quotes", lambda: _make_sql(lambda _: "'';\"\";", "DROP TABLE a")
    yield "SQL, brackets", lambda: _make_sql(lambda _: "(" * 1_000)
    yield "script of short lines", lambda: _make_script(lambda at: f"echo {at}\n")
    yield "script, sudo", lambda: _make_script(lambda at: f"sudo systemctl restart app{at}\n")
    yield "script, pipes", lambda: _make_script(lambda at: f"cat a{at} | sort | uniq > b{at}\n")
    yield "script, SQL clients", lambda: _make_script(lambda at: f"psql -c 'DROP TABLE a{at}'\n")
    yield "script of one line", lambda: _make_script(lambda _: "x " * 500)
    yield "argv of many words", _make_argv
    yield "steps with commands", _make_steps
    yield "payments", lambda: _make_payments(_make_pay)
    yield "payments, each account valid", lambda: _make_payments(_make_accounts)
    yield "payments, short", lambda: _make_payments(lambda _: {"amount": 1, "currency": "EUR"})
    yield "pain.001", _make_pain
    yield "pain.001 in XML", _make_pain_xml
    yield "mail, addresses", lambda: _make_mail(_fill(lambda at: f"n{at}@example.com"))
    yield (
        "mail, objects",
        lambda: _make_mail(_fill(lambda at: {"email": f"n{at}@e{at}.example", "name": "N"})),
    )
    yield (
        "mail, long text",
        lambda: _make_mail(["b@example.com"], _lines(lambda at: f"line {at}\n")),
    )
    yield "mail, text and HTML", _make_letter
    yield "mail, raw", _make_raw
    yield "mails", _make_mails
    yield "steps of four kinds", _make_steps_of_kinds
    yield "deep nesting", _make_deep
    yield "rows of no kind", lambda: _make_objects(lambda at: {"id": at, "label": "x", "on": True})
    yield "rows of one member", lambda: _make_objects(lambda at: {"a": at})
    yield "empty objects", lambda: _make_objects(lambda _: {})
    yield "rows with one amount", lambda: _make_objects(lambda at: {"amount": at})
    yield "many members", _make_members
    yield "one long text", lambda: ({"note": "x " * (SIZE // 2)}, 1)


PAYLOADS: Final = dict(_make_calls())

if __name__ == "__main__":
    main()
