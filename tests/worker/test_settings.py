"""What the worker is told, and what it says when that is wrong."""

import os
from datetime import timedelta

import pytest

from taskqueue_api.retries import ONCE, RetryPolicy, parse_policy
from taskqueue_worker.settings import SettingsError, load_settings

GOOD = {
    "TASKQUEUE_NAMESPACE": "ns",
    "TASKQUEUE_NAME": "q",
    "TASKQUEUE_CLUSTER": "c",
    "TASKQUEUE_CONCURRENCY": "4",
    "TASKQUEUE_TIMEOUT": "1m30s",
    "TASKQUEUE_HANDLERS": '{"python": {"module": "shop.tasks"}}',
    "TASKQUEUE_GRACE": "30",
    "TASKQUEUE_POD_NAME": "p",
}


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in list(os.environ):
        if name.startswith("TASKQUEUE_"):
            monkeypatch.delenv(name)
    for name, value in GOOD.items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def test_good_settings(environment: pytest.MonkeyPatch) -> None:
    settings = load_settings()
    assert settings.timeout == timedelta(seconds=90)
    assert settings.handlers.python is not None
    assert settings.handlers.python.module == "shop.tasks"


def test_new_tasks_are_claimed_as_the_queue_says(environment: pytest.MonkeyPatch) -> None:
    assert load_settings().claim == "Adaptive"
    environment.setenv("TASKQUEUE_CLAIM", "Always")
    assert load_settings().claim == "Always"
    environment.setenv("TASKQUEUE_CLAIM", "Sometimes")
    with pytest.raises(SettingsError, match="TASKQUEUE_CLAIM: Input should be 'Adaptive' or"):
        load_settings()


def test_exec_handlers(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TASKQUEUE_HANDLERS", '{"exec": {"command": ["sh", "-c", "cat"]}}')
    settings = load_settings()
    assert settings.handlers.exec is not None
    assert settings.handlers.exec.command == ["sh", "-c", "cat"]


def test_http_handlers(environment: pytest.MonkeyPatch) -> None:
    environment.setenv("TASKQUEUE_HANDLERS", '{"http": {"url": "http://localhost:8080/task"}}')
    settings = load_settings()
    assert settings.handlers.http is not None
    assert settings.handlers.http.url == "http://localhost:8080/task"


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        pytest.param(None, ONCE, id="not set: no retries"),
        pytest.param("", ONCE, id="empty: no retries"),
        pytest.param("{}", parse_policy({}), id="all defaults"),
        pytest.param('{"maxAttempts":7}', parse_policy({"maxAttempts": 7}), id="a policy"),
    ],
)
def test_the_retry_policy(
    environment: pytest.MonkeyPatch, text: str | None, policy: RetryPolicy
) -> None:
    if text is not None:
        environment.setenv("TASKQUEUE_RETRY", text)
    assert load_settings().retry == policy


@pytest.mark.parametrize("name", sorted(GOOD))
def test_a_missing_variable_is_named(environment: pytest.MonkeyPatch, name: str) -> None:
    environment.delenv(name)
    with pytest.raises(SettingsError, match=f"{name} must be set"):
        load_settings()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TASKQUEUE_CONCURRENCY", "0"),
        ("TASKQUEUE_CONCURRENCY", "many"),
        ("TASKQUEUE_TIMEOUT", "soon"),
        ("TASKQUEUE_HANDLERS", "{nope"),
        ("TASKQUEUE_HANDLERS", "{}"),
        ("TASKQUEUE_HANDLERS", '{"python": {"module": "m"}, "exec": {"command": ["x"]}}'),
        ("TASKQUEUE_HANDLERS", '{"exec": {"command": []}}'),
        ("TASKQUEUE_HANDLERS", '{"exec": {"command": ["x"]}, "http": {"url": "http://h/"}}'),
        ("TASKQUEUE_HANDLERS", '{"http": {}}'),
        ("TASKQUEUE_HANDLERS", '{"http": {"url": "localhost:8080"}}'),
        ("TASKQUEUE_HANDLERS", '{"http": {"url": "http://h/\\n"}}'),
        ("TASKQUEUE_HANDLERS", '{"ruby": {}}'),
        ("TASKQUEUE_LOG_FORMAT", "xml"),
        ("TASKQUEUE_RETRY", "{nope"),
        ("TASKQUEUE_RETRY", "[]"),
        ("TASKQUEUE_RETRY", '{"maxAttempts": 0}'),
        ("TASKQUEUE_RETRY", '{"backoff": {"type": "Linear"}}'),
        ("TASKQUEUE_GRACE", ""),
    ],
)
def test_a_wrong_variable_is_named(environment: pytest.MonkeyPatch, name: str, value: str) -> None:
    environment.setenv(name, value)
    with pytest.raises(SettingsError, match=name):
        load_settings()
