"""Public MCP servers behind the gateway, called by the official SDKs in Python and JavaScript.

Skipped where Node 20 or npm's registry can't be had.
"""

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orchestrator.gateway import operations
from sessions_app.models import Task
from tests.awaiting import until
from tests.factories import OPS, approve_task, policy
from tests.gateway.conftest import over_http, over_stdio

HERE = Path(__file__).parent / "node"
SCOPE = "node_modules/@modelcontextprotocol"


@pytest.fixture(scope="module")
def node(tmp_path_factory) -> Path:
    """A folder with the servers and the client, in the versions of package-lock.json."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        pytest.skip("Node is not installed.")
    place = tmp_path_factory.mktemp("node")
    for name in ("package.json", "package-lock.json", "sdk_client.mjs"):
        shutil.copy(HERE / name, place)
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--prefer-offline"]
    installed = subprocess.run(command, cwd=place, capture_output=True, text=True, timeout=120)
    if installed.returncode:
        pytest.skip(f"npm can't install the servers: {installed.stderr[:200]}")
    return place


@pytest.fixture
def everything(node, private_network):
    """The reference server that has all of the protocol."""
    script = node / SCOPE / "server-everything/dist/index.js"
    return operations.create_upstream(
        "everything", by=OPS, role="finance", agent_roles=[], command=["node", str(script), "stdio"]
    )


@pytest.fixture
def files(node, private_network, tmp_path):
    """The reference server for files, in a folder of its own."""
    script = node / SCOPE / "server-filesystem/dist/index.js"
    folder = tmp_path / "files"
    folder.mkdir()
    operations.create_upstream(
        "files", by=OPS, role="finance", agent_roles=[], command=["node", str(script), str(folder)]
    )
    policy("reading", "approve", when={"task_type": "mcp.files.read_*"})
    return folder


@pytest.fixture
def javascript(node, port):
    """``javascript(agent, upstream, tool, arguments)``: a process that calls by the JavaScript
    SDK."""

    def call(agent, upstream, tool, *further, **arguments):
        url = f"http://127.0.0.1:{port}/gateway/{upstream}/mcp"
        given = [url, agent.key, tool, json.dumps(arguments), *further]
        return subprocess.Popen(
            ["node", "sdk_client.mjs", *given],
            cwd=node,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return call


def finish(process):
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    return json.loads(out)


@pytest.mark.parametrize("over", ["http", "stdio"])
def test_the_reference_server_passes_through(over, port, bot, everything):
    policy("all", "approve", when={"task_type": "mcp.everything.*"})
    call = (
        over_http(port, bot.key, "everything")
        if over == "http"
        else over_stdio(bot.key, "everything")
    )

    async def look(client):
        tools = await client.list_tools()
        resources = await client.list_resources()
        read = await client.read_resource(resources.resources[0].uri)
        templates = await client.list_resource_templates()
        prompts = await client.list_prompts()
        prompt = await client.get_prompt("simple-prompt")
        echo = await client.call_tool("echo", {"message": "hello"})
        image = await client.call_tool("get-tiny-image", {})
        return tools, read, templates, prompts, prompt, echo, image

    tools, read, templates, prompts, prompt, echo, image = call.run(look)
    assert "echo" in {tool.name for tool in tools.tools}
    assert read.contents
    assert templates.resource_templates
    assert "simple-prompt" in {each.name for each in prompts.prompts}
    assert prompt.messages
    assert echo.content[0].text == "Echo: hello"
    assert {each.type for each in image.content} >= {"image"}
    assert {task.status for task in Task.objects.all()} == {"completed"}


def test_a_file_is_written_once_it_is_approved(port, bot, alice, files):
    call = over_http(port, bot.key, "files")
    path = str(files / "note.txt")

    async def read(client):
        return await client.call_tool("read_text_file", {"path": path})

    assert call.run(read).is_error  # the policy lets it pass, and there is no such file
    with ThreadPoolExecutor() as pool:
        written = pool.submit(call, "write_file", path=path, content="tea")
        until(lambda: Task.objects.filter(status="awaiting_approval").exists())
        assert not (files / "note.txt").exists()
        approve_task(Task.objects.get(status="awaiting_approval"), by=alice)
        assert not written.result().is_error
    assert (files / "note.txt").read_text() == "tea"
    assert call.run(read).content[0].text == "tea"


def test_the_javascript_client_waits_and_goes_on(javascript, bot, alice, files):
    path = str(files / "note.txt")
    process = javascript(bot, "files", "write_file", path=path, content="tea")
    until(lambda: Task.objects.filter(status="awaiting_approval").exists())
    approve_task(Task.objects.get(), by=alice)
    told = finish(process)
    assert "write_file" in told["tools"]
    assert not told["result"].get("isError"), told
    assert (files / "note.txt").read_text() == "tea"


def test_a_javascript_client_that_gave_up_comes_back_to_the_same_task(
    javascript, bot, alice, files
):
    path = str(files / "note.txt")
    process = javascript(bot, "files", "write_file", "1000", path=path, content="tea")
    assert process.stderr.readline() == "gave up\n"
    approve_task(Task.objects.get(), by=alice)
    told = finish(process)
    assert "timed out" in told["errors"][0]
    assert not told["result"].get("isError"), told
    assert (files / "note.txt").read_text() == "tea"
    assert Task.objects.get().status == "completed"
