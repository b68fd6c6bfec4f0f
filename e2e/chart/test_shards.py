"""Releases that each serve a shard; rendered, no cluster is asked."""

import pytest
import yaml

from e2e.chart.conftest import CHART, RELEASE_NAMESPACE, Render
from e2e.chart.rendered import HELM_TIMEOUT, Objects, keys, of_kind, operator_environment
from e2e.kubectl import CommandError, Helm
from taskqueue_operator.domain.sharding import parse_shard

pytestmark = HELM_TIMEOUT


def template(helm: Helm, release: str, *settings: str) -> Objects:
    """Return what a release of the common namespace consists of."""
    flags = [f"--set={setting}" for setting in settings]
    text = helm.run("template", release, CHART, "-n", RELEASE_NAMESPACE, *flags)
    return [document for document in yaml.safe_load_all(text) if document]


def test_a_release_serves_everything_unless_told(render: Render) -> None:
    assert operator_environment(render())["TASKQUEUE_SHARD"] == ""


@pytest.mark.parametrize("shard", ["1/1", "1/3", "3/3", "10/12", "99/99"])
def test_the_shard_reaches_the_operator_which_understands_it(render: Render, shard: str) -> None:
    given = operator_environment(render(f"shard={shard}"))["TASKQUEUE_SHARD"]
    assert str(parse_shard(given)) == shard


@pytest.mark.parametrize("shard", ["4/3", "99/1", "10/9"])
def test_a_shard_that_is_not_there_is_refused_in_words(render: Render, shard: str) -> None:
    with pytest.raises(CommandError, match="shard must be i/n with i from 1 to n") as error:
        render(f"shard={shard}")
    assert f"not '{shard}'" in str(error.value)


def test_shards_share_nothing_of_one_namespace(helm: Helm) -> None:
    """Least of all the Lease: only one of them would lead."""
    first = template(helm, "taskqueue-1", "shard=1/2", "rabbitmq.enabled=true")
    second = template(helm, "taskqueue-2", "shard=2/2", "crds.install=false")
    kinds = {one["kind"] for one in second}
    assert {"Deployment", "Lease", "ClusterRole"} <= kinds
    for kind in kinds:
        assert not keys(of_kind(first, kind)) & keys(of_kind(second, kind)), kind
    leases = [operator_environment(one)["TASKQUEUE_LEASE_NAME"] for one in (first, second)]
    assert leases == ["taskqueue-1-operator", "taskqueue-2-operator"]


def test_another_shard_is_another_pod_and_the_same_lease(render: Render) -> None:
    """The old operator of a release ends its lease before the new one leads."""
    before, after = render("shard=1/2"), render("shard=1/3")
    environments = [operator_environment(objects) for objects in (before, after)]
    assert [one.pop("TASKQUEUE_SHARD") for one in environments] == ["1/2", "1/3"]
    assert environments[0] == environments[1]
    assert of_kind(before, "Lease") == of_kind(after, "Lease")
