"""What the file of results says is what was measured."""

import json
from pathlib import Path

import pytest

from bench.__main__ import describe
from bench.figures import Figure
from bench.results import ResultsError, read_results

FIGURE = '{"commit": "c", "machine": "m", "figures": [{"name": "n", "unit": "s", "runs": %s}]}'


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


@pytest.mark.parametrize(
    ("text", "words"),
    [
        pytest.param("{}", "commit: Field required", id="nothing"),
        pytest.param("[]", "object", id="a list"),
        pytest.param('{"commit": ', "Invalid JSON", id="cut off"),
        pytest.param(FIGURE % "[]", "figures.0.runs: .*at least 1", id="no runs"),
        pytest.param(FIGURE % '["a"]', "figures.0.runs.0: .*number", id="no number"),
        pytest.param(FIGURE % "[NaN]", "figures.0.runs.0: .*finite", id="not a number"),
    ],
)
def test_anything_else_is_refused_in_words(tmp_path: Path, text: str, words: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(ResultsError, match=f"results.json.*{words}"):
        read_results(path)
