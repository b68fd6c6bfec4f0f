"""What the file of results says is what was measured."""

import json
from pathlib import Path

import pytest

from bench.__main__ import describe
from bench.figures import Figure
from bench.results import parse_results, read_results


def test_what_the_benchmark_writes_is_read(tmp_path: Path) -> None:
    figures = [Figure("tasks", "1/s", (150.0, 170.0, 160.0)), Figure("jobs", "1/s", (2.5, 2.6, 2))]
    path = tmp_path / "results.json"
    path.write_text(json.dumps(describe(figures, 3)))
    results = read_results(path)
    assert results is not None
    assert list(results.figures.values()) == figures
    assert (results.median("tasks"), results.median("other")) == (160.0, None)
    assert "processors" in results.machine


def test_there_may_be_none(tmp_path: Path) -> None:
    assert read_results(tmp_path / "results.json") is None


def test_anything_else_is_refused() -> None:
    with pytest.raises(KeyError):
        parse_results({"tasks": 1})
