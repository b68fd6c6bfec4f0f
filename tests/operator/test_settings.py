"""The operator's configuration: read from the environment, and refused by name."""

import pytest

from taskqueue_operator.__main__ import main
from taskqueue_operator.domain.sharding import WHOLE, Shard
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
    assert settings.shard == WHOLE
    assert (settings.lease_namespace, settings.lease) == ("default", "taskqueue-operator")
    assert settings.default_broker_secret is None
    assert settings.worker_image_pull_policy == "IfNotPresent"
    assert (settings.log_format, settings.log_level) == ("json", "INFO")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", (), id="all"),
        pytest.param("shop", ("shop",), id="one"),
        pytest.param("shop, infra ,", ("shop", "infra"), id="many"),
        pytest.param("shop,infra,shop", ("shop", "infra"), id="one twice"),
    ],
)
def test_namespaces_are_a_list_with_commas(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: tuple[str, ...]
) -> None:
    assert load(monkeypatch, WATCH_NAMESPACES=text).watch_namespaces == expected


@pytest.mark.parametrize(
    ("text", "expected", "lease"),
    [
        pytest.param("", WHOLE, "taskqueue-operator", id="none"),
        pytest.param("1/1", WHOLE, "taskqueue-operator", id="all"),
        pytest.param("2/4", Shard(2, 4), "taskqueue-operator-shard-2-of-4", id="one"),
    ],
)
def test_a_shard_brings_its_lease(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: Shard, lease: str
) -> None:
    settings = load(monkeypatch, SHARD=text)
    assert (settings.shard, settings.lease) == (expected, lease)


def test_a_lease_that_is_named_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load(monkeypatch, SHARD="2/4", LEASE_NAME="mine").lease == "mine"


@pytest.mark.parametrize(
    ("text", "expected"),
    [("", None), ("infra/rabbit", SecretKey("infra", "rabbit"))],
    ids=["none", "one"],
)
def test_the_default_secret_is_a_namespace_and_a_name(
    monkeypatch: pytest.MonkeyPatch, text: str, expected: SecretKey | None
) -> None:
    assert load(monkeypatch, DEFAULT_BROKER_SECRET=text).default_broker_secret == expected


def catch(monkeypatch: pytest.MonkeyPatch) -> list[Settings]:
    """Let nothing be run, and return the settings that it would be run with."""
    caught: list[Settings] = []

    async def run(settings: Settings) -> None:
        caught.append(settings)

    monkeypatch.setattr("taskqueue_operator.__main__.run", run)
    monkeypatch.setattr("taskqueue_operator.__main__.configure_logging", lambda *_: None)
    return caught


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WATCH_NAMESPACES", "shop,Mail"),
        ("WATCH_NAMESPACES", "shop mail"),
        ("SHARD", "0/3"),
        ("SHARD", "4/3"),
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
    catch(monkeypatch)
    for variable, text in (BASE | {name: value}).items():
        monkeypatch.setenv(f"TASKQUEUE_{variable}", text)
    assert main() == 2
    assert capsys.readouterr().err.startswith(f"TASKQUEUE_{name}: ")


def test_a_missing_image_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 2
    assert "TASKQUEUE_WORKER_IMAGE: Field required" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "namespaces", "shard"),
    [
        pytest.param([], ("old",), Shard(1, 2), id="none"),
        pytest.param(["--watch-namespaces", "a,b"], ("a", "b"), Shard(1, 2), id="namespaces"),
        pytest.param(["--shard=2/4"], ("old",), Shard(2, 4), id="shard"),
        pytest.param(["--shard", "", "--watch-namespaces="], (), WHOLE, id="all of it"),
    ],
)
def test_the_command_line_wins(
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    namespaces: tuple[str, ...],
    shard: Shard,
) -> None:
    caught = catch(monkeypatch)
    for name, value in (BASE | {"WATCH_NAMESPACES": "old", "SHARD": "1/2"}).items():
        monkeypatch.setenv(f"TASKQUEUE_{name}", value)
    assert main(arguments) == 0
    (settings,) = caught
    assert (settings.watch_namespaces, settings.shard) == (namespaces, shard)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["--shard", "5/4"],
            "--shard: must be i/n with i from 1 to n, and n at most 99, such as 2/4 for the second "
            "of four shards, not '5/4'\n",
        ),
        (
            ["--watch-namespaces", "shop,Mail"],
            "--watch-namespaces: must be names of namespaces with commas between them, such as "
            "'shop,mail', and 'Mail' is none\n",
        ),
    ],
)
def test_a_bad_argument_is_told_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.setenv("TASKQUEUE_WORKER_IMAGE", "example.org/worker:1")
    assert main(arguments) == 2
    assert capsys.readouterr().err == said


def test_an_argument_that_nobody_knows_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--shards", "1/2"])
    assert ended.value.code == 2
    assert "unrecognized arguments: --shards" in capsys.readouterr().err
