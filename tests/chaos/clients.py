"""Clients by the hundred on one event loop. What they send and what they get goes into a :class:`History`."""

import asyncio
import itertools
import json
import random
import threading
import time
from collections.abc import Awaitable, Coroutine, Iterable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from tests.chaos.history import Call, Frame, History, Reading, Stop, Turn
from tests.chaos.wire import Cut, Response, send

T = TypeVar("T")

_BACK_AFTER_S = (0.05, 0.4)  # a client that was cut off comes back after a moment
_ANSWER_S = 30.0


class Crowd:
    """Clients of the nodes at ``ports``, with one user's token. They live on a thread of their own."""

    def __init__(self, ports: Sequence[int], token: str, *, silence_s: float = 8.0, patience_s: float = 90.0) -> None:
        self.ports = list(ports)
        self.history = History()
        self._token = token
        self._silence_s = silence_s  # a stream that is silent for so long, pings included, is given up
        self._patience_s = patience_s
        self._numbers = itertools.count(1)
        self._name = f"{random.randrange(36**4):x}"
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        asyncio.run_coroutine_threadsafe(self._end_all(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _end_all(self) -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    def start(self, action: Coroutine[Any, Any, T]) -> "Future[T]":
        """Let a client act."""
        return asyncio.run_coroutine_threadsafe(action, self._loop)

    def start_all(self, actions: Iterable[Coroutine[Any, Any, T]], per_second: float = 80) -> list["Future[T]"]:
        """Let clients act, one shortly after the other."""
        started = []
        for action in actions:
            started.append(self.start(action))
            time.sleep(1 / per_second)
        return started

    def wait(self, actions: Sequence["Future[T]"], seconds: float = 120) -> list[T]:
        """What they return, once all have."""
        give_up = time.monotonic() + seconds
        return [action.result(max(0.01, give_up - time.monotonic())) for action in actions]

    def wait_begun(self, count: int, seconds: float = 60) -> None:
        """Return once so many readers have text."""
        give_up = time.monotonic() + seconds
        while sum(len(reading.frames) > 1 for reading in self.history.readings) < count:
            assert time.monotonic() < give_up, f"not {count} readers after {seconds} s: {self.history.statuses()}"
            time.sleep(0.02)

    def under_way(self) -> int:
        """How many readers wait for more."""
        return sum(not reading.ended for reading in self.history.readings)

    # What a client can do

    async def ask(
        self,
        *,
        words: int = 20,
        pace_ms: float = 0,
        port: int | None = None,
        session_id: str = "",
        model: str = "",
        cuts: Sequence[int] = (),
        others: Sequence[int] = (),
        begun: "asyncio.Future[Turn] | None" = None,
        tries: int = 1,
        **script: Any,
    ) -> Turn:
        """Send a message and read the answer to its end, on other nodes where it must be.

        The provider, or the one behind ``model``, answers with ``words`` words, one every ``pace_ms``; ``script`` says
        more. The reader hangs up by itself after each event in ``cuts``. ``others`` are the nodes to come back to
        (default: any). ``begun`` gets the turn as soon as it is answered. While no answer comes, or a 503, the message
        is sent ``tries`` times, under one key.
        """
        turn = self._turn(port or random.choice(self.ports), words, pace_ms, script)
        self.history.turns.append(turn)
        body = {"message": turn.message, "session_id": session_id or None, "model": model or None}
        for more in reversed(range(tries)):
            await self._send(turn, body, cuts, begun)
            if turn.status not in (0, 503) or not more:
                break
            self.history.calls.append(Call("/api/v1/chat/stream", turn.port, turn.asked_at, 0.0, turn.status))
            await asyncio.sleep(random.uniform(*_BACK_AFTER_S))
            turn.port = port or random.choice(self.ports)
        if begun and not begun.done():
            begun.set_result(turn)
        for reading in self.history.readings_of(turn.generation_id)[:1]:
            await self._come_back(reading, cuts, others or self.ports)
        return turn

    async def _send(
        self, turn: Turn, body: dict[str, Any], cuts: Sequence[int], begun: "asyncio.Future[Turn] | None"
    ) -> None:
        # The key makes one turn of all tries, whichever of them arrive.
        post = send(turn.port, "POST", "/api/v1/chat/stream", self._token, body, {"Idempotency-Key": turn.tag})
        try:
            async with await self._answered(post) as response:
                await self._note_answer(turn, response)
                if not turn.acknowledged:
                    return
                reading = self._reading(turn.generation_id)
                if begun:
                    begun.set_result(turn)
                if 0 not in cuts:
                    await self._read(reading, response, turn.port, cuts)
        except Cut:
            turn.status = turn.status if turn.acknowledged else 0

    async def follow(self, generation_id: str, *, port: int | None = None, after: int = 0) -> Reading:
        """Read a generation as somebody else who came later."""
        reading = self._reading(generation_id, after)
        await self._come_back(reading, (), [port] if port else self.ports, at_once=True)
        return reading

    async def stop(self, generation_id: str, *, port: int | None = None) -> Stop:
        """Stop a generation, and note how that was answered."""
        port, asked_at, status, state = port or random.choice(self.ports), time.monotonic(), 0, ""
        try:
            path = f"/api/v1/generations/{generation_id}/stop"
            async with await self._answered(send(port, "POST", path, self._token, {})) as response:
                status, state = response.status, str(((await response.json()).get("data") or {}).get("state", ""))
        except Cut:
            pass
        stop = Stop(generation_id, port, asked_at, time.monotonic(), status, state)
        self.history.stops.append(stop)
        return stop

    async def keep_asking(self, over: threading.Event, *, pause_s: float = 0.2, **asking: Any) -> None:
        """One turn after the other, in sessions of their own, until it is over."""
        while not over.is_set():
            await self.ask(**asking)
            await asyncio.sleep(random.uniform(0, 2 * pause_s))

    async def get(self, path: str, *, port: int | None = None) -> int:
        """A request that only reads; its status, 0 if none came."""
        port, at, status = port or random.choice(self.ports), time.monotonic(), 0
        try:
            async with await self._answered(send(port, "GET", path, self._token)) as response:
                await response.json()
                status = response.status
        except Cut:
            pass
        self.history.calls.append(Call(path, port, at, time.monotonic() - at, status))
        return status

    # How it is done

    def _turn(self, port: int, words: int, pace_ms: float, script: dict[str, Any]) -> Turn:
        # Every word says whose it is: text that lands in another answer is seen.
        tag = f"t{self._name}x{next(self._numbers)}"
        text = " ".join(f"{tag}.{n}" for n in range(words))
        directive = json.dumps({"text": text, "pace_ms": pace_ms} | script)
        return Turn(tag, f"{tag}? [[script {directive}]]", port, time.monotonic())

    def _reading(self, generation_id: str, after: int = 0) -> Reading:
        reading = Reading(generation_id, after)
        self.history.readings.append(reading)
        return reading

    @staticmethod
    async def _answered(answer: Awaitable[Response]) -> Response:
        try:
            async with asyncio.timeout(_ANSWER_S):
                return await answer
        except TimeoutError as error:
            raise Cut(f"no answer within {_ANSWER_S} s") from error

    @staticmethod
    async def _note_answer(turn: Turn, response: Response) -> None:
        turn.status, turn.answered_at = response.status, time.monotonic()
        turn.session_id = response.headers.get("x-session-id", "")
        turn.generation_id = response.headers.get("x-generation-id", "")
        if not turn.acknowledged:
            turn.retry_after = response.headers.get("retry-after", "")
            turn.code = (await response.json()).get("code", "")

    async def _read(self, reading: Reading, response: Response, port: int, cuts: Sequence[int]) -> None:
        """Take in what comes, until the last event or the reader's own hanging up. Raises Cut for any other end."""
        try:
            async with asyncio.timeout(self._silence_s) as silence:
                async for seq, data in response.frames():
                    now = self._loop.time()
                    silence.reschedule(now + self._silence_s)
                    if data:
                        reading.frames.append(Frame(seq, data, now, port))
                        if reading.ended or seq in cuts:
                            return
        except TimeoutError as error:
            raise Cut("silence") from error

    async def _come_back(
        self, reading: Reading, cuts: Sequence[int], ports: Sequence[int], *, at_once: bool = False
    ) -> None:
        give_up = time.monotonic() + self._patience_s
        path = f"/api/v1/generations/{reading.generation_id}/events"
        while not reading.ended:
            if time.monotonic() > give_up:
                reading.gave_up = "no last event"
                return
            if not at_once:
                reading.cuts += 1
                await asyncio.sleep(random.uniform(*_BACK_AFTER_S))
            at_once, port = False, random.choice(ports)
            headers = {"Last-Event-ID": str(reading.last_seq)} if reading.last_seq else {}
            try:
                async with await self._answered(send(port, "GET", path, self._token, headers=headers)) as response:
                    if response.status == 404:
                        reading.gave_up = "404"
                        return
                    if response.status == 200:
                        await self._read(reading, response, port, cuts)
            except Cut:
                continue
