"""A response as numbered events.

They are made from the generation's log, which is the same on every node: so a number means the same event wherever, and
however often, it is asked for. Once a log has gone, the database stands in for it, with the whole text at once. Then
only what ends the stream can be told anew to somebody who has read some of it before: the items as they stand, and the
response; with numbers of its own, which go on after the last one that was read.
"""

from collections.abc import Callable, Generator, Iterable
from contextlib import suppress
from copy import copy
from typing import Any

from api.openai.responses_json import (
    Json,
    as_begun,
    call_item,
    contents_of,
    encode,
    message_item,
    reasoning_item,
    response_json,
    text_content,
)
from api.sse import PING, Item, named_frame
from domain import events
from domain.errors import NotAuthenticated
from domain.messages import Message, Reasoning, ToolCall, open_calls
from services.response_service import StoredResponse

Ending = Callable[[Message, str | None], StoredResponse]

_ENDS = {"completed": "completed", "failed": "failed"}  # and incomplete, also of one that was cancelled
_OPENINGS = (".added", ".delta")  # what is of no use to somebody who gets all that it leads to at once


class ResponseWriter:
    """Writes the events of one response after number ``after``; the first one is number 0.

    ``ending`` gives the response as it was saved, from what the log tells: its message, and why it failed.
    """

    def __init__(self, response: StoredResponse, ending: Ending, after: int = -1) -> None:
        self._response = response
        self._suffix = response.id.removeprefix("resp_")
        self._ending = ending
        self._after = after
        self._next = 0
        self._seq = 0  # of the last event that was read from the log
        self._known: int | None = None  # how far the log could be read, where it could not be read to its end
        self._short = False  # openings are left out
        self._frames: list[bytes] = []
        self._items = 0  # that were begun
        self._reasoning: str | None = None  # of the item that is open
        self._reasoned = False
        self._text: str | None = None  # of the message that is open
        self._message_id = f"msg_{self._suffix}"
        self._voided = 0
        self._error: str | None = None  # why it failed

    def frames(self, items: Iterable[Item]) -> Generator[bytes, None, None]:
        """The stream, from the first event of the log on; a comment where nothing has come for a while."""
        with suppress(NotAuthenticated):  # signed out meanwhile: who comes back is told
            for item in items:
                if item is None:
                    yield PING
                elif frame := self.read(item[0], events.decode(item[1])):
                    yield frame

    def read(self, seq: int, event: events.Event) -> bytes:
        """What one event of the log means; nothing for many."""
        if seq > self._seq + 1:  # the database stands in for the log from here on
            self._known = self._seq
        self._seq = seq
        match event:
            case events.Start():
                self._begin()
            case events.Reasoning(content=text):
                self._reason(text)
            case events.Content(content=text):
                self._say(text)
            case events.Replace() if self._known is None:  # else the end tells it too, and more
                self._replace(event)
            case events.Complete(message=message):
                self._end(message)
            case events.Error(code=events.LOST.code):
                self._emit("error", code=event.code, message=event.message, param=None)
            case events.Error(message=text):
                self._error = text
        frames, self._frames = self._frames, []
        return b"".join(frames)

    def _emit(self, kind: str, **fields: Any) -> None:
        if self._short and kind.endswith(_OPENINGS):
            return
        number, self._next = self._next, self._next + 1
        if number > self._after:
            body = {"type": kind, "sequence_number": number, **fields}
            self._frames.append(named_frame(kind.encode(), "", encode(body)))

    def _begin(self) -> None:
        shown = response_json(as_begun(self._response))
        if self._response.background:
            shown["status"] = "queued"
        self._emit("response.created", response=shown)
        if self._response.background:
            self._emit("response.queued", response=shown)
        self._emit("response.in_progress", response=shown | {"status": "in_progress"})

    def _open(self, item: Json) -> None:
        self._items += 1
        self._emit("response.output_item.added", output_index=self._items - 1, item=item)

    def _close(self, item: Json) -> None:
        self._emit("response.output_item.done", output_index=self._items - 1, item=item)

    # What the model thinks

    def _reason(self, text: str) -> None:
        """Thoughts that come after the first words are in the response that ends the stream, and nowhere before."""
        if self._reasoned or self._text is not None:
            return
        if self._reasoning is None:
            self._reasoning = ""
            self._open(reasoning_item(self._suffix, ""))
            self._summary("part.added", part={"type": "summary_text", "text": ""})
        if text:
            self._summary("text.delta", delta=text)
            self._reasoning += text

    def _end_reasoning(self) -> None:
        text, self._reasoning = self._reasoning, None
        if text is None:
            return
        self._reasoned = True
        self._summary("text.done", text=text)
        self._summary("part.done", part={"type": "summary_text", "text": text})
        self._close(reasoning_item(self._suffix, text))

    def _summary(self, name: str, **fields: Any) -> None:
        place = {"item_id": f"rs_{self._suffix}", "output_index": self._items - 1, "summary_index": 0}
        self._emit(f"response.reasoning_summary_{name}", **place, **fields)

    # What it says

    def _say(self, text: str) -> None:
        if not text:
            return
        if self._text is None:
            self._open_message()
            self._text = ""
            self._content(0, "content_part.added", part=text_content(""))
        self._content(0, "output_text.delta", delta=text, logprobs=[])
        self._text += text

    def _open_message(self) -> None:
        self._end_reasoning()
        self._open(message_item(self._suffix, [], "in_progress") | {"id": self._message_id})

    def _replace(self, event: events.Replace) -> None:
        """The protocol knows no other text than what was sent: another one is another message, and the old one void."""
        thought = event.reasoning
        if thought and thought.startswith(self._reasoning or ""):
            self._reason(thought[len(self._reasoning or "") :])
        if self._text and not event.content.startswith(self._text):
            self._end_message([self._text], "incomplete")
            self._voided += 1
            self._message_id = f"msg_{self._suffix}_{self._voided}"
        self._say(event.content[len(self._text or "") :])

    def _end_message(self, texts: list[str], status: str) -> None:
        for index, text in enumerate(texts):
            if index or self._text is None:
                self._content(index, "content_part.added", part=text_content(""))
                self._content(index, "output_text.delta", delta=text, logprobs=[])
            self._content(index, "output_text.done", text=text, logprobs=[])
            self._content(index, "content_part.done", part=text_content(text))
        self._close(message_item(self._suffix, texts, status) | {"id": self._message_id})
        self._text = None

    def _content(self, index: int, name: str, **fields: Any) -> None:
        place = {"item_id": self._message_id, "output_index": self._items - 1, "content_index": index}
        self._emit(f"response.{name}", **place, **fields)

    # The end

    def _end(self, message: Message) -> None:
        """All that is open is closed, and what came whole is told: pictures, and calls of functions."""
        shown = response_json(self._ending(message, self._error))
        if self._is_behind(message, shown):
            self._short, self._next = True, self._after + 1
        self._tell_end(message, shown)

    def _is_behind(self, message: Message, shown: Json) -> bool:
        """Whether the reader has seen events that we do not know: of a log that is gone, or of a worker that died."""
        if self._known is None or self._next > self._after:
            return False
        if self._known <= 1:
            return True
        ahead = copy(self)
        ahead._frames = []  # one of us
        ahead._tell_end(message, shown)
        return ahead._next <= self._after + 1

    def _tell_end(self, message: Message, shown: Json) -> None:
        thoughts = "".join(part.text for part in message.parts if isinstance(part, Reasoning))
        self._replace(events.Replace(content=message.content, reasoning=thoughts))
        self._end_reasoning()
        if texts := contents_of(message.parts):
            if self._text is None:
                self._open_message()
            status = next(item["status"] for item in shown["output"] if item["type"] == "message")
            self._end_message(texts, status)
        for number, call in enumerate(open_calls(message.parts)):
            self._call(number, call)
        self._emit(f"response.{_ENDS.get(shown['status'], 'incomplete')}", response=shown)

    def _call(self, number: int, call: ToolCall) -> None:
        self._open(call_item(self._suffix, number, call, complete=False))
        place = {"item_id": f"fc_{self._suffix}_{number}", "output_index": self._items - 1}
        name = "response.function_call_arguments"
        self._emit(f"{name}.delta", **place, delta=call.arguments)
        self._emit(f"{name}.done", **place, name=call.name, arguments=call.arguments)
        self._close(call_item(self._suffix, number, call))
