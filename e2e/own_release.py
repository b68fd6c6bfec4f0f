"""A release for one scenario, which may end and change its operator while others run beside it.

It serves the scenario's namespace alone, with a vhost and a Lease of its own. The operator that
serves all namespaces has to be off.
"""

from collections.abc import Sequence

from e2e.demo import image_builds, install_chart
from e2e.kubectl import Helm
from e2e.manifests import secret
from e2e.space import Space

_BROKER = "default-broker"
_DELETE_SECONDS = 60
_ROLLOUT_SECONDS = 120


def set_up(space: Space) -> None:
    """Install a release in a namespace that is there, and wait until it leads."""
    space.system.rabbit.add_vhost(space.system.rabbit.vhost)
    name_broker(space)
    serve(space, space.name)


def name_broker(space: Space) -> None:
    """Put the Secret there that names the default broker of a release."""
    admin = space.system.rabbit
    fields = {"host": admin.host, "username": admin.username, "password": admin.password}
    space.apply(secret(_BROKER, fields))


def serve(space: Space, *namespaces: str, settings: Sequence[str] = ()) -> None:
    """Install or upgrade a release, and wait until it serves these namespaces.

    settings: more of the chart's.
    """
    install_chart(
        Helm(),
        image_builds()["operator"],
        "crds.install=false",
        "rabbitmq.enabled=false",
        f"broker.secretRef.name={_BROKER}",
        f"watchNamespaces={{{','.join(namespaces)}}}",
        *settings,
        namespace=space.name,
        release=_release(space),
    )
    deployment = f"deployment/{space.system.operator}"
    space.kubectl.wait_rollout(deployment, timeout_seconds=_ROLLOUT_SECONDS)
    space.system.wait_operator()


def _release(space: Space) -> str:
    """Return the name of the release whose Deployment the system names."""
    return space.system.operator.removesuffix("-operator")


def delete_queues(space: Space) -> None:
    """Delete the TaskQueues, with what they have in RabbitMQ. Their operators have to be there."""
    seconds = f"--timeout={_DELETE_SECONDS}s"
    space.kubectl.run("delete", "tq", "--all", seconds, timeout_seconds=_DELETE_SECONDS + 10)


def uninstall(space: Space) -> None:
    """Remove the release, which has things outside of its namespace."""
    Helm().run("uninstall", _release(space), "-n", space.name, "--ignore-not-found")


def tear_down(space: Space) -> None:
    """Remove what does not go with the namespace. The operator has to be there for that."""
    delete_queues(space)
    uninstall(space)
    space.system.rabbit.remove_vhost(space.system.rabbit.vhost)
