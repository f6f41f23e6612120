"""From here on, another runtime evaluates conditions: policies that have some must be looked at."""

import sys
from typing import Any

from django.db import migrations


def tell(apps: Any, schema_editor: Any) -> None:
    policies = apps.get_model("approvals_app", "ApprovalPolicy").objects.filter(status="active")
    conditions = policies.filter(rule__when__has_key="condition").count()
    if conditions:
        what = "1 policy has a condition" if conditions == 1 else f"{conditions} policies have conditions"
        sys.stdout.write(
            f"\n  {what}, which another runtime evaluates from now on: "
            "`manage.py policies check` lists what changes.\n"
        )


class Migration(migrations.Migration):
    dependencies = [("approvals_app", "0002_escalated_to")]

    operations = [migrations.RunPython(tell, migrations.RunPython.noop, elidable=True)]
