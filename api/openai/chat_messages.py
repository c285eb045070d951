"""The messages of a chat completions request in neutral words."""

from collections.abc import Iterator, Sequence

from api.openai.chat_fields import MessageIn, PartIn, ToolCallIn
from domain.chat import PromptMessage
from domain.errors import InvalidInput
from domain.messages import Image, MessageRole, Part, Reasoning, Text, ToolCall, ToolResult

_OPERATORS = ("system", "developer")
_ROLES = frozenset({*_OPERATORS, "user", "assistant", "tool", "function"})
_UNSUPPORTED_VALUE = "unsupported_value"
_UNSUPPORTED_PARAMETER = "unsupported_parameter"


class Translator:
    """Takes messages in order. ``only`` collects what no other protocol can say: its place, and the refusal's code.

    ``system`` is what the operator's messages before all others say; ``messages`` are the rest.
    """

    def __init__(self) -> None:
        self.only: dict[str, str] = {}
        self.messages: list[PromptMessage] = []
        self._system: list[str] = []
        self._open: dict[str, tuple[str, str]] = {}  # calls that wait for a result: id -> name of the tool, place

    @property
    def system(self) -> str:
        """The leading instructions."""
        return "\n\n".join(self._system)

    def take(self, messages: Sequence[MessageIn]) -> None:
        """Translate all of them. Raises InvalidInput for a role that there is not."""
        for number, message in enumerate(messages):
            self._take(message, f"messages[{number}]")
        for _, place in self._open.values():
            self.only[place] = "invalid_value"  # a call without a result

    def _take(self, message: MessageIn, place: str) -> None:
        role = message.role
        if role not in _ROLES:
            raise InvalidInput(f"There is no role '{role}'.", "invalid_value", (f"{place}.role",))
        self._refuse(message, place)
        if role == "tool":
            self._result(message, place)
            return
        parts = list(self._parts(message, place))
        if role in _OPERATORS:
            if self.messages:
                self.messages.append(PromptMessage(MessageRole.SYSTEM, parts))
            else:
                self._system += [part.text for part in parts if isinstance(part, Text)]
        elif role == "assistant":
            parts += self._calls(message.tool_calls or (), place)
            self.messages.append(PromptMessage(MessageRole.ASSISTANT, parts))
        else:
            self.messages.append(PromptMessage(MessageRole.USER, parts))

    def _refuse(self, message: MessageIn, place: str) -> None:
        if message.role == "function":
            self.only[f"{place}.role"] = _UNSUPPORTED_VALUE
        for name, value in (("name", message.name), ("audio", message.audio), ("function_call", message.function_call)):
            if value is not None:
                self.only[f"{place}.{name}"] = _UNSUPPORTED_PARAMETER

    def _parts(self, message: MessageIn, place: str) -> Iterator[Part]:
        if message.reasoning_content:
            yield Reasoning(message.reasoning_content)
        if isinstance(message.content, str):
            yield Text(message.content)
        for number, part in enumerate(message.content if isinstance(message.content, list) else ()):
            yield from self._part(part, message.role, f"{place}.content[{number}]")
        if message.refusal:
            yield Text(message.refusal)

    def _part(self, part: PartIn, role: str, place: str) -> Iterator[Part]:
        if part.type == "text" and part.text is not None:
            yield Text(part.text)
        elif part.type == "refusal" and part.refusal is not None:
            yield Text(part.refusal)
        elif part.type == "image_url" and part.image_url is not None and role == "user":
            yield Image(part.image_url.url)
        else:
            self.only[place] = _UNSUPPORTED_VALUE

    def _calls(self, calls: Sequence[ToolCallIn], place: str) -> Iterator[Part]:
        for number, call in enumerate(calls):
            here = f"{place}.tool_calls[{number}]"
            if call.function is None:
                self.only[here] = _UNSUPPORTED_VALUE
            else:
                self._open[call.id] = call.function.name, here
                yield ToolCall(call.id, call.function.name, call.function.arguments)

    def _result(self, message: MessageIn, place: str) -> None:
        """A result goes into the message that asked for it."""
        identity, content = message.tool_call_id or "", list(self._parts(message, place))
        asked = self.messages[-1] if self.messages else None
        if asked is None or asked.role is not MessageRole.ASSISTANT or identity not in self._open:
            self.only[f"{place}.tool_call_id"] = "invalid_value"
            return
        name, _ = self._open.pop(identity)
        text = "".join(part.text for part in content if isinstance(part, Text))
        self.messages[-1] = PromptMessage(asked.role, [*asked.parts, ToolResult(identity, name, text)])
