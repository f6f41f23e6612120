"""A function whose every call needs approval: all it takes is a decorator.

    ORCHESTRATOR_KEY=ork_… PYTHONPATH=clients/python python examples/decorator.py 42.50

The agent must hold the role finance, which is both the task's target and its executor. Exit status:
0 paid, 3 not approved.
"""

import sys

from orchestrator_client import Client, NotApproved, needs_approval

client = Client()


@needs_approval(
    client,
    target="finance",
    task_type="refund_approval",
    description="Refund {amount} {currency} to customer {customer}.",
)
def refund(amount: str, currency: str, customer: int) -> str:
    """Pay money back to a customer."""
    print(f"paying {amount} {currency} to customer {customer}", flush=True)
    return f"{amount} {currency} paid"


def main() -> int:
    try:
        print(refund(sys.argv[1], "EUR", customer=1007))
    except NotApproved as no:
        print(no)
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
