"""Things that go to one place together."""

import contextlib
import threading
import time
from collections.abc import Sequence

import pytest

from repositories.together import Together
from tests.chats import eventually
from tests.races import at_once


class Post:
    """Where things go. While ``door`` is shut, a journey takes."""

    def __init__(self) -> None:
        self.journeys: list[list[int]] = []
        self.door = threading.Event()
        self.door.set()

    def take(self, things: Sequence[int]) -> None:
        self.journeys.append(list(things))
        self.door.wait(5)

    @property
    def things(self) -> list[int]:
        return [thing for journey in self.journeys for thing in journey]


@pytest.fixture
def post() -> Post:
    return Post()


def test_who_comes_alone_sends_at_once_with_what_was_added_before(post: Post) -> None:
    row = Together(post.take, 10)
    row.give(1)
    row.add(2)
    row.add(3)
    assert post.journeys == [[1]]
    row.give(4)

    assert post.journeys == [[1], [2, 3, 4]]


def test_who_comes_meanwhile_goes_together_afterwards(post: Post) -> None:
    row = Together(post.take, 10)
    post.door.clear()
    threads = [threading.Thread(target=row.give, args=(0,))]
    threads[0].start()
    eventually(lambda: post.journeys == [[0]])
    for number in range(1, 6):
        threads.append(threading.Thread(target=row.give, args=(number,)))
        threads[-1].start()
        eventually(lambda number=number: len(row._row) == number)
    post.door.set()
    for thread in threads:
        thread.join()

    assert post.journeys == [[0], [1, 2, 3, 4, 5]]


def test_no_journey_takes_more_than_it_may(post: Post) -> None:
    row = Together(post.take, 3)
    for number in range(8):
        row.add(number)
    row.give()

    assert post.journeys == [[0, 1, 2], [3, 4, 5], [6, 7]]


def test_nothing_is_lost_sent_twice_or_out_of_its_owners_order(post: Post) -> None:
    row = Together(post.take, 7)

    def give(owner: int) -> None:
        for number in range(100):
            if number % 3:
                row.give(owner * 1000 + number)
            else:
                row.add(owner * 1000 + number)
        row.give()

    at_once(*[lambda owner=owner: give(owner) for owner in range(12)])

    for owner in range(12):
        assert [thing for thing in post.things if thing // 1000 == owner] == [owner * 1000 + n for n in range(100)]
    assert len(post.things) == 1200


def test_a_journey_that_fails_keeps_nobody_waiting() -> None:
    def fail(things: Sequence[int]) -> None:
        time.sleep(0.01)
        raise ZeroDivisionError

    row, ended = Together(fail, 2), []

    def give(number: int) -> None:
        with contextlib.suppress(ZeroDivisionError):
            row.give(number)
        ended.append(number)

    at_once(*[lambda number=number: give(number) for number in range(9)])

    assert sorted(ended) == list(range(9))


def test_who_gives_up_waiting_does_not_keep_the_others() -> None:
    import gevent
    from gevent.event import Event
    from gevent.thread import allocate_lock

    door, journeys = Event(), []

    def take(things: Sequence[int]) -> None:
        journeys.append(list(things))
        door.wait(5)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("repositories.together.threading.Lock", allocate_lock)
        row = Together(take, 10)
        first, second, third = (gevent.spawn(row.give, number) for number in (1, 2, 3))
        gevent.sleep(0.01)
        second.kill()
        door.set()
        gevent.joinall([first, third], timeout=5)

    assert (first.ready(), third.ready()) == (True, True)
    assert [thing for journey in journeys for thing in journey] == [1, 2, 3]
