"""An operator that `watchNamespaces` narrows serves those namespaces, and sees no other."""

import pytest

from e2e import own_release
from e2e.conftest import remove
from e2e.manifests import task
from e2e.space import Space

pytestmark = pytest.mark.own_operator


@pytest.mark.long
def test_only_the_namespaces_named_are_served(space: Space) -> None:
    outside = Space(f"{space.name}-b", space.system, space.recorder)
    outside.create()
    try:
        for one in (outside, space):
            one.apply(one.scenario_queue("scoped"))
            one.apply(task("good", "scoped", "record"), task("bad", "scoped", "raise"))
        check_served(space)
        check_not_seen(outside)
        # Wider, it serves what has waited there.
        own_release.serve(space, space.name, outside.name)
        outside.wait_queue("scoped")
        outside.wait_task("good", "Succeeded")
        outside.wait_task("bad", "Failed")
    finally:
        outside.kubectl.run("delete", "tq", "--all", "--timeout=30s")
        remove(outside)


def check_served(space: Space) -> None:
    """Fail unless all that the operator does is done there, with Roles of that namespace alone."""
    space.wait_queue("scoped")
    space.wait_task("good", "Succeeded")
    space.wait_task("bad", "Failed")
    before = space.get("Deployment", "tq-scoped")["metadata"]["uid"]
    space.kubectl.run("delete", "deployment", "tq-scoped")
    space.wait("its Deployment is back", lambda: is_another(space, before))
    space.apply(space.scenario_queue("leaving"))
    space.wait_queue("leaving")
    space.kubectl.run("delete", "taskqueue", "leaving", "--timeout=60s", timeout_seconds=70)
    space.wait_gone("Deployment", "tq-leaving")
    assert space.system.rabbit.depth(space.work_queue("leaving")) is None


def is_another(space: Space, uid: str) -> bool:
    """Return whether there is a Deployment, and not that one."""
    found = space.find("Deployment", "tq-scoped")
    return found is not None and bool(found["metadata"]["uid"] != uid)


def check_not_seen(space: Space) -> None:
    """Fail if the operator did anything about a namespace, or was refused anything anywhere."""
    assert "conditions" not in space.get("TaskQueue", "scoped").get("status", {})
    assert space.get("Task", "good")["status"]["phase"] == "Pending"
    assert space.find("Deployment", "tq-scoped") is None
    records = space.system.logs()
    assert not [one for one in records if one["level"] in {"ERROR", "CRITICAL"}]
    assert not [one for one in records if space.name in str(one)]
