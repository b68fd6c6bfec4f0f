"""Payloads in ConfigMaps and Secrets: who gets them, who does not, and where they never appear."""

import base64
import json
import uuid
from collections.abc import Mapping
from typing import Any

import pytest

from e2e.api import Object
from e2e.conftest import MakeSpace
from e2e.faults.test_api_server import of_this_machine
from e2e.kubectl import Kubectl
from e2e.manifests import (
    config_map,
    http_workers,
    mounted_template,
    secret,
    task,
    taskqueue,
)
from e2e.node import node
from e2e.space import Space, condition_of, count_runs, error_of
from e2e.system import name_of
from e2e.test_rerun import letters_of, rerun, wait_run

PYTHON, PROGRAM, SERVER, CAREFUL = "python", "program", "server", "careful"
PIN = f"pin-{uuid.uuid4().hex}"
ORDER = {"größe": [1, 2.5, None, {"a": "世界"}]}
KIB = 1024
SOURCES = {"configMaps": ["orders", "broken", "late"], "secrets": ["cards"]}
BROKEN = {
    "text": "not in quotes",
    "empty": "",
    "half": '{"a": ',
    "nan": "[NaN]",
    "deep": "[" * 101 + "]" * 101,
}


@pytest.fixture(scope="module")
def shared(make_space: MakeSpace) -> Space:
    """Give a namespace with a queue for each kind of handlers, and payloads."""
    space = make_space()
    url = space.recorder.url
    program = {"exec": {"command": ["/bin/sh", "/app/program.sh"]}}
    space.apply(
        config_map("orders", {"one.json": json.dumps(ORDER, indent=2)}),
        config_map("broken", BROKEN, binaryData={"bytes": base64.b64encode(b"{}").decode()}),
        secret("cards", {"visa": json.dumps({"pin": PIN}), "bare": PIN}),
        secret("unlisted", {"visa": json.dumps({"pin": PIN})}),
    )
    space.apply(
        space.scenario_queue(PYTHON, {"concurrency": 4, "payloadSources": SOURCES}),
        space.scenario_queue(CAREFUL, {"claim": "Always", "payloadSources": SOURCES}),
        taskqueue(
            PROGRAM,
            {"handlers": program, "template": mounted_template(url), "payloadSources": SOURCES},
        ),
        taskqueue(SERVER, http_workers(url, payloadSources=SOURCES)),
    )
    for name in (PYTHON, CAREFUL, PROGRAM, SERVER):
        space.wait_queue(name)
    return space


def in_config(name: str, key: str) -> dict[str, Any]:
    """Return `payloadFrom` of a ConfigMap."""
    return {"configMapKeyRef": {"name": name, "key": key}}


def in_secret(name: str, key: str = "visa") -> dict[str, Any]:
    """Return `payloadFrom` of a Secret."""
    return {"secretKeyRef": {"name": name, "key": key}}


def run(space: Space, queue: str, handler: str, source: Mapping[str, Any], **spec: Any) -> Object:
    """Return a new Task whose payload is elsewhere, once it is finished."""
    name = f"t{len(space.tasks())}"
    space.apply(task(name, queue, handler, payloadFrom=source, **spec))
    return space.wait_task(name)


# What handlers get


@pytest.mark.parametrize(
    ("queue", "handler"),
    [(PYTHON, "echo"), (CAREFUL, "echo"), (PROGRAM, "copy"), (SERVER, "echo")],
)
def test_handlers_of_every_kind_get_it(shared: Space, queue: str, handler: str) -> None:
    body = run(shared, queue, handler, in_config("orders", "one.json"))
    assert body["status"]["result"] == ORDER
    assert body["status"]["attempts"] == 1


def test_it_may_be_as_large_as_a_config_map_can_be(space: Space) -> None:
    length = 1000 * KIB
    # Not by `kubectl apply`, which would put a copy into an annotation.
    space.create_all([config_map("large", {"text": json.dumps("x" * length)})])
    space.apply(space.scenario_queue("large", {"payloadSources": {"configMaps": ["large"]}}))
    space.wait_queue("large")
    body = run(space, "large", "length", in_config("large", "text"))
    assert body["status"]["result"] == length


def test_each_run_reads_it_anew(space: Space) -> None:
    space.apply(
        config_map("changing", {"number": "1"}),
        space.scenario_queue("again", {"payloadSources": {"configMaps": ["changing"]}}),
    )
    space.wait_queue("again")
    space.apply(task("twice", "again", "record", payloadFrom=in_config("changing", "number")))
    space.wait_task("twice", "Succeeded")
    space.apply(config_map("changing", {"number": "2"}))
    rerun(space, "twice")
    assert wait_run(space, "twice")["status"]["phase"] == "Succeeded"
    assert [one.payload for one in space.runs()] == [1, 2]


# Where it never appears


def test_of_a_secret_the_handler_alone_learns_the_value(space: Space) -> None:
    space.apply(
        secret("cards", {"visa": json.dumps({"pin": PIN})}),
        space.scenario_queue("quiet", {"replicas": 0, "payloadSources": {"secrets": ["cards"]}}),
    )
    space.apply(task("charged", "quiet", "record", payloadFrom=in_secret("cards")))
    space.wait_depth("quiet", 1)
    (message,) = look_at_messages(space, "quiet")
    assert message["payload"] == "null"
    assert message["properties"]["headers"]["x-tq-payload-from"] == "Secret/cards/visa"
    assert message["properties"]["headers"]["x-tq-version"] == 2
    space.edit_queue("quiet", workers={"replicas": 1})
    space.wait_task("charged", "Succeeded")
    space.apply(task("refused", "quiet", "reject", payloadFrom=in_secret("cards")))
    refused = space.wait_task("refused", "Failed")
    assert error_of(refused) == ("Rejected", "never again")
    assert [one.payload for one in space.runs()] == [{"pin": PIN}] * 2
    (letter,) = letters_of(space, "quiet", refused["metadata"]["uid"], 1)
    assert letter.body == b"null"
    (worker,) = space.pods("quiet")
    described = space.kubectl.run("describe", "task", "charged")
    assert "cards" in described
    everything = [
        json.dumps([message, *space.tasks(), *space.system.api.list("Event", space.name)]),
        repr(letter),
        described,
        space.system.api.log(space.name, name_of(worker)),
        json.dumps(space.system.logs()),
    ]
    assert not [text for text in everything if PIN in text]


def look_at_messages(space: Space, queue: str) -> list[dict[str, Any]]:
    """Return the messages of a TaskQueue's queue as RabbitMQ shows them; they stay there."""
    rabbit = space.system.rabbit
    path = ("queues", rabbit.vhost, space.work_queue(queue), "get")
    look = {"count": 10, "ackmode": "reject_requeue_true", "encoding": "auto"}

    def found() -> list[dict[str, Any]]:
        messages: list[dict[str, Any]] = rabbit.manage("POST", *path, body=look) or []
        return messages

    return space.wait("its messages are seen", found)


# When there is none


@pytest.mark.parametrize(
    ("source", "error_type", "words"),
    [
        pytest.param(
            in_config("broken", "text"),
            "PayloadInvalid",
            "key 'text' of ConfigMap 'broken' must hold JSON, but is not JSON from line 1",
            id="plain text",
        ),
        pytest.param(in_config("broken", "empty"), "PayloadInvalid", "must hold JSON", id="empty"),
        pytest.param(in_config("broken", "half"), "PayloadInvalid", "must hold JSON", id="half"),
        pytest.param(in_config("broken", "nan"), "PayloadInvalid", "a number", id="no number"),
        pytest.param(in_config("broken", "bytes"), "PayloadInvalid", "is in binaryData", id="data"),
        pytest.param(in_config("broken", "deep"), "PayloadTooDeep", "100 levels", id="deep"),
        pytest.param(in_secret("cards", "bare"), "PayloadInvalid", "must hold JSON", id="Secret"),
        pytest.param(
            in_config("orders", "two.json"),
            "PayloadNotFound",
            "ConfigMap 'orders' has no key 'two.json', which spec.payloadFrom names",
            id="no key",
        ),
        pytest.param(
            in_config("late", "any"), "PayloadNotFound", "there is no ConfigMap 'late'", id="none"
        ),
    ],
)
def test_what_is_no_payload_says_why_and_nothing_is_started(
    shared: Space, source: dict[str, Any], error_type: str, words: str
) -> None:
    body = run(shared, PYTHON, "record", source)
    kind, message = error_of(body)
    assert kind == error_type
    assert words in message
    assert PIN not in json.dumps(body)
    assert not [one for one in shared.runs() if one.uid == body["metadata"]["uid"]]


def test_what_comes_later_is_found_by_the_next_attempt(space: Space) -> None:
    retry = {"maxAttempts": 60, "backoff": {"type": "Fixed", "initial": "1s", "jitter": 0}}
    workers = {"payloadSources": {"secrets": ["late"]}}
    space.apply(space.scenario_queue("patient", workers, retry=retry))
    space.wait_queue("patient")
    space.apply(task("early", "patient", "record", payloadFrom=in_secret("late")))
    wait_error(space, "early", "there is no Secret 'late'")
    space.apply(secret("late", {"other": "1"}))
    wait_error(space, "early", "Secret 'late' has no key 'visa'")
    space.apply(secret("late", {"other": "1", "visa": json.dumps({"pin": PIN})}))
    body = space.wait_task("early", "Succeeded")
    assert body["status"]["attempts"] >= 3
    assert [one.payload for one in space.runs()] == [{"pin": PIN}]


def wait_error(space: Space, name: str, words: str) -> None:
    """Wait until a Task is tried again for want of its payload, as these words say."""

    def found() -> bool:
        error = space.get("Task", name)["status"].get("error", {})
        return error.get("type") == "PayloadNotFound" and words in error["message"]

    space.wait(f"Task '{name}' says: {words}", found)


# Who may read what


def test_what_is_not_listed_is_refused_until_it_is_and_no_pod_is_rolled(space: Space) -> None:
    retry = {"maxAttempts": 5, "backoff": {"type": "Immediate"}}
    space.apply(
        secret("cards", {"visa": json.dumps({"pin": PIN})}),
        space.scenario_queue("strict", retry=retry),
    )
    space.wait_queue("strict")
    pods = space.pods("strict")
    space.apply(task("sly", "strict", "echo", payloadFrom=in_secret("cards")))
    body = space.wait_task("sly", "Failed")
    kind, message = error_of(body)
    assert kind == "PayloadNotAllowed"
    assert "workers of TaskQueue 'strict' may not read Secret 'cards'" in message
    assert "list it in the TaskQueue's spec.workers.payloadSources.secrets" in message
    assert 'secrets "cards" is forbidden' in message
    assert body["status"]["attempts"] == 1
    assert condition_of(body, "Stalled")["reason"] == "PayloadNotAllowed"
    assert PIN not in json.dumps(body)
    # At once after the change, which the workers' Role may not show yet.
    space.edit_queue("strict", workers={"payloadSources": {"secrets": ["cards"]}})
    rerun(space, "sly")
    assert wait_run(space, "sly")["status"]["result"] == {"pin": PIN}
    generation = space.edit_queue("strict", workers={"payloadSources": {"secrets": ["others"]}})
    space.wait_queue("strict", generation=generation)
    rerun(space, "sly", 2)
    assert error_of(wait_run(space, "sly", 2))[0] == "PayloadNotAllowed"
    assert [name_of(one) for one in space.pods("strict")] == [name_of(one) for one in pods]


def test_workers_may_get_what_is_listed_and_no_other(shared: Space) -> None:
    user = f"system:serviceaccount:{shared.name}:tq-{PYTHON}"
    wanted = {
        ("get", "secrets/cards"): True,
        ("get", "configmaps/orders"): True,
        ("get", "secrets/unlisted"): False,
        ("get", f"secrets/tq-{PYTHON}-broker"): False,
        ("get", "configmaps/handlers"): False,
        ("get", "secrets/orders"): False,
        ("get", "secrets"): False,
        ("list", "secrets"): False,
        ("list", "secrets/cards"): False,
        ("watch", "secrets/cards"): False,
        ("update", "secrets/cards"): False,
        ("delete", "configmaps/orders"): False,
    }
    assert {act: may(shared.kubectl, user, *act) for act in wanted} == wanted
    elsewhere = {act: may(Kubectl("default"), user, *act) for act in wanted}
    assert not any(elsewhere.values())


def may(kubectl: Kubectl, user: str, verb: str, what: str) -> bool:
    """Ask the API server whether a user may do something with what is named."""
    return kubectl.is_successful("auth", "can-i", verb, what, f"--as={user}")


# While the API server is away


@pytest.mark.disruptive
@of_this_machine
def test_it_is_waited_for_while_the_api_server_is_away(space: Space) -> None:
    space.apply(
        config_map("pace", {"slow": json.dumps({"seconds": 0.2})}),
        space.scenario_queue(
            "away", {"concurrency": 4, "payloadSources": {"configMaps": ["pace"]}}
        ),
    )
    space.wait_queue("away")
    names = [f"task-{n:03}" for n in range(100)]
    source = in_config("pace", "slow")
    space.create_all(task(name, "away", "slow", payloadFrom=source) for name in names)
    space.wait("some have run", lambda: len(space.runs("end")) > 10)
    node.restart("kube-apiserver", grace_seconds=0)
    space.wait_tasks(100)
    assert count_runs(space.runs("end")) == dict.fromkeys(names, 1)
