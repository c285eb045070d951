"""A guarded provider's connections: whatever its address says, nobody inside is ever called."""

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import trustme

from adapters.base_adapter import BaseAdapter, Deadlines, UpstreamCall
from adapters.egress import Egress
from adapters.registry import ConfigError, load_guarded, load_providers
from adapters.transport import Transport
from domain import errors
from domain.egress import read_allowed
from tests.contract.adapter_cases import CASES, KEY, Case, answer, ask, make, provider, running, text  # noqa: F401
from tests.scripted_provider.client import ScriptedProvider

OPENAI, QWEN, QWEN_COMPATIBLE, ANTHROPIC, DIFY = CASES
QUICK = Deadlines(connect=2, first_token=2, idle=2, total=4)
OTHER = "127.0.0.2"  # another address of this machine, which the tests let pass for a public one
Info = list[Any]


class Canary:
    """Listens where nobody may call; ``calls`` counts who did all the same."""

    def __init__(self, listening: socket.socket) -> None:
        self.port: int = listening.getsockname()[1]
        self._listening = listening

    @property
    def calls(self) -> int:
        """The connections since the last look: the kernel takes them in, whoever is slow here."""
        found = 0
        while True:
            try:
                self._listening.accept()[0].close()
            except BlockingIOError:
                return found
            found += 1


@pytest.fixture
def canary() -> Iterator[Canary]:
    with socket.socket(socket.AF_INET6) as listening:
        listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)  # it hears both kinds
        listening.bind(("::", 0))
        listening.listen()
        listening.setblocking(False)
        yield Canary(listening)


def infos(*found: str, port: int) -> Info:
    return [info for one in found for info in socket.getaddrinfo(one, port, type=socket.SOCK_STREAM)]


def resolving(*answers: list[str]) -> tuple[Callable[[str, int], Info], list[str]]:
    """A resolver that gives one answer after the other, the last one for ever; and what it was asked."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> Info:
        asked.append(host)
        return infos(*answers[min(len(asked), len(answers)) - 1], port=port)

    return resolve, asked


def guarded(url: str, egress: Egress, case: Case = OPENAI, **config: Any) -> BaseAdapter:
    entry = {"adapter_class": case.adapter_class, "config": {"api_key": KEY, "base_url": url, **config}}
    return load_guarded("theirs", entry, egress)


def test_the_canary_hears(canary: Canary) -> None:
    for host in ("127.0.0.1", "::1", OTHER):
        socket.create_connection((host, canary.port)).close()

    assert canary.calls == 3


INSIDE = [
    "127.0.0.1",
    "127.1",
    "2130706433",
    "0x7f.1",
    "0x7f000001",
    "0177.0.0.1",
    "017700000001",
    "0",
    "0.0.0.0",
    OTHER,
    "localhost",
    "LOCALHOST",
    "[::1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::ffff:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[fe80::1%lo]",
    "169.254.169.254",
    "[::ffff:169.254.169.254]",
    "[fd00:ec2::254]",
    "100.100.100.200",
    "168.63.129.16",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "224.0.0.1",
    "[ff02::1]",
    "192.88.99.1",
    "10.0.0.1",
    "172.16.0.1",
    "192.168.0.1",
]


@pytest.mark.parametrize("host", INSIDE)
def test_addresses_inside_are_not_called(canary: Canary, host: str) -> None:
    egress = Egress(ports={canary.port})
    url = f"http://{host}:{canary.port}/v1"

    with pytest.raises(errors.AddressNotAllowed):
        answer(guarded(url, egress), deadlines=QUICK)
    with pytest.raises(errors.UnsupportedInput) as caught:
        egress.check(url)

    assert (caught.value.error_code, caught.value.fields) == ("address_not_allowed", ("base_url",))
    assert canary.calls == 0


@pytest.mark.parametrize("host", ["127.0.0.1.nip.test", "localhost."])
@pytest.mark.parametrize(
    "found",
    [
        ["127.0.0.1"],
        ["::1"],
        ["::ffff:127.0.0.1"],
        ["1.1.1.1", "127.0.0.1"],  # one of them is enough
        ["127.0.0.1", "1.1.1.1"],
        ["2606:4700:4700::1111", "::ffff:10.0.0.1"],
    ],
    ids=",".join,
)
def test_names_that_lead_inside_are_not_called(canary: Canary, host: str, found: list[str]) -> None:
    resolve, asked = resolving(found)
    egress = Egress(resolve=resolve, ports={canary.port})
    url = f"http://{host}:{canary.port}/v1"

    with pytest.raises(errors.AddressNotAllowed):
        answer(guarded(url, egress), deadlines=QUICK)
    with pytest.raises(errors.UnsupportedInput):
        egress.check(url)

    assert canary.calls == 0
    assert len(asked) == 2


def test_digits_of_another_script_are_looked_at_after_the_lookup(canary: Canary) -> None:
    with pytest.raises(errors.AddressNotAllowed):
        Egress(ports={canary.port}).addresses(
            "①②⑦.0.0.1", canary.port, UpstreamCall(QUICK), time.monotonic() + QUICK.connect
        )


def test_a_name_that_changes_its_meaning_between_two_calls(canary: Canary, provider: ScriptedProvider) -> None:
    """Rebinding: public at the first lookup, ours at the second."""
    with relay(OTHER, provider) as port:
        allowed = read_allowed(f"{OTHER}:{port}")
        resolve, asked = resolving([OTHER], ["127.0.0.1"])
        adapter = guarded(f"http://rebound.test:{port}/v1", Egress(allowed, resolve=resolve, ports={port, canary.port}))
        assert text(answer(adapter, deadlines=QUICK))
        adapter.transport.close()  # type: ignore[attr-defined]  # an HttpAdapter

        with pytest.raises(errors.AddressNotAllowed):
            answer(adapter, deadlines=QUICK)

    assert len(asked) == 2, "one lookup for one connection: what was looked at is what is called"
    assert len(provider.log()) == 1


def test_a_name_that_changes_its_meaning_within_a_call(canary: Canary) -> None:
    """Rebinding with a TTL of 0: a second lookup for the same connection would lead to the canary."""
    with silent(OTHER) as port:
        allowed = read_allowed(f"{OTHER}:{port}")
        resolve, asked = resolving([OTHER], ["127.0.0.1"])
        adapter = guarded(f"http://rebound.test:{port}/v1", Egress(allowed, resolve=resolve))

        with pytest.raises(errors.ProviderError) as caught:
            answer(adapter, deadlines=QUICK)

    assert not isinstance(caught.value, errors.AddressNotAllowed), "it was called where it was allowed"
    assert len(asked) == 1
    assert canary.calls == 0


@pytest.mark.parametrize("port", [22, 3306, 6379, 8080, 11434])
def test_only_ports_of_the_web(port: int) -> None:
    resolve, _ = resolving(["1.1.1.1"])
    egress = Egress(resolve=resolve)

    with pytest.raises(errors.AddressNotAllowed):
        answer(guarded(f"http://public.test:{port}/v1", egress), deadlines=QUICK)
    with pytest.raises(errors.UnsupportedInput):
        egress.check(f"https://public.test:{port}/v1")
    egress.check("https://public.test/v1")
    egress.check("http://public.test:443")


@pytest.mark.parametrize(
    ("allowed", "works"),
    [
        ("127.0.0.1:{port}", True),
        ("127.0.0.0/8:{port}", True),
        ("inside.test:{port}", True),
        ("INSIDE.test.:{port}", True),
        ("inside.test", False),  # the port is not one of the web's, and was not named
        ("127.0.0.0/8", False),
        ("inside.test:1", False),
        ("other.test:{port}", False),
        ("10.0.0.0/8:{port}", False),
    ],
)
def test_what_the_operator_allows(provider: ScriptedProvider, allowed: str, works: bool) -> None:
    port = int(provider.openai_url.split(":")[2].split("/")[0])
    resolve, _ = resolving(["127.0.0.1"])
    egress = Egress(read_allowed(allowed.format(port=port)), resolve=resolve)
    url = f"http://inside.test:{port}/v1"
    adapter = guarded(provider.openai_url.replace("127.0.0.1", "inside.test"), egress)

    if works:
        egress.check(url)
        assert text(answer(adapter, deadlines=QUICK))
    else:
        with pytest.raises(errors.AddressNotAllowed):
            answer(adapter, deadlines=QUICK)
        with pytest.raises(errors.UnsupportedInput):
            egress.check(url)
    assert len(provider.log()) == works


def test_names_that_are_not_known_are_refused_like_those_inside() -> None:
    def unknown(_host: str, _port: int) -> Info:
        raise socket.gaierror(socket.EAI_NONAME, "not known")

    with pytest.raises(errors.UnsupportedInput) as of_nobody:
        Egress(resolve=unknown).check("https://nobody.test/v1")
    with pytest.raises(errors.UnsupportedInput) as of_us:
        Egress(resolve=resolving(["127.0.0.1"])[0]).check("https://inside.test/v1")

    assert of_nobody.value.message == of_us.value.message


def test_a_lookup_that_hangs_is_not_waited_for() -> None:
    release = threading.Event()

    def hanging(_host: str, port: int) -> Info:
        release.wait(10)
        return infos("1.1.1.1", port=port)

    with pytest.raises(errors.UnsupportedInput):
        Egress(resolve=hanging).check("https://slow.test/v1", lookup_s=0.05)
    release.set()


def test_a_redirect_is_not_followed(canary: Canary) -> None:
    head = f"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{canary.port}/\r\nContent-Length: 0\r\n\r\n"
    with silent(OTHER, head.encode()) as port:
        egress = Egress(read_allowed(f"{OTHER}:{port}"), ports={canary.port})
        with pytest.raises(errors.ProviderError):
            answer(guarded(f"http://{OTHER}:{port}/v1", egress), deadlines=QUICK)
        with pytest.raises(errors.ProviderError):
            guarded(f"http://{OTHER}:{port}/v1", egress).discover_models()

    assert canary.calls == 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_proxy_of_the_environment(
    canary: Canary, provider: ScriptedProvider, monkeypatch: pytest.MonkeyPatch, case: Case
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{canary.port}")
    url = getattr(provider, case.url)
    port = int(url.split(":")[2].split("/")[0])

    assert text(answer(guarded(url, Egress(read_allowed(f"127.0.0.1:{port}")), case), deadlines=QUICK))
    assert canary.calls == 0


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_no_list_of_models_from_inside(canary: Canary, case: Case) -> None:
    adapter = guarded(f"http://127.0.0.1:{canary.port}/compatible-mode/v1", Egress(ports={canary.port}), case)
    if case is QWEN:
        adapter = guarded(f"http://127.0.0.1:{canary.port}/api/v1", Egress(ports={canary.port}), case)

    if case is DIFY:
        assert adapter.discover_models() == ["dify"]  # it asks nobody
    else:
        with pytest.raises(errors.AddressNotAllowed):
            adapter.discover_models()
    assert canary.calls == 0


@pytest.mark.parametrize("case", [OPENAI, QWEN_COMPATIBLE], ids=lambda case: case.name)
def test_a_guarded_provider_lists_what_an_unguarded_one_lists(provider: ScriptedProvider, case: Case) -> None:
    url = getattr(provider, case.url)
    port = int(url.split(":")[2].split("/")[0])

    listed = guarded(url, Egress(read_allowed(f"127.0.0.1:{port}")), case).discover_models()

    assert listed == make(case, url).discover_models()
    assert listed


def test_the_guarded_list_of_dashscope() -> None:
    body = b'{"output": {"total": 2, "models": [{"model": "qwen-plus"}, {"model": "qwen-max"}]}}'
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    with silent(OTHER, head.encode() + body) as port:
        adapter = guarded(f"http://{OTHER}:{port}/api/v1", Egress(read_allowed(f"{OTHER}:{port}")), QWEN)

        assert adapter.discover_models() == ["qwen-max", "qwen-plus"]


def test_tls_is_for_the_name_although_the_address_was_dialled() -> None:
    authority = trustme.CA()
    told: list[str | None] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.example.test").configure_cert(context)
    context.sni_callback = lambda _sock, name, _context: told.append(name)
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    seen: list[bytes] = []
    with silent(OTHER, b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", context=context, seen=seen) as port:
        egress = Egress(read_allowed(f"{OTHER}:{port}"), resolve=resolving([OTHER])[0])

        def get(host: str) -> bytes:
            transport = Transport(f"https://{host}:{port}", {}, tls=trust, guard=egress)
            return transport.request_json("GET", "/models", UpstreamCall(QUICK))

        assert get("api.example.test") == b"{}"
        with pytest.raises(errors.ProviderUnavailable, match="certificate"):
            get("other.example.test")  # the same address, and not its name

    assert told == ["api.example.test", "other.example.test"]
    assert f"host: api.example.test:{port}\r\n".encode() in b"".join(seen).lower()


@pytest.mark.parametrize(
    ("config", "fault"),
    [
        ({"headers": {"Host": "metadata.google.internal"}}, "host cannot be set"),
        ({"headers": {"Transfer-Encoding": "chunked"}}, "transfer-encoding cannot be set"),
        ({"headers": {"x-a": "b\r\nHost: c"}}, "printable"),
        ({"base_url": "file:///etc/passwd"}, "base_url"),
        ({"base_url": "gopher://127.0.0.1:6379/_x"}, "base_url"),
        ({"base_url": "http://@127.0.0.1"}, "base_url"),
        ({"base_url": "http://127.0.0.1#@ok.com"}, "base_url"),
        ({"base_url": "http://ok.com\\@127.0.0.1"}, "base_url"),
        ({"base_url": "http://ok.com/v1\r\nHost:c"}, "base_url"),
        ({"guard": None}, "Extra inputs"),
        ({"_guard": None}, "Extra inputs"),
    ],
)
def test_what_may_not_be_registered(config: dict[str, Any], fault: str) -> None:
    entry = {"adapter_class": OPENAI.adapter_class, "config": {"api_key": KEY, **config}}

    with pytest.raises(ConfigError, match=fault):
        load_guarded("theirs", entry, Egress())


def test_adapters_with_connections_of_their_own_cannot_be_registered() -> None:
    entry = {"adapter_class": "tests.upstreams.Puppet", "config": {}}

    with pytest.raises(ConfigError, match="connections of its own"):
        load_guarded("theirs", entry, Egress())


def test_what_the_operator_declared_is_not_guarded(provider: ScriptedProvider) -> None:
    entry = {"adapter_class": OPENAI.adapter_class, "config": {"api_key": KEY, "base_url": provider.openai_url}}

    assert text(answer(load_providers({"ours": entry})["ours"], ask(), QUICK))


# --- small servers at another address


@contextmanager
def silent(
    host: str, reply: bytes = b"", *, context: ssl.SSLContext | None = None, seen: list[bytes] | None = None
) -> Iterator[int]:
    """Listens at ``host``, gives every caller the same bytes, and hangs up; lends the port."""
    with socket.create_server((host, 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(peer, server_side=True) if context else peer as sock:
                        (seen if seen is not None else []).append(sock.recv(65536))
                        sock.sendall(reply)
                except OSError:  # the caller does not trust us
                    peer.close()

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        server.join(5)


@contextmanager
def relay(host: str, provider: ScriptedProvider) -> Iterator[int]:
    """The scripted provider at another address of this machine, one connection after the other; lends the port."""
    target = ("127.0.0.1", int(provider.openai_url.split(":")[2].split("/")[0]))
    with socket.create_server((host, 0)) as listening:

        def pump(source: socket.socket, sink: socket.socket) -> None:
            try:
                while data := source.recv(65536):
                    sink.sendall(data)
                sink.shutdown(socket.SHUT_WR)
            except OSError:
                pass

        def serve() -> None:
            while True:
                try:
                    peer, _ = listening.accept()
                except OSError:
                    return
                with peer, socket.create_connection(target) as upstream:
                    back = threading.Thread(target=pump, args=(upstream, peer), daemon=True)
                    back.start()
                    pump(peer, upstream)
                    back.join(5)

        server = threading.Thread(target=serve, daemon=True)
        server.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
        server.join(5)
