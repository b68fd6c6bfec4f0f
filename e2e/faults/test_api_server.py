"""The API server or etcd dies, tokens or a kind are taken away: nothing is lost or stuck."""

import ssl
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import httpx
import pytest

from e2e.api import Object
from e2e.demo import image_builds, install_chart
from e2e.kubectl import Helm, Kubectl
from e2e.manifests import task
from e2e.node import node, paths
from e2e.node.certificates import TOKEN_KEY, write_token_key
from e2e.node.configuration import API_PORT
from e2e.space import Space, count_runs
from e2e.system import System, name_of, read_token, restarts_of

pytestmark = pytest.mark.disruptive

of_this_machine = pytest.mark.skipif(
    not paths.PREPARED.exists(), reason="the cluster's API server is no process of this machine"
)


@of_this_machine
@pytest.mark.parametrize("component", ["kube-apiserver", "etcd"])
def test_killed_while_tasks_run(space: Space, component: str) -> None:
    space.apply(space.scenario_queue("api", {"concurrency": 4}))
    space.wait_queue("api")
    (worker,), operator = space.pods("api"), space.system.operator_pod()
    names = [f"task-{n:03}" for n in range(100)]
    space.create_all(task(name, "api", "slow", payload={"seconds": 0.2}) for name in names)
    space.wait("some have run", lambda: len(space.runs("end")) > 10)
    node.restart(component, grace_seconds=0)
    space.wait_tasks(100)
    assert count_runs(space.runs("end")) == dict.fromkeys(names, 1)
    assert_untouched([(operator, space.system.operator_pod()), (worker, space.pods("api")[0])])
    space.apply(task("after", "api", "record"))
    space.wait_task("after", "Succeeded")
    assert space.system.get("/healthz").status_code == 200


def assert_untouched(pairs: Iterable[tuple[Object, Object]], restarts: int = 0) -> None:
    """Fail unless each pod is the same as before, restarted so often since."""
    for before, now in pairs:
        assert now["metadata"]["uid"] == before["metadata"]["uid"]
        assert restarts_of(now) == restarts_of(before) + restarts


@of_this_machine
def test_key_that_signs_tokens_is_replaced(space: Space, tmp_path: Path) -> None:
    """The kubelet renews a pod's token, and the one before is taken no more: what rotation does."""
    space.apply(space.scenario_queue("signed", {"concurrency": 2}, timeout="3m"))
    space.wait_queue("signed")
    (worker,), operator = space.pods("signed"), space.system.operator_pod()
    space.apply(task("during", "signed", "hold"))
    space.wait_task("during", "Running")
    of_worker = partial(read_token, worker, "taskqueue_worker")
    of_operator = partial(read_token, operator, "taskqueue_operator")
    old = (of_worker(), of_operator())
    write_token_key(tmp_path / TOKEN_KEY)
    keys, new = paths.PKI / TOKEN_KEY, (tmp_path / TOKEN_KEY).read_bytes()
    # Tokens are signed by the first key in the file, and taken if signed by any.
    keys.write_bytes(new + keys.read_bytes())
    node.restart("kube-apiserver")
    # It keeps the tokens that it has fetched until they are nearly over.
    node.restart("kubelet")
    for pod in (worker, operator):
        touch(space.system, pod)
    space.wait("new tokens", lambda: of_worker() != old[0] and of_operator() != old[1])
    keys.write_bytes(new)
    node.restart("kube-apiserver")
    assert [is_known(token) for token in old] == [False, False]
    assert [is_known(token) for token in (of_worker(), of_operator())] == [True, True]
    space.apply(task("after", "signed", "record"))
    space.wait_task("after", "Succeeded")
    space.let_go()
    space.wait_task("during", "Succeeded")
    # Written by the operator, which writes to no Task that goes well.
    space.edit_queue("signed", workers={"replicas": 2})
    space.wait_workers("signed", 2)
    space.apply(task("nowhere", "unknown"))
    space.wait_dispatched("nowhere", "False", "QueueNotFound")
    assert_untouched(
        [(operator, space.system.operator_pod()), (worker, space.get("Pod", name_of(worker)))]
    )


def touch(system: System, pod: Object) -> None:
    """Have the kubelet look at a pod at once; else it does so every minute or two."""
    place = ("Pod", pod["metadata"]["namespace"], name_of(pod))
    system.api.merge(*place, {"metadata": {"annotations": {"e2e.taskqueue.dev/touched": "now"}}})


def is_known(token: str) -> bool:
    """Ask the API server whether it takes a token."""
    answer = httpx.get(
        f"https://127.0.0.1:{API_PORT}/version",
        headers={"Authorization": f"Bearer {token}"},
        verify=ssl.create_default_context(cafile=str(paths.PKI / "ca.crt")),
        trust_env=False,
    )
    assert answer.status_code in {200, 401}, answer.text
    return answer.status_code == 200


def test_definition_of_tasks_is_deleted_and_comes_back(space: Space) -> None:
    """Then Tasks cannot be watched: the operator says so, and goes on once they can."""
    system = space.system
    space.apply(space.scenario_queue("bereft"))
    space.wait_queue("bereft")
    pod = system.fresh_operator_pod()
    Kubectl().run("delete", "customresourcedefinition", "tasks.taskqueue.dev")
    try:
        # The process ends, and its successor has nothing to watch.
        why = "tasks are not watched: the cluster has no definition of tasks.taskqueue.dev"
        space.wait("the operator is unhealthy", lambda: why in (ask(system, "/healthz") or ""))
        assert why in system.get("/readyz").text
        assert system.get("/livez").is_success
    finally:
        install_chart(Helm(), image_builds()["operator"])
    space.wait("it is ready", lambda: ask(system, "/readyz") == "ok")
    assert ask(system, "/healthz") == "ok"
    # No restart was of use, so there was none but the first.
    assert_untouched([(pod, system.operator_pod())], restarts=1)
    space.apply(task("after", "bereft", "record"))
    space.wait_task("after", "Succeeded")
    assert count_runs(space.runs()) == {"after": 1}


def ask(system: System, path: str) -> str | None:
    """Return the operator's answer; None: it is being restarted, or its pod replaced."""
    if len(system.operator_pods()) != 1:
        return None
    try:
        return system.get(path).text
    except httpx.TransportError:
        return None
