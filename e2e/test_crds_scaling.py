"""Scaling as the real API server takes it, refuses it and fills it in."""

from typing import Any

import pytest
import yaml

from e2e.kubectl import CommandError, Kubectl
from e2e.manifests import edited, taskqueue
from e2e.refusals import Refusal, refusal

__all__ = ["refusal"]

SCALING = "spec.workers.scaling"
QUEUE = edited(taskqueue("good"), {SCALING: {}})
BESIDE = "replicas must be 1 or left out beside scaling, which decides the number of pods"


@pytest.mark.parametrize(
    ("changes", "field", "must"),
    [
        pytest.param(
            {f"{SCALING}.minReplicas": 11},
            SCALING,
            "minReplicas must be at most maxReplicas, 10, not 11",
            id="minimum above the default of the maximum",
        ),
        pytest.param(
            {f"{SCALING}.minReplicas": 3, f"{SCALING}.maxReplicas": 2},
            SCALING,
            "minReplicas must be at most maxReplicas, 2, not 3",
            id="minimum above the maximum",
        ),
        pytest.param({"spec.workers.replicas": 2}, "spec.workers", BESIDE, id="two owners"),
        pytest.param({"spec.workers.replicas": 0}, "spec.workers", BESIDE, id="none, and scaling"),
        pytest.param(
            {f"{SCALING}.maxReplicas": 0},
            f"{SCALING}.maxReplicas",
            "should be greater than or equal to 1",
            id="never a pod",
        ),
        pytest.param(
            {f"{SCALING}.maxReplicas": 1001},
            f"{SCALING}.maxReplicas",
            "should be less than or equal to 1000",
            id="too many pods",
        ),
        pytest.param(
            {f"{SCALING}.targetPerSlot": 0},
            f"{SCALING}.targetPerSlot",
            "should be greater than or equal to 1",
            id="no Tasks per slot",
        ),
        pytest.param(
            {f"{SCALING}.scaleUp": {"maxStep": 0}},
            f"{SCALING}.scaleUp.maxStep",
            "should be greater than or equal to 1",
            id="no step",
        ),
        pytest.param(
            {f"{SCALING}.scaleUp": {"period": "0s"}},
            f"{SCALING}.scaleUp.period",
            "must be between '1s' and '1h', not '0s'",
            id="steps within no time",
        ),
        pytest.param(
            {f"{SCALING}.scaleDown": {"stabilization": "61m"}},
            f"{SCALING}.scaleDown.stabilization",
            "must be between '0s' and '1h', not '61m'",
            id="too patient",
        ),
        pytest.param(
            {f"{SCALING}.scaleDown": {"stabilization": "5"}},
            f"{SCALING}.scaleDown.stabilization",
            "must be a duration such as '30s', '5m' or '1h30m', not '5'",
            id="no unit",
        ),
        pytest.param(
            {f"{SCALING}.idleBeforeZero": "25h"},
            f"{SCALING}.idleBeforeZero",
            "must be between '0s' and '24h', not '25h'",
            id="idle for too long",
        ),
        pytest.param(
            {f"{SCALING}.cooldown": "1m"},
            f"{SCALING}.cooldown",
            "unknown field",
            id="unknown field",
        ),
        pytest.param({"spec.paused": "yes"}, "spec.paused", "boolean", id="paused in words"),
    ],
)
def test_wrong_scaling_is_refused(
    refusal: Refusal, changes: dict[str, Any], field: str, must: str
) -> None:
    said = refusal(edited(QUEUE, changes))
    assert field in said
    assert must in said


def test_defaults_are_filled_in(kubectl: Kubectl) -> None:
    document = edited(QUEUE, {f"{SCALING}.scaleUp": {"maxStep": 2}})
    text = kubectl.run(
        "apply", "--dry-run=server", "-o", "yaml", "-f", "-", stdin=yaml.safe_dump(document)
    )
    spec = yaml.safe_load(text)["spec"]
    assert spec["paused"] is False
    assert spec["workers"]["replicas"] == 1
    assert spec["workers"]["scaling"] == {
        "minReplicas": 0,
        "maxReplicas": 10,
        "targetPerSlot": 1,
        "scaleUp": {"stabilization": "0s", "maxStep": 2, "period": "15s"},
        "scaleDown": {"stabilization": "1m", "period": "15s"},
        "idleBeforeZero": "5m",
    }


def test_all_that_scaling_may_have_is_taken(kubectl: Kubectl) -> None:
    full = {
        "minReplicas": 1000,
        "maxReplicas": 1000,
        "targetPerSlot": 1000,
        "scaleUp": {"stabilization": "0s", "maxStep": 1000, "period": "1h"},
        "scaleDown": {"stabilization": "1h", "maxStep": 1, "period": "1s"},
        "idleBeforeZero": "0s",
    }
    document = edited(QUEUE, {SCALING: full, "spec.workers.replicas": 1, "spec.paused": True})
    kubectl.run("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(document))


def test_kubectl_scale_is_refused_beside_scaling(kubectl: Kubectl) -> None:
    # Paused, so that no worker starts for this.
    queue = edited(QUEUE, {"metadata.name": "scaled-by-itself", "spec.paused": True})
    kubectl.apply([queue])
    with pytest.raises(CommandError, match=BESIDE):
        kubectl.run("scale", "tq", "scaled-by-itself", "--replicas=3")
