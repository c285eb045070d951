"""The life of a generation: how it stands and why it ended."""

from enum import StrEnum
from typing import Literal


class GenerationStatus(StrEnum):
    """``RUNNING`` changes to one of the others, once, by compare-and-set."""

    RUNNING = "running"
    COMPLETED = "completed"
    STOPPED = "stopped"
    FAILED = "failed"
    INTERRUPTED = "interrupted"


class EndReason(StrEnum):
    """Why a generation ended: a closed list."""

    STOP = "stop"
    LENGTH = "length"
    CONTENT_FILTER = "content_filter"
    TOOL_CALLS = "tool_calls"
    USER_STOP = "user_stop"
    UPSTREAM_ERROR = "upstream_error"
    UPSTREAM_CUT = "upstream_cut"
    TIMEOUT_FIRST_TOKEN = "timeout_first_token"  # noqa: S105  # no password: a token of a text
    TIMEOUT_IDLE = "timeout_idle"
    TIMEOUT_TOTAL = "timeout_total"
    NODE_LOST = "node_lost"
    SHUTDOWN = "shutdown"


FinishReason = Literal["stop", "length", "content_filter", "tool_calls"]
