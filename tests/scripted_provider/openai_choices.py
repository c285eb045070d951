"""What a chat completions request may want of its answer: several of it, probabilities, JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import msgspec

from adapters.echo_json import least_json

from .answer import Answer, Usage
from .script import Script


@dataclass(frozen=True, slots=True)
class Choices:
    """How many answers are wanted, and with how many likely tokens beside each that was chosen (None: no logprobs)."""

    count: int = 1
    top: int | None = None

    def paid(self, answer: Answer) -> Answer:
        """The answer with the tokens of all choices counted, unless the script says what is counted."""
        if answer.usage is None or answer.script.usage not in ("on", "always") or self.count == 1:
            return answer
        usage = answer.usage
        return replace(answer, usage=Usage(usage.prompt, usage.completion * self.count, usage.reasoning * self.count))

    def logprobs(self, tokens: Iterable[str]) -> dict[str, Any] | None:
        """The logprobs object of these tokens; None when it was not asked for."""
        if self.top is None:
            return None
        content = [
            {**_likely(token, 0), "top_logprobs": [_likely(token, at) for at in range(self.top)]} for token in tokens
        ]
        return {"content": content, "refusal": None}


ONE = Choices()


def choices_of(body: Mapping[str, Any]) -> Choices:
    """What the request wants."""
    top = int(body.get("top_logprobs") or 0) if body.get("logprobs") else None
    found = Choices(int(body.get("n") or 1), top)
    return ONE if found == ONE else found


def in_form(script: Script, wanted: Any) -> Script:
    """The script with JSON for its text, where the request wants that and the script says nothing itself."""
    silent = script.text is None and script.tokens is None and script.words is None
    kind = (
        wanted.get("type") if isinstance(wanted, dict) and silent and not (script.tool_calls or script.refusal) else ""
    )
    if kind == "json_object":
        return msgspec.structs.replace(script, text='{"said": "That is all I know."}')
    if kind == "json_schema":
        schema = wanted["json_schema"].get("schema") or {}
        return msgspec.structs.replace(script, text=msgspec.json.encode(least_json(schema)).decode())
    return script


def _likely(token: str, rank: int) -> dict[str, Any]:
    """The token, or one that is less likely by its rank."""
    other = token if rank == 0 else f"{token}{rank}"
    return {"token": other, "logprob": -0.25 * (rank + 1), "bytes": list(other.encode())}
