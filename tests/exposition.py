"""What an application tells Prometheus, as tests look at it."""

from dataclasses import dataclass

from flask_openapi import OpenAPI
from prometheus_client.parser import text_string_to_metric_families

Key = tuple[str, frozenset[tuple[str, str]]]


@dataclass(frozen=True)
class Figures:
    """One scrape; the difference of two is what has happened between them."""

    samples: dict[Key, float]

    @classmethod
    def parse(cls, text: str) -> "Figures":
        samples: dict[Key, float] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                key = (sample.name, frozenset(sample.labels.items()))
                assert key not in samples, key
                samples[key] = sample.value
        return cls(samples)

    def total(self, name: str, **labels: str) -> float:
        """The sum of all series of that name with these labels."""
        return sum(self._found(name, labels))

    def value(self, name: str, **labels: str) -> float:
        """The same, where there must be such a series."""
        found = self._found(name, labels)
        assert found, (name, labels)
        return sum(found)

    def _found(self, name: str, labels: dict[str, str]) -> list[float]:
        wanted = frozenset(labels.items())
        return [value for (found, has), value in self.samples.items() if found == name and wanted <= has]

    def __sub__(self, before: "Figures") -> "Figures":
        return Figures({key: value - before.samples.get(key, 0) for key, value in self.samples.items()})


def scrape(app: OpenAPI, token: str) -> Figures:
    """Ask an application in this process."""
    answer = app.test_client().get("/metrics", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 200, answer.get_data(as_text=True)
    return Figures.parse(answer.get_data(as_text=True))
