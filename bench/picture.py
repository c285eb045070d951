"""The picture of a run: answers per second as bars, readable on light and on dark pages."""

from collections.abc import Iterator, Mapping
from html import escape

from bench.report import Report

_ROW, _BAR = 26, 16
_LEFT, _WIDTH, _RIGHT = 220, 400, 190
_SCENARIOS = ("whole", "streamed", "native", "native-streamed")
_STYLE = """
text { font: 13px system-ui, sans-serif; fill: #334155 } .title { font-weight: 600; fill: #0f172a }
.ours { fill: #2563eb } .other { fill: #94a3b8 }
@media (prefers-color-scheme: dark) { text { fill: #cbd5e1 } .title { fill: #f1f5f9 } .ours { fill: #60a5fa }
.other { fill: #64748b } }
"""


def picture(report: Report) -> str:
    """An SVG with a group of bars for each scenario, ours and the others' on one scale."""
    parts: list[str] = []
    top = 0
    for scenario in _SCENARIOS:
        found = report.figures.get(scenario, {})
        rates = {name: one["per_second"] for name, one in found.items() if name != "direct" and one["answers"]}
        if rates:
            top += _ROW + 4
            parts.append(f'<text x="0" y="{top - 10}" class="title">{escape(report.titles[scenario])}</text>')
            parts += _bars(rates, top)
            top += _ROW * len(rates) + _ROW // 2
    size = f'width="{_LEFT + _WIDTH + _RIGHT}" height="{top}" viewBox="0 0 {_LEFT + _WIDTH + _RIGHT} {top}"'
    label = 'role="img" aria-label="Answers per second, by gateway"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} {label}><style>{_STYLE}</style>{"".join(parts)}</svg>\n'


def _bars(rates: Mapping[str, float], top: int) -> Iterator[str]:
    most = max(rates.values())
    for number, (name, rate) in enumerate(rates.items()):
        y, width = top + _ROW * number, max(1, _WIDTH * rate / most)
        whose = "ours" if name.startswith("UniChat") else "other"
        yield f'<text x="0" y="{y + 13}">{escape(name)}</text>'
        yield f'<rect x="{_LEFT}" y="{y}" width="{width:.0f}" height="{_BAR}" rx="3" class="{whose}"/>'
        yield f'<text x="{_LEFT + width + 8:.0f}" y="{y + 13}">{rate:,.0f} answers/s</text>'
