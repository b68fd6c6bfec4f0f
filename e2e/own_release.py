"""A release for one scenario, which may end and change its operator while others run beside it.

It serves the scenario's namespace alone, with a vhost and a Lease of its own. The operator that
serves all namespaces has to be off.
"""

from collections.abc import Sequence

from e2e.demo import RELEASE, image_builds, install_chart
from e2e.kubectl import Helm
from e2e.manifests import secret
from e2e.space import Space
from e2e.system import OPERATOR

_BROKER = "default-broker"
_DELETE_SECONDS = 60
_ROLLOUT_SECONDS = 120


def set_up(space: Space) -> None:
    """Install a release in a namespace that is there, and wait until it leads."""
    admin = space.system.rabbit
    admin.add_vhost(admin.vhost)
    fields = {"host": admin.host, "username": admin.username, "password": admin.password}
    space.apply(secret(_BROKER, fields))
    serve(space, space.name)


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
    )
    space.kubectl.wait_rollout(f"deployment/{OPERATOR}", timeout_seconds=_ROLLOUT_SECONDS)
    space.system.wait_operator()


def tear_down(space: Space) -> None:
    """Remove what does not go with the namespace. The operator has to be there for that."""
    seconds = f"--timeout={_DELETE_SECONDS}s"
    space.kubectl.run("delete", "tq", "--all", seconds, timeout_seconds=_DELETE_SECONDS + 10)
    Helm().run("uninstall", RELEASE, "-n", space.name)
    space.system.rabbit.remove_vhost(space.system.rabbit.vhost)
