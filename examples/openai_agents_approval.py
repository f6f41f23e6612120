"""OpenAI Agents SDK: people decide on the calls of tools, in the orchestrator.

    ORCHESTRATOR_KEY=ork_… PYTHONPATH=clients/python python examples/openai_agents_approval.py 42.50

The agent must hold the role finance, which it asks, and which executes. No model is asked: the
SDK's own ScriptedModel calls the tool. The last line is what the model was told.
"""

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any
from uuid import uuid4

from agents import Agent, FunctionTool, Runner, RunResult, function_tool, set_tracing_disabled
from agents.items import ToolApprovalItem
from agents.testing import ScriptedModel, assistant_message, function_call
from agents.tool_context import ToolContext
from orchestrator_client import AsyncClient, NotApproved, require_approved

# The adapter.


class Approvals:
    """Makes tools whose calls the role ``target`` must approve, and runs agents that have them."""

    def __init__(self, client: AsyncClient, target: str) -> None:
        self._client = client
        self._target = target
        self._descriptions: dict[str, str] = {}
        self._approved: dict[str, str] = {}
        """The tasks of the calls that may be executed, by the calls' ids."""

    def tool(self, function: Callable[..., Any], description: str) -> FunctionTool:
        """A tool like that of ``function_tool``; ``description`` may have arguments' {names}.

        It is called with exactly the data that was approved, which a reviewer may have edited, and
        reports what came of it. What it raises ends the run.
        """
        inner = function_tool(function, failure_error_function=None)
        self._descriptions[inner.name] = description

        async def invoke(context: ToolContext[Any], _asked: str) -> Any:
            task = await self._client.claim(self._approved.pop(context.tool_call_id))
            try:
                result = await inner.on_invoke_tool(context, json.dumps(task["data"]))
            except BaseException as error:
                told = {"type": type(error).__name__, "detail": str(error)}
                await self._client.fail(task["task_id"], told)
                raise
            await self._client.complete(task["task_id"], result)
            return result

        return FunctionTool(
            name=inner.name,
            description=inner.description,
            params_json_schema=inner.params_json_schema,
            on_invoke_tool=invoke,
            needs_approval=True,
        )

    async def run(self, agent: Agent[Any], given: str) -> RunResult:
        """``Runner.run``, once people have decided on every call; those of one turn at once."""
        result = await Runner.run(agent, given)
        while calls := result.interruptions:
            state = result.to_state()
            heard = await asyncio.gather(*(self._decision(call) for call in calls))
            for call, said in zip(calls, heard, strict=True):
                if said is None:
                    state.approve(call)
                else:
                    state.reject(call, rejection_message=said)
            result = await Runner.run(agent, state)
        return result

    async def _decision(self, call: ToolApprovalItem) -> str | None:
        """What people said against ``call``; None where they said yes."""
        name, data = str(call.name), json.loads(call.arguments or "{}")
        description = self._descriptions[name].format(**data)
        routed = await self._client.route_task(
            self._target, f"{name}_approval", description, data=data
        )
        task_id = routed["task_id"]
        try:
            require_approved(await self._client.wait_for_decision(task_id))
        except NotApproved as no:
            if no.outcome == "changes_requested":
                await self._client.cancel(task_id, reason="The agent was told.")
            return str(no)
        self._approved[str(call.call_id)] = task_id
        return None


# The demonstration.


def refund(amount: str, currency: str, customer: int) -> str:
    """Pay money back to a customer."""
    print(f"paying {amount} {currency} to customer {customer}", flush=True)
    return f"{amount} {currency} paid"


def model_of(amount: str) -> ScriptedModel:
    """One that calls the tool, and then says good-bye."""
    asked = {"amount": amount, "currency": "EUR", "customer": 1007}
    call = function_call("refund", asked, call_id=f"call_{uuid4().hex}")
    return ScriptedModel([[call], [assistant_message("Done.")]])


async def main() -> None:
    set_tracing_disabled(True)
    async with AsyncClient() as client:
        approvals = Approvals(client, "finance")
        tool = approvals.tool(refund, "Refund {amount} {currency} to customer {customer}.")
        agent = Agent(name="clerk", model=model_of(sys.argv[1]), tools=[tool])
        result = await approvals.run(agent, "The kettle is broken.")
    print([item.output for item in result.new_items if item.type == "tool_call_output_item"][-1])


if __name__ == "__main__":
    asyncio.run(main())
