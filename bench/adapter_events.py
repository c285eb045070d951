"""What one streamed event costs in CPU: our adapter against the openai SDK and bare urllib3, in one run.

    python -m bench.adapter_events [--streams 40] [--events 150] [--rounds 5] [--gevent]

The scripted provider runs in a process of its own and sends one token per event, each event as its own HTTP chunk, on
many streams at once, each in a thread (a greenlet with --gevent, as in production). The ways take turns, so that a busy
machine hurts all of them; the figure is the median over the rounds of this process's CPU time (user and system) per
event, requests included.
"""

import argparse
import statistics
import sys
import threading
import time
from collections.abc import Callable

if "--gevent" in sys.argv:
    from gevent import monkey

    monkey.patch_all()

import json

import openai
import urllib3

from adapters.base_adapter import Deadlines, UpstreamCall
from adapters.openai_adapter import OpenAIAdapter
from adapters.registry import load_providers
from adapters.sse import parse_events
from domain.chat import ChatRequest, PromptMessage
from domain.deltas import TextDelta, one_by_one
from domain.messages import MessageRole, Text
from tests.scripted_provider.client import ScriptedProvider

QUESTION = "Count for me."
BODY = {"model": "bench", "stream": True, "messages": [{"role": "user", "content": QUESTION}]}


def ways(url: str) -> dict[str, Callable[[], int]]:
    """Each way to read one answer, by its name; it gives the number of events (or pieces) with text."""
    entry = {"adapter_class": "adapters.openai_adapter.OpenAIAdapter", "config": {"base_url": url, "api_key": "bench"}}
    adapter = load_providers({"openai": entry})["openai"]
    assert isinstance(adapter, OpenAIAdapter)
    request = ChatRequest("bench", [PromptMessage(MessageRole.USER, [Text(QUESTION)])])
    body = json.dumps(BODY).encode()
    headers = {"authorization": "Bearer bench", "content-type": "application/json"}
    pool = urllib3.PoolManager(maxsize=100)
    client = openai.OpenAI(base_url=url, api_key="bench", max_retries=0)

    def call() -> UpstreamCall:
        return UpstreamCall(Deadlines())

    def ours() -> int:
        return sum(isinstance(delta, TextDelta) for delta in one_by_one(adapter.stream(request, call())))

    def our_transport() -> int:
        with adapter.transport.post_stream("/chat/completions", body, call()) as pieces:
            return sum(1 for _ in pieces)

    def our_events() -> int:
        with adapter.transport.post_stream("/chat/completions", body, call()) as pieces:
            return sum(len(events) for events in parse_events(pieces))

    def bare_urllib3() -> int:
        response = pool.request("POST", f"{url}/chat/completions", body=body, headers=headers, preload_content=False)
        count = sum(1 for _ in response.stream(65536, decode_content=False))
        response.release_conn()
        return count

    def sdk_bytes() -> int:
        with client.chat.completions.with_streaming_response.create(**BODY) as response:  # type: ignore[call-overload]
            return sum(1 for _ in response.iter_bytes())

    def sdk() -> int:
        stream = client.chat.completions.create(**BODY)  # type: ignore[call-overload]
        return sum(1 for chunk in stream if chunk.choices and chunk.choices[0].delta.content)

    return {
        "our adapter: typed deltas": ours,
        "  of it transport, sse": our_events,
        "  of it transport": our_transport,
        "urllib3: bytes only": bare_urllib3,
        "openai SDK: bytes only": sdk_bytes,
        "openai SDK: typed chunks": sdk,
    }


def cpu_per_event(way: Callable[[], int], streams: int, events: int) -> float:
    """Microseconds of CPU per event of so many answers at once."""
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(way())) for _ in range(streams)]
    started = time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    spent = time.process_time() - started
    assert len(counts) == streams, "an answer failed"
    assert min(counts) >= events * 0.5, "events do not travel alone: raise --pace-ms"
    return spent / (streams * events) * 1e6


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=40)
    parser.add_argument("--events", type=int, default=150)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pace-ms", type=float, default=20, help="between events, so that each travels alone")
    parser.add_argument("--gevent", action="store_true", help="with gevent's patches, as in production")
    options = parser.parse_args()
    script = {"words": options.events, "pace_ms": options.pace_ms, "first_token_ms": 1}
    found: dict[str, list[float]] = {}
    with ScriptedProvider.start(default=script) as provider:
        readers = ways(provider.openai_url)
        for number in range(options.rounds + 1):
            for name, way in readers.items():
                figure = cpu_per_event(way, options.streams, options.events)
                if number:  # the first round opens connections, fills caches, imports late
                    found.setdefault(name, []).append(figure)
    print_table(found)


def print_table(found: dict[str, list[float]]) -> None:
    """Print the medians, their range, and each as a multiple of ours."""
    medians = {name: statistics.median(values) for name, values in found.items()}
    ours = next(iter(medians.values()))
    print(f"{'CPU per event':28}{'median us':>10}{'min':>8}{'max':>8}{'x ours':>8}")
    for name, values in found.items():
        print(f"{name:28}{medians[name]:10.1f}{min(values):8.1f}{max(values):8.1f}{medians[name] / ours:8.2f}")


if __name__ == "__main__":
    main()
