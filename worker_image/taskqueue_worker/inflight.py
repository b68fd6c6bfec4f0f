"""The messages that this worker holds, and what it knows of each."""

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from taskqueue_api.messages import TaskUid, is_dead_letter
from taskqueue_worker.deliveries import OutsideMessage, Tag, TaskMessage

_DONE_KEPT = 1000
"""More than can be unacknowledged; what is beyond that is told from its Task's status."""

Key = tuple[TaskUid, int, int]


class State(Enum):
    """Where an entry stands."""

    WAITING = auto()
    """For a slot."""
    LIMITED = auto()
    """A slot has it, and waits until the limits of the TaskQueue let it start."""
    PARKED = auto()
    """Until it is judged again."""
    CLAIMING = auto()
    """A slot has it, and asks whether it may start."""
    ACTIVE = auto()
    """Being run or finished: never to be started a second time."""
    FORGOTTEN = auto()
    """Done, given back, or lost with its connection before it was started."""


@dataclass
class Entry:
    """One piece of work. tags: of every message that asks for it."""

    message: TaskMessage | OutsideMessage
    tags: list[Tag] = field(default_factory=list)
    state: State = State.WAITING
    parkings: int = 0


class Inflight:
    """All entries; those of Tasks by UID, run and attempt, as their messages name them."""

    def __init__(self) -> None:
        self._all: dict[int, Entry] = {}
        self._by_key: dict[Key, Entry] = {}
        self._done: OrderedDict[Key, None] = OrderedDict()

    def admit(self, message: TaskMessage | OutsideMessage) -> Entry | None:
        """Return the new entry of a message; None when its work is known.

        It then lends its tag to the entry that is there, as after a lost connection.
        """
        key = _key(message)
        known = None if key is None else self._by_key.get(key)
        if known is not None:
            known.tags.append(message.delivery.tag)
            return None
        entry = Entry(message, [message.delivery.tag])
        self._all[id(entry)] = entry
        if key is not None:
            self._by_key[key] = entry
        return entry

    def is_done(self, message: TaskMessage | OutsideMessage) -> bool:
        """Return whether this work was finished here lately, so that only the ack is missing.

        Never of a dead letter that was put back: its Task may be unfinished, when the API server
        took no outcome.
        """
        return _key(message) in self._done and not is_dead_letter(message.delivery.headers)

    def finish(self, entry: Entry) -> None:
        """Take note that nothing but an acknowledgement can be left to do."""
        self.forget(entry)
        key = _key(entry.message)
        if key is not None:
            self._done[key] = None
            if len(self._done) > _DONE_KEPT:
                self._done.popitem(last=False)

    def forget(self, entry: Entry) -> None:
        """Drop an entry; should its message come again, it is new."""
        entry.state = State.FORGOTTEN
        self._all.pop(id(entry), None)
        key = _key(entry.message)
        if key is not None and self._by_key.get(key) is entry:
            del self._by_key[key]

    def lose(self, is_current: Callable[[Tag], bool]) -> None:
        """Drop tags that mean nothing any more, and what was not started with them."""
        for entry in list(self._all.values()):
            entry.tags = [tag for tag in entry.tags if is_current(tag)]
            if not entry.tags and entry.state not in (State.CLAIMING, State.ACTIVE):
                self.forget(entry)

    def held(self, *states: State) -> list[Entry]:
        """Return the entries in any of these states."""
        return [entry for entry in self._all.values() if entry.state in states]


def _key(message: TaskMessage | OutsideMessage) -> Key | None:
    if isinstance(message, OutsideMessage):
        return None
    return message.uid, message.headers.run, message.headers.attempt
