"""Alert rules and the dashboard ask for metrics that there are."""

import json
import re
from collections.abc import Iterable
from importlib import import_module
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import SecretStr

from app.settings import Settings
from services.metrics import Metrics
from tests.app.conftest import Api

DEPLOY = Path(__file__).parents[2] / "deploy"
# Comes with the tools of the tests, without types.
yaml: Any = import_module("yaml")
RULES = yaml.safe_load((DEPLOY / "prometheus-alerts.yml").read_text())
DASHBOARD = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
ALERTS = {rule["alert"]: rule["expr"] for group in RULES["groups"] for rule in group["rules"]}
PANELS = {panel["title"]: [target["expr"] for target in panel["targets"]] for panel in DASHBOARD["panels"]}
# Prometheus' own.
THEIRS = {"up"}
SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_count", "_sum"), "gauge": ("",)}


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"metrics_token": SecretStr("a-token")})


async def there_are(http: httpx.AsyncClient) -> dict[str, str]:
    """Every series of a real scrape, and the kind of its metric."""
    text = (await http.get("/metrics", headers={"authorization": "Bearer a-token"})).text
    return {
        family.name + suffix: family.type
        for family in text_string_to_metric_families(text)
        for suffix in SUFFIXES.get(family.type, ("",))
    }


def named(expression: str) -> set[str]:
    """The series that an expression asks for."""
    without_labels = re.sub(r"\{[^}]*\}|\bby \([^)]*\)|ignoring\([^)]*\)", "", expression)
    return set(re.findall(r"\b(?:signoff|process|up)\w*", without_labels))


async def test_every_metric_that_is_asked_for_exists(api: Api) -> None:
    exist = await there_are(api.http)
    expressions = [*ALERTS.values(), *(expression for found in PANELS.values() for expression in found)]
    asked = set().union(*map(named, expressions))

    assert len(asked) > 15
    assert asked - exist.keys() - THEIRS == set()


async def test_only_counters_are_asked_for_rates(api: Api) -> None:
    exist = await there_are(api.http)
    for expression in [*ALERTS.values(), *(found for panel in PANELS.values() for found in panel)]:
        for series in re.findall(r"(?:rate|increase)\((\w+)", expression):
            assert exist[series] in {"counter", "histogram"}, expression


def test_an_alert_tells_what_to_do() -> None:
    for group in RULES["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in {"page", "warn"}
            assert len(rule["annotations"]["summary"]) > 30
            assert rule["expr"].count("(") == rule["expr"].count(")")


def test_labels_that_are_asked_for_are_those_that_there_are() -> None:
    metrics = Metrics()
    labels: dict[str, set[str]] = {}
    # The library tells of neither elsewhere.
    instruments = cast("Iterable[Any]", metrics.registry._collector_to_names)  # noqa: SLF001
    for instrument in instruments:
        if hasattr(instrument, "_labelnames"):
            labels[instrument._name] = set(instrument._labelnames)  # noqa: SLF001
    # Our own are told by what they have counted.
    metrics.answered("/graphql", 200, 0.0)
    for family in metrics.registry.collect():
        labels.setdefault(family.name, {label for sample in family.samples for label in sample.labels})
    for expression in [*ALERTS.values(), *(found for panel in PANELS.values() for found in panel)]:
        for series, selector in re.findall(r"\b(signoff_\w+)\{([^}]*)\}", expression):
            name = re.sub(r"_(total|bucket|count|sum)$", "", series)
            asked = set(re.findall(r"(\w+)\s*(?:=|!=|=~|!~)", selector))
            assert asked <= labels[name] | {"job", "instance"}, expression


def test_panels_do_not_lie_on_each_other() -> None:
    places = [tuple(panel["gridPos"].values()) for panel in DASHBOARD["panels"]]
    assert len(set(places)) == len(places)
    assert {panel["gridPos"]["w"] for panel in DASHBOARD["panels"]} == {8}
