"""A node that asks the same twice, run by the adapter of examples/langgraph_interrupt.py."""

import sys
from typing import Any, TypedDict

from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END, START, StateGraph
from langgraph.types import Command, Interrupt, interrupt
from langgraph_interrupt import Approvals
from orchestrator_client import Client

QUESTION = {"target": "finance", "task_type": "refund_approval", "data": {"amount": "42.50"}}


class State(TypedDict, total=False):
    refusals: list[str | None]


def ask_twice(state: State) -> State:
    return {"refusals": [interrupt(QUESTION)["refusal"] for _ in range(2)]}


class OneId:
    """A graph whose interrupts of a node all have one id, as before langgraph 1.2.20."""

    def __init__(self, graph: Any) -> None:
        self._graph, self._ids = graph, {}

    def invoke(self, given: Any, config: Any) -> Any:
        if isinstance(given, Command):
            given = Command(resume={self._ids[each]: told for each, told in given.resume.items()})
        state = self._graph.invoke(given, config)
        for each in state.get("__interrupt__", ()):
            self._ids["one"] = each.id
        if "__interrupt__" in state:
            state["__interrupt__"] = [
                Interrupt(value=each.value, id="one") for each in state["__interrupt__"]
            ]
        return state


graph = StateGraph(State)
graph.add_node("ask", ask_twice)
graph.add_edge(START, "ask")
graph.add_edge("ask", END)
compiled = graph.compile(checkpointer=InMemorySaver())

with Client() as client:
    runs = OneId(compiled) if "--one-id" in sys.argv else compiled
    state = Approvals(client).invoke(runs, {}, thread_id="thread")
    sys.stdout.writelines(f"{refusal}\n" for refusal in state["refusals"])
