"""The page on scaling shows what the API and the simulator say."""

import re
from pathlib import Path

import yaml

from bench.scaling.patterns import PATTERNS
from bench.scaling.report import SECONDS, build_autoscalers, build_rows
from taskqueue_api.scaling import ScalingSpec

PAGE = (Path(__file__).parents[2] / "docs/scaling.md").read_text(encoding="utf-8")
TABLE = [line for line in PAGE.partition("## Compared")[2].splitlines() if line.startswith("|")]


def test_the_example_shows_the_defaults() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    scaling = yaml.safe_load(block)["spec"]["workers"]["scaling"]
    assert scaling == ScalingSpec().model_dump(by_alias=True, exclude_none=True)


def test_the_table_has_a_line_for_each_run() -> None:
    runs = len(PATTERNS) * len(SECONDS) * len(build_autoscalers())
    assert len(TABLE) == 2 + runs


def test_the_table_is_what_the_simulator_prints() -> None:
    # Those of long Tasks, which are few; all the others follow from the same code.
    lines = list(build_rows(list(PATTERNS), [60.0], seed=1))
    assert len(lines) == 2 + len(PATTERNS) * len(build_autoscalers())
    assert [line for line in TABLE if line in lines] == lines
