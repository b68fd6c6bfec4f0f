"""The generated definitions on the real API server: what it takes, and how it refuses the rest."""

from typing import Any

import pytest
import yaml

from e2e.kubectl import Kubectl
from e2e.manifests import ABSENT, edited, task, taskqueue
from e2e.refusals import Refusal, refusal

__all__ = ["refusal"]

QUEUE = taskqueue("good")
TASK = task("good", "emails")

TEMPLATE = "spec.workers.template"
SIDECARS = f"{TEMPLATE}.sidecars"
LONG = "a" * 41


@pytest.mark.parametrize(
    ("changes", "field", "must"),
    [
        pytest.param({"spec.queues": 1}, "spec.queues", "unknown field", id="unknown field"),
        pytest.param(
            {"spec.workers.replicas": "two"}, "spec.workers.replicas", "integer", id="wrong type"
        ),
        pytest.param({"spec.workers": ABSENT}, "spec.workers", "Required value", id="no workers"),
        pytest.param(
            {"spec.workers.handlers": ABSENT}, "spec.workers.handlers", "Required", id="no handlers"
        ),
        pytest.param(
            {"spec.workers.handlers": {}},
            "spec.workers.handlers",
            "exactly one of python, exec and http must be set",
            id="no kind of handlers",
        ),
        pytest.param(
            {"spec.workers.handlers.exec": {"command": ["true"]}},
            "spec.workers.handlers",
            "exactly one of python, exec and http must be set",
            id="two kinds of handlers",
        ),
        pytest.param(
            {
                "spec.workers.handlers.exec": {"command": ["true"]},
                "spec.workers.handlers.http": {"url": "http://localhost/"},
            },
            "spec.workers.handlers",
            "exactly one of python, exec and http must be set",
            id="all kinds of handlers",
        ),
        *(
            pytest.param(
                {"spec.workers.handlers": {"http": {"url": url}}},
                "spec.workers.handlers.http.url",
                "must be an address such as 'http://localhost:8080/task', with http or https, a "
                f"host and no fragment, not '{url}'",
                id=f"handlers at {url}",
            )
            for url in (
                "localhost:8080",
                "ftp://localhost/",
                "http:///task",
                "http://localhost:65536/",
                "http://localhost/#top",
                "http://localhost/a b",
            )
        ),
        pytest.param(
            {"spec.workers.handlers": {"http": {"url": "http://me:secret@localhost/"}}},
            "spec.workers.handlers.http.url",
            "must hold no user and no password: whoever can read the TaskQueue reads them",
            id="handlers by a password",
        ),
        pytest.param(
            {"spec.workers.handlers": {"http": {"url": ""}}},
            "spec.workers.handlers.http.url",
            "should be at least 1 chars long",
            id="handlers at an empty address",
        ),
        pytest.param(
            {"spec.workers.handlers": {"http": {"url": f"http://localhost/{'a' * 2048}"}}},
            "spec.workers.handlers.http.url",
            "may not be more than 2048",
            id="handlers at a long address",
        ),
        pytest.param(
            {"spec.workers.handlers": {"http": {}}},
            "spec.workers.handlers.http.url",
            "Required value",
            id="handlers at no address",
        ),
        pytest.param(
            {"spec.workers.handlers.python.module": "shop-tasks.py"},
            "spec.workers.handlers.python.module",
            "must be a Python module such as 'shop.tasks', not 'shop-tasks.py'",
            id="bad module",
        ),
        pytest.param(
            {"spec.workers.handlers": {"exec": {"command": []}}},
            "spec.workers.handlers.exec.command",
            "should have at least 1 items",
            id="empty command",
        ),
        pytest.param(
            {"spec.timeout": "5x"},
            "spec.timeout",
            "must be a duration such as '30s', '5m' or '1h30m', not '5x'",
            id="bad duration",
        ),
        pytest.param(
            {"spec.timeout": ""}, "spec.timeout", "must be a duration", id="empty duration"
        ),
        pytest.param(
            {"spec.timeout": "-5s"}, "spec.timeout", "must be a duration", id="negative duration"
        ),
        pytest.param(
            {"spec.timeout": 30}, "spec.timeout", "must be of type string", id="number as duration"
        ),
        pytest.param(
            {"spec.timeout": "0s"},
            "spec.timeout",
            "must be between '100ms' and '24h', not '0s'",
            id="duration too short",
        ),
        pytest.param(
            {"spec.timeout": "25h"},
            "spec.timeout",
            "must be between '100ms' and '24h', not '25h'",
            id="duration too long",
        ),
        *(
            pytest.param(
                {field: text},
                field,
                f"must be between {bounds}, not '{text}'",
                id=f"{field} longer than Go can hold: {text}",
            )
            for field, bounds in (
                ("spec.timeout", "'100ms' and '24h'"),
                ("spec.history.failed", "'0s' and '8760h'"),
                ("spec.deadLetter.ttl", "'1s' and '1176h'"),
                ("spec.retry.backoff.max", "'100ms' and '168h'"),
            )
            for text in ("999999999999999999h", "2562048h", "0.5s99999999999999999999ms")
        ),
        pytest.param(
            {"spec.workers.replicas": -1},
            "spec.workers.replicas",
            "should be greater than or equal to 0",
            id="too few replicas",
        ),
        pytest.param(
            {"spec.workers.replicas": 1001},
            "spec.workers.replicas",
            "should be less than or equal to 1000",
            id="too many replicas",
        ),
        pytest.param(
            {"spec.workers.concurrency": 0},
            "spec.workers.concurrency",
            "should be greater than or equal to 1",
            id="no concurrency",
        ),
        pytest.param(
            {"spec.queue.type": "Stream"},
            "spec.queue.type",
            'supported values: "Quorum", "Classic"',
            id="queue type",
        ),
        pytest.param(
            {"spec.deletionPolicy": "Keep"},
            "spec.deletionPolicy",
            'supported values: "DeleteIfEmpty", "Retain", "Delete"',
            id="deletion policy",
        ),
        pytest.param(
            {"spec.broker.secretRef.name": "No_Name"},
            "spec.broker.secretRef.name",
            "must be the name of a Kubernetes object",
            id="name of a Secret",
        ),
        pytest.param(
            {"metadata.name": LONG},
            "metadata.name",
            "metadata.name must be at most 40 characters",
            id="name too long for what is derived from it",
        ),
        pytest.param(
            {"metadata.name": "shop.emails"},
            "metadata.name",
            "metadata.name must hold only lower case letters, digits and '-'",
            id="dotted name",
        ),
    ],
)
def test_wrong_taskqueue_is_refused(
    refusal: Refusal, changes: dict[str, Any], field: str, must: str
) -> None:
    said = refusal(edited(QUEUE, changes))
    assert field in said
    assert must in said


@pytest.mark.parametrize(
    ("changes", "field", "must"),
    [
        pytest.param({"spec.delay": "5s"}, "spec.delay", "unknown field", id="unknown field"),
        pytest.param({"spec.queue": ABSENT}, "spec.queue", "Required value", id="no queue"),
        pytest.param({"spec.handler": ABSENT}, "spec.handler", "Required value", id="no handler"),
        pytest.param({"spec": ABSENT}, "spec", "Required value", id="no spec"),
        pytest.param({"spec.queue": 7}, "spec.queue", "must be of type string", id="wrong type"),
        pytest.param(
            {"spec.queue": "Emails!"},
            "spec.queue",
            "must be the name of a TaskQueue: lower case letters, digits and '-', not 'Emails!'",
            id="bad queue name",
        ),
        pytest.param(
            {"spec.queue": LONG}, "spec.queue", "may not be more than 40", id="queue name too long"
        ),
        pytest.param(
            {"spec.handler": "send mail"},
            "spec.handler",
            "must be a handler's name: letters, digits, '_', '-' and '.', not 'send mail'",
            id="bad handler name",
        ),
        pytest.param(
            {"spec.handler": "send\nmail"},
            "spec.handler",
            "must be a handler's name: letters, digits, '_', '-' and '.'",
            id="line break in the handler name",
        ),
        pytest.param(
            {"spec.handler": ""}, "spec.handler", "should be at least 1 chars long", id="no name"
        ),
        pytest.param(
            {"spec.priority": 10},
            "spec.priority",
            "should be less than or equal to 9",
            id="priority too high",
        ),
        pytest.param(
            {"spec.priority": -1},
            "spec.priority",
            "should be greater than or equal to 0",
            id="priority too low",
        ),
        pytest.param({"spec.priority": "high"}, "spec.priority", "integer", id="priority in words"),
        pytest.param(
            {"spec.timeout": "1d"}, "spec.timeout", "must be a duration such as", id="bad duration"
        ),
        pytest.param(
            {"spec.timeout": "25h"},
            "spec.timeout",
            "must be between '100ms' and '24h', not '25h'",
            id="duration too long",
        ),
    ],
)
def test_wrong_task_is_refused(
    refusal: Refusal, changes: dict[str, Any], field: str, must: str
) -> None:
    said = refusal(edited(TASK, changes))
    assert field in said
    assert must in said


@pytest.mark.parametrize(
    "document",
    [
        pytest.param(QUEUE, id="TaskQueue with what it needs"),
        pytest.param(
            edited(
                QUEUE,
                {
                    "metadata.name": "a" * 40,
                    "spec.timeout": "1h30m0.5s",
                    "spec.broker": {"secretRef": {"name": "bunny"}, "vhost": "/a b/ü"},
                    "spec.queue.type": "Classic",
                    "spec.deletionPolicy": "Retain",
                    "spec.workers.replicas": 1000,
                    "spec.workers.concurrency": 64,
                    f"{TEMPLATE}.resources": {"requests": {"cpu": 1}, "limits": {"cpu": "1000m"}},
                    f"{TEMPLATE}.env": [{"name": "A", "value": ""}],
                    f"{TEMPLATE}.volumes": [{"name": "a", "emptyDir": {"sizeLimit": "1Gi"}}],
                    f"{TEMPLATE}.volumeMounts": [{"name": "a", "mountPath": "/data"}],
                    f"{TEMPLATE}.tolerations": [{"operator": "Exists"}],
                    SIDECARS: [
                        {
                            "name": "server",
                            "image": "node:24",
                            "imagePullPolicy": "Never",
                            "command": ["node"],
                            "args": ["server.js"],
                            "env": [{"name": "PYTHONPATH", "value": "/x"}],
                            "ports": [{"name": "web", "containerPort": 8080}],
                            "resources": {"limits": {"memory": "64Mi"}},
                            "volumeMounts": [{"name": "a", "mountPath": "/data"}],
                            "startupProbe": {"httpGet": {"port": 8080}, "periodSeconds": 1},
                            "readinessProbe": {"httpGet": {"path": "/x", "port": 8080}},
                        }
                    ],
                },
            ),
            id="TaskQueue with all it may have",
        ),
        *(
            pytest.param(
                edited(QUEUE, {"spec.workers.handlers": {"http": {"url": url}}}),
                id=f"handlers at {url}",
            )
            for url in (
                "http://localhost:8080/task",
                "http://[::1]",
                "https://mailer.shop.svc:65535/a%20b?c=d@e",
            )
        ),
        pytest.param(TASK, id="Task with what it needs"),
        pytest.param(edited(TASK, {"spec.payload": {}}), id="empty payload"),
        pytest.param(edited(TASK, {"spec.payload": None}), id="null as payload"),
        pytest.param(edited(TASK, {"spec.payload": [1, "zwei", None]}), id="list as payload"),
        pytest.param(edited(TASK, {"spec.payload": "text"}), id="text as payload"),
        pytest.param(edited(TASK, {"spec.payload": {"grüße": {"世界": "👋"}}}), id="any script"),
        pytest.param(
            edited(TASK, {"spec.priority": 9, "spec.timeout": "100ms", "spec.handler": "a.B-c_1"}),
            id="Task with all it may have",
        ),
    ],
)
def test_good_object_is_taken(kubectl: Kubectl, document: dict[str, Any]) -> None:
    text = kubectl.run(
        "apply", "--dry-run=server", "-o", "yaml", "-f", "-", stdin=yaml.safe_dump(document)
    )
    stored = yaml.safe_load(text)
    for field, value in document["spec"].items():
        if value is not None:
            assert stored["spec"][field] is not None, field


def test_new_task_shows_pending_with_no_write_by_anybody(kubectl: Kubectl) -> None:
    # A dry run: no operator ever sees it.
    text = kubectl.run(
        "create", "--dry-run=server", "-o", "yaml", "-f", "-", stdin=yaml.safe_dump(TASK)
    )
    status = yaml.safe_load(text)["status"]
    assert status["phase"] == "Pending"
    assert (status["run"], status["attempts"], status["dispatches"]) == (0, 0, 1)
    conditions = {one["type"]: one["status"] for one in status["conditions"]}
    assert conditions == {"Reconciling": "True", "Succeeded": "Unknown"}
