"""What the conformance runner expects of a server: fixed tools, resources and prompts, and jobs
that take a while. Only this stands in for ours; the HTTP layer and the Tasks extension are judged.
"""

import hashlib
import hmac
import json
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final
from uuid import uuid4

import anyio
import mcp_types as types
from mcp.server import Server
from mcp.shared.exceptions import MCPError

from orchestrator.mcp import tasks
from orchestrator.mcp.tasks import Context, TaskState, UnknownTask

Json = dict[str, Any]
PIXEL: Final = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"
)
SILENCE: Final = "UklGRiQAAABXQVZFZm10IBAAAAABAAEARKwAAIhYAQACABAAZGF0YQAAAAA="
SECRET: Final = b"only for the runner"
ANYTHING: Final = {"type": "object"}
SCHEMA_2020_12: Final = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "$defs": {
        "address": {
            "$anchor": "addressDef",
            "type": "object",
            "properties": {"street": {"type": "string"}, "city": {"type": "string"}},
        }
    },
    "properties": {
        "name": {"type": "string"},
        "address": {"$ref": "#/$defs/address"},
        "contactMethod": {"type": "string", "enum": ["phone", "email"]},
        "phone": {"type": "string"},
        "email": {"type": "string"},
    },
    "allOf": [{"anyOf": [{"required": ["phone"]}, {"required": ["email"]}]}],
    "if": {"properties": {"contactMethod": {"const": "phone"}}, "required": ["contactMethod"]},
    "then": {"required": ["phone"]},
    "else": {"required": ["email"]},
    "additionalProperties": False,
}
SCHEMAS: Final[Json] = {
    "json_schema_2020_12_tool": SCHEMA_2020_12,
    "test_custom_header": {
        "type": "object",
        "properties": {"region": {"type": "string", "x-mcp-header": "Region"}},
    },
}


def text(content: str) -> Json:
    return {"type": "text", "text": content}


def resource(uri: str, content: str, mime: str = "text/plain") -> Json:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": content}}


IMAGE: Final = {"type": "image", "data": PIXEL, "mimeType": "image/png"}
FIXED: Final[dict[str, list[Json]]] = {
    "test_simple_text": [text("This is a simple text response for testing.")],
    "test_image_content": [IMAGE],
    "test_audio_content": [{"type": "audio", "data": SILENCE, "mimeType": "audio/wav"}],
    "test_embedded_resource": [
        resource("test://embedded-resource", "This is an embedded resource content.")
    ],
    "test_multiple_content_types": [
        text("Multiple content types test:"),
        IMAGE,
        resource(
            "test://mixed-content-resource", '{"test":"data","value":123}', "application/json"
        ),
    ],
    "test_logging_tool": [text("Nothing is logged.")],
    "test_custom_header": [text("The header is right.")],
    "json_schema_2020_12_tool": [text("The schema holds.")],
    "test_streaming_elicitation": [text("Nothing is asked.")],
    "test_input_required_result_validate_input": [text("Nothing is asked.")],
}


async def fail(ctx: Context, given: Json) -> Json:
    content = [text("This tool intentionally returns an error for testing")]
    return {"content": content, "isError": True}


async def greet(ctx: Context, given: Json) -> Json:
    return {"content": [text(f"Hello, {given.get('name')}!")]}


async def report_progress(ctx: Context, given: Json) -> Json:
    for progress in (0, 50, 100):
        await ctx.session.report_progress(progress, 100, "")
        await anyio.sleep(0.05)
    return {"content": [text("All is reported.")]}


async def require_sampling(ctx: Context, given: Json) -> Json:
    capabilities = ctx.session.client_capabilities
    if capabilities is None or capabilities.sampling is None:
        code = types.MISSING_REQUIRED_CLIENT_CAPABILITY
        raise MCPError(code, "It needs sampling.", {"requiredCapabilities": {"sampling": {}}})
    return {"content": [text("There is sampling.")]}


# The rounds in which a server asks its client for something (SEP-2322).


def elicit(message: str, **properties: str) -> Json:
    members = {name: {"type": kind} for name, kind in properties.items()}
    schema = {"type": "object", "properties": members, "required": list(members)}
    params = {"mode": "form", "message": message, "requestedSchema": schema}
    return {"method": "elicitation/create", "params": params}


def sample(question: str) -> Json:
    message = {"role": "user", "content": text(question)}
    return {
        "method": "sampling/createMessage",
        "params": {"messages": [message], "maxTokens": 100},
    }


ROOTS: Final[Json] = {"method": "roots/list", "params": {}}


def sign(state: str) -> str:
    return state + "." + hmac.new(SECRET, state.encode(), hashlib.sha256).hexdigest()


def ask(requests: Json, state: str | None = None) -> Json:
    answer: Json = {"resultType": "input_required", "inputRequests": requests}
    return answer if state is None else {**answer, "requestState": sign(state)}


def read_answers(ctx: Context) -> tuple[Json, str | None]:
    """What the client answers, and the state that it brings back. Raises MCPError."""
    params = ctx.params or {}
    answers, signed = params.get("inputResponses", {}), params.get("requestState")
    if not isinstance(answers, dict) or not all(isinstance(a, dict) for a in answers.values()):
        raise MCPError(types.INVALID_PARAMS, "inputResponses must be an object of objects.")
    if signed is None:
        return answers, None
    state = str(signed).rpartition(".")[0]
    if not hmac.compare_digest(sign(state), str(signed)):
        raise MCPError(types.INVALID_PARAMS, "requestState was changed.")
    return answers, state


NAME: Final = {"user_name": elicit("What is your name?", name="string")}
ASKING: Final[dict[str, tuple[Json, str | None]]] = {
    "test_input_required_result_elicitation": (NAME, None),
    "test_input_required_result_sampling": (
        {"capital_question": sample("What is the capital of France?")},
        None,
    ),
    "test_input_required_result_list_roots": ({"client_roots": ROOTS}, None),
    "test_input_required_result_request_state": (
        {"confirm": elicit("Please confirm", ok="boolean")},
        "state-ok",
    ),
    "test_input_required_result_multiple_inputs": (
        {**NAME, "greeting": sample("Generate a greeting"), "client_roots": ROOTS},
        "several",
    ),
    "test_input_required_result_tampered_state": (
        {"confirm": elicit("Please confirm", ok="boolean")},
        "untouched",
    ),
}


async def ask_once(name: str, ctx: Context, given: Json) -> Json:
    requests, state = ASKING[name]
    answers, brought = read_answers(ctx)
    if not requests.keys() <= answers.keys() or brought != state:
        return ask(requests, state)
    content = f"{brought or ''} {json.dumps({key: answers[key] for key in requests})}"
    return {"content": [text(content)]}


async def ask_twice(ctx: Context, given: Json) -> Json:
    answers, state = read_answers(ctx)
    if "step2" in answers and state == "round 2":
        return {"content": [text("Both steps are done.")]}
    if "step1" in answers and state == "round 1":
        question = elicit("Step 2: What is your favorite color?", color="string")
        return ask({"step2": question}, "round 2")
    return ask({"step1": elicit("Step 1: What is your name?", name="string")}, "round 1")


async def ask_as_able(ctx: Context, given: Json) -> Json:
    able = ctx.session.client_capabilities
    requests: Json = {}
    if able and able.elicitation is not None:
        requests |= NAME
    if able and able.sampling is not None:
        requests["greeting"] = sample("Generate a greeting")
    return ask(requests) if requests else {"content": [text("There is nothing to ask.")]}


# Jobs: calls that are answered with a handle.


@dataclass
class Job:
    tool: str
    seconds: float = 0
    text: str = "Done."
    pending: Json = field(default_factory=dict)
    id: str = field(default_factory=lambda: str(uuid4()))
    began: float = field(default_factory=time.time)
    ended: str = ""

    def describe(self) -> TaskState:
        at = datetime.fromtimestamp(self.began, UTC).isoformat()
        state = partial(
            TaskState, task_id=self.id, created_at=at, updated_at=at, ttl_ms=600_000, poll_ms=200
        )
        if self.ended:
            return state(status="cancelled")
        if self.pending:
            return state(status="input_required", input_requests=self.pending)
        if time.time() < self.began + self.seconds:
            return state(status="working")
        if self.tool == "protocol_error_job":
            error = types.ErrorData(code=types.INTERNAL_ERROR, message="It broke.")
            return state(status="failed", error=error)
        content = [types.TextContent(type="text", text=self.text)]
        result = types.CallToolResult(content=content, is_error=self.tool == "failing_job")
        return state(status="completed", result=result)


class Jobs:
    """A TaskStore in this process's memory."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}

    def start(self, job: Job) -> Json:
        self.jobs[job.id] = job
        return job.describe().as_handle()

    def find(self, task_id: str) -> Job:
        if task_id not in self.jobs:
            raise UnknownTask
        return self.jobs[task_id]

    async def get(self, ctx: Context, task_id: str) -> TaskState:
        return self.find(task_id).describe()

    async def cancel(self, ctx: Context, task_id: str) -> None:
        job = self.find(task_id)
        if job.describe().status in ("working", "input_required"):
            job.ended = "cancelled"

    async def update(self, ctx: Context, task_id: str, responses: Json) -> None:
        job = self.find(task_id)
        job.pending = {key: each for key, each in job.pending.items() if key not in responses}


JOBS: Final = ("slow_compute", "failing_job", "protocol_error_job", "confirm_delete", "multi_input")


async def run_job(jobs: Jobs, name: str, ctx: Context, given: Json) -> Json:
    job = Job(name, seconds=float(given.get("seconds", 0)))
    if name == "confirm_delete":
        job.pending = {"confirm": elicit(f"Delete {given.get('filename')}?", confirm="boolean")}
    if name == "multi_input":
        job.pending = {"first": elicit("One?", x="string"), "second": elicit("Two?", x="string")}
    if tasks.are_offered(ctx):
        return jobs.start(job)
    if name == "failing_job":  # offered as a task or not at all
        tasks.require_offer(ctx)
    return {"content": [text(job.text)]}


async def ask_then_run(jobs: Jobs, ctx: Context, given: Json) -> Json:
    answers, _ = read_answers(ctx)
    if "user_name" not in answers:
        return ask(NAME)
    name = (answers["user_name"].get("content") or {}).get("name")
    return jobs.start(Job("test_tool_with_task", text=f"Hello, {name}!"))


RESOURCES: Final[dict[str, Json]] = {
    "test://static-text": {
        "mimeType": "text/plain",
        "text": "This is the content of the static text resource.",
    },
    "test://static-binary": {"mimeType": "image/png", "blob": PIXEL},
}
PROMPTS: Final[dict[str, list[str]]] = {
    "test_simple_prompt": [],
    "test_prompt_with_arguments": ["arg1", "arg2"],
    "test_prompt_with_embedded_resource": ["resourceUri"],
    "test_prompt_with_image": [],
    "test_input_required_result_prompt": [],
}
CACHE: Final[Json] = {"ttlMs": 60_000, "cacheScope": "public"}


async def finish(handler: Any, ctx: Context, params: Any) -> Any:
    """The answer of ``handler``, complete unless it says otherwise."""
    return {"resultType": "complete", **await handler(ctx, params)}


def build_server() -> Server[Any]:
    """The runner's server, with the Tasks extension as our own servers offer it."""
    jobs = Jobs()
    tools: Json = {
        "test_error_handling": fail,
        "greet": greet,
        "test_tool_with_progress": report_progress,
        "test_missing_capability": require_sampling,
        "test_input_required_result_multi_round": ask_twice,
        "test_input_required_result_capabilities": ask_as_able,
        "test_tool_with_task": partial(ask_then_run, jobs),
        **{name: partial(ask_once, name) for name in ASKING},
        **{name: partial(run_job, jobs, name) for name in JOBS},
    }

    async def list_tools(ctx: Context, params: Any) -> Any:
        names = sorted([*FIXED, *tools])
        described = [
            {
                "name": name,
                "description": f"{name}, for the runner.",
                "inputSchema": SCHEMAS.get(name, ANYTHING),
            }
            for name in names
        ]
        return {"tools": described, **CACHE}

    async def call_tool(ctx: Context, params: types.CallToolRequestParams) -> Any:
        if params.name in FIXED:
            return {"content": FIXED[params.name]}
        if params.name not in tools:
            raise MCPError(types.INVALID_PARAMS, "There is no such tool.")
        return await tools[params.name](ctx, params.arguments or {})

    async def list_resources(ctx: Context, params: Any) -> Any:
        described = [
            {"uri": uri, "name": uri, "description": uri, "mimeType": content["mimeType"]}
            for uri, content in RESOURCES.items()
        ]
        return {"resources": described, **CACHE}

    async def list_templates(ctx: Context, params: Any) -> Any:
        template = {"uriTemplate": "test://template/{id}/data", "name": "template"}
        return {"resourceTemplates": [template], **CACHE}

    async def read_resource(ctx: Context, params: types.ReadResourceRequestParams) -> Any:
        uri = str(params.uri)
        if uri in RESOURCES:
            return {"contents": [{"uri": uri, **RESOURCES[uri]}], **CACHE}
        if uri.startswith("test://template/") and uri.endswith("/data"):
            number = uri.removeprefix("test://template/").removesuffix("/data")
            data = {"id": number, "templateTest": True, "data": f"Data for ID: {number}"}
            content = {"uri": uri, "mimeType": "application/json", "text": json.dumps(data)}
            return {"contents": [content], **CACHE}
        raise MCPError(types.INVALID_PARAMS, "Resource not found", {"uri": uri})

    async def list_prompts(ctx: Context, params: Any) -> Any:
        described = [
            {
                "name": name,
                "description": name,
                "arguments": [{"name": each, "required": True} for each in arguments],
            }
            for name, arguments in PROMPTS.items()
        ]
        return {"prompts": described, **CACHE}

    async def get_prompt(ctx: Context, params: types.GetPromptRequestParams) -> Any:
        given = params.arguments or {}
        if params.name == "test_input_required_result_prompt":
            answers, _ = read_answers(ctx)
            if "user_context" not in answers:
                question = elicit("What context should the prompt use?", context="string")
                return ask({"user_context": question})
        contents = {
            "test_simple_prompt": [text("This is a simple prompt for testing.")],
            "test_prompt_with_arguments": [
                text(
                    f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'"
                )
            ],
            "test_prompt_with_embedded_resource": [
                resource(given.get("resourceUri", ""), "Embedded resource content for testing."),
                text("Please process the embedded resource above."),
            ],
            "test_prompt_with_image": [IMAGE, text("Please analyze the image above.")],
            "test_input_required_result_prompt": [text("A prompt of your context.")],
        }
        if params.name not in contents:
            raise MCPError(types.INVALID_PARAMS, "There is no such prompt.")
        return {"messages": [{"role": "user", "content": c} for c in contents[params.name]]}

    async def complete(ctx: Context, params: Any) -> Any:
        return {"completion": {"values": [], "total": 0, "hasMore": False}}

    server: Server[Any] = Server(
        "conformance",
        version="1",
        on_list_tools=partial(finish, list_tools),
        on_call_tool=partial(finish, call_tool),
        on_list_resources=partial(finish, list_resources),
        on_list_resource_templates=partial(finish, list_templates),
        on_read_resource=partial(finish, read_resource),
        on_list_prompts=partial(finish, list_prompts),
        on_get_prompt=partial(finish, get_prompt),
        on_completion=partial(finish, complete),
    )
    tasks.offer_tasks(server, jobs)
    return server
