"""The operator's configuration: read from the environment, and refused by name."""

import pytest

from taskqueue_operator.__main__ import main
from taskqueue_operator.settings import SecretKey, Settings

BASE = {"WORKER_IMAGE": "example.org/worker:1"}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Settings.model_fields:
        monkeypatch.delenv(f"TASKQUEUE_{name.upper()}", raising=False)


def load(monkeypatch: pytest.MonkeyPatch, **changes: str) -> Settings:
    for name, value in (BASE | changes).items():
        monkeypatch.setenv(f"TASKQUEUE_{name}", value)
    return Settings()


def test_only_the_image_is_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(monkeypatch)
    assert settings.worker_image == "example.org/worker:1"
    assert settings.watch_namespaces == ()
    assert settings.default_broker_secret is None
    assert settings.worker_image_pull_policy == "IfNotPresent"
    assert (settings.log_format, settings.log_level) == ("json", "INFO")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", (), id="all"),
        pytest.param("shop", ("shop",), id="one"),
        pytest.param("shop, infra ,", ("shop", "infra"), id="many"),
    ],
)
def test_namespaces_are_a_list_with_commas(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: tuple[str, ...]
) -> None:
    assert load(monkeypatch, WATCH_NAMESPACES=text).watch_namespaces == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", None), ("infra/rabbit", SecretKey("infra", "rabbit"))],
    ids=["none", "one"],
)
def test_the_default_secret_is_a_namespace_and_a_name(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: SecretKey | None
) -> None:
    assert load(monkeypatch, DEFAULT_BROKER_SECRET=text).default_broker_secret == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKER_IMAGE", ""),
        ("WORKER_IMAGE_PULL_POLICY", "Sometimes"),
        ("LOG_FORMAT", "xml"),
        ("LOG_LEVEL", "LOUD"),
        ("DEFAULT_BROKER_SECRET", "rabbit"),
        ("DEFAULT_BROKER_SECRET", "/rabbit"),
        ("DEFAULT_BROKER_SECRET", "infra/"),
        ("DEFAULT_BROKER_SECRET", "infra/rabbit/uri"),
    ],
)
def test_a_bad_value_ends_the_program_with_the_variable_s_name(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], name: str, value: str
) -> None:
    async def run(_: Settings) -> None:
        """Stand in for the operator."""

    monkeypatch.setattr("taskqueue_operator.__main__.run", run)
    monkeypatch.setattr("taskqueue_operator.__main__.configure_logging", lambda *_: None)
    for variable, text in (BASE | {name: value}).items():
        monkeypatch.setenv(f"TASKQUEUE_{variable}", text)
    assert main() == 2
    assert capsys.readouterr().err.startswith(f"TASKQUEUE_{name}: ")


def test_a_missing_image_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 2
    assert "TASKQUEUE_WORKER_IMAGE: Field required" in capsys.readouterr().err
