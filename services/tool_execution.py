"""A tool is called, within its limits."""

import json
import threading
from collections.abc import Mapping
from typing import Any

import structlog

from adapters.base_adapter import Deadlines
from domain.messages import ToolCall
from services.upstream_handle import UpstreamHandle
from tools.base_tool import BaseTool, ToolContext, ToolFailed

log = structlog.get_logger()

_LONGEST_S = 30.0
_MAX_CHARS = 64 * 1024  # what the model is told, about 16,000 tokens


def execute(tool: BaseTool, call: ToolCall, context: ToolContext, handle: UpstreamHandle) -> str:
    """What the model is told of its call: the result, or why there is none. Ends at once when the turn is stopped.

    A tool that takes longer than 30 seconds is left behind; of a result, the first 65,536 characters are told.
    """
    arguments = _arguments(call.arguments)
    if arguments is None:
        return "Error: the arguments are not a JSON object."
    told: list[str] = []
    done = threading.Event()

    def call_it() -> None:
        told.append(_tried(tool, arguments, context))
        done.set()

    handle.begin_call(Deadlines(total=_LONGEST_S)).on_abort(done.set)
    threading.Thread(target=call_it, name=f"tool {tool.name}", daemon=True).start()
    done.wait(_LONGEST_S)
    if not told:
        return "Error: the tool took too long."
    text = told[0]
    return text if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]}\n[cut off: {len(text):,} characters]"


def _tried(tool: BaseTool, arguments: Mapping[str, Any], context: ToolContext) -> str:
    try:
        return tool.call(arguments, context)
    except ToolFailed as failure:
        return f"Error: {failure}"
    except Exception:
        log.exception("tool_crashed", tool=tool.name)
        return "Error: the tool has failed."


def _arguments(text: str) -> Mapping[str, Any] | None:
    try:
        arguments = json.loads(text or "{}")
    except ValueError:
        return None
    return arguments if isinstance(arguments, dict) else None
