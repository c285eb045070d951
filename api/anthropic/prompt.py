"""The messages of a request to Messages, in neutral parts."""

from collections.abc import Iterator, Sequence

from api.anthropic.schemas import Block, Content, Source, Turn
from domain.chat import PromptMessage
from domain.messages import FileReference, Image, MessageRole, Part, Reasoning, Text, ToolCall, ToolResult

_UNSAID = "redacted_thinking"  # nobody but its model can read it, nor needs it to answer


class Prompt:
    """Reads the blocks of one request. ``only`` names those that no other protocol can say."""

    def __init__(self) -> None:
        self.only: list[str] = []
        self._names: dict[str, str] = {}  # of the tools, by the ids of their calls

    def system(self, content: Content | None) -> str:
        """The system prompt as one text."""
        return "\n\n".join(part.text for part in self._parts(content or "", "system") if isinstance(part, Text))

    def messages(self, turns: Sequence[Turn]) -> list[PromptMessage]:
        """The messages. One that an answer has to go on from is nothing that other protocols know."""
        found = []
        for number, turn in enumerate(turns):
            place = f"messages[{number}].content"
            found.append(PromptMessage(MessageRole(turn.role), list(self._parts(turn.content, place))))
        if turns[-1].role == "assistant":
            self.only.append(f"messages[{len(turns) - 1}]")
        return found

    def _parts(self, content: Content, place: str) -> Iterator[Part]:
        if isinstance(content, str):
            yield Text(content)
            return
        pictures: list[Part] = []
        for number, block in enumerate(content):
            if block.type == "tool_result":
                yield from self._result(block, f"{place}[{number}]", pictures)
            else:
                yield from self._block(block, f"{place}[{number}]")
        yield from pictures  # after all results: these have to follow their calls at once

    def _block(self, block: Block, place: str) -> Iterator[Part]:
        match block.type:
            case "text":
                yield Text(block.text)
            case "thinking":
                yield Reasoning(block.thinking)
            case "tool_use":
                self._names[block.id] = block.name
                yield ToolCall(block.id, block.name, bytes(block.input).decode())
            case "image" if isinstance(block.source, Source) and (url := _address(block.source)):
                yield Image(url)
            case "document" if isinstance(block.source, Source) and not _is_cited(block):
                yield from self._document(block, block.source, place)
            case "search_result" if isinstance(block.content, list) and not _is_cited(block):
                yield Text("\n".join([f"{block.title or ''} ({block.source})", *(one.text for one in block.content)]))
            case kind if kind != _UNSAID:
                self.only.append(place)

    def _document(self, block: Block, source: Source, place: str) -> Iterator[Part]:
        heading = "\n".join(filter(None, [block.title, block.context]))
        if source.type == "text":
            yield Text(f"{heading}\n{source.data}" if heading else source.data)
        elif source.type == "content":
            if heading:
                yield Text(heading)
            yield from self._parts(source.content, f"{place}.source.content")
        elif url := _address(source):
            yield FileReference(url, block.title or "")
        else:
            self.only.append(place)

    def _result(self, block: Block, place: str, pictures: list[Part]) -> Iterator[Part]:
        """The result as text; its pictures go after it, since no other protocol has them there."""
        parts = list(self._parts(block.content or "", f"{place}.content"))
        pictures += [part for part in parts if not isinstance(part, Text)]
        told = "\n".join(part.text for part in parts if isinstance(part, Text))
        failed = f"Error: {told}" if block.is_error else told
        yield ToolResult(block.tool_use_id, self._names.get(block.tool_use_id, ""), failed)


def _address(source: Source) -> str:
    if source.type == "base64":
        return f"data:{source.media_type};base64,{source.data}"
    return source.url if source.type == "url" else ""


def _is_cited(block: Block) -> bool:
    """Whether the answer has to quote it: a feature of the protocol's own."""
    return isinstance(block.citations, dict) and bool(block.citations.get("enabled"))
