"""The blocks of a Messages stream: in order, whatever order their pieces come in."""

import json
from collections.abc import Iterable
from typing import Any

import pytest

from api.anthropic.blocks import Blocks
from domain.deltas import ToolCallDelta as Call
from domain.errors import ProviderGarbage


def written(blocks: Blocks, deltas: Iterable[Call | str]) -> list[Any]:
    """What is left in the end: (type, text), or (id, name, arguments)."""
    frames = b"".join(blocks.text(one) if isinstance(one, str) else blocks.call(one) for one in deltas) + blocks.close()
    made: list[Any] = []
    is_open = False
    for event in (json.loads(frame.partition(b"data: ")[2]) for frame in frames.split(b"\n\n") if frame):
        if event["type"] == "content_block_start":
            block = event["content_block"]
            assert not is_open
            is_open = True
            made.append(["text", ""] if block["type"] == "text" else [block["id"], block["name"], ""])
        assert is_open
        assert event["index"] == len(made) - 1
        if event["type"] == "content_block_stop":
            is_open = False
        elif event["type"] == "content_block_delta":
            made[-1][-1] += event["delta"].get("text") or event["delta"]["partial_json"]
    assert not is_open
    return made


def blocks() -> Blocks:
    return Blocks(lambda given, number: given or f"made_{number}")


A, B = ["a", "f", '{"x": 1}'], ["b", "g", '{"y": 2}']


@pytest.mark.parametrize(
    ("deltas", "expected"),
    [
        ([Call(0, "a", "f"), Call(0, arguments='{"x": 1}'), Call(1, "b", "g", '{"y": 2}')], [A, B]),
        (
            [
                Call(0, "a", "f", '{"x"'),
                Call(1, "b", "g", '{"y"'),
                Call(0, arguments=": 1}"),
                Call(1, arguments=": 2}"),
            ],
            [A, B],
        ),
        ([Call(0, "a", "f"), Call(1, "b", "g"), Call(1, arguments='{"y": 2}'), Call(0, arguments='{"x": 1}')], [A, B]),
        ([Call(0, "a", ""), Call(0, "", "f", '{"x": 1}')], [A]),
        ([Call(0, "", "f")], [["made_0", "f", ""]]),
        (["look", "ing", Call(0, "a", "f", '{"x": 1}'), "done"], [["text", "looking"], A, ["text", "done"]]),
        (["x", Call(0, "a", "f", '{"x"')], [["text", "x"], ["a", "f", '{"x"']]),
        ([], []),
    ],
)
def test_each_piece_is_in_its_block(deltas: list[Call | str], expected: list[Any]) -> None:
    assert written(blocks(), deltas) == expected


def test_calls_that_wait_are_sent_before_text_goes_on() -> None:
    deltas = [Call(0, "a", "f", '{"x"'), Call(1, "b", "g", '{"y": 2}'), "more"]

    assert written(blocks(), deltas) == [["a", "f", '{"x"'], B, ["text", "more"]]


def test_a_call_that_goes_on_after_its_end_is_garbage() -> None:
    made = blocks()
    written(made, [Call(0, "a", "f", "{}"), "text"])

    with pytest.raises(ProviderGarbage):
        made.call(Call(0, arguments="more"))
