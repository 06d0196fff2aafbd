"""Metrics as Prometheus reads them: the one file that knows its library."""

from collections.abc import Iterable, Iterator

from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from dolmen.runtime.metrics import Histogram, Kind, Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class _Given(Collector):
    """Families of the metrics of one moment."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def describe(self) -> Iterable[Family]:
        return ()

    def collect(self) -> Iterator[Family]:
        return map(_family, self._metrics)


def exposition(metrics: Iterable[Metric]) -> bytes:
    """Return these metrics, and those of the process, as text."""
    registry = CollectorRegistry(auto_describe=False)
    ProcessCollector(registry=registry)
    registry.register(_Given(metrics))
    return generate_latest(registry)


def _family(metric: Metric) -> Family:
    names = list(metric.samples[0].labels) if metric.samples else []
    if metric.kind is Kind.HISTOGRAM:
        return _histogram_family(metric, names)
    family: CounterMetricFamily | GaugeMetricFamily
    if metric.kind is Kind.COUNTER:
        family = CounterMetricFamily(metric.name, metric.help, labels=names)
    else:
        family = GaugeMetricFamily(metric.name, metric.help, labels=names)
    for sample in metric.samples:
        assert not isinstance(sample.value, Histogram), f"{metric.name} is no histogram"
        family.add_metric(list(sample.labels.values()), sample.value)
    return family


def _histogram_family(metric: Metric, names: list[str]) -> Family:
    family = HistogramMetricFamily(metric.name, metric.help, labels=names)
    for sample in metric.samples:
        assert isinstance(sample.value, Histogram), f"{metric.name} is a histogram"
        family.add_metric(list(sample.labels.values()), _buckets(sample.value), sample.value.total)
    return family


def _buckets(taken: Histogram) -> list[tuple[str, float]]:
    """Return (upper bound, values up to it)."""
    buckets, sum_so_far = [], 0
    for bound, count in zip((*map(str, taken.bounds), "+Inf"), taken.counts, strict=True):
        sum_so_far += count
        buckets.append((bound, float(sum_so_far)))
    return buckets
