"""The release that serves all namespaces: brought up as `make demo` does, and waited for."""

from e2e.api import Api
from e2e.demo import SYSTEM_NAMESPACE, image_builds, install_chart, run_node
from e2e.kubectl import Helm, Kubectl
from e2e.system import OPERATOR, RABBITMQ, System, rabbit_of_release

# A broker's first start takes up to a minute where the processors are busy.
_ROLLOUT_SECONDS = 180


def bring_up() -> System:
    """Bring up the cluster and the release, of these sources; return it, ready.

    Whoever calls closes the system's api. Raises DemoError, CommandError and WaitTimeoutError.
    """
    run_node("up")
    run_node("images")
    install_chart(Helm(), image_builds()["operator"])
    return wait_ready(Api())


def wait_ready(api: Api) -> System:
    """Return the release that is installed, once broker and operator are at work."""
    kubectl = Kubectl(SYSTEM_NAMESPACE)
    for workload in (f"statefulset/{RABBITMQ}", f"deployment/{OPERATOR}"):
        kubectl.wait_rollout(workload, timeout_seconds=_ROLLOUT_SECONDS)
    system = System(api, rabbit_of_release(api))
    system.wait_broker()
    # A standby is ready too; this one leads.
    system.wait_operator()
    return system
