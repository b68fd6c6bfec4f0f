"""What the worker counts, for Prometheus. No label is unbounded."""

from prometheus_client import Counter, Gauge, Histogram

_HANDLERS_MAX = 100
UNKNOWN_HANDLER = "unknown"

STARTED = Counter("taskqueue_worker_tasks_started", "Handlers started.", ["handler"])
FINISHED = Counter("taskqueue_worker_tasks_finished", "Runs ended.", ["handler", "outcome"])
DURATION = Histogram(
    "taskqueue_worker_run_seconds",
    "How long handlers ran.",
    ["handler"],
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 1800, 7200),
)
SLOTS = Gauge("taskqueue_worker_slots", "Tasks that can run at once.")
BUSY = Gauge("taskqueue_worker_slots_busy", "Tasks that run now.")
LIMITED = Gauge("taskqueue_worker_limited", "Tasks with a slot that wait for a limit.")
RECONNECTS = Counter("taskqueue_worker_broker_reconnects", "Connections to RabbitMQ lost.")
UNROUTED = Counter("taskqueue_worker_unrouted", "Messages that belong to another cluster.")
DUPLICATES = Counter("taskqueue_worker_duplicates", "Messages of a Task in work here already.")
GIVEN_BACK = Counter(
    "taskqueue_worker_given_back", "Messages given back, as no slot became free for them."
)
DEAD_LETTERS = Counter("taskqueue_worker_dead_letters", "Messages published as dead letters.")
RETRIES = Counter("taskqueue_worker_retries", "Attempts followed by another.", ["handler"])
CLAIMS = Counter("taskqueue_worker_claims", "Messages judged, by path.", ["path"])
STATUS_WRITES = Counter("taskqueue_worker_status_writes", "Status patches.", ["kind", "result"])
BAD_HINTS = Counter("taskqueue_worker_bad_hints", "Control messages that could not be read.")


class HandlerLabels:
    """Handler names as label values, of which there are never more than a few."""

    def __init__(self, known: frozenset[str] | None) -> None:
        """known: the names registered; None: any (exec, http), so the first ones seen are kept."""
        self._known = known
        self._seen: set[str] = set()

    def label(self, handler: str) -> str:
        """Return the label value for a handler's name."""
        if self._known is not None:
            return handler if handler in self._known else UNKNOWN_HANDLER
        if handler not in self._seen and len(self._seen) < _HANDLERS_MAX:
            self._seen.add(handler)
        return handler if handler in self._seen else UNKNOWN_HANDLER
