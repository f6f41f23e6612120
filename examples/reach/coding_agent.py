"""What Claude Code does before it runs a command, without Claude Code: it sends its HTTP hook and
heeds the decision.

    python manage.py hook install --project /tmp/shop
    ORCHESTRATOR_KEY=ork_… python examples/reach/coding_agent.py /tmp/shop "make deploy"

Exits with 0 where the call is allowed, 2 where it is denied. Nothing is run.
"""

import json
import os
import re
import sys
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

SESSION = "3f6a9c1e-0f0b-4a57-9a54-6f0c3f1f2d11"


def find_hook(project: Path) -> dict[str, Any]:
    """The first HTTP hook for commands in the project's settings."""
    settings = json.loads((project / ".claude" / "settings.json").read_text())
    for group in settings["hooks"]["PreToolUse"]:
        if re.search(group["matcher"], "Bash"):
            return next(hook for hook in group["hooks"] if hook["type"] == "http")
    raise SystemExit("No hook is installed.")


def ask(hook: dict[str, Any], call: dict[str, Any]) -> dict[str, Any]:
    """The decision on ``call``; a denial where no answer arrives (``onFailure: block``)."""
    headers = {"Content-Type": "application/json"}
    for name, value in hook["headers"].items():
        for variable in hook["allowedEnvVars"]:
            value = value.replace(f"${variable}", os.environ.get(variable, ""))
        headers[name] = value
    content = json.dumps(call).encode()
    request = urllib.request.Request(hook["url"], content, headers)  # noqa: S310  # the installer's
    try:
        with urllib.request.urlopen(request, timeout=hook["timeout"]) as answer:  # noqa: S310
            output: dict[str, Any] = json.load(answer)["hookSpecificOutput"]
            return output
    except (urllib.error.URLError, TimeoutError, ValueError, KeyError) as error:
        return {"permissionDecision": "deny", "permissionDecisionReason": str(error)}


def main() -> int:
    project, command = Path(sys.argv[1]), sys.argv[2]
    call: dict[str, Any] = {
        "hook_event_name": "PreToolUse",
        "session_id": SESSION,
        "cwd": str(project),
        "permission_mode": "default",
        "tool_name": "Bash",
        "tool_input": {"command": command},
        "tool_use_id": "toolu_01",
    }
    decision = ask(find_hook(project), call)
    allowed = decision["permissionDecision"] == "allow"
    if allowed:
        call["tool_input"] = decision.get("updatedInput", call["tool_input"])
    print(f"{decision['permissionDecision']}: {decision['permissionDecisionReason']}")
    print(f"would run: {call['tool_input']['command']}" if allowed else "runs nothing")
    return 0 if allowed else 2


if __name__ == "__main__":
    sys.exit(main())
