"""Tasks run by a server in a sidecar: what it gets, what its answers become, and who ends first."""

from datetime import timedelta
from typing import Any

import pytest

from e2e.api import Object
from e2e.conftest import MakeSpace
from e2e.manifests import http_workers, task, taskqueue
from e2e.space import Space, condition_of, count_runs, error_of, message_of
from e2e.system import name_of, restarts_of
from e2e.test_retries import attempts_of
from taskqueue_api.conditions import parse_time
from taskqueue_api.task import RESULT_MAX_BYTES

SHORT = {"maxAttempts": 3, "backoff": {"type": "Fixed", "initial": "300ms", "jitter": 0}}
HOUR = {"maxAttempts": 3, "backoff": {"type": "Fixed", "initial": "1h", "jitter": 0}}
PATIENT = {"maxAttempts": 20, "backoff": {"type": "Fixed", "initial": "2s", "jitter": 0}}
SERVERS, LATER = "servers", "later"


@pytest.fixture(scope="module")
def shared(make_space: MakeSpace) -> Space:
    """Give a namespace with queues served by sidecars: one tries again soon, one in an hour."""
    space = make_space()
    for name, retry in ((SERVERS, SHORT), (LATER, HOUR)):
        workers = http_workers(space.recorder.url, concurrency=4)
        space.apply(taskqueue(name, workers, retry=retry))
    for name in (SERVERS, LATER):
        space.wait_queue(name)
    return space


def run(space: Space, handler: str, queue: str = SERVERS, **spec: Any) -> Object:
    """Return a new Task, once it is finished."""
    name = f"t{len(space.tasks())}"
    space.apply(task(name, queue, handler, **spec))
    return space.wait_task(name)


def says(status: int, **more: Any) -> dict[str, Any]:
    """Return the spec of a Task for the handler `fail`, by which the server answers so."""
    return {"payload": {"status": status, **more}}


def test_server_gets_the_task_and_nothing_of_the_worker(shared: Space) -> None:
    body = run(shared, "about", payload={"größe": "世"})
    about = body["status"]["result"]
    assert about["line"] == "POST /task HTTP/1.1"
    uid = body["metadata"]["uid"]
    expected = {
        "content-type": "application/json",
        "taskqueue-handler": "about",
        "taskqueue-uid": uid,
        "taskqueue-name": name_of(body),
        "taskqueue-namespace": shared.name,
        "taskqueue-queue": SERVERS,
        "taskqueue-attempt": "1",
        "idempotency-key": f"{uid}/0/1",
    }
    assert {name: about["headers"].get(name) for name in expected} == expected
    assert about["given"] == {"user": 10001, "token": False, "worker": []}


@pytest.mark.parametrize(
    "payload",
    [
        pytest.param({"größe": ["世界", "👋", "\u0000"]}, id="any script"),
        pytest.param({}, id="empty"),
        pytest.param("", id="empty text"),
        pytest.param(0, id="zero"),
        pytest.param(False, id="false"),
        pytest.param(None, id="null"),
    ],
)
def test_payload_and_result_are_as_they_were_sent(shared: Space, payload: Any) -> None:
    body = run(shared, "echo", payload=payload)
    assert body["status"]["phase"] == "Succeeded", body["status"]
    assert body["status"].get("result") == payload


def test_result_may_be_as_big_as_it_may(shared: Space) -> None:
    body = run(shared, "big", payload=RESULT_MAX_BYTES)
    assert len(body["status"]["result"]) == RESULT_MAX_BYTES - 2


@pytest.mark.parametrize(
    ("handler", "spec", "attempts", "error_type", "words"),
    [
        pytest.param(
            "fail", says(500, body="größer"), 3, "HttpStatus", "HTTP 500: größer", id="500"
        ),
        pytest.param(
            "fail",
            says(422, body="no such card"),
            1,
            "Rejected",
            "HTTP 422: no such card",
            id="422",
        ),
        pytest.param("nowhere", {}, 1, "Rejected", "HTTP 404: there is no nowhere", id="404"),
        pytest.param("fail", says(408), 3, "HttpStatus", "HTTP 408", id="408 may pass"),
        pytest.param(
            "fail",
            says(307, headers={"Location": "/task"}),
            1,
            "HttpStatus",
            "HTTP 307: redirects are not followed",
            id="a redirect",
        ),
        pytest.param(
            "fail",
            says(200, body="<html>"),
            1,
            "ResultNotJson",
            "the answer's body must be JSON or empty, but it is not JSON",
            id="HTML",
        ),
        pytest.param(
            "big",
            {"payload": RESULT_MAX_BYTES + 1},
            1,
            "ResultTooLarge",
            "the result has 8193 bytes as JSON",
            id="a byte too much",
        ),
        pytest.param("garbage", {}, 3, "AnswerNotHttp", "not HTTP", id="garbage"),
        pytest.param("cut", {}, 3, "ConnectionFailed", "no answer: ", id="cut off"),
    ],
)
def test_answer_that_is_no_success(
    shared: Space,
    handler: str,
    spec: dict[str, Any],
    attempts: int,
    error_type: str,
    words: str,
) -> None:
    body = run(shared, handler, **spec)
    assert (error_of(body)[0], body["status"]["attempts"]) == (error_type, attempts)
    assert words in error_of(body)[1]
    assert condition_of(body, "Succeeded")["reason"] == error_type
    if handler == "fail":
        assert attempts_of(shared, name_of(body)) == list(range(1, attempts + 1))


def test_it_succeeds_once_the_fault_is_over(shared: Space) -> None:
    body = run(shared, "fail", **says(500, failures=2))
    assert body["status"]["result"] == {"attempt": 3}
    assert attempts_of(shared, name_of(body)) == [1, 2, 3]


@pytest.mark.parametrize("status", [429, 503])
def test_busy_server_says_when_it_is_asked_again(shared: Space, status: int) -> None:
    """Its policy alone would let it wait for an hour."""
    answer = says(status, failures=1, headers={"Retry-After": "1"})
    body = run(shared, "fail", LATER, **answer)
    assert body["status"]["result"] == {"attempt": 2}


def test_busy_server_may_ask_for_more_time_than_the_policy(shared: Space) -> None:
    answer = says(503, body="busy", headers={"Retry-After": "3600"})
    shared.apply(task("busy", SERVERS, "fail", **answer))
    body = shared.wait_task("busy", "Retrying")
    assert body["status"]["error"] == {"type": "Retry", "message": "HTTP 503: busy"}
    created = parse_time(body["metadata"]["creationTimestamp"])
    assert parse_time(body["status"]["nextAttemptTime"]) >= created + timedelta(hours=1)


def test_timeout_closes_the_connection(shared: Space) -> None:
    body = run(shared, "hang", timeout="500ms", retry={"maxAttempts": 1})
    assert error_of(body)[0] == "Timeout"
    assert "0.5 s" in error_of(body)[1]
    uid = body["metadata"]["uid"]
    shared.wait(
        "the server has seen that the connection is closed",
        lambda: [one for one in shared.runs("closed") if one.uid == uid],
    )


def test_worker_waits_for_its_sidecar(space: Space) -> None:
    """Without retries: a Task that came before the server was there would have failed."""
    workers = http_workers(space.recorder.url, {"START_SECONDS": "5"})
    space.apply(task("early", "slow-start", "record"), taskqueue("slow-start", workers))
    assert space.wait_task("early")["status"]["result"] == {"attempt": 1}
    (pod,) = space.pods("slow-start")
    server, worker = (
        pod["status"][kind][0]["state"]["running"]["startedAt"]
        for kind in ("initContainerStatuses", "containerStatuses")
    )
    assert (parse_time(worker) - parse_time(server)).total_seconds() >= 4


def test_sidecar_outlives_the_worker_that_drains(space: Space) -> None:
    space.apply(taskqueue("drain", http_workers(space.recorder.url, concurrency=1)))
    space.wait_queue("drain")
    space.apply(task("running", "drain", "hold"))
    (pod,) = space.pods("drain")
    space.wait_task("running", "Running")
    space.wait("the server has it", lambda: space.runs("start"))
    space.apply(task("waiting", "drain", "record"))
    space.kubectl.run("delete", "pod", name_of(pod), "--wait=false")
    # Given back by the worker that drains, and run by its successor.
    space.wait_task("waiting", "Succeeded")
    space.let_go()
    body = space.wait_task("running", "Succeeded")
    assert (body["status"]["attempts"], body["status"]["worker"]["pod"]) == (1, name_of(pod))
    (start,), (end,), (run_elsewhere,) = space.runs("start"), space.runs("end"), space.runs()
    assert start.pod == end.pod == name_of(pod)
    assert run_elsewhere.pod != name_of(pod)


def test_sidecar_that_dies_is_started_again(space: Space) -> None:
    space.apply(taskqueue("dies", http_workers(space.recorder.url), retry=PATIENT))
    space.wait_queue("dies")
    (pod,) = space.pods("dies")
    space.apply(task("deadly", "dies", "die"), task("other", "dies", "record"))
    for name in ("deadly", "other"):
        space.wait_task(name, "Succeeded")
    assert count_runs(space.runs())["deadly"] == 2
    (now,) = space.pods("dies")
    assert now["metadata"]["uid"] == pod["metadata"]["uid"]
    assert restarts_of(now) == 0  # the worker went on
    assert now["status"]["initContainerStatuses"][0]["restartCount"] == 1


def test_sidecar_that_does_not_start_is_named(space: Space) -> None:
    workers = http_workers(space.recorder.url)
    (sidecar,) = workers["template"]["sidecars"]
    sidecar["command"] = ["python3", "-c", "raise SystemExit('there is no database')"]
    space.apply(taskqueue("broken", workers))
    body = space.wait_queue("broken", "CrashLoopBackOff")
    assert "there is no database" in message_of(body)
