"""What conditions may read of a task: the variables, drawn from the payload as it is kept."""

from typing import Any, Final

import orjson

from approvals_app.payload.summary import summarize_text

MATCHED: Final = ("task_type", "from_role", "to_role")
"""What policies match without a condition."""


class PayloadFacts(dict[str, Any]):
    """The variables of conditions on a payload, ``payload`` being its canonical text.

    ``known`` are those that need no parsing. The others are read when a condition asks for one,
    from the text that is hashed: routing and simulation read the same. ``payer`` names the agent
    against whose allowance slow conditions count, "" for nobody's.
    """

    def __init__(self, payload: str, known: dict[str, Any], payer: str = "") -> None:
        super().__init__(known)
        self.payer = payer
        self._payload = payload

    def __missing__(self, name: str) -> Any:
        if name == "summary":
            self["summary"] = dict(summarize_text(self._payload).traits)
        else:
            self.update(orjson.loads(self._payload))
        return self[name]
