"""How fast UniChat is, beside what else there is: one command, one table.

    python -m bench [--quick] [--only whole,streamed] [--gateways UniChat] [--write docs/performance]

Each gateway in turn runs with one worker on one core; the provider, the load, and UniChat's MariaDB and Redis run on
the other one. All get the same load. LiteLLM's proxy is measured where LITELLM_VENV names a virtual environment that
has it. ``--write`` keeps the table, the figures as JSON and a picture.
"""

import argparse
import json
from pathlib import Path

from bench.gateways import all_gateways, fast_provider, running
from bench.report import Report, picture, table
from bench.scenarios import SCENARIOS, Lengths

_QUICK = Lengths(measure_s=3, warm_s=1, streams=300, stream_events=20)


def main() -> None:
    """Read the command line, measure, and tell."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short runs, to see that it works")
    parser.add_argument("--only", default="", help="scenarios, by name and comma")
    parser.add_argument("--gateways", default="", help="a part of the names of those to measure")
    parser.add_argument("--write", type=Path, help="a path without its ending: .md, .json and .svg are written")
    options = parser.parse_args()
    lengths = _QUICK if options.quick else Lengths()
    only = set(filter(None, options.only.split(",")))
    scenarios = [one for one in SCENARIOS if not only or one.name in only]
    report = Report()
    with fast_provider() as provider_url:
        for kind in all_gateways():
            if options.gateways.lower() not in kind.name.lower() and kind.name != "direct":
                continue
            with running(kind, provider_url) as gateway:
                report.begin(gateway)
                for scenario in scenarios:
                    if gateway.native or not scenario.native:
                        report.add(gateway, scenario, scenario.measure(gateway, lengths))
    text = table(report)
    print(text)
    if options.write:
        options.write.with_suffix(".md").write_text(text)
        options.write.with_suffix(".json").write_text(json.dumps(report.as_json(), indent=1) + "\n")
        options.write.with_suffix(".svg").write_text(picture(report))


if __name__ == "__main__":
    main()
