"""The order in which the release is brought up and waited for."""

from typing import Any
from unittest.mock import Mock, call

import pytest

from e2e import release


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch) -> Mock:
    """Note what is done of that which needs a cluster."""
    done = Mock(image_builds=Mock(return_value={"operator": "0123"}))
    for name in ("run_node", "image_builds", "install_chart", "Api", "Kubectl", "System"):
        monkeypatch.setattr(release, name, getattr(done, name))
    monkeypatch.setattr(release, "Helm", Mock)
    monkeypatch.setattr(release, "rabbit_of_release", Mock())
    return done


def names_of(done: Mock) -> list[str]:
    """Return what was called, in its order, without what was made for it."""
    made = ("Api", "Kubectl", "System")
    return [name for name, *_ in done.mock_calls if name not in made and "__" not in name]


WAITS = [
    "Kubectl().wait_rollout",
    "Kubectl().wait_rollout",
    "System().wait_broker",
    "System().wait_operator",
]


def test_the_broker_is_waited_for_before_the_operator(done: Mock) -> None:
    api: Any = object()
    assert release.wait_ready(api) is done.System.return_value
    assert names_of(done) == WAITS
    workloads = [one.args[0] for one in done.Kubectl.return_value.wait_rollout.call_args_list]
    assert workloads == ["statefulset/taskqueue-rabbitmq", "deployment/taskqueue-operator"]
    assert done.System.call_args.args[0] is api


def test_cluster_images_and_chart_come_first(done: Mock) -> None:
    assert release.bring_up() is done.System.return_value
    assert done.run_node.call_args_list == [call("up"), call("images")]
    assert names_of(done) == ["run_node", "run_node", "image_builds", "install_chart", *WAITS]
