"""Gauges of many series, of which nothing is kept but the values.

A labelled Gauge of prometheus_client keeps an object with a lock for each series, 1.3 KB; there are
a dozen series for each TaskQueue.
"""

from collections.abc import Iterator, Sequence

from prometheus_client import REGISTRY
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector


class Gauges(Collector):
    """One gauge, by labels. Not for threads: the operator has one."""

    def __init__(self, name: str, documentation: str, labels: Sequence[str]) -> None:
        self._name = name
        self._documentation = documentation
        self._labels = list(labels)
        self._values: dict[tuple[str, ...], float] = {}
        REGISTRY.register(self)

    def set(self, labels: Sequence[str], value: float) -> None:
        """Set the value of one series."""
        self._values[tuple(labels)] = value

    def remove(self, labels: Sequence[str]) -> None:
        """Show a series no longer, if it is there."""
        self._values.pop(tuple(labels), None)

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge without its values, for the registry."""
        yield GaugeMetricFamily(self._name, self._documentation, labels=self._labels)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the gauge."""
        family = GaugeMetricFamily(self._name, self._documentation, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        yield family
