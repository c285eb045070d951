"""The figures of a run, and the tables of them."""

import statistics
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench.gateways import Gateway
from bench.machine import commit, shape
from bench.provider import EVENTS
from bench.scenarios import Figures, Scenario

_BUSY = 0.85  # of a core: who is busier than this may be what was measured
_OTHERS = {"LiteLLM proxy": "x LiteLLM", "Portkey gateway": "x Portkey"}
_BEGIN = "<!-- python -m bench --write: from here -->"
_END = "<!-- to here -->"


@dataclass
class Report:
    """What was measured: of each scenario and gateway the rounds, one after the other."""

    gateways: dict[str, Figures] = field(default_factory=dict)
    rounds: dict[str, dict[str, list[Figures]]] = field(default_factory=dict)
    titles: dict[str, str] = field(default_factory=dict)

    def begin(self, gateway: Gateway) -> None:
        """A gateway is ready: the first time counts."""
        if gateway.workers == 1 and gateway.name not in self.gateways:
            facts = {"version": gateway.version, "ready_s": gateway.ready_s, "idle_mb": gateway.memory_mb()}
            self.gateways[gateway.name] = facts

    def add(self, gateway: Gateway, scenario: Scenario, figures: Figures) -> None:
        """One measurement."""
        self.titles[scenario.name] = scenario.title
        self.rounds.setdefault(scenario.name, {}).setdefault(gateway.name, []).append(figures)
        each = f", {figures['cpu_ms_each']:.2f} ms of CPU each" if gateway.pid else ""
        print(f"{gateway.name}: {scenario.title}: {figures['per_second']:.0f}/s{each}", flush=True)

    @property
    def figures(self) -> dict[str, dict[str, Figures]]:
        """Of each scenario and gateway, the medians of the rounds."""
        return {
            scenario: {name: _median(rounds) for name, rounds in by_gateway.items()}
            for scenario, by_gateway in self.rounds.items()
        }

    def as_json(self) -> dict[str, Any]:
        """Everything."""
        return {"run": run(), "gateways": self.gateways, "figures": self.figures, "rounds": self.rounds}


def _median(rounds: Sequence[Figures]) -> Figures:
    first = rounds[0]
    made: Figures = {"statuses": sum((Counter(one["statuses"]) for one in rounds), Counter())}
    for name, value in first.items():
        if name == "statuses":
            continue
        if isinstance(value, dict):
            parts = [one[name] for one in rounds if one[name]]
            made[name] = {key: statistics.median(one[key] for one in parts) for key in (parts[0] if parts else {})}
        elif isinstance(value, int | float):
            made[name] = statistics.median(one[name] for one in rounds)
        else:
            made[name] = next((one[name] for one in rounds if one[name]), value)
    return made


def run() -> dict[str, str]:
    """When, of what, and where."""
    return {"date": datetime.now(UTC).date().isoformat(), "commit": commit(), "machine": shape()}


def put_into(page: str, text: str) -> str:
    """The page with these tables in the place of those that an earlier run has put there, or at its end."""
    before, _, rest = page.partition(_BEGIN)
    after = rest.partition(_END)[2] if rest else "\n"
    return f"{before.rstrip()}\n\n{_BEGIN}\n\n{text}\n{_END}{after}".lstrip()


def table(report: Report) -> str:
    """All of it as Markdown."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    about = run()
    yield f"{about['date']}, commit {about['commit']}, {about['machine']}."
    yield ""
    yield "| gateway | version | ready after | memory idle |"
    yield "|---|---|---|---|"
    for name, facts in report.gateways.items():
        if name != "direct":
            yield f"| {name} | {facts['version']} | {facts['ready_s']:.1f} s | {facts['idle_mb']:.0f} MB |"
    for scenario, by_gateway in report.figures.items():
        yield ""
        yield f"**{report.titles[scenario]}**"
        yield ""
        yield from (
            _streams_table(by_gateway) if "streams" in next(iter(by_gateway.values())) else _loop_table(by_gateway)
        )


def _loop_table(by_gateway: dict[str, Figures]) -> Iterator[str]:
    base = by_gateway.get("direct", {}).get("latency_ms", {})
    others = {name: title for name, title in _OTHERS.items() if by_gateway.get(name, {}).get("answers")}
    streamed = any(figures["events"] for figures in by_gateway.values())
    heads = ["gateway", "answers/s", "p50", "p95", "p99", "added p50", "added p99", "CPU each"]
    heads += ["events/s", "first event", "CPU per event"] if streamed else []
    yield f"| {' | '.join([*heads, *others.values(), 'notes'])} |"
    yield "|" + "---|" * (len(heads) + len(others) + 1)
    for name, figures in by_gateway.items():
        latency, is_gateway = figures["latency_ms"], name != "direct"
        cells = [
            name,
            f"{figures['per_second']:,.0f}",
            *(_ms(latency.get(cut)) for cut in ("p50", "p95", "p99")),
            *(_ms(latency[cut] - base[cut] if is_gateway and base and latency else None) for cut in ("p50", "p99")),
            f"{figures['cpu_ms_each']:.2f} ms" if is_gateway else "",
            *(_event_cells(figures, is_gateway=is_gateway) if streamed else ()),
            *(_times(figures, by_gateway[other]) if is_gateway else "" for other in others),
            "; ".join(_notes(name, figures)),
        ]
        yield f"| {' | '.join(cells)} |"


def _event_cells(figures: Figures, *, is_gateway: bool) -> Iterator[str]:
    yield f"{figures['events_per_second']:,.0f}"
    yield _ms(figures["first_event_ms"].get("p50"))
    yield f"{1000 * figures['cpu_ms_each'] / EVENTS:.0f} µs" if is_gateway else ""


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value:.1f} ms"


def _times(figures: Figures, other: Figures) -> str:
    return f"{figures['per_second'] / other['per_second']:.1f}"


def _streams_table(by_gateway: dict[str, Figures]) -> Iterator[str]:
    yield "| gateway | streams | whole | first event p50 | p99 | events/s | memory per stream | gateway busy | notes |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, figures in by_gateway.items():
        first, is_gateway = figures["first_event_ms"], name != "direct"
        cells = [
            name,
            f"{figures['streams']:,.0f}",
            f"{figures['answers']:,.0f}",
            *(f"{first[cut]:.0f} ms" if first else "" for cut in ("p50", "p99")),
            f"{figures['events_per_second']:,.0f}",
            f"{figures['kb_per_stream']:.0f} KB" if is_gateway else "",
            f"{figures['gateway_busy']:.0%}" if is_gateway else "",
            "; ".join(_notes(name, figures)),
        ]
        yield f"| {' | '.join(cells)} |"


def _notes(name: str, figures: Figures) -> Iterator[str]:
    """What the reader must know to trust a line."""
    failed = {status: count for status, count in figures["statuses"].items() if status != "200"}
    if failed:
        yield "not 200: " + ", ".join(f"{count} x {status}" for status, count in failed.items())
    if figures["broken"]:
        yield f"{figures['broken']:.0f} cut off"
    if "streams" in figures and figures["unfinished"]:
        yield f"{figures['unfinished']:.0f} unfinished after two minutes"
    beside = figures["beside_busy"]
    if name != "direct" and sum(beside.values()) > _BUSY and figures["gateway_busy"] < _BUSY:
        who = ", ".join(f"{one} {share:.0%}" for one, share in beside.items())
        yield f"**the other core was the limit**: {who}; the gateway {figures['gateway_busy']:.0%}"
