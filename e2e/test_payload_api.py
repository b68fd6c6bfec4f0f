"""What the real API server takes as the place of a payload, and how it refuses the rest."""

from typing import Any

import pytest
import yaml

from e2e.kubectl import CommandError, Kubectl
from e2e.manifests import ABSENT, edited, task, taskqueue
from e2e.refusals import Refusal, refusal
from e2e.test_payload_from import in_config, in_secret

__all__ = ["refusal"]

GOOD = task("good", "emails", payloadFrom=in_secret("cards"))


@pytest.mark.parametrize(
    ("changes", "must"),
    [
        pytest.param(
            {"spec.payload": {"a": 1}},
            "spec.payload and spec.payloadFrom must not both be set: a Task has one payload",
            id="two payloads",
        ),
        pytest.param(
            {"spec.payloadFrom.configMapKeyRef": {"name": "orders", "key": "a"}},
            "exactly one of configMapKeyRef and secretKeyRef must be set",
            id="two places",
        ),
        pytest.param(
            {"spec.payloadFrom": {}},
            "exactly one of configMapKeyRef and secretKeyRef must be set",
            id="no place",
        ),
        pytest.param({"spec.payloadFrom.secretKeyRef.key": ABSENT}, "Required value", id="no key"),
        pytest.param(
            {"spec.payloadFrom.secretKeyRef.key": "a/b"},
            "must be a key of a ConfigMap or Secret: letters, digits, '-', '_' and '.', not 'a/b'",
            id="no possible key",
        ),
        *(
            pytest.param(
                {"spec.payloadFrom.secretKeyRef.key": key},
                f"must not be '.', nor begin with '..', as no key of a ConfigMap or Secret does: "
                f"'{key}'",
                id=f"a key of dots: {key}",
            )
            for key in (".", "..", "..data")
        ),
        pytest.param(
            {"spec.payloadFrom.secretKeyRef.name": "Cards"},
            "must be the name of a Kubernetes object",
            id="no possible name",
        ),
        pytest.param(
            {"spec.payloadFrom.secretKeyRef.namespace": "default"},
            "unknown field",
            id="another namespace",
        ),
    ],
)
def test_a_wrong_reference_is_refused(refusal: Refusal, changes: dict[str, Any], must: str) -> None:
    said = refusal(edited(GOOD, changes))
    assert "spec.payloadFrom" in said
    assert must in said


@pytest.mark.parametrize(
    ("secrets", "must"),
    [
        pytest.param(["*"], "must be the name of a Kubernetes object", id="all of them"),
        *(
            pytest.param(["cards", name], "must not be 'tq-NAME-broker', in which", id=name)
            for name in ("tq-good-broker", "tq-another-broker")
        ),
        pytest.param(["a", "a"], "Duplicate value", id="named twice"),
        pytest.param([f"s{n}" for n in range(65)], "must have at most 64 items", id="too many"),
    ],
)
def test_a_wrong_list_is_refused(refusal: Refusal, secrets: list[str], must: str) -> None:
    said = refusal(taskqueue("good", {"payloadSources": {"secrets": secrets}}))
    assert "spec.workers.payloadSources.secrets" in said
    assert must in said


@pytest.mark.parametrize("secrets", [["tq-broker"], ["tq-good-brokers", "my-tq-good-broker"]])
def test_a_good_list_is_taken(kubectl: Kubectl, secrets: list[str]) -> None:
    document = taskqueue("good", {"payloadSources": {"secrets": secrets}})
    kubectl.run("apply", "--dry-run=server", "-f", "-", stdin=yaml.safe_dump(document))


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"spec.payloadFrom.secretKeyRef.key": "amex"}, id="another key"),
        pytest.param({"spec.payloadFrom": in_config("cards", "visa")}, id="another kind"),
        pytest.param({"spec.payloadFrom": ABSENT}, id="taken away"),
        pytest.param({"spec.payload": {"a": 1}}, id="a payload added"),
        pytest.param(
            {"spec.payloadFrom": in_secret("others"), "spec.ttlAfterFinished": "1h"},
            id="another name beside what may change",
        ),
    ],
)
def test_a_reference_cannot_be_changed(kubectl: Kubectl, changes: dict[str, Any]) -> None:
    document = edited(GOOD, {"metadata.name": "fixed"})
    kubectl.apply([document])
    with pytest.raises(CommandError, match="must not be changed, but for cancel"):
        kubectl.apply([edited(document, changes)])
