"""Draw pictures into SVG files, the same for the same figures.

A program of its own environment: `python draw.py FOLDER`, the pictures as JSON on the standard
input, as `pictures.Picture` has them.
"""

import json
import sys
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

STYLE = {
    # Names within the file are hashes, of this instead of chance.
    "svg.hashsalt": "taskqueue",
    # Letters stay letters: the file is small, and can be searched.
    "svg.fonttype": "none",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "grid.color": "#dddddd",
    "axes.prop_cycle": mpl.cycler(color=["#0072b2", "#e69f00", "#009e73", "#cc79a7"]),
}
_INCHES = (3.2, 3.0)
_ACROSS = 3
_BAR_SPACE = 0.8


def draw_bars(axes: Any, panel: dict[str, Any]) -> None:
    """Draw a group of bars for each place, with the least and the most of the runs."""
    width = _BAR_SPACE / len(panel["series"])
    for number, series in enumerate(panel["series"]):
        offset = (number - (len(panel["series"]) - 1) / 2) * width
        known = [(at, value) for at, value in enumerate(series["values"]) if value is not None]
        bars = axes.bar(
            [at + offset for at, _ in known],
            [value[0] for _, value in known],
            width,
            label=series["label"],
            yerr=errors_of([value for _, value in known]),
            error_kw={"elinewidth": 0.8, "capsize": 2},
        )
        axes.bar_label(bars, fmt=written, fontsize=6, padding=2)
    axes.set_xticks(range(len(panel["places"])), panel["places"])


def draw_lines(axes: Any, panel: dict[str, Any]) -> None:
    """Draw a line over numbers of Tasks, whose scale is one of powers."""
    for series in panel["series"]:
        pairs = zip(panel["places"], series["values"], strict=True)
        known = [(at, value) for at, value in pairs if value is not None]
        axes.errorbar(
            [at for at, _ in known],
            [value[0] for _, value in known],
            yerr=errors_of([value for _, value in known]),
            label=series["label"],
            marker="o",
            markersize=3,
            capsize=2,
        )
    axes.set_xscale("log")
    axes.set_xticks(panel["places"], [f"{number:,}" for number in panel["places"]])
    axes.minorticks_off()
    axes.set_xlabel("Tasks there")
    axes.set_ylim(bottom=0)


def errors_of(values: list[list[float]]) -> list[list[float]]:
    """Return how far the runs reach below and above the middle ones."""
    below = [median - least for median, least, _ in values]
    return [below, [most - median for median, _, most in values]]


def written(value: float) -> str:
    """Return three significant digits, without a power of ten."""
    short = float(f"{value:.3g}")
    return f"{short:,.0f}" if short.is_integer() else f"{short:g}"


def draw(picture: dict[str, Any], folder: Path) -> Path:
    """Draw one picture; return its file."""
    panels = picture["panels"]
    across = min(len(panels), _ACROSS if len(panels) != _ACROSS + 1 else 2)
    down = -(-len(panels) // across)
    size = (max(1.6, across) * _INCHES[0], down * _INCHES[1])
    figure, grid = plt.subplots(down, across, squeeze=False, figsize=size, layout="constrained")
    for axes, panel in zip(grid.flat, panels, strict=False):
        numbers = isinstance(panel["places"][0], int)
        (draw_lines if numbers else draw_bars)(axes, panel)
        axes.set_title(panel["title"], fontsize=9)
        axes.set_ylabel(panel["unit"])
        if len(panel["series"]) > 1:
            axes.legend(fontsize=7, frameon=False)
    for axes in list(grid.flat)[len(panels) :]:
        axes.remove()
    figure.suptitle(f"{picture['title']}\n{picture['source']}", fontsize=9)
    path = folder / f"{picture['name']}.svg"
    figure.savefig(path, format="svg", metadata={"Date": None})
    plt.close(figure)
    return path


def main() -> int:
    """Draw all pictures of the standard input."""
    mpl.use("svg")
    mpl.rcParams.update(STYLE)
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for picture in json.load(sys.stdin):
        print(draw(picture, folder))
    return 0


if __name__ == "__main__":
    sys.exit(main())
