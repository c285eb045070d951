"""The server: reads requests, sends each to its protocol, and has the answer played."""

from __future__ import annotations

import re
import uuid
from typing import Any

import msgspec
from gevent import socket, ssl
from gevent.server import StreamServer

from .admin import Admin
from .chat import (
    Call,
    DifyApp,
    RefusedError,
    anthropic_chat,
    anthropic_count,
    dashscope_chat,
    openai_chat,
    openai_completion,
    refusal,
)
from .dashscope_wire import dashscope_embeddings
from .http1 import BadRequestError, Head, RequestReader, response_head
from .log import Entry, RequestLog
from .openai_more import images_body, moderations_body
from .openai_wire import embeddings_body, model_object, models_body
from .peer import Peer
from .player import play
from .script import Asked, Script, ScriptBook
from .wire import BodyWire, Headers, Wire

DASHSCOPE = re.compile(r"/api/v1/services/aigc/(text|multimodal)-generation/generation$")
ANTHROPIC = re.compile(r"/v1/messages(/count_tokens)?$")
DIFY_STOP = re.compile(r"/v1/chat-messages/([^/]+)/stop$")
DIFY_NAME = re.compile(r"/v1/conversations/([^/]+)/name$")
MODEL = re.compile(r"/models(?:/(.+))?$")
DIFY = re.compile(r"/v1/(chat-messages|files/upload|conversations/|parameters)")
PLAIN_BODIES = {
    "/embeddings": embeddings_body,
    "/text-embedding/text-embedding": dashscope_embeddings,
    "/images/generations": images_body,
    "/moderations": moderations_body,
}
UPLOAD_NAME = re.compile(rb'filename="([^"]*)"[^\r]*\r\nContent-Type: ([^\r\n]+)', re.IGNORECASE)


class ScriptedServer:
    """One provider: its scripts, its log, and the answers under way. `models` are the names GET /models lists."""

    def __init__(self, default: Script, models: list[str]) -> None:
        self.book = ScriptBook(default)
        self.log = RequestLog()
        self.models = models
        self.dify = DifyApp()
        self.admin = Admin(self.book, self.log)
        self._tasks: dict[str, tuple[str, Peer]] = {}

    def listen(self, host: str, port: int, certificate: str | None = None, key: str | None = None) -> StreamServer:
        """A started server; port 0 takes a free one. With a certificate it speaks TLS."""
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate, key)
            server = StreamServer((host, port), self.handle, backlog=4096, ssl_context=context)
        else:
            server = StreamServer((host, port), self.handle, backlog=4096)
        server.start()
        return server

    def handle(self, sock: socket.socket, address: object) -> None:
        """Serve one connection until it closes."""
        reader = RequestReader(sock)
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while (head := reader.head()) is not None:
                serve = self._administer if head.path.startswith("/_") else self._answer
                if not (serve(sock, reader, head) and head.keep_alive):
                    return
        except (OSError, BadRequestError, ValueError):
            return

    def _administer(self, sock: socket.socket, reader: RequestReader, head: Head) -> bool:
        status, body = self.admin.handle(head, reader.body(head))
        headers = {"Content-Type": "application/json", "Content-Length": str(len(body))}
        sock.sendall(response_head(status, headers) + body)
        return True

    def _answer(self, sock: socket.socket, reader: RequestReader, head: Head) -> bool:
        protocol = _protocol(head.path)
        early = self.book.before_body(head.path)
        peer = Peer(sock, tls=hasattr(sock, "pending"))
        if early is not None and early.fault == "refuse":
            self.book.use(early)
            entry = self.log.open(head.path, protocol, head.headers, b"")
            entry.script, entry.fault = early.name, early.fault
            peer.reset()
            entry.finish("fault:refuse")
            return False
        raw = reader.body(head, early.read_bytes_per_s if early else 0)
        entry = self.log.open(head.path, protocol, head.headers, raw)
        call = Call(head.path, {}, head.headers, entry, self.book, _key(head))
        wire, headers = self._reply(head, raw, call, protocol)
        return self._play(peer, entry, call, wire, headers)

    def _reply(self, head: Head, raw: bytes, call: Call, protocol: str) -> tuple[Wire, Headers]:
        headers = {"X-Request-Id": call.entry.id}
        if protocol == "anthropic":
            headers["request-id"] = call.entry.id
        try:
            wire = self._route(head, raw, call, protocol)
        except RefusedError as refused:
            wire = refusal(protocol, refused, call.entry.id)
            if call.script.body is not None:
                body = call.script.body
                wire = BodyWire(body.encode() if isinstance(body, str) else msgspec.json.encode(body), refused.status)
        if call.script.retry_after is not None:
            headers["Retry-After"] = str(call.script.retry_after)
        call.entry.status = wire.status
        return wire, {**headers, **call.script.headers}

    def _route(self, head: Head, raw: bytes, call: Call, protocol: str) -> Wire:
        multipart = head.headers.get("content-type", "").startswith("multipart/")
        call.body = {} if multipart else _json_object(raw)
        post = head.method == "POST"
        if post and head.path.endswith("/completions"):
            return openai_chat(call) if head.path.endswith("/chat/completions") else openai_completion(call)
        if post and head.path.endswith("/v1/messages"):
            return anthropic_chat(call)
        if post and DASHSCOPE.search(head.path):
            return dashscope_chat(call)
        if post and head.path == "/v1/chat-messages":
            return self.dify.chat(call)
        call.authenticate()
        call.script = self.book.choose_by_path(Asked(head.path, protocol, str(call.body.get("model") or ""), ""))
        call.apply_script()
        if post and protocol == "anthropic":
            return anthropic_count(call)
        return self._plain_route(head, raw, call)

    def _plain_route(self, head: Head, raw: bytes, call: Call) -> Wire:
        path = head.path
        if head.method == "POST":
            if body := next((make for end, make in PLAIN_BODIES.items() if path.endswith(end)), None):
                return BodyWire(body(call.body))
            if path == "/v1/files/upload":
                return BodyWire(_uploaded(raw, int(call.entry.started)), 201)
            if found := DIFY_STOP.search(path):
                return self._stop(found[1], str(call.body.get("user") or ""))
            if found := DIFY_NAME.search(path):
                return self.dify.rename(call, found[1])
        elif path == "/v1/parameters":
            return BodyWire(msgspec.json.encode(PARAMETERS))
        elif found := MODEL.search(path):
            return BodyWire(msgspec.json.encode(model_object(found[1])) if found[1] else models_body(self.models))
        raise RefusedError(404, message=f"Unknown request URL: {head.method} {path}.")

    def _stop(self, task: str, user: str) -> Wire:
        # As the real service: a stop by someone else, or of an unknown task, does nothing and reports success.
        owner, peer = self._tasks.get(task, ("", None))
        if peer is not None and owner == user:
            peer.stop()
        return BodyWire(b'{"result":"success"}')

    def _play(self, peer: Peer, entry: Entry, call: Call, wire: Wire, headers: Headers) -> bool:
        task = getattr(wire, "task_id", "") if wire.stream else ""
        if call.script.plain:
            return play(peer, entry, call.script, wire, headers)
        if task:
            self._tasks[task] = (str(call.body.get("user")), peer)
        self.log.stream_opened()
        peer.watch()
        try:
            return play(peer, entry, call.script, wire, headers)
        finally:
            peer.unwatch()
            self.log.stream_closed()
            self._tasks.pop(task, None)


PARAMETERS: dict[str, Any] = {
    "opening_statement": "",
    "suggested_questions": [],
    "user_input_form": [],
    "file_upload": {"image": {"enabled": True, "number_limits": 3, "transfer_methods": ["remote_url", "local_file"]}},
    "system_parameters": {"file_size_limit": 15, "image_file_size_limit": 10},
}


def _protocol(path: str) -> str:
    if path.startswith("/api/v1/services/"):
        return "dashscope"
    if ANTHROPIC.search(path):
        return "anthropic"
    return "dify" if DIFY.match(path) else "openai"


def _key(head: Head) -> str | None:
    scheme, _, key = head.headers.get("authorization", "").partition(" ")
    return key.strip() if scheme.lower() == "bearer" else head.headers.get("x-api-key")


def _json_object(raw: bytes) -> dict[str, Any]:
    if not raw:
        return {}
    try:
        value = msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise RefusedError(400, message=f"We could not parse the JSON body of your request: {error}") from None
    if not isinstance(value, dict):
        raise RefusedError(400, message="The JSON body of your request is not an object.")
    return value


def _uploaded(raw: bytes, at: int) -> bytes:
    found = UPLOAD_NAME.search(raw)
    name, kind = (found[1].decode(), found[2].decode()) if found else ("file", "application/octet-stream")
    record = {"id": str(uuid.uuid4()), "name": name, "size": len(raw), "extension": name.rpartition(".")[2]}
    return msgspec.json.encode(record | {"mime_type": kind, "created_by": str(uuid.uuid4()), "created_at": at})
