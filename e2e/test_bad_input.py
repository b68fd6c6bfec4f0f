"""What bad payloads, handlers and messages get: a clear error, and the worker goes on."""

import json
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from e2e.api import Object
from e2e.conftest import MakeSpace
from e2e.manifests import mounted_template, task, taskqueue
from e2e.rabbit import Message
from e2e.space import Space, condition_of, error_of, message_of
from e2e.system import ask_pod, name_of, parse_log, read_metric, restarts_of
from taskqueue_api.messages import TaskHeaders
from taskqueue_api.names import UNROUTED_QUEUE
from taskqueue_api.nesting import NESTING_MAX
from taskqueue_api.task import PAYLOAD_MAX_BYTES, RESULT_MAX_BYTES

PYTHON, PROGRAM = "python", "program"
KIB = 1024


@pytest.fixture(scope="module")
def shared(make_space: MakeSpace) -> Iterator[Space]:
    """Give a namespace with a TaskQueue for each kind of handlers; their workers never restart."""
    space = make_space()
    program = {"exec": {"command": ["/bin/sh", "/app/program.sh"]}}
    template = mounted_template(space.recorder.url)
    space.apply(space.scenario_queue(PYTHON, {"concurrency": 2}))
    space.apply(taskqueue(PROGRAM, {"handlers": program, "template": template, "concurrency": 2}))
    for name in (PYTHON, PROGRAM):
        space.wait_queue(name)
    pods = {name_of(one) for name in (PYTHON, PROGRAM) for one in space.pods(name)}
    yield space
    now = [one for name in (PYTHON, PROGRAM) for one in space.pods(name)]
    assert {name_of(one) for one in now} == pods
    assert [restarts_of(one) for one in now] == [0, 0]


def run(space: Space, queue: str, handler: str, **spec: Any) -> Object:
    """Return a new Task, once it is finished."""
    name = f"t{len(space.tasks())}"
    space.apply(task(name, queue, handler, **spec))
    return space.wait_task(name)


# Handlers


@pytest.mark.parametrize(
    ("handler", "spec", "error_type", "words"),
    [
        pytest.param(
            "raise", {"payload": "ä"}, "LookupError", "no such thing: ä", id="an exception"
        ),
        pytest.param("exit", {"payload": 3}, "Exited", "exit code 3", id="os._exit"),
        pytest.param("exit", {"payload": 0}, "Exited", "exit code 0", id="os._exit as if well"),
        pytest.param(
            "not_json", {"payload": "object"}, "ResultNotJson", "set", id="a result that is no JSON"
        ),
        pytest.param("not_json", {"payload": "nan"}, "ResultNotJson", "nan", id="NaN"),
        pytest.param("not_json", {"payload": "bytes"}, "ResultNotJson", "bytes", id="bytes"),
        pytest.param(
            "big",
            {"payload": KIB * KIB},
            "ResultTooLarge",
            "the result has 1048576 bytes as JSON; at most 8192 are kept",
            id="1 MiB",
        ),
        pytest.param(
            "big", {"payload": RESULT_MAX_BYTES + 1}, "ResultTooLarge", "8193", id="a byte too much"
        ),
        pytest.param(
            "hang",
            {"timeout": "500ms"},
            "Timeout",
            "the handler ran longer than its timeout of 0.5 s",
            id="past its timeout",
        ),
        pytest.param(
            "hang", {"timeout": "500ms", "payload": "deaf"}, "Timeout", "0.5 s", id="deaf to TERM"
        ),
        pytest.param(
            "signal", {"payload": "SIGSEGV"}, "Killed", "was killed by SIGSEGV", id="a crash"
        ),
        pytest.param(
            "signal", {"payload": "SIGKILL"}, "Killed", "was killed by SIGKILL", id="SIGKILL"
        ),
        pytest.param(
            "nowhere", {}, "UnknownHandler", "no handler 'nowhere'; there are: ", id="unknown"
        ),
    ],
)
def test_python_handler_fails_with(
    shared: Space, handler: str, spec: dict[str, Any], error_type: str, words: str
) -> None:
    body = run(shared, PYTHON, handler, **spec)
    assert error_of(body)[0] == error_type
    assert words in error_of(body)[1]
    assert "result" not in body["status"]
    condition = condition_of(body, "Succeeded")
    assert (condition["status"], condition["reason"]) == ("False", error_type)
    assert words in condition["message"]


@pytest.mark.parametrize(
    ("handler", "spec", "error_type", "words"),
    [
        pytest.param(
            "code", {}, "ExitCode", "exit code 7: it went wrong: größer", id="an exit code"
        ),
        pytest.param(
            "garbage", {}, "ResultNotJson", "standard output must be JSON or empty", id="garbage"
        ),
        pytest.param("binary", {}, "ResultNotJson", "not UTF-8", id="bytes"),
        pytest.param("nan", {}, "ResultNotJson", "NaN", id="NaN"),
        pytest.param("big", {}, "ResultTooLarge", "the result has 9002 bytes", id="too much"),
        pytest.param("flood", {}, "ResultTooLarge", "1048576 bytes", id="no end"),
        pytest.param("signal", {}, "Killed", "was killed by SIGSEGV", id="a signal"),
        pytest.param("hang", {"timeout": "500ms"}, "Timeout", "0.5 s", id="past its timeout"),
    ],
)
def test_program_fails_with(
    shared: Space, handler: str, spec: dict[str, Any], error_type: str, words: str
) -> None:
    body = run(shared, PROGRAM, handler, **spec)
    assert error_of(body)[0] == error_type
    assert words in error_of(body)[1]


def test_handler_may_print_anything(shared: Space) -> None:
    body = run(shared, PYTHON, "print", payload="garbage")
    assert body["status"]["result"] == {"printed": "garbage"}


def test_result_may_be_as_big_as_it_may(shared: Space) -> None:
    body = run(shared, PYTHON, "big", payload=RESULT_MAX_BYTES)
    assert len(body["status"]["result"]) == RESULT_MAX_BYTES - 2


def test_program_gets_the_task_and_may_leave_a_process_behind(shared: Space) -> None:
    body = run(shared, PROGRAM, "about")
    about = {"name": name_of(body), "attempt": 1, "queue": PROGRAM}
    assert body["status"]["result"] == about
    assert run(shared, PROGRAM, "daemon")["status"]["result"] == "left one behind"
    assert "result" not in run(shared, PROGRAM, "nothing", payload="x")["status"]


# Payloads

PAYLOADS = [
    pytest.param({"payload": {"größe": ["世界", "👋", "\u0000", "a\u0301"]}}, id="any script"),
    pytest.param({"payload": {}}, id="empty"),
    pytest.param({"payload": []}, id="empty list"),
    pytest.param({"payload": ""}, id="empty text"),
    pytest.param({"payload": 0}, id="zero"),
    pytest.param({"payload": False}, id="false"),
    pytest.param({"payload": [1, 2.5, None, {"a": {"b": [{}]}}]}, id="nested"),
    pytest.param({"payload": [2**53 + 1, 2**63 - 1, -(2**63)]}, id="whole numbers of 64 bits"),
    pytest.param({"payload": None}, id="null"),
    pytest.param({}, id="none"),
]


@pytest.mark.parametrize("queue", [PYTHON, PROGRAM])
@pytest.mark.parametrize("spec", PAYLOADS)
def test_payload_arrives_as_it_is(shared: Space, queue: str, spec: dict[str, Any]) -> None:
    body = run(shared, queue, {PYTHON: "echo", PROGRAM: "copy"}[queue], **spec)
    assert body["status"]["phase"] == "Succeeded", body["status"]
    assert body["status"].get("result") == spec.get("payload")


def test_payload_over_32_kib_fails_before_it_is_published(shared: Space) -> None:
    # As JSON in UTF-8: two quotes, and two bytes for each letter.
    letters = (PAYLOAD_MAX_BYTES - 2) // 2
    body = run(shared, PYTHON, "raise", payload="ä" * (letters + 1))
    assert error_of(body)[0] == "PayloadTooLarge"
    assert "spec.payload has 32770 bytes as JSON; the limit is 32768" in error_of(body)[1]
    assert body["status"]["attempts"] == 0
    assert condition_of(body, "Stalled")["status"] == "True"
    event = shared.wait("an Event", lambda: shared.events("PayloadTooLarge"))[0]
    assert event["involvedObject"]["name"] == name_of(body)
    assert error_of(run(shared, PYTHON, "raise", payload="ä" * letters))[0] == "LookupError"


def test_payload_may_be_as_deep_as_it_may(shared: Space) -> None:
    payload: Any = []
    for _ in range(NESTING_MAX - 1):
        payload = [payload]
    assert run(shared, PYTHON, "echo", payload=payload)["status"]["result"] == payload


def test_payload_nested_too_deeply_fails_and_others_go_on(space: Space) -> None:
    space.apply(space.scenario_queue("deep"))
    space.wait_queue("deep")
    # With kubectl alone: Python's decoder gives up long before the API server.
    for levels in (NESTING_MAX + 1, 600, 9_990):
        name, payload = f"deep-{levels}", "[" * levels + "]" * levels
        document = json.dumps(task(name, "deep", payload="PAYLOAD"))
        space.kubectl.run("create", "-f", "-", stdin=document.replace('"PAYLOAD"', payload))
        space.kubectl.run("wait", "--for=condition=Finished", f"task/{name}", "--timeout=60s")
        error = space.kubectl.run("get", "task", name, "-o", "jsonpath={.status.error}")
        assert json.loads(error)["type"] == "PayloadTooDeep"
        assert "on more than 100 levels" in error
    space.apply(task("flat", "deep"))
    assert space.wait_task("flat")["status"]["phase"] == "Succeeded"


def test_timeout_above_that_of_the_taskqueue_fails(shared: Space) -> None:
    body = run(shared, PYTHON, "echo", timeout="21s")
    assert error_of(body)[0] == "TimeoutTooLong"
    assert f"spec.timeout is 21s; TaskQueue '{PYTHON}' allows at most 20s" in error_of(body)[1]
    assert body["status"]["attempts"] == 0
    assert run(shared, PYTHON, "echo", timeout="20s")["status"]["phase"] == "Succeeded"


# Messages


def dead_letter(space: Space, queue: str, message_id: str) -> Message:
    """Return the dead letter with an id, and take it and its neighbours away."""

    def found() -> list[Message]:
        messages = space.system.rabbit.take(space.dead_letters(queue))
        return [one for one in messages if one.properties.message_id == message_id]

    (message,) = space.wait(f"message '{message_id}' is a dead letter", found)
    return message


def test_failed_task_is_a_dead_letter_that_says_why(shared: Space) -> None:
    body = run(shared, PYTHON, "raise", payload={"to": "ä"}, priority=7)
    message = dead_letter(shared, PYTHON, body["metadata"]["uid"])
    assert message.body == '{"to":"ä"}'.encode()
    assert message.properties.type == "raise"
    assert message.properties.priority == 7
    headers = message.headers
    assert headers["x-tq-error-type"] == "LookupError"
    assert headers["x-tq-error-message"] == "no such thing: {'to': 'ä'}"
    assert headers["x-tq-queue"] == shared.work_queue(PYTHON)
    assert headers["x-tq-name"] == name_of(body)
    assert headers["x-tq-failed-at"]
    shared.wait_depth(PYTHON, 0)


@pytest.mark.parametrize(
    ("body", "properties", "error_type", "words"),
    [
        pytest.param(b"{not json", {"type": "echo"}, "BadMessage", "not JSON", id="no JSON"),
        pytest.param(b"\xff\xfe", {"type": "echo"}, "BadMessage", "not UTF-8", id="no text"),
        pytest.param(b"{}", {}, "UnknownHandler", "property type must name", id="no handler"),
        pytest.param(
            b"{}", {"type": "nowhere"}, "UnknownHandler", "no handler 'nowhere'", id="unknown"
        ),
        pytest.param(
            b"{}",
            {"type": "echo", "headers": {"x-tq-version": 99}},
            "BadMessage",
            "x-tq-version must be 1 or 2, not 99",
            id="another version",
        ),
        pytest.param(
            b"{}",
            {"type": "echo", "headers": {"x-tq-version": 1}},
            "BadMessage",
            "x-tq-cluster",
            id="headers missing",
        ),
        pytest.param(b'"x"', {"type": "raise"}, "LookupError", "no such thing: x", id="it fails"),
    ],
)
def test_bad_message_is_a_dead_letter_that_says_why(
    shared: Space, body: bytes, properties: dict[str, Any], error_type: str, words: str
) -> None:
    identity = f"bad-{uuid.uuid4()}"
    properties = {**properties, "message_id": identity}
    shared.system.rabbit.publish(shared.work_queue(PYTHON), body, properties=properties)
    message = dead_letter(shared, PYTHON, identity)
    assert message.body == body
    assert message.headers["x-tq-error-type"] == error_type
    assert words in message.headers["x-tq-error-message"]
    shared.wait_depth(PYTHON, 0)


@pytest.mark.parametrize("body", [b'{"a":1}', b"", b"null"])
def test_message_of_an_outside_producer_is_run(shared: Space, body: bytes) -> None:
    (pod,) = shared.pods(PYTHON)
    metric = 'taskqueue_worker_tasks_finished_total{handler="record",outcome="succeeded"}'
    before = read_metric(ask_pod(pod, "/metrics").text, metric) or 0
    tasks = len(shared.tasks())
    identity = f"outside-{uuid.uuid4()}"
    shared.system.rabbit.publish(
        shared.work_queue(PYTHON), body, properties={"type": "record", "message_id": identity}
    )
    runs = shared.wait("it is run", lambda: [run for run in shared.runs() if run.uid == identity])
    assert [run.payload for run in runs] == [{"a": 1} if body == b'{"a":1}' else None]
    shared.wait(
        "its outcome is in the metrics",
        lambda: read_metric(ask_pod(pod, "/metrics").text, metric) == before + 1,
    )
    log = parse_log(shared.system.api.log(shared.name, name_of(pod)))
    (line,) = (one for one in log if one.get("uid") == identity)
    assert (line["message"], line["handler"], line["queue"]) == ("succeeded", "record", PYTHON)
    assert len(shared.tasks()) == tasks
    shared.wait_depth(PYTHON, 0)


def test_task_of_another_cluster_is_put_aside(shared: Space) -> None:
    headers = TaskHeaders(
        cluster="another",
        namespace=shared.name,
        name="theirs",
        created=datetime.now(UTC),
        run=0,
        attempt=1,
        dispatches=1,
        timeout=timedelta(seconds=10),
    )
    rabbit = shared.system.rabbit
    rabbit.take(UNROUTED_QUEUE)
    properties = {"type": "record", "message_id": "theirs", "headers": headers.to_amqp()}
    rabbit.publish(shared.work_queue(PYTHON), b"{}", properties=properties)
    (message,) = shared.wait("it is unrouted", lambda: rabbit.take(UNROUTED_QUEUE))
    assert message.properties.message_id == "theirs"
    assert message.headers["x-tq-cluster"] == "another"
    assert "theirs" not in {run.uid for run in shared.runs()}
    (pod,) = shared.pods(PYTHON)
    assert read_metric(ask_pod(pod, "/metrics").text, "taskqueue_worker_unrouted_total") == 1


def test_message_of_a_task_that_is_gone_is_dropped(shared: Space) -> None:
    cluster = shared.kubectl.run(
        "get", "namespace", "kube-system", "-o", "jsonpath={.metadata.uid}"
    )
    headers = TaskHeaders(
        cluster=cluster,
        namespace=shared.name,
        name="never-was",
        created=datetime(2026, 1, 1, tzinfo=UTC),
        run=0,
        attempt=1,
        dispatches=1,
        timeout=timedelta(seconds=10),
    )
    properties = {"type": "record", "message_id": "never-was", "headers": headers.to_amqp()}
    shared.system.rabbit.publish(shared.work_queue(PYTHON), b"{}", properties=properties)
    # One slot or the other takes these after it.
    for _ in range(2):
        run(shared, PYTHON, "echo")
    shared.wait_depth(PYTHON, 0)
    assert "never-was" not in {run.uid for run in shared.runs()}
    assert shared.system.rabbit.depth(shared.dead_letters(PYTHON))


# Code that does not start


@pytest.mark.parametrize(
    ("handlers", "words"),
    [
        pytest.param(
            {"python": {"module": "no_such.module"}},
            "module 'no_such.module' cannot be imported: ModuleNotFoundError",
            id="module that is not there",
        ),
        pytest.param(
            {"python": {"module": "json"}},
            "module 'json' registers no handler with @task",
            id="module without handlers",
        ),
        pytest.param(
            {"exec": {"command": ["/no/such/program"]}},
            "command '/no/such/program' is not there",
            id="program that is not there",
        ),
    ],
)
def test_code_that_does_not_start_is_named(
    space: Space, handlers: dict[str, Any], words: str
) -> None:
    space.apply(taskqueue("broken", {"handlers": handlers}))
    body = space.wait_queue("broken", "CrashLoopBackOff")
    assert words in message_of(body)
    assert condition_of(body, "BrokerReady")["status"] == "True"


def test_handler_out_of_memory_says_so(space: Space) -> None:
    workers = space.scenario_queue("small")["spec"]["workers"]
    workers["template"]["resources"] = {"limits": {"memory": "160Mi"}}
    space.apply(taskqueue("small", workers))
    space.wait_queue("small")
    body = run(space, "small", "eat", payload=400)
    assert error_of(body)[0] == "OOMKilled"
    assert run(space, "small", "echo")["status"]["phase"] == "Succeeded"
    (pod,) = space.pods("small")
    assert restarts_of(pod) == 0
