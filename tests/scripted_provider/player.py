"""Plays an answer to a client: pacing, body framing, and the actions of faults on the socket."""

from __future__ import annotations

import time
import zlib
from collections.abc import Iterator

import gevent

from .faults import GARBAGE, Act, steps
from .http1 import LAST_CHUNK, chunk, response_head
from .log import Entry
from .peer import ClientClosedError, Peer, StoppedError
from .script import Script
from .wire import Frame, Headers, Wire

HTML = b"<!DOCTYPE html><html><head><title>502 Bad Gateway</title></head><body><h1>Bad Gateway</h1></body></html>"
DEFAULT_BOMB = 1024 * 1024 * 1024
BOMB_STEP = 1024 * 1024
CLOSE_DELIMITED = ("cut", "half_close")
ENDS_HERE = {"reset", "cut", "truncate", "raw"}


def play(peer: Peer, entry: Entry, script: Script, wire: Wire, headers: Headers) -> bool:
    """Send the answer and note in the entry how it ended. True when the connection can take another request."""
    try:
        if script.plain:
            _send_at_once(peer, entry, wire, headers)
            reusable = True
        else:
            reusable = _Performance(peer, entry, script, wire, headers).run()
    except StoppedError:
        entry.finish("stopped")
        return True
    except ClientClosedError:
        entry.finish("client_closed", peer.closed_at)
        return False
    entry.finish("complete" if script.fault == "none" else f"fault:{script.fault}")
    return reusable


def _send_at_once(peer: Peer, entry: Entry, wire: Wire, headers: Headers) -> None:
    if wire.stream:
        frames = list(wire.frames())
        body = chunk(b"".join([frame.data for frame in frames])) + LAST_CHUNK
        framing = {"Content-Type": wire.event_type, "Transfer-Encoding": "chunked"}
        text, events = "".join([frame.text for frame in frames]), len(frames)
        usage = next((frame.usage for frame in reversed(frames) if frame.usage), None)
    else:
        body, text, events, usage = wire.body(), wire.text(), 1, wire.counts()
        framing = {"Content-Type": "application/json", "Content-Length": str(len(body))}
    peer.send(response_head(wire.status, {**framing, **headers}) + body)
    entry.sent(text, events)
    entry.usage_reported = usage


class _Performance:
    """One answer that takes time or misbehaves."""

    def __init__(self, peer: Peer, entry: Entry, script: Script, wire: Wire, headers: Headers) -> None:
        self.peer, self.entry, self.script, self.wire, self.headers = peer, entry, script, wire, headers
        self._chunked = script.fault not in CLOSE_DELIMITED
        self._cuts = 1 if script.fault == "trickle" else script.split_bytes
        self._talking = False
        self._due = 0.0

    def run(self) -> bool:
        """Play to the end; True when the connection is still in order."""
        whole = {"html_200": self._html, "redirect": self._redirect, "gzip_bomb": self._gzip_bomb}
        fault = self.script.fault
        if fault == "no_first_byte":
            self.peer.pause(None)
        if not self.wire.stream:
            self.peer.pause((self.script.first_token_ms + self.script.pace_ms * self.wire.deltas) / 1000)
        if fault in whole:
            return whole[fault]()
        if fault == "garbage" and self.script.after == 0:
            self.peer.send(GARBAGE)
            return False
        if fault == "refuse":
            self.peer.reset()
            return False
        return self._body()

    def _body(self) -> bool:
        content_type = self.wire.event_type if self.wire.stream else "application/json"
        self._head("text/plain" if self.script.fault == "wrong_content_type" else content_type)
        self._due = time.monotonic()
        try:
            if self.script.fault == "silent_headers":
                self.peer.pause(None)
            if self.wire.stream and self.script.first_token_ms:
                self._wait(self.script.first_token_ms)
            for step in steps(self.wire, self.script):
                if isinstance(step, Frame):
                    self._frame(step)
                elif self._act(step):
                    return False
        except StoppedError:
            self.peer.resume()
            for frame in self.wire.stopped(self.entry.text_sent):
                self._send(frame)
            self.peer.send(LAST_CHUNK)
            raise
        if self._chunked:
            self.peer.send(LAST_CHUNK)
        return self._chunked

    def _head(self, content_type: str) -> None:
        framing = {"Transfer-Encoding": "chunked"} if self._chunked else {"Connection": "close"}
        headers = {"Content-Type": content_type, **framing, **self.headers}
        self.peer.send(response_head(self.wire.status, headers))

    def _frame(self, frame: Frame) -> None:
        if frame.kind == "comment":
            self.peer.pause(self.script.seconds)
        elif self.wire.stream and frame.kind == "delta":
            # The first delta is due at once: its delay is first_token_ms.
            self._wait(self.script.pace_ms if self._talking else 0)
            self._talking = True
        self._send(frame)

    def _wait(self, milliseconds: float) -> None:
        # Against a schedule, not from the last write, so that a long stream keeps its rate.
        self._due += milliseconds / 1000
        left = self._due - time.monotonic()
        if left > 0:
            self.peer.pause(left)
        else:
            gevent.sleep(0)
            self.peer.check()

    def _send(self, frame: Frame) -> None:
        for piece in self._cut_up(frame.data) if self._cuts else (frame.data,):
            self.peer.send(chunk(piece) if self._chunked else piece)
        if frame.kind != "comment":
            self.entry.sent(frame.text)
            self.entry.finished = self.entry.finished or frame.kind in ("finish", "done")
            self.entry.usage_reported = frame.usage or self.entry.usage_reported

    def _cut_up(self, data: bytes) -> Iterator[bytes]:
        for at in range(0, len(data), self._cuts):
            if self.script.fault == "trickle":
                self.peer.pause(self.script.seconds)
            yield data[at : at + self._cuts]

    def _act(self, act: Act) -> bool:
        """Do it; True when nothing more can be sent on this connection."""
        if act.name == "reset":
            self.peer.reset()
        elif act.name == "half_close":
            self.peer.half_close()
        elif act.name == "truncate":
            self.peer.send(b"%x\r\n%b" % (len(act.data) + 1024, act.data))
        elif act.name == "raw":
            self.peer.send(act.data)
        if act.name in ("stall", "half_close"):
            self.peer.pause(None)
        return act.name in ENDS_HERE

    def _html(self) -> bool:
        headers = {**self.headers, "Content-Type": "text/html; charset=utf-8", "Content-Length": str(len(HTML))}
        self.peer.send(response_head(200, headers) + HTML)
        return True

    def _redirect(self) -> bool:
        headers = {**self.headers, "Location": self.script.location, "Content-Length": "0"}
        self.peer.send(response_head(307, headers))
        return True

    def _gzip_bomb(self) -> bool:
        # Full flushes make each compressed block independent, so one block can be sent over and over.
        self.headers = {**self.headers, "Content-Encoding": "gzip"}
        self._head(self.wire.event_type if self.wire.stream else "application/json")
        packer = zlib.compressobj(9, zlib.DEFLATED, 31)
        self.peer.send(chunk(packer.compress(b"data: ") + packer.flush(zlib.Z_FULL_FLUSH)))
        block = chunk(packer.compress(b"a" * BOMB_STEP) + packer.flush(zlib.Z_FULL_FLUSH))
        for _ in range((self.script.size or DEFAULT_BOMB) // BOMB_STEP):
            self.peer.send(block)
            gevent.sleep(0)
            self.peer.check()
        self.peer.send(LAST_CHUNK)
        return True
