"""What a short Task costs: one write of ours, and each message once through RabbitMQ."""

from datetime import timedelta
from typing import Any

from e2e.audit import Request, requests_for_tasks
from e2e.faults.test_api_server import of_this_machine
from e2e.manifests import task
from e2e.space import Space

COUNT = 40
ADMINISTRATOR = "kubernetes-admin"


def message_stats(space: Space) -> dict[str, Any]:
    """Return what RabbitMQ has counted of the work queue, as of some seconds ago."""
    rabbit = space.system.rabbit
    queue = rabbit.manage("GET", "queues", rabbit.vhost, space.work_queue("emails"))
    found: dict[str, Any] = queue.get("message_stats", {})
    return found


@of_this_machine
def test_a_short_task_is_one_write_and_one_message(space: Space) -> None:
    space.apply(space.scenario_queue("emails", {"concurrency": 4}))
    space.wait_workers("emails", 1)
    space.apply(task("warm", "emails", "echo"))
    # A Task that a worker may have missed a hint at is read first; it hears them since its start.
    space.wait_older(space.wait_task("warm", "Succeeded"), timedelta(seconds=4))
    with requests_for_tasks(space.name) as requests:
        space.create_all(task(f"t{n}", "emails", "echo") for n in range(COUNT))
        space.wait_tasks(COUNT + 1)
    ours = {
        request: count
        for request, count in requests.counts.items()
        if request.who in ("operator", "worker") and request.verb != "list"
    }
    assert ours == {Request("worker", "patch", "tasks/status"): COUNT}
    # The operator's counts: a few, however many Tasks there are.
    assert requests.of("operator", "list") < COUNT / 2
    assert requests.of(ADMINISTRATOR, "create") == COUNT

    def all_counted() -> dict[str, Any] | None:
        stats = message_stats(space)
        return stats if stats.get("ack") == COUNT + 1 else None

    stats = space.wait("all messages are acknowledged", all_counted)
    assert stats["publish"] == COUNT + 1
    assert stats["deliver"] + stats.get("get", 0) == COUNT + 1
    assert stats.get("redeliver", 0) == 0
    assert stats.get("get_empty", 0) == 0
