"""LangGraph: people answer ``interrupt()`` in the orchestrator.

    ORCHESTRATOR_KEY=ork_… PYTHONPATH=clients/python python examples/langgraph_interrupt.py 42.50

It needs langgraph 1.2.20 or later: before, two equal questions of one node had one id, and so one
task and one answer. The agent must hold the role finance, which is both the task's target and its
executor. Exit status: 0 paid, 3 not approved.
"""

import sys
from collections.abc import Callable
from typing import Any, Literal, TypedDict
from uuid import uuid4

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, interrupt
from orchestrator_client import Client, NotApproved, require_approved

# The adapter.


class Decision(TypedDict):
    """What ``interrupt()`` returns. ``refusal`` is None where people approved."""

    task_id: str
    refusal: str | None


class Approvals:
    """Runs a graph whose interrupts are arguments of ``Client.route_task``."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def invoke(
        self, graph: CompiledStateGraph[Any, Any, Any, Any], given: Any, thread_id: str
    ) -> Any:
        """Run the graph until people have answered all its interrupts; return its last state.

        Interrupts of several branches are routed at once. With a persistent checkpointer, a
        restarted process continues with ``given=None`` and the same ``thread_id``: an interrupt of
        a thread is one task, however often it is routed. Raises RuntimeError where an interrupt has
        the id of one that was answered.
        """
        asked: set[str] = set()
        state = graph.invoke(given, {"configurable": {"thread_id": thread_id}})
        while interrupts := state.get("__interrupt__"):
            for each in interrupts:
                if each.id in asked:
                    raise RuntimeError(
                        "Another question has the id of an answered one, so its answer would be "
                        "taken for both: langgraph 1.2.20 or later is needed."
                    )
                asked.add(each.id)
            tasks = {
                each.id: self._route(each.value, f"{thread_id}-{each.id}") for each in interrupts
            }
            resume = {each: self._decision(task_id) for each, task_id in tasks.items()}
            command: Command[Any] = Command(resume=resume)
            state = graph.invoke(command, {"configurable": {"thread_id": thread_id}})
        return state

    def execute(self, task_id: str, function: Callable[..., Any]) -> Any:
        """Call ``function`` with exactly the approved data, and report the result.

        Raises orchestrator_client.Problem, without a call, where the task was executed before.
        """
        task = self._client.claim(task_id)
        try:
            result = function(**task["data"])
        except BaseException as error:
            self._client.fail(task_id, {"type": type(error).__name__, "detail": str(error)})
            raise
        self._client.complete(task_id, result)
        return result

    def _route(self, arguments: dict[str, Any], key: str) -> str:
        return self._client.route_task(**arguments, idempotency_key=key)["task_id"]

    def _decision(self, task_id: str) -> Decision:
        try:
            require_approved(self._client.wait_for_decision(task_id))
        except NotApproved as no:
            if no.outcome == "changes_requested":
                self._client.cancel(task_id, reason="The graph goes another way.")
            return {"task_id": task_id, "refusal": str(no)}
        return {"task_id": task_id, "refusal": None}


# The demonstration.


class State(TypedDict, total=False):
    amount: str
    customer: int
    task_id: str
    outcome: str


def refund(amount: str, currency: str, customer: int) -> str:
    print(f"paying {amount} {currency} to customer {customer}", flush=True)
    return f"{amount} {currency} paid"


def graph_of(approvals: Approvals) -> CompiledStateGraph[Any, Any, Any, Any]:
    def ask(state: State) -> Command[Literal["pay", "tell"]]:
        decision: Decision = interrupt(
            {
                "target": "finance",
                "task_type": "refund_approval",
                "description": f"Refund {state['amount']} EUR to customer {state['customer']}.",
                "data": {
                    "amount": state["amount"],
                    "currency": "EUR",
                    "customer": state["customer"],
                },
            }
        )
        if decision["refusal"] is not None:
            return Command(goto="tell", update={"outcome": decision["refusal"]})
        return Command(goto="pay", update={"task_id": decision["task_id"]})

    def pay(state: State) -> State:
        return {"outcome": approvals.execute(state["task_id"], refund)}

    def tell(state: State) -> State:
        return {"outcome": f"Not paid. {state['outcome']}"}

    graph = StateGraph(State)
    graph.add_node("ask", ask)
    graph.add_node("pay", pay)
    graph.add_node("tell", tell)
    graph.add_edge(START, "ask")
    graph.add_edge("pay", END)
    graph.add_edge("tell", END)
    return graph.compile(checkpointer=InMemorySaver())


def main() -> int:
    with Client() as client:
        approvals = Approvals(client)
        start = {"amount": sys.argv[1], "customer": 1007}
        state = approvals.invoke(graph_of(approvals), start, thread_id=str(uuid4()))
    print(state["outcome"])
    return 0 if "task_id" in state else 3


if __name__ == "__main__":
    sys.exit(main())
