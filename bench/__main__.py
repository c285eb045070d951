"""How fast UniChat is, beside what else there is: one command, one table.

    python -m bench [--quick] [--only whole,streamed] [--gateways UniChat,LiteLLM] [--write docs/performance]

Every gateway has one worker on one core; the provider, the load, and UniChat's MariaDB and Redis run on the other one.
All are up, and get the same load in turn, round after round: what else the machine does hits all of them. A figure is
the median of the rounds. LiteLLM's proxy is measured where LITELLM_VENV names a virtual environment that has it,
Portkey's gateway where PORTKEY_DIR names a folder in which npm has installed it. ``--write`` puts tables, figures (as
JSON) and a picture where it says; what is written by hand around the tables stays.
"""

import argparse
import contextlib
import json
from collections.abc import Sequence
from pathlib import Path

from bench.gateways import Gateway, Provider, all_gateways, running
from bench.picture import picture
from bench.report import Report, put_into, table
from bench.scenarios import SCENARIOS, Lengths, Scenario

_QUICK = Lengths(measure_s=3, warm_s=1, rounds=1, open_s=5, most_streams=300)
Kinds = Sequence[type[Gateway]]


def main() -> None:
    """Read the command line, measure, and tell."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs, to see that it works")
    parser.add_argument("--only", default="", help="scenarios, by name and comma")
    parser.add_argument("--gateways", default="", help="parts of the names of those to measure, by comma")
    parser.add_argument("--seconds", type=float, help="how long to measure each time")
    parser.add_argument("--rounds", type=int, help="how often")
    parser.add_argument("--write", type=Path, help="a path without its ending: .md, .json and .svg are written")
    options = parser.parse_args()
    lengths = _QUICK if options.quick else Lengths()
    lengths = lengths.with_(measure_s=options.seconds, rounds=options.rounds)
    only, parts = set(filter(None, options.only.split(","))), options.gateways.lower().split(",")
    kinds = [one for one in all_gateways() if one.name == "direct" or any(part in one.name.lower() for part in parts)]
    scenarios = [one for one in SCENARIOS if not only or one.name in only]
    report, provider = Report(), Provider()
    with contextlib.closing(provider):
        _measure_loops(report, kinds, [one for one in scenarios if not one.streams], provider, lengths)
        _measure_streams(report, kinds, [one for one in scenarios if one.streams], provider, lengths)
    text = table(report)
    print(text)
    if options.write:
        page = options.write.with_suffix(".md")
        page.write_text(put_into(page.read_text() if page.exists() else "", text))
        options.write.with_suffix(".json").write_text(json.dumps(report.as_json(), indent=1) + "\n")
        options.write.with_suffix(".svg").write_text(picture(report))


def _measure_loops(
    report: Report, kinds: Kinds, scenarios: Sequence[Scenario], provider: Provider, lengths: Lengths
) -> None:
    """All gateways side by side, in turn."""
    kinds = [kind for kind in kinds if any(scenario.fits(kind) for scenario in scenarios)]
    with contextlib.ExitStack() as stack:
        gateways = [stack.enter_context(running(kind, provider)) for kind in kinds]
        for gateway in gateways:
            report.begin(gateway)
        for scenario in scenarios:
            for _ in range(lengths.rounds):
                for gateway in gateways:
                    if scenario.fits(type(gateway)):
                        report.add(gateway, scenario, scenario.measure(gateway, lengths))


def _measure_streams(
    report: Report, kinds: Kinds, scenarios: Sequence[Scenario], provider: Provider, lengths: Lengths
) -> None:
    """Each gateway alone, and new."""
    for scenario in scenarios:
        for kind in kinds:
            if scenario.fits(kind):
                with running(kind, provider, scenario.workers) as gateway:
                    report.begin(gateway)
                    report.add(gateway, scenario, scenario.measure(gateway, lengths))


if __name__ == "__main__":
    main()
