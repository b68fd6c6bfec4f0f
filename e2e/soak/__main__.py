"""`python -m e2e.soak`: random Tasks, random faults, and an account of what became of them."""

import argparse
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import httpx

from e2e import release
from e2e.api import ApiError
from e2e.kubectl import Kubectl
from e2e.manifests import task
from e2e.node.console import say
from e2e.recorder import start_recorder
from e2e.soak.accounting import settle_accounts, show
from e2e.soak.faults import Breaker
from e2e.soak.plan import QUEUES, NewTask, Plan, make_plan
from e2e.space import Space
from e2e.system import name_of

_END_SECONDS = 300.0
_AWAY_PAUSE_SECONDS = 0.5
_FINISHED = {"Succeeded", "Failed", "Cancelled"}
RETRY = {
    "maxAttempts": 8,
    "backoff": {"type": "Exponential", "initial": "500ms", "factor": 2, "max": "4s"},
}


def bring_up(name: str) -> Space:
    """Return a namespace with workers of every kind, on a cluster with the release."""
    space = Space(name, release.bring_up(), start_recorder(Kubectl(f"{name}-recorder")))
    space.create()
    for queue in QUEUES:
        workers: dict[str, object] = {"replicas": 2, "concurrency": 4}
        if queue == "always":
            workers["claim"] = "Always"
        kind = "Classic" if queue == "classic" else "Quorum"
        spec = {"queue": {"type": kind}, "retry": RETRY, "timeout": "2m"}
        space.apply(space.scenario_queue(queue, workers, **spec))
    for queue in QUEUES:
        space.wait_workers(queue, 2)
    return space


def create(space: Space, new: NewTask) -> None:
    """Create a Task, however long the API server takes."""
    document = task(new.name, new.queue, new.handler, payload=new.payload)
    if new.later is not None:
        due = datetime.now(UTC) + timedelta(seconds=new.later)
        document["spec"]["notBefore"] = due.isoformat(timespec="seconds").replace("+00:00", "Z")
    document["metadata"]["namespace"] = space.name
    insist(lambda: space.system.api.create(document), fine=httpx.codes.CONFLICT)


def cancel(space: Space, new: NewTask) -> None:
    """Cancel a Task, however long the API server takes."""
    change = {"spec": {"cancel": True}}
    insist(lambda: space.system.api.merge("Task", space.name, new.name, change))


def insist(write: Callable[[], object], *, fine: int = 0) -> None:
    """Write until the API server has taken it. fine: a status that means that it has."""
    while True:
        try:
            write()
        except httpx.TransportError:
            time.sleep(_AWAY_PAUSE_SECONDS)
        except ApiError as error:
            if error.status == fine:
                return
            if error.status < httpx.codes.INTERNAL_SERVER_ERROR and error.status not in (401, 429):
                raise
            time.sleep(_AWAY_PAUSE_SECONDS)
        else:
            return


def create_all(space: Space, plan: Plan, begun: float, failures: list[BaseException]) -> None:
    """Create and cancel all Tasks at their time."""
    acts: list[tuple[float, Callable[[Space, NewTask], None], NewTask]] = []
    for new in plan.tasks:
        acts.append((new.at, create, new))
        if new.cancel is not None:
            acts.append((new.at + new.cancel, cancel, new))
    try:
        for at, act, new in sorted(acts, key=lambda one: one[0]):
            time.sleep(max(0.0, begun + at - time.monotonic()))
            act(space, new)
    except BaseException as error:
        failures.append(error)
        raise


def soak(seed: int, seconds: float) -> bool:
    """Do it; return whether everything held."""
    plan = make_plan(seed, seconds)
    space = bring_up(f"soak-{seed}")
    breaker = Breaker(space)
    failures: list[BaseException] = []
    begun = time.monotonic()
    creating = threading.Thread(target=create_all, args=(space, plan, begun, failures))
    creating.start()
    for fault in plan.faults:
        time.sleep(max(0.0, begun + fault.at - time.monotonic()))
        say(f"{fault.kind} ...")
        say(f"{fault.kind}: {breaker.act(fault)}")
    creating.join()
    if failures:
        return False
    phases = wait_for_all(space, plan)
    starts = [*space.runs("start"), *space.runs("run")]
    account = settle_accounts(plan.tasks, phases, starts, breaker.blows)
    print(f"\n{len(plan.faults)} faults in {seconds / 60:.0f} min, seed {seed}\n\n{show(account)}")
    if account.lost:
        print(space.diagnose())
    return account.good


def wait_for_all(space: Space, plan: Plan) -> dict[str, str]:
    """Return the phase of each Task once all have ended, or the time is up."""
    deadline = time.monotonic() + _END_SECONDS
    while True:
        phases = {name_of(one): str(one["status"]["phase"]) for one in space.tasks()}
        still = [name for name, phase in phases.items() if phase not in _FINISHED]
        if (len(phases) == len(plan.tasks) and not still) or time.monotonic() > deadline:
            return phases
        time.sleep(2.0)


def main() -> int:
    """Run it; 1 when something was lost or started twice."""
    parser = argparse.ArgumentParser(prog="python -m e2e.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    return 0 if soak(arguments.seed, arguments.minutes * 60) else 1


if __name__ == "__main__":
    sys.exit(main())
