"""The figures of a run as a table and as a picture."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bench.gateways import Gateway
from bench.machine import commit, shape
from bench.scenarios import Figures, Scenario

_BUSY = 0.85  # of a core: who is busier than this may be what was measured


@dataclass
class Report:
    """What was measured, gateway by gateway."""

    gateways: dict[str, Figures] = field(default_factory=dict)
    figures: dict[str, dict[str, Figures]] = field(default_factory=dict)  # scenario -> gateway -> figures
    titles: dict[str, str] = field(default_factory=dict)

    def begin(self, gateway: Gateway) -> None:
        """A gateway is ready."""
        memory, version = gateway.memory_mb(), gateway.version
        self.gateways[gateway.name] = {"version": version, "ready_s": gateway.ready_s, "idle_mb": memory}

    def add(self, gateway: Gateway, scenario: Scenario, figures: Figures) -> None:
        """One measurement."""
        self.titles[scenario.name] = scenario.title
        self.figures.setdefault(scenario.name, {})[gateway.name] = figures
        print(f"{gateway.name}: {scenario.title}: {figures['per_second']:.0f}/s", flush=True)

    def as_json(self) -> dict[str, Any]:
        """Everything."""
        return {"run": run(), "gateways": self.gateways, "figures": self.figures}


def run() -> dict[str, str]:
    """When, of what, and where."""
    return {"date": datetime.now(UTC).date().isoformat(), "commit": commit(), "machine": shape()}


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
        yield from _streams_table(by_gateway) if scenario == "open" else _loop_table(by_gateway)


def _loop_table(by_gateway: dict[str, Figures]) -> Iterator[str]:
    others = [figures["per_second"] for name, figures in by_gateway.items() if name.startswith("LiteLLM")]
    base = by_gateway.get("direct", {}).get("latency_ms", {}).get("p50")
    yield "| gateway | answers/s | events/s | p50 | p95 | p99 | first event | added | CPU each | x LiteLLM | notes |"
    yield "|" + "---|" * 11
    for name, figures in by_gateway.items():
        latency, first = figures["latency_ms"], figures["first_event_ms"]
        cpu_ms = 1000 * figures["gateway_busy"] / figures["per_second"] if figures["per_second"] else 0
        cells = [
            name,
            f"{figures['per_second']:,.0f}",
            f"{figures['events_per_second']:,.0f}" if figures["events"] else "",
            *(f"{latency[cut]:.1f} ms" if latency else "" for cut in ("p50", "p95", "p99")),
            f"{first['p50']:.1f} ms" if first else "",
            f"{latency['p50'] - base:.1f} ms" if base and latency and name != "direct" else "",
            f"{cpu_ms:.2f} ms" if name != "direct" else "",
            f"{figures['per_second'] / others[0]:.1f}" if others and name != "direct" else "",
            "; ".join(_notes(name, figures)),
        ]
        yield f"| {' | '.join(cells)} |"


def _streams_table(by_gateway: dict[str, Figures]) -> Iterator[str]:
    yield "| gateway | streams | whole | first event p50 | p99 | events/s | memory per stream | gateway busy | notes |"
    yield "|---|---|---|---|---|---|---|---|---|"
    for name, figures in by_gateway.items():
        first, streams = figures["first_event_ms"], figures["answers"] + figures["unfinished"] + figures["broken"]
        cells = [
            name,
            f"{streams:,}",
            f"{figures['statuses'].get('200', 0):,}",
            *(f"{first[cut]:.0f} ms" if first else "" for cut in ("p50", "p99")),
            f"{figures['events_per_second']:,.0f}",
            f"{figures['kb_per_stream']:.0f} KB" if name != "direct" else "",
            f"{figures['gateway_busy']:.0%}" if name != "direct" else "",
            "; ".join(_notes(name, figures)),
        ]
        yield f"| {' | '.join(cells)} |"


def _notes(name: str, figures: Figures) -> Iterator[str]:
    """What the reader must know to trust a line."""
    failed = {status: count for status, count in figures["statuses"].items() if status != "200"}
    if failed:
        yield "not 200: " + ", ".join(f"{count} x {status}" for status, count in failed.items())
    if figures["broken"]:
        yield f"{figures['broken']} cut off"
    if name != "direct" and figures["load_busy"] > _BUSY and figures["gateway_busy"] < _BUSY:
        yield "**the load generator was the limit**"


_ROW, _LEFT, _WIDTH = 26, 230, 420


def picture(report: Report) -> str:
    """Answers per second as bars, whole and streamed."""
    bars: list[str] = []
    top = 0
    for scenario in ("whole", "streamed"):
        rows = {name: one["per_second"] for name, one in report.figures.get(scenario, {}).items() if name != "direct"}
        if not rows:
            continue
        top += _ROW
        bars.append(f'<text x="0" y="{top}" class="title">{report.titles[scenario]}: answers per second</text>')
        for name, value in rows.items():
            top += _ROW
            width = max(1, _WIDTH * value / max(rows.values()))
            bars.append(
                f'<text x="0" y="{top}">{name}</text><rect x="{_LEFT}" y="{top - 13}" width="{width:.0f}" height="16"/>'
                f'<text x="{_LEFT + width + 8:.0f}" y="{top}">{value:,.0f}</text>'
            )
        top += _ROW // 2
    style = "text{font:13px sans-serif;fill:#333}.title{font-weight:bold}rect{fill:#3b82f6}"
    size = f'width="{_LEFT + _WIDTH + 80}" height="{top + 10}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size}><style>{style}</style>{"".join(bars)}</svg>\n'
