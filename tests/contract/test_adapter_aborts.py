"""An abort ends the call and closes the provider's socket at once, whatever the call is waiting for.

The same tests run once more in a process where gevent has patched the standard library: see test_adapter_gevent.py.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from adapters.base_adapter import BaseAdapter, Deadlines, UpstreamCall
from domain import errors
from domain.deltas import Finish
from tests.contract.adapter_cases import (  # noqa: F401
    CASES,
    Case,
    adapter,
    answer,
    ask,
    case,
    make,
    provider,
    running,
)
from tests.scripted_provider.client import ScriptedProvider

PATIENT = Deadlines(connect=8, first_token=8, idle=8, total=8)
AT_ONCE = 0.5


class Asking:
    """A call under way in a thread."""

    def __init__(self, adapter: BaseAdapter, deadlines: Deadlines = PATIENT) -> None:
        self.call = UpstreamCall(deadlines)
        self.deltas: list[Any] = []
        self.error: BaseException | None = None
        self.ended_at = 0.0
        self.first_delta = threading.Event()
        self._adapter = adapter
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            for delta in self._adapter.stream(ask(), self.call):
                self.deltas.append(delta)
                self.first_delta.set()
        except errors.ProviderError as error:
            self.error = error
        self.ended_at = time.monotonic()

    def abort(self) -> float:
        """Abort, and give the seconds until the reader was gone."""
        started = time.monotonic()
        self.call.abort()
        self._thread.join(5)
        assert not self._thread.is_alive()
        return self.ended_at - started


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def secure(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ScriptedProvider]:
    folder = tmp_path_factory.mktemp("tls")
    certificate = authority.issue_cert("127.0.0.1", "localhost")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    with ScriptedProvider.start(tls=(folder / "cert.pem", folder / "key.pem")) as provider:
        yield provider


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))


@pytest.fixture(params=["plain", "tls"])
def served(request: pytest.FixtureRequest, running: ScriptedProvider, secure: ScriptedProvider, trusted: None) -> Any:
    provider = running if request.param == "plain" else secure
    provider.reset()
    return provider


def chats(provider: ScriptedProvider) -> list[dict[str, Any]]:
    return [entry for entry in provider.log() if not entry["path"].endswith("/stop")]


def eventually(condition: Callable[[], Any]) -> Any:
    deadline = time.monotonic() + 5
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.002)
    return found


@pytest.mark.parametrize("fault", ["no_first_byte", "silent_headers"])
def test_before_the_first_delta(case: Case, served: ScriptedProvider, fault: str) -> None:
    served.script(fault=fault)
    asking = Asking(make(case, getattr(served, case.url)))
    entry = eventually(lambda: chats(served))[0]
    time.sleep(0.05)

    aborted_at = time.monotonic()
    assert asking.abort() < AT_ONCE

    assert served.wait_closed(entry["id"])["closed_mono"] - aborted_at < AT_ONCE
    assert isinstance(asking.error, errors.UpstreamCut)


@pytest.mark.parametrize("script", [{"fault": "stall", "after": 2}, {"words": 5000, "pace_ms": 5}])
def test_in_the_middle(case: Case, served: ScriptedProvider, script: dict[str, Any]) -> None:
    served.script({"words": 10, **script})
    asking = Asking(make(case, getattr(served, case.url)))
    assert asking.first_delta.wait(5)
    time.sleep(0.05)

    aborted_at = time.monotonic()
    assert asking.abort() < AT_ONCE

    entry = chats(served)[0]
    assert served.wait_closed(entry["id"])["closed_mono"] - aborted_at < AT_ONCE
    assert not any(isinstance(delta, Finish) for delta in asking.deltas)


def test_an_aborted_connection_is_not_used_again(case: Case, served: ScriptedProvider) -> None:
    adapter = make(case, getattr(served, case.url))
    answer(adapter)
    served.script(words=1000, pace_ms=5)
    asking = Asking(adapter)
    assert asking.first_delta.wait(5)
    asking.abort()

    assert len(adapter.transport._idle._idle) == 0 or case.name == "dify"  # type: ignore[attr-defined]
    assert answer(adapter)[-1] == Finish("stop")


def test_a_call_that_was_aborted_before_it_began_asks_nothing(adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    call = UpstreamCall(PATIENT)
    call.abort()

    with pytest.raises(errors.UpstreamCut):
        list(adapter.stream(ask(), call))

    assert provider.log() == []


def test_an_abort_after_the_end_does_not_hit_the_next_call(adapter: BaseAdapter, provider: ScriptedProvider) -> None:
    call = UpstreamCall(PATIENT)
    list(adapter.stream(ask(), call))
    provider.script(words=20, pace_ms=10)
    asking = Asking(adapter)
    assert asking.first_delta.wait(5)

    call.abort()
    call.abort()
    asking._thread.join(5)

    assert asking.deltas[-1] == Finish("stop")


@contextmanager
def listener(backlog: int) -> Iterator[socket.socket]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen(backlog)
        yield listening


def test_while_connecting() -> None:
    # A full backlog drops every further SYN, as a host behind a silent firewall does.
    with listener(0) as listening, socket.socket() as first, socket.socket() as second:
        address = listening.getsockname()
        for other in (first, second):
            other.setblocking(False)
            other.connect_ex(address)
        time.sleep(0.05)
        asking = Asking(make(CASES[0], f"http://127.0.0.1:{address[1]}/v1"))
        time.sleep(0.2)
        assert asking.ended_at == 0

        assert asking.abort() < AT_ONCE

    assert isinstance(asking.error, errors.UpstreamCut)


def test_the_connect_deadline() -> None:
    with listener(0) as listening, socket.socket() as first, socket.socket() as second:
        address = listening.getsockname()
        for other in (first, second):
            other.setblocking(False)
            other.connect_ex(address)
        time.sleep(0.05)
        with pytest.raises(errors.ProviderTimeout) as caught:
            answer(make(CASES[0], f"http://127.0.0.1:{address[1]}/v1"), deadlines=Deadlines(connect=0.3))

    assert caught.value.stage == "connect"


def test_in_the_tls_handshake() -> None:
    with listener(5) as listening:
        asking = Asking(make(CASES[0], f"https://127.0.0.1:{listening.getsockname()[1]}/v1"))
        peer, _ = listening.accept()
        with peer:
            assert peer.recv(10)
            aborted_at = time.monotonic()
            assert asking.abort() < AT_ONCE
            peer.settimeout(2)
            while peer.recv(65536):
                pass
            assert time.monotonic() - aborted_at < AT_ONCE

    assert isinstance(asking.error, errors.UpstreamCut)


def test_the_deadline_of_the_tls_handshake() -> None:
    with listener(5) as listening, pytest.raises(errors.ProviderTimeout) as caught:
        url = f"https://127.0.0.1:{listening.getsockname()[1]}/v1"
        answer(make(CASES[0], url), deadlines=Deadlines(connect=0.3))

    assert caught.value.stage == "connect"


def test_while_a_name_is_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    known, answered = socket.getaddrinfo, threading.Event()

    def slow(host: str, *args: Any, **kwargs: Any) -> Any:
        # A name server that does not answer cannot be had here.
        if host == "slow.test" and not kwargs.get("flags"):
            answered.wait(5)
        return known("127.0.0.1" if host == "slow.test" and not kwargs.get("flags") else host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", slow)
    asking = Asking(make(CASES[0], "http://slow.test/v1"))
    time.sleep(0.1)

    assert asking.abort() < AT_ONCE
    answered.set()
    assert isinstance(asking.error, errors.UpstreamCut)


def test_an_unknown_authority_is_not_trusted(secure: ScriptedProvider) -> None:
    with pytest.raises(errors.ProviderUnavailable, match="certificate"):
        answer(make(CASES[0], secure.openai_url))


def test_while_a_long_body_is_sent(running: ScriptedProvider) -> None:
    running.reset()
    running.script(read_bytes_per_s=1000, match={"path": "/chat/completions"})
    adapter = make(CASES[0], running.openai_url, extra_body={"padding": "x" * 20_000_000})
    asking = Asking(adapter)
    time.sleep(0.5)

    assert asking.abort() < AT_ONCE
    assert isinstance(asking.error, errors.UpstreamCut)


def test_the_deadline_while_a_long_body_is_sent(running: ScriptedProvider) -> None:
    running.reset()
    running.script(read_bytes_per_s=1000, match={"path": "/chat/completions"})
    adapter = make(CASES[0], running.openai_url, extra_body={"padding": "x" * 20_000_000})

    with pytest.raises(errors.ProviderTimeout):
        answer(adapter, deadlines=Deadlines(1, 0.5, 0.5, 0.5))


def test_dify_is_told_to_stop_generating(provider: ScriptedProvider) -> None:
    provider.script(words=1000, pace_ms=5)
    asking = Asking(make(CASES[-1], provider.dify_url))
    assert asking.first_delta.wait(5)
    asking.abort()

    stop = eventually(lambda: [entry for entry in provider.log() if entry["path"].endswith("/stop")])[0]

    assert stop["body"] == {"user": "usr_1"}


def test_the_echo_provider_stops_while_it_waits() -> None:
    from adapters.registry import load_providers

    echo = load_providers({"echo": {"adapter_class": "adapters.echo_adapter.EchoAdapter", "config": {"pace_ms": 200}}})
    asking = Asking(echo["echo"])
    assert asking.first_delta.wait(5)

    assert asking.abort() < 0.1
