"""Deeds are written in rounds, in order, and nobody is left without an answer."""

import threading
from collections.abc import Sequence

import pytest

from domain.errors import Unavailable
from repositories.group_commit import Deed, GroupCommit
from tests.chats import eventually
from tests.races import at_once


class Numbered(Deed):
    """A deed that can be told from others."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Writer:
    """Writes down the rounds. The first one waits until it may go on."""

    def __init__(self) -> None:
        self.rounds: list[list[int]] = []
        self.begun, self.go_on = threading.Event(), threading.Event()

    def write(self, deeds: Sequence[Numbered]) -> None:
        self.rounds.append([deed.number for deed in deeds])
        self.begun.set()
        self.go_on.wait(10)
        for deed in deeds:
            if deed.number < 0:
                deed.error = ValueError(deed.number)


def test_what_comes_while_a_round_is_written_is_the_next_one() -> None:
    writer = Writer()
    commit = GroupCommit(writer.write, "test")
    commit.put(Numbered(0))
    writer.begun.wait(10)
    for number in range(1, 250):
        commit.put(Numbered(number))

    writer.go_on.set()
    commit.do(Numbered(250))

    assert writer.rounds == [[0], [*range(1, 201)], [*range(201, 251)]]


def test_each_gets_its_own_outcome() -> None:
    writer = Writer()
    commit = GroupCommit(writer.write, "test")
    writer.go_on.set()

    def outcome(number: int) -> str:
        try:
            return str(commit.do(Numbered(number)).number)
        except ValueError as error:
            return f"refused {error}"

    told = at_once(*[lambda number=number: outcome(number) for number in (-2, -1, 1, 2)])

    assert told == ["refused -2", "refused -1", "1", "2"]


def test_the_writer_goes_when_there_is_nothing_to_do_and_comes_back() -> None:
    writer = Writer()
    commit = GroupCommit(writer.write, "test")
    writer.go_on.set()
    commit.do(Numbered(1))

    eventually(lambda: commit._writer is None)
    commit.do(Numbered(2))

    assert writer.rounds == [[1], [2]]


def test_when_the_writer_is_ended_nobody_takes_a_deed_for_done() -> None:
    ends = [SystemExit]

    def write(_deeds: Sequence[Numbered]) -> None:
        if ends:
            raise ends.pop()

    commit = GroupCommit(write, "test")
    with pytest.raises(Unavailable):
        commit.do(Numbered(1))

    assert commit.do(Numbered(2)).number == 2
