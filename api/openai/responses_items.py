"""The items of a request: checked and kept as they will be shown again, and what they say in neutral words."""

from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any

from api.openai.responses_fields import ContentIn, ItemIn
from domain.chat import PromptMessage
from domain.errors import InvalidInput, UnsupportedInput
from domain.messages import FileReference, Image, MessageRole, Part, Reasoning, Text, ToolCall, ToolResult, open_calls

Item = dict[str, Any]
Find = Callable[[str], Item | None]

_ROLES = {
    "user": MessageRole.USER,
    "assistant": MessageRole.ASSISTANT,
    "system": MessageRole.SYSTEM,
    "developer": MessageRole.SYSTEM,
}
_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


def input_items(given: str | Sequence[ItemIn], response_id: str, find: Find) -> list[Item]:
    """The items of a request, each with an id; ``find`` gives the item that a reference names.

    Raises InvalidInput for what is wrong with one, UnsupportedInput for what no provider could be told.
    """
    if isinstance(given, str):
        given = [ItemIn(role="user", content=given)]
    items = []
    for number, one in enumerate(given):
        place, kind = f"input[{number}]", _kind(one)
        if kind == "item_reference":
            item = find(one.id or "")
            if item is None:
                raise InvalidInput(f"There is no item {one.id}.", "item_not_found", (f"{place}.id",))
        else:
            item = _item(one, kind, place)
            item["id"] = f"{_PREFIXES[kind]}_{response_id.removeprefix('resp_')}_i{number}"
        items.append(item)
    return items


def response_of_item(item_id: str) -> str:
    """The id of the response to which an item belongs, if it is one of ours."""
    return f"resp_{item_id.partition('_')[2].partition('_')[0]}"


def _kind(item: ItemIn) -> str:
    if item.type:
        return item.type
    return "message" if item.role else "item_reference"


def _item(one: ItemIn, kind: str, place: str) -> Item:
    match kind:
        case "message":
            return _message(one, place)
        case "function_call":
            _check_plain(one, place)
            call = {"call_id": _needed(one.call_id, f"{place}.call_id"), "name": _needed(one.name, f"{place}.name")}
            return {"type": kind, **call, "arguments": one.arguments or "", "status": "completed"}
        case "function_call_output":
            _check_plain(one, place)
            call_id, output = _needed(one.call_id, f"{place}.call_id"), one.output
            if output is None:
                raise _missing(f"{place}.output")
            said = output if isinstance(output, str) else _contents(output, "tool", f"{place}.output")
            return {"type": kind, "call_id": call_id, "output": said, "status": "completed"}
        case "reasoning":
            summary = [{"type": "summary_text", "text": thought.text} for thought in one.summary or ()]
            content = [thought.text or "" for thought in one.content or () if not isinstance(thought, str)]
            shown = {"content": [{"type": "reasoning_text", "text": text} for text in content]} if content else {}
            return {"type": kind, "summary": summary, **shown}
    raise UnsupportedInput(f"Items of the type '{kind}' are not supported.", "unsupported_value", (f"{place}.type",))


def _message(one: ItemIn, place: str) -> Item:
    role = _needed(one.role, f"{place}.role")
    if role not in _ROLES:
        raise InvalidInput(f"There is no role '{role}'.", "invalid_value", (f"{place}.role",))
    if one.content is None:
        raise _missing(f"{place}.content")
    given = [ContentIn("input_text", one.content)] if isinstance(one.content, str) else one.content
    contents = _contents(given, role, f"{place}.content")
    return {"type": "message", "role": role, "status": "completed", "content": contents}


def _contents(given: Sequence[ContentIn], role: str, place: str) -> list[Item]:
    return [_content(part, role, f"{place}[{number}]") for number, part in enumerate(given)]


def _content(part: ContentIn, role: str, place: str) -> Item:
    match part:
        case ContentIn(type="refusal", refusal=str() as text):
            return {"type": "refusal", "refusal": text}
        case ContentIn(type="input_text" | "output_text" | "text", text=str() as text):
            if role == "assistant":
                return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
            return {"type": "input_text", "text": text}
        case ContentIn(type="input_image", image_url=str() as url) if role == "user":
            return {"type": "input_image", "image_url": url, "detail": part.detail or "auto"}
        case ContentIn(type="input_file", file_url=str() as url) if role == "user":
            return {"type": "input_file", "file_url": url, **_named(part)}
        case ContentIn(type="input_file", file_data=str() as data) if role == "user":
            _text_of_file(data, place)
            return {"type": "input_file", "file_data": data, **_named(part)}
        case ContentIn(file_id=str()):
            raise UnsupportedInput("Files cannot be named by an id.", "unsupported_parameter", (f"{place}.file_id",))
    message = f"Content of the type '{part.type}' is not supported here, or lacks what it consists of."
    raise UnsupportedInput(message, "unsupported_value", (place,))


def _named(part: ContentIn) -> Item:
    return {"filename": part.filename} if part.filename else {}


def _text_of_file(data: str, place: str) -> str:
    """What a text file says. Other files need a model that reads them: nobody would tell it what is in them."""
    head, _, encoded = data.partition(",")
    if head.startswith("data:text/") and head.endswith(";base64"):
        with suppress(ValueError):
            return b64decode(encoded, validate=True).decode()
    message = "Of files only text can be sent, as 'data:text/...;base64,...', or the address of any file as file_url."
    raise UnsupportedInput(message, "unsupported_value", (f"{place}.file_data",))


def _check_plain(one: ItemIn, place: str) -> None:
    for name, value in (("namespace", one.namespace), ("caller", one.caller)):
        if value is not None:
            message = f"The parameter '{place}.{name}' is not supported."
            raise UnsupportedInput(message, "unsupported_parameter", (f"{place}.{name}",))


def _needed(value: str | None, place: str) -> str:
    if not value:
        raise _missing(place)
    return value


def _missing(place: str) -> InvalidInput:
    return InvalidInput(f"Missing required parameter: '{place}'.", "missing_required_parameter", (place,))


class Prompt:
    """Becomes what a model is asked, item by item and answer by answer.

    ``system`` is what stands before all that is said; ``messages`` are the rest.
    """

    def __init__(self, instructions: str) -> None:
        self.messages: list[PromptMessage] = []
        self._system = [instructions] if instructions else []
        self._open: dict[str, tuple[int, str]] = {}  # calls that wait for a result: id -> their message, the tool

    @property
    def system(self) -> str:
        """The instructions."""
        return "\n\n".join(self._system)

    def add_items(self, items: Sequence[Mapping[str, Any]]) -> None:
        """What the client said. Raises InvalidInput for the result of a call that nobody made."""
        for item in items:
            self._add(item)

    def add_answer(self, parts: Sequence[Part]) -> None:
        """What a model said."""
        self._assistant(parts)

    def check(self) -> None:
        """Raises InvalidInput where the result of a call is missing."""
        for call_id in self._open:
            raise InvalidInput(f"No tool output found for function call {call_id}.", "missing_tool_output", ("input",))

    def _add(self, item: Mapping[str, Any]) -> None:
        match item["type"]:
            case "message":
                self._message(_ROLES[item["role"]], list(_parts(item["content"])))
            case "function_call":
                self._assistant([ToolCall(item["call_id"], item["name"], item["arguments"])])
            case "function_call_output":
                self._result(item["call_id"], item["output"])
            case "reasoning":
                thoughts = [thought["text"] for thought in item.get("content") or item["summary"]]
                self._assistant([Reasoning("\n\n".join(thoughts))] if thoughts else [])

    def _message(self, role: MessageRole, parts: list[Part]) -> None:
        if role is MessageRole.ASSISTANT:
            self._assistant(parts)
        elif role is MessageRole.SYSTEM and not self.messages:
            self._system += [part.text for part in parts if isinstance(part, Text)]
        else:
            self.messages.append(PromptMessage(role, parts))

    def _assistant(self, parts: Sequence[Part]) -> None:
        """What a model says in one go is one message."""
        if not parts:
            return
        last = self.messages[-1] if self.messages else None
        if last is not None and last.role is MessageRole.ASSISTANT:
            self.messages[-1] = PromptMessage(last.role, [*last.parts, *parts])
        else:
            self.messages.append(PromptMessage(MessageRole.ASSISTANT, list(parts)))
        for part in open_calls(parts):
            self._open[part.id] = len(self.messages) - 1, part.name

    def _result(self, call_id: str, output: str | Sequence[Item]) -> None:
        """A result goes into the message that asked for it."""
        if call_id not in self._open:
            message = f"No tool call found for function call output with call_id {call_id}."
            raise InvalidInput(message, "tool_call_not_found", ("input",))
        place, name = self._open.pop(call_id)
        text = output if isinstance(output, str) else "".join(part.get("text", "") for part in output)
        asked = self.messages[place]
        self.messages[place] = PromptMessage(asked.role, [*asked.parts, ToolResult(call_id, name, text)])


def _file(content: Mapping[str, Any]) -> Iterator[Part]:
    name = content.get("filename", "")
    if "file_url" in content:
        yield FileReference(content["file_url"], name)
    else:
        yield Text(f"{name}\n\n{_text_of_file(content['file_data'], 'input')}\n\n")


def _parts(contents: Sequence[Mapping[str, Any]]) -> Iterator[Part]:
    for content in contents:
        match content["type"]:
            case "input_image":
                yield Image(content["image_url"])
            case "input_file":
                yield from _file(content)
            case "refusal":
                yield Text(content["refusal"])
            case _:
                yield Text(content["text"])
