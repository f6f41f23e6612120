"""Pydantic AI: people decide on tool calls in the orchestrator.

    ORCHESTRATOR_KEY=ork_… PYTHONPATH=clients/python python examples/pydantic_ai_deferred.py 42.50

The agent must hold the role finance, which is both the task's target and its executor. No model is
needed: a FunctionModel calls the tool. The last line is what the model was told.
"""

# Where pydantic_ai is not installed, its classes are Any.
# mypy: allow-subclassing-any
import asyncio
import sys
from dataclasses import dataclass, field
from typing import Any

from orchestrator_client import AsyncClient, NotApproved, require_approved
from pydantic_ai import Agent, RunContext, ToolDefinition
from pydantic_ai.capabilities import AbstractCapability
from pydantic_ai.messages import (
    ModelMessage,
    ModelResponse,
    TextPart,
    ToolCallPart,
    ToolReturnPart,
    UserPromptPart,
)
from pydantic_ai.models.function import AgentInfo, FunctionModel
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, ToolApproved, ToolDenied

# The adapter.


@dataclass
class Approvals(AbstractCapability[Any]):
    """Requires the role ``target`` to approve calls of tools with ``requires_approval=True``.

    ``descriptions`` maps the tools' names to what a call would do, with {names} of arguments; calls
    of other tools are left to other handlers. A tool is called with exactly the approved data,
    which a reviewer may have edited, and its result is reported.
    """

    client: AsyncClient
    target: str
    descriptions: dict[str, str]
    _claimed: dict[str, str] = field(default_factory=dict)
    """The tasks being executed, by the calls' ids."""

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[Any], *, requests: DeferredToolRequests
    ) -> DeferredToolResults:
        calls = [call for call in requests.approvals if call.tool_name in self.descriptions]
        decisions = await asyncio.gather(*(self._decision(call) for call in calls))
        ids = [call.tool_call_id for call in calls]
        # Claim only once all are decided: a lease would run out while people decide on the rest.
        results = {
            id_: await self._result(id_, decision)
            for id_, decision in zip(ids, decisions, strict=True)
        }
        return requests.build_results(approvals=results)

    async def wrap_tool_execute(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: dict[str, Any],
        handler: Any,
    ) -> Any:
        task_id = self._claimed.pop(call.tool_call_id, None)
        if task_id is None:
            return await handler(args)
        try:
            result = await handler(args)
        except BaseException as error:
            await self._fail(task_id, error)
            raise
        await self.client.complete(task_id, result)
        return result

    async def on_tool_validate_error(
        self,
        ctx: RunContext[Any],
        *,
        call: ToolCallPart,
        tool_def: ToolDefinition,
        args: Any,
        error: Exception,
    ) -> dict[str, Any]:
        if task_id := self._claimed.pop(call.tool_call_id, None):
            await self._fail(task_id, error)
        raise error

    async def _decision(self, call: ToolCallPart) -> str | ToolDenied:
        """The approved task's id, or why people refused."""
        data = call.args_as_dict()
        routed = await self.client.route_task(
            self.target,
            f"{call.tool_name}_approval",
            self.descriptions[call.tool_name].format(**data),
            data=data,
        )
        task_id = routed["task_id"]
        try:
            require_approved(await self.client.wait_for_decision(task_id))
        except NotApproved as no:
            if no.outcome == "changes_requested":
                await self.client.cancel(task_id, reason="The agent was told.")
            return ToolDenied(str(no))
        return task_id

    async def _result(self, call_id: str, decision: str | ToolDenied) -> ToolApproved | ToolDenied:
        if isinstance(decision, ToolDenied):
            return decision
        task = await self.client.claim(decision)
        self._claimed[call_id] = decision
        return ToolApproved(override_args=task["data"])

    async def _fail(self, task_id: str, error: BaseException) -> None:
        await self.client.fail(task_id, {"type": type(error).__name__, "detail": str(error)})


# The demonstration.


def refund(amount: str, currency: str, customer: int) -> str:
    """Pay money back to a customer."""
    print(f"paying {amount} {currency} to customer {customer}", flush=True)
    return f"{amount} {currency} paid"


def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Call the tool with the prompt's text, and then repeat its result."""
    last = messages[-1].parts[-1]
    if isinstance(last, UserPromptPart):
        arguments = {"amount": last.content, "currency": "EUR", "customer": 1007}
        return ModelResponse([ToolCallPart("refund", arguments)])
    output = last.model_response_str() if isinstance(last, ToolReturnPart) else "It did not work."
    return ModelResponse([TextPart(output)])


async def main() -> None:
    async with AsyncClient() as client:
        descriptions = {"refund": "Refund {amount} {currency} to customer {customer}."}
        agent = Agent(
            FunctionModel(model), capabilities=[Approvals(client, "finance", descriptions)]
        )
        agent.tool_plain(requires_approval=True)(refund)
        print((await agent.run(sys.argv[1])).output)


if __name__ == "__main__":
    asyncio.run(main())
