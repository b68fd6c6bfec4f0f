"""bench/results.json: where it is, and what it says."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field, FiniteFloat, ValidationError

from bench.figures import Figure

RESULTS = Path(__file__).parent / "results.json"


@dataclass(frozen=True)
class Results:
    """What a benchmark of all parts gave. figures: by name."""

    commit: str
    machine: str
    figures: Mapping[str, Figure]

    def median(self, name: str) -> float | None:
        """Return the middle of a figure's runs; None: it was not measured."""
        figure = self.figures.get(name)
        return None if figure is None else figure.median


class ResultsError(Exception):
    """The file is no results of a benchmark; the message says where and why."""


class _Figure(BaseModel):
    name: str
    unit: str
    runs: Annotated[tuple[FiniteFloat, ...], Field(min_length=1)]


class _Document(BaseModel):
    commit: str
    machine: str
    figures: list[_Figure]


def parse_results(text: str | bytes) -> Results:
    """Return what a document of `python -m bench` says. Raises ResultsError."""
    try:
        document = _Document.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ResultsError(f"{place}: {first['msg']}" if place else first["msg"]) from error
    figures = {one.name: Figure(one.name, one.unit, one.runs) for one in document.figures}
    return Results(document.commit, document.machine, figures)


def read_results(path: Path = RESULTS) -> Results | None:
    """Return the results of a file; None: there is none. Raises ResultsError."""
    if not path.exists():
        return None
    try:
        return parse_results(path.read_bytes())
    except OSError as error:
        raise ResultsError(f"{path} cannot be read: {error.strerror}") from error
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}") from error
