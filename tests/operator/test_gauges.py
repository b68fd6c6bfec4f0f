"""Gauges whose series are values and nothing else."""

from prometheus_client import REGISTRY, generate_latest

from taskqueue_operator.gauges import Gauges


def test_a_series_is_shown_until_it_is_removed() -> None:
    gauges = Gauges("test_gauges", "A gauge.", ["namespace", "queue"])
    try:
        gauges.set(("shop", "emails"), 3)
        gauges.set(("shop", "emails"), 4)
        gauges.set(("shop", 'odd"\\'), 1.5)
        shown = generate_latest(REGISTRY).decode()
        assert "# HELP test_gauges A gauge.\n# TYPE test_gauges gauge\n" in shown
        assert 'test_gauges{namespace="shop",queue="emails"} 4.0\n' in shown
        assert 'test_gauges{namespace="shop",queue="odd\\"\\\\"} 1.5\n' in shown
        gauges.remove(("shop", "emails"))
        gauges.remove(("shop", "emails"))
        labels = {"namespace": "shop", "queue": "emails"}
        assert REGISTRY.get_sample_value("test_gauges", labels) is None
    finally:
        REGISTRY.unregister(gauges)
