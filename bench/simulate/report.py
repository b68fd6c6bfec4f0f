"""The outlooks for people: a Markdown table, and what to do about what is too small."""

from collections.abc import Callable, Iterator, Sequence

from bench.simulate.costs import Costs
from bench.simulate.model import (
    ADVISED_QUOTA,
    BUSY,
    DEFAULT_QUOTA,
    Load,
    Outlook,
    Part,
    Room,
    decide_advice,
    find_outlook,
)

FACTORS = (1, 10, 100)
BASE = Load(rate=10.0, kept=10_000)
UNKNOWN = "not measured"

Row = tuple[str, Callable[[Outlook], str]]


def build_lines(costs: Costs, base: Load = BASE, room: Room | None = None) -> Iterator[str]:
    """Yield the table's lines, and a list of what to do at the largest load."""
    outlooks = [find_outlook(costs, base.times(factor), room or Room()) for factor in FACTORS]
    yield _line(["", *(f"{factor}x" for factor in FACTORS)])
    yield _line(["---", *("---:" for _ in FACTORS)])
    for head, show in ROWS:
        yield _line([head, *(show(outlook) for outlook in outlooks)])
    small = [need for need in outlooks[-1].needs if not need.is_met]
    yield ""
    if not small:
        yield f"Nothing is too small at {FACTORS[-1]}x."
        return
    yield f"At {FACTORS[-1]}x, in this order:"
    yield ""
    for number, need in enumerate(small, 1):
        yield f"{number}. **{need.part}**: {decide_advice(need)}"


def describe_source(costs: Costs) -> str:
    """Return where the costs come from."""
    text = f"By the costs of {costs.source}."
    if costs.assumed:
        text += f" Those of {', '.join(costs.assumed)} are not in it; they are of an earlier one."
    return text


def _cores(part: Part) -> Callable[[Outlook], str]:
    return lambda outlook: _number(outlook.by_part[part].amount)


def _operator(outlook: Outlook) -> str:
    need = outlook.by_part[Part.OPERATOR]
    return f"{_number(need.amount)} in {need.pieces}"


def _size(part: Part) -> Callable[[Outlook], str]:
    def show(outlook: Outlook) -> str:
        need = outlook.by_part.get(part)
        return UNKNOWN if need is None else f"{_number(need.amount / 1e9)} GB"

    return show


def _quotas(outlook: Outlook) -> str:
    used = outlook.by_part[Part.ETCD_SIZE].amount
    return "; ".join(_percent(used / quota) for quota in (DEFAULT_QUOTA, ADVISED_QUOTA))


def _first(outlook: Outlook) -> str:
    need = outlook.needs[0]
    return f"{need.part}, {_percent(need.share)}"


def _too_small(outlook: Outlook) -> str:
    return str(sum(not need.is_met for need in outlook.needs))


def _number(value: float) -> str:
    """Return two significant digits."""
    return f"{float(f'{value:.2g}'):g}"


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


ROWS: Sequence[Row] = (
    ("Tasks a second", lambda outlook: f"{outlook.load.rate:,.0f}"),
    ("finished Tasks that stay", lambda outlook: f"{outlook.load.kept:,}"),
    ("API server, cores", _cores(Part.API_SERVER)),
    ("etcd, cores", _cores(Part.ETCD)),
    ("RabbitMQ, cores", _cores(Part.RABBITMQ)),
    ("operator, cores in how many releases", _operator),
    ("workers, cores beside what handlers take", lambda outlook: _number(outlook.worker_cores)),
    ("etcd, size", _size(Part.ETCD_SIZE)),
    ("of a quota of 2 GiB; of 8 GiB", _quotas),
    ("operator, memory", _size(Part.OPERATOR_MEMORY)),
    ("first limit, and how much of its room is used", _first),
    (f"parts that are too small, with over {_percent(BUSY)}", _too_small),
)
