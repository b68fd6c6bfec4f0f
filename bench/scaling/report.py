"""Runs of all patterns with all autoscalers, and the table that shows them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from random import Random

from bench.scaling.autoscalers import Hpa, Keda, Operator
from bench.scaling.patterns import PATTERNS
from bench.scaling.pods import Autoscaler
from bench.scaling.world import Outcome, World
from taskqueue_api.taskqueue import WorkersSpec
from taskqueue_operator.domain.scaling import Policy, read_policy

CONCURRENCY = 4
MAXIMUM = 20
SECONDS = (0.2, 1.0, 60.0)
"""How long a Task usually takes."""

TIMEOUT = 300.0

HEADINGS = (
    ("Tasks", ""),
    ("autoscaler", ""),
    ("mean wait, s", ":"),
    ("p95 wait, s", ":"),
    ("pod-hours", ":"),
    ("flaps", ":"),
    ("killed", ":"),
)
"""The heads of the table; `:` for those of numbers, which stand to the right."""


@dataclass(frozen=True)
class Figures:
    """What a run comes to. mean, p95: of the wait, seconds; flaps: changes of direction."""

    mean: float
    p95: float
    pod_seconds: float
    flaps: int
    killed: int


def build_policy(scaling: dict[str, object]) -> Policy:
    """Return a policy of the API's defaults but for what is given, as in `workers.scaling`."""
    spec = {"handlers": {}, "concurrency": CONCURRENCY, "scaling": scaling}
    policy = read_policy(WorkersSpec.model_validate(spec))
    assert policy is not None  # noqa: S101 - there is a scaling
    return policy


def build_autoscalers() -> list[Autoscaler]:
    """Return new ones, each with the same bounds and the same load per pod."""
    policy = build_policy({"maxReplicas": MAXIMUM})
    calm = build_policy(
        {
            "maxReplicas": MAXIMUM,
            "scaleUp": {"stabilization": "2s"},
            "scaleDown": {"stabilization": "5m"},
        }
    )
    return [
        Operator(policy, TIMEOUT),
        Operator(calm, TIMEOUT, name="this operator, 2s up, 5m down"),
        Keda(MAXIMUM, CONCURRENCY),
        Hpa(1, MAXIMUM, CONCURRENCY),
    ]


def run(pattern: str, seconds: float, autoscaler: Autoscaler, seed: int) -> Outcome:
    """Return what comes of one run. seconds: that a Task usually takes."""
    arrivals = list(PATTERNS[pattern](Random(f"{seed} {pattern} {seconds}"), seconds))  # noqa: S311
    return World(arrivals, autoscaler, CONCURRENCY).run()


def summarise(outcome: Outcome) -> Figures:
    """Return the figures of a run in which all Tasks have ended."""
    waits = sorted(job.wait for job in outcome.jobs if job.wait is not None)
    changes = [after - before for before, after in pairwise(outcome.replicas)]
    return Figures(
        mean=sum(waits) / len(waits),
        p95=waits[int(0.95 * (len(waits) - 1))],
        pod_seconds=outcome.pod_seconds,
        flaps=sum(one * other < 0 for one, other in pairwise(changes)),
        killed=outcome.killed,
    )


def build_rows(
    patterns: Sequence[str],
    lengths: Sequence[float],
    seed: int,
    build: Callable[[], list[Autoscaler]] = build_autoscalers,
) -> Iterator[str]:
    """Yield the lines of a Markdown table, one per run."""
    yield _line(head for head, _ in HEADINGS)
    yield _line("---" + side for _, side in HEADINGS)
    for pattern in patterns:
        for seconds in lengths:
            for autoscaler in build():
                figures = summarise(run(pattern, seconds, autoscaler, seed))
                yield _line(
                    (
                        f"{pattern}, {seconds:g} s",
                        autoscaler.name,
                        f"{figures.mean:.1f}",
                        f"{figures.p95:.1f}",
                        f"{figures.pod_seconds / 3600:.1f}",
                        str(figures.flaps),
                        str(figures.killed),
                    )
                )


def _line(cells: Iterator[str] | Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
