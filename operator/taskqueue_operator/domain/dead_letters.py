"""Dead letters: how many there are, and when that is told."""

from dataclasses import dataclass, replace

from taskqueue_api.names import dead_letter_queue
from taskqueue_operator.domain.dispatching import QueueKey

TOLD_SECONDS = 600.0
"""Between two Events about one TaskQueue's dead letters."""


@dataclass(frozen=True)
class LetterCount:
    """How many dead letters a TaskQueue has, as far as is known.

    number: None: not known yet.
    empty: the last reading said that there are none, and is not believed yet.
    told: how many were last told of, or how few there have been since.
    told_at: when, in the seconds of any steady clock; None: never.
    """

    number: int | None = None
    empty: bool = False
    told: int = 0
    told_at: float | None = None

    def read(self, number: int) -> "LetterCount":
        """Return what a reading makes of it.

        A quorum queue that has no leader, or is slow, answers 0: after more than that, only a
        second 0 is believed.
        """
        if number == 0 and self.number and not self.empty:
            return replace(self, empty=True)
        return replace(self, number=number, empty=False, told=min(self.told, number))

    def is_news(self, now: float) -> bool:
        """Return whether there are more than were told of, and nothing was told lately."""
        quiet = self.told_at is None or now - self.told_at >= TOLD_SECONDS
        return quiet and self.number is not None and self.number > self.told

    def tell(self, now: float) -> "LetterCount":
        """Return it as of when its number has been told."""
        return replace(self, told=self.number or 0, told_at=now)

    def untell(self, before: "LetterCount") -> "LetterCount":
        """Return it as if nothing had been told since `before`."""
        return replace(self, told=min(self.told, before.told), told_at=before.told_at)


def start_count(stored: int | None) -> LetterCount:
    """Return the count to start with. stored: what an earlier operator has written, and told."""
    return LetterCount(number=stored, told=stored or 0)


def describe_letters(key: QueueKey, number: int) -> str:
    """Return what an Event says of them."""
    failed = f"--field-selector=spec.queue={key.name},status.phase=Failed"
    return (
        f"messages in the dead-letter queue '{dead_letter_queue(*key)}' in RabbitMQ: {number}; "
        f"`kubectl -n {key.namespace} get tasks.taskqueue.dev {failed}` shows the Tasks among "
        "them; docs/dead-letters.md tells how to look at the others, and to put them back"
    )
