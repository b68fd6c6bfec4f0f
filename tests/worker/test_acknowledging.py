"""One acknowledgement for many settles what was acknowledged, and nothing else."""

from hypothesis import given
from hypothesis import strategies as st

from taskqueue_worker.acknowledging import Ack, Unsettled

STEPS = st.lists(
    st.tuples(st.sampled_from(["deliver", "gap", "collect", "give back", "take"]), st.integers(0)),
    max_size=60,
)


class Broker:
    """What RabbitMQ knows of a channel. open: numbers of the messages that are not settled."""

    def __init__(self) -> None:
        self.delivered = 0
        self.open: set[int] = set()
        self.acked: set[int] = set()

    def deliver(self) -> None:
        self.delivered += 1
        self.open.add(self.delivered)

    def take(self, ack: Ack) -> None:
        assert ack.number in self.open, "RabbitMQ closes the channel: unknown delivery tag"
        settled = {n for n in self.open if n == ack.number or (ack.multiple and n < ack.number)}
        self.open -= settled
        self.acked |= settled


@given(STEPS)
def test_what_is_acknowledged_is_what_was_collected(steps: list[tuple[str, int]]) -> None:
    broker, unsettled = Broker(), Unsettled()
    held: list[int] = []
    collected: set[int] = set()
    for step, choice in [*steps, ("take", 0)]:
        if step == "deliver":
            broker.deliver()
            unsettled.add(broker.delivered)
            held.append(broker.delivered)
        elif step == "gap":  # pika gives it back
            broker.delivered += 1
        elif step == "take":
            assert unsettled.collected == len(collected - broker.acked)
            for ack in unsettled.take():
                broker.take(ack)
            assert broker.acked == collected
            assert unsettled.collected == 0
        elif held:
            number = held.pop(choice % len(held))
            if step == "collect":
                unsettled.collect(number)
                collected.add(number)
            else:
                unsettled.settle(number)
                broker.open.remove(number)
    assert broker.open == set(held)


def test_one_speaks_for_all_up_to_the_first_that_is_open() -> None:
    unsettled = Unsettled()
    for number in range(1, 8):
        unsettled.add(number)
    for number in (3, 1, 2, 6, 5):
        unsettled.collect(number)
    assert list(unsettled.take()) == [Ack(3, multiple=True), Ack(5, False), Ack(6, False)]
    unsettled.settle(4)
    unsettled.collect(7)
    assert list(unsettled.take()) == [Ack(7, multiple=False)]
    assert list(unsettled.take()) == []


def test_it_keeps_nothing_of_what_is_settled() -> None:
    """Also beside one that stays open, and after a number that was never heard of."""
    unsettled = Unsettled()
    unsettled.add(2)
    for number in range(3, 1000):
        unsettled.add(number)
        unsettled.collect(number)
        list(unsettled.take())
    assert list(unsettled._open) == [2]
