"""The Grafana board and the alert rules ask for figures that exist, by labels that those have."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from flask_openapi import OpenAPI

from tests.servers import ROOT

BOARD = ROOT / "deploy" / "grafana" / "unichat.json"
ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
SCRAPE = ROOT / "deploy" / "prometheus" / "prometheus.yml"
PAGE = (ROOT / "docs" / "monitoring.md").read_text()
OF_PROMETHEUS = {"instance", "job", "le"}  # labels that come with the scrape, or with a histogram's buckets
SUFFIXES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


@pytest.fixture
def known(app: OpenAPI) -> dict[str, set[str]]:
    """Series name -> its labels."""
    found = {}
    for metric in app.extensions["metrics"].registry._collector_to_names:
        for suffix in SUFFIXES[metric._type]:
            found[metric._name + suffix] = {*metric._labelnames, *({"le"} if suffix == "_bucket" else ())}
    return found


def panels() -> list[dict[str, Any]]:
    return [panel for panel in json.loads(BOARD.read_text())["panels"] if panel["type"] != "row"]


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def queries() -> Iterator[str]:
    for panel in panels():
        yield from (target["expr"] for target in panel["targets"])
    yield from (rule["expr"] for rule in rules())


def is_balanced(query: str) -> bool:
    depth: list[str] = []
    for sign in re.sub(r'"[^"]*"', "", query):
        if sign in "([{":
            depth.append({"(": ")", "[": "]", "{": "}"}[sign])
        elif sign in ")]}" and (not depth or depth.pop() != sign):
            return False
    return not depth


def test_every_query_asks_for_series_that_exist(known: dict[str, set[str]]) -> None:
    for query in queries():
        asked = re.findall(r"\bunichat_\w+", query)
        assert asked or query.startswith("up{"), query
        assert set(asked) <= set(known), query
        assert is_balanced(query), query


def test_every_query_asks_by_labels_that_the_series_have(known: dict[str, set[str]]) -> None:
    for query in queries():
        names = set(re.findall(r"\bunichat_\w+", query))
        selected = {label for body in re.findall(r"{([^}]*)}", query) for label in re.findall(r"(\w+)\s*[=!]~?", body)}
        grouped = {label.strip() for body in re.findall(r"\bby \(([^)]*)\)", query) for label in body.split(",")}
        has = set.union(*(known[name] for name in names)) if names else set()
        assert (selected | grouped) <= has | OF_PROMETHEUS, query


def test_every_figure_is_on_the_board(known: dict[str, set[str]]) -> None:
    asked = {
        name for panel in panels() for target in panel["targets"] for name in re.findall(r"unichat_\w+", target["expr"])
    }
    families = {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in known}

    assert families - {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in asked} == set()


def test_the_board_can_be_imported_anywhere() -> None:
    board = json.loads(BOARD.read_text())
    ids = [panel["id"] for panel in board["panels"]]

    assert len(ids) == len(set(ids))
    assert {panel["datasource"]["uid"] for panel in panels()} == {"${datasource}"}
    variables = {variable["name"] for variable in board["templating"]["list"]}
    used = {name for query in queries() for name in re.findall(r"\$(\w+)", query)} - {"__rate_interval"}
    assert used <= variables
    for panel in panels():
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24, panel["title"]


def test_every_alert_says_what_is_wrong_and_is_explained() -> None:
    names = [rule["alert"] for rule in rules()]

    assert len(names) == len(set(names)) > 10
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
        assert rule["annotations"]["summary"]
        assert f"`{rule['alert']}`" in PAGE, rule["alert"]
    assert set(re.findall(r"`(UniChat\w+)`", PAGE)) == set(names)


def test_every_figure_is_explained(known: dict[str, set[str]]) -> None:
    told = set(re.findall(r"`(unichat_\w+)`", PAGE))

    assert told == {name.removesuffix("_bucket") for name in known if not name.endswith(("_sum", "_count"))}


def test_the_scrape_is_as_the_service_wants_it() -> None:
    (job,) = yaml.safe_load(SCRAPE.read_text())["scrape_configs"]

    assert job["metrics_path"] == "/metrics"
    assert Path(job["authorization"]["credentials_file"]).name == "metrics_token"
    assert yaml.safe_load(SCRAPE.read_text())["rule_files"] == [ALERTS.name]
