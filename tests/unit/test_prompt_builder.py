"""Fitting a history into a window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.chat import ChatRequest, PromptMessage
from domain.errors import ContextTooLong
from domain.messages import FileReference, Image, MessageRole, Part, Reasoning, Text, ToolCall, ToolResult
from services.prompt_builder import fit, prompt_tokens, without_pictures, without_reasoning
from services.tokenizer import Tokenizer

count = Tokenizer("precise").count


def _user(text: str) -> PromptMessage:
    return PromptMessage(MessageRole.USER, [Text(text)])


def _assistant(*parts: Part) -> PromptMessage:
    return PromptMessage(MessageRole.ASSISTANT, list(parts))


def _words(number: int) -> str:
    return "word " * number


def test_what_fits_is_left_alone() -> None:
    request = ChatRequest("m", [_user("one"), _assistant(Text("two")), _user("three")], system="kind")

    assert fit(request, window=1000, max_output=100, count=count) is request


def test_the_oldest_turns_go_first_as_a_whole() -> None:
    messages = [_user(_words(100)), _assistant(Text(_words(100))), _user(_words(50)), _assistant(Text("x")), _user("y")]

    fitted = fit(ChatRequest("m", messages), window=200, max_output=50, count=count)

    assert list(fitted.messages) == messages[2:]


def test_a_tool_call_never_loses_its_result() -> None:
    exchange = _assistant(ToolCall("call", "clock", "{}"), ToolResult("call", "clock", _words(80)), Text("It is late."))
    messages = [_user("what time is it?"), exchange, _user(_words(60))]

    fitted = fit(ChatRequest("m", messages), window=130, max_output=20, count=count)

    assert list(fitted.messages) == messages[2:]


def test_the_system_prompt_stays_and_takes_its_room() -> None:
    messages = [_user(_words(60)), _assistant(Text("x")), _user("y")]

    fitted = fit(ChatRequest("m", messages, system=_words(60)), window=120, max_output=10, count=count)

    assert fitted.system == _words(60)
    assert list(fitted.messages) == messages[2:]


def test_room_for_the_answer_is_kept() -> None:
    request = ChatRequest("m", [_user(_words(50)), _assistant(Text("x")), _user(_words(100))], max_tokens=30)

    fitted = fit(request, window=160, max_output=1000, count=count)

    assert prompt_tokens(fitted, count) + 30 <= 160
    assert len(fitted.messages) == 1


def test_a_message_that_is_too_long_alone_is_refused() -> None:
    with pytest.raises(ContextTooLong):
        fit(ChatRequest("m", [_user(_words(500))]), window=200, max_output=20, count=count)


def test_pictures_take_room_too() -> None:
    with_picture = PromptMessage(MessageRole.USER, [Image("https://example.com/x.png"), Text("look")])

    with pytest.raises(ContextTooLong):
        fit(ChatRequest("m", [with_picture]), window=800, max_output=20, count=count)


def test_an_answer_of_the_asked_length_fits_beside_the_prompt() -> None:
    messages = [_user(_words(100)), _assistant(Text("x")), _user(_words(100))]

    fitted = fit(ChatRequest("m", messages, max_tokens=250), window=400, max_output=300, count=count)

    assert list(fitted.messages) == messages[2:]
    with pytest.raises(ContextTooLong) as refused:
        fit(ChatRequest("m", messages, max_tokens=350), window=400, max_output=350, count=count)
    assert "350" in refused.value.message


def test_no_more_room_is_kept_than_the_model_can_use() -> None:
    request = ChatRequest("m", [_user(_words(150))], max_tokens=1_000_000)

    assert fit(request, window=200, max_output=40, count=count) == request


def test_a_prompt_that_fits_by_its_bytes_is_not_counted() -> None:
    def never(_: str) -> int:
        raise AssertionError("it was counted")

    for text in ("a" * 60, "好" * 20, "🙂" * 15):  # 60 bytes each, with four tokens of the message
        request = ChatRequest("m", [_user(text)])
        assert fit(request, window=84, max_output=20, count=never) is request
        with pytest.raises(AssertionError, match="counted"):
            fit(request, window=83, max_output=20, count=never)


def test_a_link_to_a_file_takes_room_too() -> None:
    with_file = PromptMessage(MessageRole.USER, [FileReference("https://example.com/" + "path/" * 100, "f"), Text("?")])

    with pytest.raises(ContextTooLong):
        fit(ChatRequest("m", [with_file]), window=120, max_output=20, count=count)


def test_reasoning_takes_no_room() -> None:
    thought = _assistant(Reasoning(_words(500)), Text("yes"))
    request = ChatRequest("m", [_user("one"), thought, _user("two")])

    assert fit(request, window=100, max_output=20, count=count) is request
    assert without_reasoning(thought.parts) == [Text("yes")]


def test_pictures_become_words_where_they_cannot_be_seen() -> None:
    message = PromptMessage(MessageRole.USER, [Image("data:image/png;base64,AAAA", "a cat"), Text("What is it?")])

    assert without_pictures(message).text == "[picture: a cat]\nWhat is it?"
    assert without_pictures(_user("plain")) == _user("plain")


@given(
    st.lists(st.tuples(st.text(max_size=80), st.text(max_size=80)), max_size=8),
    st.integers(100, 400),
)
def test_whatever_was_said_the_result_fits_and_ends_with_the_newest_turn(
    turns: list[tuple[str, str]], window: int
) -> None:
    messages = [m for asked, answered in turns for m in (_user(asked), _assistant(Text(answered)))] + [_user("now")]

    fitted = fit(ChatRequest("m", messages, system="kind"), window=window, max_output=20, count=count)

    assert prompt_tokens(fitted, count) + 20 <= window
    assert list(fitted.messages) == messages[-len(fitted.messages) :]
    assert fitted.messages[0].role is MessageRole.USER
