"""Answers for which the model may use the server's tools: it asks, we run, it goes on.

Which tools are offered is decided when the turn is planned (:mod:`services.toolbox`); a client's own tools are passed
through. A tool runs only once its call is whole and the model has said that it waits: never on a cut answer.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from typing import Any

from domain.chat import PromptMessage, ServerTools
from domain.deltas import Delta, Finish, Restart, TextDelta, ToolCallDelta, ToolOutcome, one_by_one
from domain.errors import ProviderTimeout
from domain.messages import MessageRole, Part, Text, ToolCall, ToolResult
from services.tool_execution import execute
from services.toolbox import Toolbox
from services.turn_plan import Plan
from services.upstream import Upstream
from services.upstream_handle import UpstreamHandle
from tools.base_tool import ToolContext

_ROUNDS = 8  # requests to the model in which it may ask for tools; after them it has to answer


class ToolLoop(Upstream):
    """An :class:`Upstream` whose models may use the tools of ``toolbox``."""

    def __init__(self, *parts: Any, toolbox: Toolbox, **options: Any) -> None:
        super().__init__(*parts, **options)
        self._tools = toolbox.tools

    def answer(self, plan: Plan, handle: UpstreamHandle) -> Generator[Delta, None, None]:
        """The answer to a plan, to its Finish, with a ToolOutcome for each called tool. Raises as Upstream does.

        The tokens of all rounds are in the handle's attempts.
        """
        ours = plan.asked.server_tools
        return super().answer(plan, handle) if ours is None else self._rounds(plan, handle, ours)

    def _rounds(self, plan: Plan, handle: UpstreamHandle, ours: ServerTools) -> Generator[Delta, None, None]:
        ends_at = self.now() + self.deadlines.total
        for number in range(_ROUNDS + 1):
            last = number == _ROUNDS
            round_ = _Round(frozenset() if last else ours.names)
            yield from round_.read(super().answer(self._without_tools(plan) if last else plan, handle))
            if handle.stopped or not round_.calls:
                return
            results = []
            for call in round_.calls:
                content = execute(self._tools[call.name], call, ToolContext(ours.user_id), handle)
                if handle.stopped:
                    return
                results.append(ToolResult(call.id, call.name, content))
                yield ToolOutcome(call.id, call.name, call.arguments, content)
            if self.now() > ends_at:
                raise ProviderTimeout("The answer took too long (total).", "total")
            plan = self._continued(plan, round_, results, handle)

    def _continued(self, plan: Plan, round_: "_Round", results: Sequence[ToolResult], handle: UpstreamHandle) -> Plan:
        """The plan for the next round: the model that asked for the tools is told what they gave."""
        parts: list[Part] = [Text(round_.text)] if round_.text else []
        said = PromptMessage(MessageRole.ASSISTANT, [*parts, *round_.calls, *results])
        asked = plan.asked.with_messages([*plan.asked.messages, said])
        answering = handle.answering
        first = plan.first if answering is None else answering.choice
        others = [choice for choice in plan.choices if choice.target != first.target]
        request = self.planner.request_for(first, asked, plan.state_of)
        return replace(plan, choices=(first, *others), asked=asked, request=request, passed=())

    def _without_tools(self, plan: Plan) -> Plan:
        asked = replace(plan.asked, server_tools=None)
        return replace(plan, asked=asked, request=self.planner.request_for(plan.first, asked, plan.state_of))


@dataclass
class _Round:
    """One request to the model. ``calls`` are those of our tools that are to be run now."""

    ours: frozenset[str]
    calls: list[ToolCall] = field(default_factory=list)
    text: str = ""
    _open: dict[int, ToolCall] = field(default_factory=dict)
    _theirs: dict[int, int] = field(default_factory=dict)  # a client's call -> its number among the client's

    def read(self, deltas: Generator[Delta, None, None]) -> Iterator[Delta]:
        """What the client gets of it: everything but the calls of our tools, and the end unless it is the answer's."""
        with closing(deltas):
            for delta in one_by_one(deltas):
                match delta:
                    case ToolCallDelta():
                        if (passed := self._call(delta)) is not None:
                            yield passed
                        continue
                    case TextDelta(text=text):
                        self.text += text
                    case Restart():
                        self.text = ""
                        self._open.clear()
                        self._theirs.clear()
                    case Finish(reason="tool_calls") if self._open and not self._theirs:
                        self.calls = list(self._open.values())
                        continue
                yield delta

    def _call(self, delta: ToolCallDelta) -> ToolCallDelta | None:
        known = self._open.get(delta.index)
        if known is None and (delta.name not in self.ours or delta.index in self._theirs):
            number = self._theirs.setdefault(delta.index, len(self._theirs))
            return replace_index(delta, number)
        known = known or ToolCall("", "", "")
        self._open[delta.index] = ToolCall(
            delta.id or known.id, delta.name or known.name, known.arguments + delta.arguments
        )
        return None


def replace_index(delta: ToolCallDelta, index: int) -> ToolCallDelta:
    """The fragment as one of the call with that number."""
    return delta if delta.index == index else ToolCallDelta(index, delta.id, delta.name, delta.arguments)
