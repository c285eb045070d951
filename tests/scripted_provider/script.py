"""What a script may say, and which script answers which request."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Literal

import msgspec

Fault = Literal[
    "none",
    "refuse",
    "reset",
    "cut",
    "half_close",
    "truncated_chunked",
    "stall",
    "no_first_byte",
    "silent_headers",
    "trickle",
    "keepalive_comments",
    "garbage",
    "malformed_event",
    "html_200",
    "wrong_content_type",
    "error_in_200",
    "workflow_failed",
    "huge_line",
    "endless",
    "gzip_bomb",
    "no_end_marker",
    "no_finish",
    "empty_answer",
    "invalid_utf8",
    "redirect",
    "duplicate_done",
    "crlf",
    "cr",
    "u2028",
]
AppKind = Literal["chat", "agent", "new_agent", "chatflow"]
DIRECTIVE = "[[script"


class ToolCall(msgspec.Struct, forbid_unknown_fields=True):
    """A tool call in the answer. `arguments` is an object, or the exact string to send."""

    name: str
    arguments: dict[str, Any] | str = {}
    id: str = ""


class TokenUsage(msgspec.Struct, forbid_unknown_fields=True):
    """Token counts to report instead of the counted ones."""

    prompt_tokens: int
    completion_tokens: int


class Match(msgspec.Struct, forbid_unknown_fields=True):
    """Which requests a posted script is for. Every given field has to fit; `path` and `text` are substrings."""

    path: str = ""
    model: str = ""
    protocol: Literal["", "openai", "dashscope", "dify", "anthropic"] = ""
    text: str = ""


class Script(msgspec.Struct, forbid_unknown_fields=True):
    """How one answer behaves. The fields are described in README.md of this folder."""

    name: str = ""
    match: Match | None = None
    times: int = 0

    text: str | None = None
    tokens: list[str] | None = None
    words: int | None = None
    reasoning: str = ""
    refusal: str = ""
    tool_calls: list[ToolCall] = []
    tool_fragments: int = 3
    finish_reason: str | None = None
    usage: Literal["on", "off", "zero", "always"] | TokenUsage = "on"

    first_token_ms: float = 0
    pace_ms: float = 0
    chunk_tokens: int = 1
    split_bytes: int = 0
    read_bytes_per_s: float = 0

    status: int = 0
    error: str = ""
    message: str = ""
    body: Any = None
    retry_after: str | int | float | None = None
    headers: dict[str, str] = {}

    fault: Fault = "none"
    after: int | None = None
    fraction: float | None = None
    seconds: float = 1.0
    size: int = 0
    location: str = "/_redirected"

    app: AppKind = "chat"
    replace: str | None = None
    file_url: str | None = None
    ping_every: int = 0
    stop_sequence: str | None = None

    @property
    def plain(self) -> bool:
        """True when the whole answer may leave in one write: no pacing, no splitting, no fault."""
        return self.fault == "none" and not (self.pace_ms or self.first_token_ms or self.split_bytes)


class Asked(msgspec.Struct):
    """What of a request decides its script: path, protocol, model, and the last user message's text."""

    path: str
    protocol: str
    model: str
    text: str


def parse_script(raw: bytes | str) -> Script:
    """Decode one script. Raises msgspec.ValidationError or msgspec.DecodeError with a reason that names the field."""
    return msgspec.json.decode(raw, type=Script)


def parse_scripts(raw: bytes) -> list[Script]:
    """Decode one script or a list of them. Raises as parse_script does."""
    return msgspec.json.decode(raw, type=list[Script]) if raw.lstrip()[:1] == b"[" else [parse_script(raw)]


def find_directive(text: str) -> str | None:
    """The JSON of a `[[script {...}]]` in the text, or None. The object may itself contain brackets."""
    start = text.rfind(DIRECTIVE)
    end = text.rfind("]]") if start >= 0 else -1
    return text[start + len(DIRECTIVE) : end].strip() if end > start else None


def without_directive(text: str) -> str:
    """The text with its directive taken out, so that default answers do not quote it."""
    directive = find_directive(text)
    if directive is None:
        return text
    return re.sub(r"\[\[script\s*" + re.escape(directive) + r"\s*\]\]", "", text).strip()


def _fits(match: Match | None, asked: Asked) -> bool:
    if match is None:
        return True
    return (
        match.path in asked.path
        and match.text in asked.text
        and match.model in ("", asked.model)
        and match.protocol in ("", asked.protocol)
    )


class ScriptBook:
    """The posted scripts in order, the directives already used, and the default."""

    def __init__(self, default: Script) -> None:
        self.default = default
        self.queue: list[tuple[Script, int]] = []
        self._directive_uses: Counter[str] = Counter()

    def post(self, scripts: list[Script]) -> None:
        """Append scripts. `times` 0 means once here, -1 means always."""
        self.queue += [(script, script.times or 1) for script in scripts]

    def clear(self) -> None:
        """Forget every posted script and every count of directive uses."""
        self.queue.clear()
        self._directive_uses.clear()

    def choose(self, asked: Asked) -> Script:
        """The script for a chat request: posted, else the directive in its text, else the default."""
        return self._take(asked) or self._directive(asked.text) or self.default

    def choose_by_path(self, asked: Asked) -> Script:
        """The script for any other request: posted with a `match.path` that fits, else nothing special."""
        return self._take(asked, path_only=True) or Script()

    def before_body(self, path: str) -> Script | None:
        """A posted script that acts before the body is read (a refusal, slow reading), decided by the path alone."""
        for script, _ in self.queue:
            match = script.match
            if match is not None and (match.model or match.text or match.protocol or match.path not in path):
                continue
            return script if script.fault == "refuse" or script.read_bytes_per_s else None
        return None

    def use(self, script: Script) -> None:
        """Count one use of a posted script and drop it after its last."""
        for index, (queued, left) in enumerate(self.queue):
            if queued is script:
                if left == 1:
                    del self.queue[index]
                elif left > 1:
                    self.queue[index] = (script, left - 1)
                return

    def _take(self, asked: Asked, path_only: bool = False) -> Script | None:
        for script, _ in self.queue:
            if path_only and not (script.match and script.match.path):
                continue
            if _fits(script.match, asked):
                self.use(script)
                return script
        return None

    def _directive(self, text: str) -> Script | None:
        raw = find_directive(text)
        if raw is None:
            return None
        script = parse_script(raw)
        self._directive_uses[raw] += 1
        return script if script.times <= 0 or self._directive_uses[raw] <= script.times else None
