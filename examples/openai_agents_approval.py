"""OpenAI Agents SDK: people decide on tool calls in the orchestrator.

    ORCHESTRATOR_KEY=ork_… PYTHONPATH=clients/python python examples/openai_agents_approval.py 42.50

The agent must hold the role finance, which is both the task's target and its executor. No model is
needed: the SDK's own ScriptedModel calls the tool. The last line is what the model was told.
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
    """Creates tools whose calls the role ``target`` must approve, and runs agents with them."""

    def __init__(self, client: AsyncClient, target: str) -> None:
        self._client = client
        self._target = target
        self._descriptions: dict[str, str] = {}
        self._approved: dict[str, str] = {}
        """The tasks of the approved calls, by the calls' ids."""

    def tool(self, function: Callable[..., Any], description: str) -> FunctionTool:
        """A tool like ``function_tool``'s; ``description`` may contain {names} of arguments.

        It is called with exactly the approved data, which a reviewer may have edited, and its
        result is reported. An exception ends the run.
        """
        inner = function_tool(function, failure_error_function=None)
        self._descriptions[inner.name] = description

        async def invoke(context: ToolContext[Any], _asked: str) -> Any:
            task = await self._client.claim(self._approved.pop(context.tool_call_id))
            try:
                result = await inner.on_invoke_tool(context, json.dumps(task["data"]))
            except BaseException as error:
                details = {"type": type(error).__name__, "detail": str(error)}
                await self._client.fail(task["task_id"], details)
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

    async def run(self, agent: Agent[Any], prompt: str) -> RunResult:
        """``Runner.run``, with people deciding on every call, on those of one turn at once."""
        result = await Runner.run(agent, prompt)
        while calls := result.interruptions:
            state = result.to_state()
            refusals = await asyncio.gather(*(self._decision(call) for call in calls))
            for call, refusal in zip(calls, refusals, strict=True):
                if refusal is None:
                    state.approve(call)
                else:
                    state.reject(call, rejection_message=refusal)
            result = await Runner.run(agent, state)
        return result

    async def _decision(self, call: ToolApprovalItem) -> str | None:
        """Why people refused ``call``; None where they approved it."""
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
    """A model that calls the tool once and then ends."""
    arguments = {"amount": amount, "currency": "EUR", "customer": 1007}
    call = function_call("refund", arguments, call_id=f"call_{uuid4().hex}")
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
