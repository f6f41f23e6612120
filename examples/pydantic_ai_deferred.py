"""Pydantic AI: people decide on the calls of tools, in the orchestrator.

    ORCHESTRATOR_KEY=ork_… PYTHONPATH=clients/python python examples/pydantic_ai_deferred.py 42.50

The agent must hold the role finance, which it asks, and which executes. No model is asked: a
FunctionModel calls the tool. The last line is what the model was told.
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
    """Has the role ``target`` approve the calls of tools that have ``requires_approval=True``.

    ``descriptions`` names these tools, and says with arguments' {names} what a call would do; calls
    of others are left to whoever else decides. A tool is called with exactly the data that was
    approved, which a reviewer may have edited; what came of it is reported.
    """

    client: AsyncClient
    target: str
    descriptions: dict[str, str]
    _claimed: dict[str, str] = field(default_factory=dict)
    """The tasks that are being executed, by the ids of the calls."""

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[Any], *, requests: DeferredToolRequests
    ) -> DeferredToolResults:
        calls = [call for call in requests.approvals if call.tool_name in self.descriptions]
        heard = await asyncio.gather(*(self._decision(call) for call in calls))
        ids = [call.tool_call_id for call in calls]
        # Claimed when all are decided: a lease does not last while people think.
        results = {id_: await self._result(id_, said) for id_, said in zip(ids, heard, strict=True)}
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
        """The approved task, or what people said against it."""
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

    async def _result(self, call_id: str, said: str | ToolDenied) -> ToolApproved | ToolDenied:
        if isinstance(said, ToolDenied):
            return said
        task = await self.client.claim(said)
        self._claimed[call_id] = said
        return ToolApproved(override_args=task["data"])

    async def _fail(self, task_id: str, error: BaseException) -> None:
        await self.client.fail(task_id, {"type": type(error).__name__, "detail": str(error)})


# The demonstration.


def refund(amount: str, currency: str, customer: int) -> str:
    """Pay money back to a customer."""
    print(f"paying {amount} {currency} to customer {customer}", flush=True)
    return f"{amount} {currency} paid"


def model(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
    """Calls the tool with what the prompt says, and then repeats what it was told."""
    last = messages[-1].parts[-1]
    if isinstance(last, UserPromptPart):
        asked = {"amount": last.content, "currency": "EUR", "customer": 1007}
        return ModelResponse([ToolCallPart("refund", asked)])
    told = last.model_response_str() if isinstance(last, ToolReturnPart) else "It did not work."
    return ModelResponse([TextPart(told)])


async def main() -> None:
    async with AsyncClient() as client:
        described = {"refund": "Refund {amount} {currency} to customer {customer}."}
        agent = Agent(FunctionModel(model), capabilities=[Approvals(client, "finance", described)])
        agent.tool_plain(requires_approval=True)(refund)
        print((await agent.run(sys.argv[1])).output)


if __name__ == "__main__":
    asyncio.run(main())
