"""The time, which no model knows."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from tools.base_tool import BaseTool, ToolContext, ToolFailed


class CurrentTime(BaseTool):
    """Date, time and weekday in a time zone."""

    name = "current_time"
    description = "Tells the current date, time and weekday, in UTC or in a time zone."
    parameters = {  # noqa: RUF012  # nobody changes it
        "type": "object",
        "properties": {
            "timezone": {"type": "string", "description": "An IANA name such as Europe/Berlin; UTC if left out."}
        },
    }

    def call(self, arguments: Mapping[str, Any], context: ToolContext) -> str:  # noqa: ARG002  # it is the same for all
        """As ``2026-01-31T12:00:00+01:00, Saturday``."""
        name = arguments.get("timezone") or "UTC"
        try:
            zone = UTC if name == "UTC" else ZoneInfo(str(name))
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ToolFailed(f"There is no time zone {str(name)[:100]!r}.") from None
        now = datetime.now(zone)
        return f"{now.isoformat(timespec='seconds')}, {now:%A}"
